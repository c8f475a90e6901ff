"""Who owns a piece of the store's work, its deadline, and the lane of a read: given to an engine with each piece."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple


class Lane(Enum):
    """Which reads wait for each other; no read waits for those of another lane."""

    POINT = "point"
    """A bounded number of rows, found by their key."""
    QUERY = "query"
    """Every row that a filter or an order has to look at: it begins with a small budget, then continues as a scan."""
    CATCHING_UP = "catching up"
    """The changes that a watch has missed: a bounded part of them at a time, among the scans."""


class Owner(NamedTuple):
    """For whom work is done; fairness is between projects and principals."""

    principal: str
    """The name of the authenticated caller, else the address that the call came from; empty for the server itself."""
    project: str


class Work(NamedTuple):
    """One piece of work. `deadline` is in seconds of `time.monotonic()`; None: no deadline.

    `may_begin` is called on any thread when it is a read's turn, and raises an error in place of the read.
    """

    owner: Owner
    deadline: float | None = None
    may_begin: Callable[[], None] | None = None


SERVER: Final = Work(Owner("", ""))
"""The server's own work, such as reading its keys: without a deadline, since nobody's call waits for it."""
