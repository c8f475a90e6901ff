"""Opik's feedback scores as a source: traces and spans as its API gives them, as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from plaudit.importers.mapping import Row, objects, present, required, text_of
from plaudit.importers.source import MappedSource

_SCORE_ORIGIN: Final = ("source", "category_name", "created_by", "last_updated_by", "created_at", "last_updated_at")
_AUTHOR_ORIGIN: Final = ("source", "category_name", "span_type", "span_id", "source_queue_id")


class OpikSource(MappedSource):
    """One record for each author of a score; the average that Opik makes of several authors is not stored."""

    system: ClassVar[str] = "opik"
    lists: ClassVar[Sequence[str]] = ("content",)

    @classmethod
    def recognises(cls, row: Mapping[str, Any]) -> bool:
        """By the scores of a trace, or a column of them."""
        return "feedback_scores" in row or any(name.startswith("feedback_scores.") for name in row)

    def unusable(self, row: Mapping[str, Any]) -> str:
        """A CSV has neither authors nor times."""
        if any(name.startswith("feedback_scores.") for name in row):
            return "a CSV of Opik has no authors and no times of its scores: export traces and spans as JSON"
        return ""

    def found(self, row: Mapping[str, Any]) -> Iterator[Row | str]:
        """The records of a trace's or a span's scores."""
        [id] = required(row, "id")
        trace = text_of(row.get("trace_id"))
        target = ("trace", trace, "span", id) if trace else ("trace", id)
        for score in objects(row.get("feedback_scores")):
            name = text_of(score.get("name"))
            if not name:
                yield "a score has no name"
                continue
            authors = score.get("value_by_author")
            if isinstance(authors, Mapping) and authors:
                for author, part in authors.items():
                    if isinstance(part, Mapping):
                        yield self._row(row, target, name, score, part, author, _AUTHOR_ORIGIN)
                    else:
                        yield f"the score {name} of an author is no object"
            else:
                author = text_of(score.get("created_by") or score.get("last_updated_by"))
                yield self._row(row, target, name, score, score, author, _SCORE_ORIGIN)

    def _row(
        self,
        row: Mapping[str, Any],
        target: Sequence[str],
        name: str,
        score: Mapping[str, Any],
        part: Mapping[str, Any],
        author: str,
        kept: Sequence[str],
    ) -> Row:
        queue = text_of(part.get("source_queue_id"))
        created_at = part.get("created_at") or part.get("last_updated_at") or score.get("created_at")
        origin = {**present(part, *kept)}
        if part is not score:
            origin |= {"author": author, "score": {k: v for k, v in score.items() if k != "value_by_author"}}
        elif created_at is None:
            # Scores that Opik makes itself have no time.
            created_at, origin["start_time"] = row.get("start_time"), row.get("start_time")
        payload = {**({"score": part["value"]} if part.get("value") is not None else {})}
        if part.get("category_name") is not None:
            payload["label"] = part["category_name"]
        if part.get("reason") is not None:
            payload["comment"] = part["reason"]
        return Row(
            target,
            name,
            (*target, name, author, queue),
            created_at,
            origin=origin,
            payload=payload,
            updated_at=part.get("last_updated_at") or created_at,
            creator=author or None,
            user=author,
            trace=target[1],
            session=text_of(row.get("thread_id")),
            project=text_of(row.get("project_id")),
        )
