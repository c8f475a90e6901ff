"""What became of records that were given to be stored: one shape for all ways to write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar, runtime_checkable

from plaudit._core.errors import PlauditError
from plaudit._core.model import Feedback

ItemT = TypeVar("ItemT", bound=Feedback | PlauditError)


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that was not stored."""

    position: int
    """Where it stood in the input, from 0; -1 for one that an earlier process had left in a spool."""
    id: str
    """Its id; empty when it has none."""
    error: PlauditError
    """Why it was not stored."""


@runtime_checkable
class WriteResult(Protocol):
    """What every way to write returns: of how many records what became."""

    @property
    def stored(self) -> int:
        """How many are stored, and durable; those that were already there included."""

    @property
    def refused(self) -> Sequence[Refused]:
        """Those that are not stored, because they broke a rule."""

    @property
    def pending(self) -> int:
        """How many are not stored, or not known to be stored."""


Existing = Literal["refuse", "keep", "update"]
"""What an import does with a record whose id is stored with other content: refuse it, keep what is stored, or make a
new version of it where the given record was updated later."""


@dataclass(slots=True)
class Ingested:
    """What became of the records so far."""

    stored: int = 0
    """How many are stored, and durable; those that were already there included."""
    refused: list[Refused] = field(default_factory=list)
    """Those that were not stored."""
    revision: int = 0
    """The project's revision after the last answer."""
    pending: int = field(default=0, repr=False)
    """How many are sent and not answered yet; 0 at the end."""
    created: int = 0
    """Of an import: how many were not there before. A request that was sent again counts those that it had stored as
    already there."""
    updated: int = 0
    """Of an import with `existing="update"`: how many became a new version of a stored record."""
    kept: int = 0
    """Of an import with `existing` "keep" or "update": how many differ from what is stored, which stays."""


Progress = Callable[[Ingested], None]
"""Called with what became of the records so far, after each answer of the server."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the records that were added."""

    stored: int
    """How many are stored, and durable; those that an earlier process had left in the spool included."""
    pending: int
    """How many are in memory only: not stored, or not known to be."""
    refused: tuple[Refused, ...]
    """Those that the server refused, with their errors; the first 10,000."""
    refused_count: int
    """How many it refused."""
    spooled: int
    """How many are in the spool, on disk: the next buffer on the same file sends them."""


class BatchResult(list[ItemT]):
    """The records of a batch as stored, in the order of the input; an error in place of each that is not stored."""

    def __init__(self, items: Iterable[ItemT] = (), refused: Sequence[Refused] = (), pending: int = 0) -> None:
        super().__init__(items)
        self.refused = list(refused)
        """Those that were not stored, because they broke a rule."""
        self.pending = pending
        """How many may be stored: their request had no answer."""

    @property
    def stored(self) -> int:
        """How many are stored, and durable; those that were already there included."""
        return len(self) - len(self.refused) - self.pending
