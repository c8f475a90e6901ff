"""Argilla's responses and suggestions as a source: records exported flat."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Final

from plaudit.importers import Given
from plaudit.importers.exact import number_of
from plaudit.importers.mapping import Row, present, required, text_of
from plaudit.importers.source import MappedSource

_RESPONSES: Final = ".responses"
_SUGGESTION: Final = ".suggestion"
_RIGHT_FORM: Final = "export with records.to_list(flatten=True), which keeps the status of each response"


class ArgillaSource(MappedSource):
    """One record for each response and each suggestion; the type is the question."""

    system: ClassVar[str] = "argilla"

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        # Argilla exports no times; the file's is the only one there is, and the same as long as the file is.
        self._time = given.options.get("created_at") or _time_of(given.path)
        if not self.mapper.source_project:
            self.mapper.source_project = Path(given.path).stem if given.path != "-" else "dataset"
        self._only = given.options.get("only")

    @property
    def lossy(self) -> Sequence[str]:
        """There are no times in it."""
        if self.given.options.get("created_at"):
            return ()
        return ("Argilla exports no times: responses get the time of the file; give another one with --created-at",)

    @classmethod
    def recognises(cls, row: Mapping[str, Any]) -> bool:
        """By the columns of responses, or the members of the nested form."""
        return any(name.endswith(_RESPONSES) for name in row) or ("responses" in row and "suggestions" in row)

    def unusable(self, row: Mapping[str, Any]) -> str:
        """The nested form has lost whether a response was submitted, a draft, or discarded."""
        if isinstance(row.get("responses"), Mapping):
            return f"the nested form of Argilla has no status of responses: {_RIGHT_FORM}"
        return ""

    def found(self, row: Mapping[str, Any]) -> Iterator[Row | str]:
        """The records of a record's responses and suggestions."""
        [id] = required(row, "id")
        for name in row:
            if name.endswith(_RESPONSES):
                yield from self._responses(row, id, name.removesuffix(_RESPONSES))
            elif name.endswith(_SUGGESTION) and row[name] is not None:
                question = name.removesuffix(_SUGGESTION)
                agent = text_of(row.get(f"{name}.agent"))
                origin = {"kind": "suggestion", **present({"score": row.get(f"{name}.score")}, "score")}
                yield self._row(row[name], id, question, f"suggestion:{agent}", agent, agent, origin)

    def _responses(self, row: Mapping[str, Any], id: str, question: str) -> Iterator[Row | str]:
        values = row[f"{question}{_RESPONSES}"]
        users = row.get(f"{question}{_RESPONSES}.users") or []
        states = row.get(f"{question}{_RESPONSES}.status") or []
        if not isinstance(values, list):
            return
        for position, value in enumerate(values):
            user = text_of(users[position]) if position < len(users) else ""
            status = text_of(states[position]) if position < len(states) else ""
            if not user:
                yield f"a response to {question} has no user"
            elif self._only is None or status == self._only:
                origin = {"kind": "response", "position": position, "status": status}
                yield self._row(value, id, question, user, user, None, origin)

    def _row(
        self, value: Any, id: str, question: str, author: str, user: str, creator: str | None, origin: dict[str, Any]
    ) -> Row:
        payload: dict[str, Any] = {}
        if number_of(value):
            payload = {"score": value, "value": value}
        elif isinstance(value, str):
            payload = {"label": value}
        else:
            payload = {"value": value}
        target = ("record", id)
        return Row(
            target,
            question,
            (id, question, author),
            self._time,
            origin={"record": id, "question": question, **origin},
            payload=payload,
            creator=creator,
            user=user,
        )


def _time_of(path: str) -> str:
    seconds = os.stat(path).st_mtime if path != "-" else datetime.now(UTC).timestamp()
    return datetime.fromtimestamp(seconds, UTC).isoformat()
