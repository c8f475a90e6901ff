"""Braintrust's scores as a source: rows of logs or experiments, as JSON."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from plaudit.importers import Gone, Record, Refusal
from plaudit.importers.documents import rows
from plaudit.importers.kept import Kept
from plaudit.importers.mapping import Row, objects, present, required, text_of
from plaudit.importers.source import MappedSource

_ORIGIN: Final = ("span_id", "root_span_id", "_xact_id", "tags", "metadata")
_PEOPLE: Final = ("app", "external")


class BraintrustSource(MappedSource):
    """One record for each score that is not null, each comment, and what a person set as expected.

    An export repeats a row each time it was written; the one of the newest transaction counts.
    """

    system: ClassVar[str] = "braintrust"
    lists: ClassVar[Sequence[str]] = ("events", "data", "rows")

    def __init__(self, given: Any) -> None:
        super().__init__(given)
        self._newest = Kept()
        self._audit_missing = 0

    @classmethod
    def recognises(cls, row: Mapping[str, Any]) -> bool:
        """By the transaction of a row."""
        return "_xact_id" in row

    def read(self) -> Iterator[Record | Refusal | Gone]:
        """The records of the newest rows, in a second reading."""
        path = self.given.path
        if path != "-":
            yield from self._twice(path)
            return
        with tempfile.NamedTemporaryFile(delete=False) as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        try:
            yield from self._twice(copy.name)
        finally:
            os.unlink(copy.name)

    def _twice(self, path: str) -> Iterator[Record | Refusal]:
        for row in rows(path, self.lists):
            if isinstance(row.value, Mapping):
                id, at = _version(row.value)
                newest = self._newest.get(id)
                if newest is None or _order(newest) < _order(at):
                    self._newest.put(id, text=at)
        for row in rows(path, self.lists):
            if not isinstance(row.value, Mapping):
                yield from self.read_row(row)
                continue
            id, at = _version(row.value)
            if self._newest.get(id) == at:
                yield from self.read_row(row)
        if self._audit_missing:
            self.notes.append(f"{self._audit_missing} expected values were not set by a person: they are left out")

    def found(self, row: Mapping[str, Any]) -> Iterator[Row | str]:
        """The records of a row."""
        [id] = required(row, "id")
        project = text_of(row.get("project_id") or row.get("experiment_id"))
        scores = row.get("scores")
        for name, score in scores.items() if isinstance(scores, Mapping) else ():
            if score is not None:
                yield self._row(row, id, project, name, {"score": score}, ["scores", name])
        if row.get("expected") is not None:
            if _who(row, ["expected"]) is None:
                self._audit_missing += 1
            else:
                yield self._row(row, id, project, "expected", {"correction": row["expected"]}, ["expected"])
        for comment in objects(row.get("comments")):
            yield self._comment(row, id, project, comment)

    def _row(
        self, row: Mapping[str, Any], id: str, project: str, name: str, payload: dict[str, Any], path: list[str]
    ) -> Row:
        author = _who(row, path) or ""
        return Row(
            ("row", id),
            name,
            (id, name),
            row.get("created"),
            origin={"id": id, "path": path, **present(row, *_ORIGIN)},
            payload=payload,
            creator=author or None,
            user=author,
            trace=text_of(row.get("root_span_id")),
            project=project,
        )

    def _comment(self, row: Mapping[str, Any], id: str, project: str, comment: Mapping[str, Any]) -> Row:
        said = comment.get("comment")
        metadata = comment.get("metadata")
        author = text_of(metadata.get("user_id")) if isinstance(metadata, Mapping) else ""
        return Row(
            ("row", id),
            "comment",
            (id, "comment", text_of(comment.get("id"))),
            comment.get("created") or row.get("created"),
            origin={"id": id, "comment": comment},
            payload={"comment": said["text"]} if isinstance(said, Mapping) and "text" in said else {},
            creator=author or None,
            user=author,
            trace=text_of(row.get("root_span_id")),
            project=project,
        )


def _version(row: Mapping[str, Any]) -> tuple[str, str]:
    """The id of a row, and the transaction that wrote it."""
    return text_of(row.get("id")), text_of(row.get("_xact_id"))


def _order(transaction: str) -> tuple[int, str]:
    """Transactions are numbers, of which the later is the larger."""
    return len(transaction), transaction


def _who(row: Mapping[str, Any], path: list[str]) -> str | None:
    """Who set a value last, as the row's audit has it; None when no person did."""
    author = None
    for entry in objects(row.get("audit_data")):
        audit = entry.get("audit_data")
        if isinstance(audit, Mapping) and audit.get("path") == path and entry.get("source") in _PEOPLE:
            metadata = entry.get("metadata")
            author = text_of(metadata.get("user_id")) if isinstance(metadata, Mapping) else ""
    return author
