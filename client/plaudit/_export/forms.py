"""The forms of an export's file: what all of them can do; how each does it is in `texts` and `tables`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import IO

from plaudit import v1
from plaudit._core.model import Feedback
from plaudit._export.snapshot import Redo


class Form(ABC):
    """How records stand in a file, and before that in its part, where an export can be stopped and resumed."""

    head = b""
    """What a part begins with."""
    is_file = True
    """Whether a part is the file itself, when no record has changed meanwhile."""

    @abstractmethod
    def packed(self, page: Sequence[v1.Feedback]) -> bytes:
        """Records as they stand in the part."""

    @abstractmethod
    def pieces(self, part: IO[bytes]) -> Iterator[bytes]:
        """What a part has after its head, in pieces of one record or more; a torn one at the end is left out."""

    @abstractmethod
    def count(self, piece: bytes) -> int:
        """How many records a piece has."""

    @abstractmethod
    def last(self, piece: bytes) -> v1.Feedback:
        """The last record of a piece: at least its id and its time of creation."""

    @abstractmethod
    def write(self, part: IO[bytes], changed: Redo, out: IO[bytes]) -> int:
        """Write the file: each record of the part as it is after what changed, and new ones at the end.

        Returns how many there are.
        """


def new_in(changed: Redo, seen: set[str]) -> list[v1.Feedback]:
    """The records that were created after the scan had passed their place, in their order."""
    new = [now for id, now in changed.items() if id not in seen and isinstance(now, Feedback)]
    new.sort(key=lambda record: (record.created_at, record.id))
    return [record._message for record in new]
