"""LangSmith's feedback as a source: what `list_feedback` gives, as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from plaudit.importers import Gone, Record, Refusal
from plaudit.importers.documents import parsed
from plaudit.importers.exact import number_of
from plaudit.importers.mapping import Row, RowError, present, required, text_of
from plaudit.importers.source import MappedSource
from plaudit.importers.tables import is_table, table

_ORIGIN: Final = (
    "trace_id", "run_id", "session_id", "start_time", "feedback_group_id", "comparative_experiment_id", "extra",
    "feedback_source",
)  # fmt: skip


_STATS: Final = "feedback_stats"


class LangsmithSource(MappedSource):
    """One record for each feedback, with its own id; with `--aggregates` one for each key of a run's statistics."""

    system: ClassVar[str] = "langsmith"
    lists: ClassVar[Sequence[str]] = ("feedback", "results", "items")

    @property
    def lossy(self) -> Sequence[str]:
        """Statistics have neither authors nor single judgements."""
        if not self._takes_statistics:
            return ()
        return (
            "a record for each key of a run's statistics is stored, as KEY.stats: authors and each judgement are lost",
        )

    @property
    def incomplete(self) -> str:
        """Statistics are of runs."""
        return "statistics of runs are no feedback" if self._takes_statistics else ""

    @property
    def _takes_statistics(self) -> bool:
        return bool(self.given.options.get("aggregates"))

    def read(self) -> Iterator[Record | Refusal | Gone]:
        """The records of the rows; bulk exports are tables."""
        if not is_table(self.given.path):
            yield from super().read()
            return
        for row in table(self.given.path):
            yield from self.read_row(row)

    @classmethod
    def recognises(cls, row: Mapping[str, Any]) -> bool:
        """By the source of a feedback, or a run's statistics."""
        return "feedback_source" in row or "feedback_stats" in row

    def unusable(self, row: Mapping[str, Any]) -> str:
        """Runs have statistics of their feedback only."""
        if _STATS in row and not self._takes_statistics:
            return (
                "a bulk export of runs holds statistics, of which no feedback can be made: export with list_feedback; "
                "--aggregates stores the statistics themselves"
            )
        return ""

    def found(self, row: Mapping[str, Any]) -> Iterator[Row | str]:
        """The record of a feedback, or the records of a run's statistics."""
        if _STATS in row:
            yield from _statistics(row)
            return
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


def _statistics(row: Mapping[str, Any]) -> Iterator[Row | str]:
    """The records of a run's statistics, whose time is that of the run."""
    [run] = required(row, "id")
    session = text_of(row.get("session_id"))
    found = row.get(_STATS)
    found = parsed(found) if isinstance(found, str) else found
    if found in (None, ""):
        return
    if not isinstance(found, Mapping):
        raise RowError("has statistics that are no JSON object")
    for key, stats in found.items():
        if stats is None:  # in a table every run has all keys
            continue
        if not isinstance(stats, Mapping):
            yield f"the statistics of {key} are no object"
            continue
        average = stats.get("avg")
        yield Row(
            ("run", run),
            f"{key}.stats",
            ("stats", run, key),
            row.get("end_time") or row.get("start_time"),
            origin={"run_id": run, "session_id": session, "key": key},
            payload={**({"score": average} if number_of(average) else {}), "value": stats},
            trace=text_of(row.get("trace_id")),
            project=session,
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
