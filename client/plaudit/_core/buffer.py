"""What a buffered writer holds: records that wait in memory, in order, and the counts of what became of the others.

Nothing here does I/O, waits or locks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from plaudit import v1
from plaudit._contract import limits
from plaudit._core.writing import Refused, Report

_KEPT_REFUSED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Item:
    """A record that waits."""

    number: int
    """Its place in the order in which the records were added."""
    project: str
    """Where it goes."""
    message: v1.Feedback
    """The record."""
    size: int
    """Its bytes in a request."""
    added_at: float = 0.0
    """When it was added, by a monotonic clock; 0 for one that was on disk."""


class Buffer:
    """Items in the order of their numbers. One that is taken to be sent counts until it is `settled` or `put_back`."""

    def __init__(self, max_records: int, max_bytes: int) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._waiting: deque[Item] = deque()
        self._taken: list[Item] = []
        self._bytes = 0
        self._waiting_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._taken)

    @property
    def waiting(self) -> int:
        """How many items are not on their way."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether what waits fills a request, or leaves no room for more."""
        return len(self._waiting) >= min(limits.BATCH_ITEMS, self._max_records) or self._waiting_bytes >= min(
            limits.REQUEST_BYTES, self._max_bytes
        )

    def has_room(self, size: int) -> bool:
        """Whether an item of `size` bytes may come in; one that is too large may when it is alone."""
        return not len(self) or (len(self) < self._max_records and self._bytes + size <= self._max_bytes)

    def add(self, item: Item) -> None:
        """Take an item in, whether there is room or not."""
        self._waiting.append(item)
        self._bytes += item.size
        self._waiting_bytes += item.size

    def ripe_at(self, linger: float) -> float | None:
        """When to send what waits: `linger` seconds after the first of it was added, or at once if it fills a request.

        None when nothing waits.
        """
        if not self._waiting:
            return None
        return 0.0 if self.is_full else self._waiting[0].added_at + linger

    def take(self, room: int) -> list[Item]:
        """The first items, as many as fit in one request that has `room` bytes for them."""
        while self._waiting and len(self._taken) < limits.BATCH_ITEMS:
            room -= self._waiting[0].size
            if room < 0 and self._taken:
                break
            item = self._waiting.popleft()
            self._waiting_bytes -= item.size
            self._taken.append(item)
        return list(self._taken)

    def settled(self, items: Iterable[Item]) -> None:
        """Drop these: they are stored, refused, or on disk."""
        numbers = {item.number for item in items}
        kept = []
        for item in self._taken:
            if item.number in numbers:
                self._bytes -= item.size
            else:
                kept.append(item)
        self._taken = kept

    def put_back(self) -> None:
        """Let what was taken and is not settled wait again, in its place."""
        self._waiting.extendleft(reversed(self._taken))
        self._waiting_bytes += sum(item.size for item in self._taken)
        self._taken = []

    def take_all(self) -> list[Item]:
        """Every item, taken to be put on disk."""
        self._taken.extend(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        return list(self._taken)

    def everything(self) -> list[Item]:
        """Every item, taken or waiting, in order; all stay."""
        return [*self._taken, *self._waiting]


class Ledger:
    """What became of the items of one writer, which are numbered from `left_over` + 1."""

    def __init__(self, left_over: int) -> None:
        self._left_over = left_over
        self._stored = 0
        self._refused: list[Refused] = []
        self._refused_count = 0
        self._last = left_over
        self._done = 0

    @property
    def stored(self) -> int:
        """How many are stored."""
        return self._stored

    @property
    def refused_count(self) -> int:
        """How many the server refused."""
        return self._refused_count

    @property
    def last(self) -> int:
        """The number of the last item that was added."""
        return self._last

    @property
    def added(self) -> int:
        """How many were added to this writer."""
        return self._last - self._left_over

    def next_number(self) -> int:
        """The number of an item that is added now."""
        self._last += 1
        return self._last

    def position(self, item: Item) -> int:
        """Where an item stands among those added to this writer, from 0; -1 for one that was in the spool before."""
        return max(-1, item.number - self._left_over - 1)

    def settled(self, count: int, refused: Sequence[Refused]) -> None:
        """Of `count` items the server has refused these, and stored the others."""
        self._stored += count - len(refused)
        self._refused_count += len(refused)
        self._refused += refused[: _KEPT_REFUSED - len(self._refused)]

    def all_done_to(self, number: int) -> None:
        """Every item up to this number is stored or refused."""
        self._done = number

    def is_done(self, number: int) -> bool:
        """Whether every item up to this number is stored or refused."""
        return self._done >= number

    def report(self, pending: int, spooled: int) -> Report:
        """What became of everything, with the given numbers of items in memory and on disk."""
        return Report(self._stored, pending, tuple(self._refused), self._refused_count, spooled)
