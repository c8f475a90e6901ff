"""The part of reading an export that is the same for every system: rows of JSON, one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from plaudit.importers import Given, Gone, Record, Refusal, UnusableError
from plaudit.importers.documents import rows
from plaudit.importers.mapping import Mapper, Row, RowError


class JsonSource(ABC):
    """An export in JSON: a list of rows, a document with such a list, or objects that follow each other."""

    system: ClassVar[str]
    """The scheme of its refs, and the beginning of its users' ids."""
    lists: ClassVar[Sequence[str]] = ()
    """The members of a document that hold its rows."""

    def __init__(self, given: Given) -> None:
        self.given = given
        self.mapper = Mapper(self.system, given)
        self.notes: list[str] = []
        """What there is to say at the end."""

    @property
    def lossy(self) -> Sequence[str]:
        """What this form has lost already."""
        return ()

    def read(self) -> Iterator[Record | Refusal | Gone]:
        """The records of the rows. Raises UnusableError for a form that is not imported."""
        for row in rows(self.given.path, self.lists):
            if row.wrong:
                yield Refusal(row.place, row.wrong)
            elif not isinstance(row.value, Mapping):
                yield Refusal(row.place, "is no JSON object")
            else:
                yield from self._read(row.value, row.place)

    def _read(self, value: Mapping[str, Any], place: str) -> Iterator[Record | Refusal]:
        wrong = self.unusable(value)
        if wrong:
            raise UnusableError(wrong)
        found = self.found(value)
        while True:
            try:
                row = next(found, None)
            except RowError as error:
                yield Refusal(place, str(error))
                return
            if row is None:
                return
            if isinstance(row, str):
                yield Refusal(place, row)
            else:
                yield self.mapper.record(row, place)

    @classmethod
    @abstractmethod
    def recognises(cls, row: Mapping[str, Any]) -> bool:
        """Whether a row looks like one of this system's."""

    def unusable(self, row: Mapping[str, Any]) -> str:
        """Why a form of export loses too much, and which one to give instead; empty for one that does not."""
        return ""

    @abstractmethod
    def found(self, row: Mapping[str, Any]) -> Iterator[Row | str]:
        """The records in a row, or why a part of it cannot be imported. Raises RowError for a whole row."""
