"""LangSmith's feedback as a source: what `list_feedback` gives, as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from plaudit.importers.exact import number_of
from plaudit.importers.mapping import Row, present, required, text_of
from plaudit.importers.source import MappedSource

_ORIGIN: Final = (
    "trace_id", "run_id", "session_id", "start_time", "feedback_group_id", "comparative_experiment_id", "extra",
    "feedback_source",
)  # fmt: skip


class LangsmithSource(MappedSource):
    """One record for each feedback, with its own id."""

    system: ClassVar[str] = "langsmith"
    lists: ClassVar[Sequence[str]] = ("feedback", "results", "items")

    @classmethod
    def recognises(cls, row: Mapping[str, Any]) -> bool:
        """By the source of a feedback, or a run's statistics."""
        return "feedback_source" in row or "feedback_stats" in row

    def unusable(self, row: Mapping[str, Any]) -> str:
        """Runs have statistics of their feedback only."""
        if "feedback_stats" in row:
            return "a bulk export of runs holds statistics, of which no feedback can be made: export with list_feedback"
        return ""

    def found(self, row: Mapping[str, Any]) -> Iterator[Row | str]:
        """The record of a feedback."""
        id, key = required(row, "id", "key")
        source = row.get("feedback_source")
        source = source if isinstance(source, Mapping) else {}
        session, run = text_of(row.get("session_id")), text_of(row.get("run_id"))
        payload, rest = _value(row)
        yield Row(
            ("run", run) if run else ("project", session),
            key,
            (id,),
            row.get("created_at"),
            origin={"id": id, **present(row, *_ORIGIN), **rest},
            payload=payload,
            updated_at=row.get("modified_at") or row.get("created_at"),
            id=id,
            creator=text_of(source.get("user_name")) or None,
            user=text_of(source.get("user_id")),
            trace=text_of(row.get("trace_id")),
            project=session if run else "",
        )


def _value(row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a feedback says: its part of the payload, and what is for the origin."""
    payload: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    score, value = row.get("score"), row.get("value")
    if isinstance(score, bool):
        payload |= {"score": int(score), "value": score}
        rest["is_boolean"] = True
    elif number_of(score):
        payload["score"] = score
    if isinstance(value, str):
        payload["label"] = value
    elif value is not None:
        payload["value"] = value
    return payload | present(row, "comment", "correction"), rest
