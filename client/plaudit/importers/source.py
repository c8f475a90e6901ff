"""The part of reading an export that is the same for every system: rows of JSON, one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from plaudit.importers import Given, Gone, Record, Refusal, UnusableError
from plaudit.importers.documents import Row as Read
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
        self.notes: list[str] = []
        """What there is to say at the end."""

    @property
    def lossy(self) -> Sequence[str]:
        """What this form has lost already."""
        return ()

    @property
    def incomplete(self) -> str:
        """Why this form does not have all records of the system, so that nothing follows from a missing one."""
        return ""

    def read(self) -> Iterator[Record | Refusal | Gone]:
        """The records of the rows. Raises UnusableError for a form that is not imported."""
        for row in rows(self.given.path, self.lists):
            yield from self.read_row(row)

    def read_row(self, row: Read) -> Iterator[Record | Refusal]:
        """The records of one row. Raises UnusableError."""
        if row.wrong or not isinstance(row.value, Mapping):
            yield Refusal(row.place, row.wrong or "is no JSON object")
            return
        wrong = self.unusable(row.value)
        if wrong:
            raise UnusableError(wrong)
        yield from self.records(row.value, row.place)

    @classmethod
    @abstractmethod
    def recognises(cls, row: Mapping[str, Any]) -> bool:
        """Whether a row looks like one of this system's."""

    def unusable(self, row: Mapping[str, Any]) -> str:
        """Why a form of export loses too much, and which one to give instead; empty for one that does not."""
        return ""

    @abstractmethod
    def records(self, row: Mapping[str, Any], place: str) -> Iterator[Record | Refusal]:
        """The records in a row, and why parts of it cannot be imported."""


class MappedSource(JsonSource):
    """An export whose rows are made records by the mapping that all systems share."""

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        self.mapper = Mapper(self.system, given)

    @property
    def mark(self) -> str:
        """What `payload.origin.system` is in every record of this source, and in no other."""
        return self.system

    def records(self, row: Mapping[str, Any], place: str) -> Iterator[Record | Refusal]:
        """The records of what is found in a row."""
        try:
            for found in self.found(row):
                yield Refusal(place, found) if isinstance(found, str) else self.mapper.record(found, place)
        except RowError as error:
            yield Refusal(place, str(error))

    @abstractmethod
    def found(self, row: Mapping[str, Any]) -> Iterator[Row | str]:
        """What each record in a row is made of, or why a part of it cannot be imported. Raises RowError."""
