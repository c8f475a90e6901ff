"""What waits in memory to be sent: in order, bounded by records and bytes; no I/O, no threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from plaudit import v1
from plaudit._contract import limits


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
    """When it was added, by a monotonic clock; long ago for what was on disk."""


class Buffer:
    """Items in the order of their numbers. What is taken to be sent counts until it is `settled` or `put_back`."""

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
        """Whether an item of so many bytes may come in; a large one may when it is alone."""
        return not len(self) or (len(self) < self._max_records and self._bytes + size <= self._max_bytes)

    def add(self, item: Item) -> None:
        """Take an item in, whether there is room or not."""
        self._waiting.append(item)
        self._bytes += item.size
        self._waiting_bytes += item.size

    def ripe_at(self, linger: float) -> float | None:
        """When to send what waits: `linger` seconds after the first of it came, at once when it fills a request.

        None when nothing waits.
        """
        if not self._waiting:
            return None
        return 0.0 if self.is_full else self._waiting[0].added_at + linger

    def take(self, room: int) -> list[Item]:
        """The first items, as many as fit one request with `room` bytes for them."""
        while self._waiting and len(self._taken) < limits.BATCH_ITEMS:
            room -= self._waiting[0].size
            if room < 0 and self._taken:
                break
            item = self._waiting.popleft()
            self._waiting_bytes -= item.size
            self._taken.append(item)
        return list(self._taken)

    def settled(self, items: Iterable[Item]) -> None:
        """These need no more sending: they are stored, refused, or on disk."""
        numbers = {item.number for item in items}
        kept = []
        for item in self._taken:
            if item.number in numbers:
                self._bytes -= item.size
            else:
                kept.append(item)
        self._taken = kept

    def put_back(self) -> None:
        """What was taken and is not settled waits again, in its place."""
        self._waiting.extendleft(reversed(self._taken))
        self._waiting_bytes += sum(item.size for item in self._taken)
        self._taken = []

    def take_all(self) -> list[Item]:
        """Every item that waits, to be put on disk."""
        self._taken.extend(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        return list(self._taken)

    def everything(self) -> list[Item]:
        """Every item, taken or waiting, in order; all stay."""
        return [*self._taken, *self._waiting]
