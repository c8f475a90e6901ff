"""Whose work the store does, until when, and in which lane it is read: handed to an engine with each piece of work."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Lane(Enum):
    """Which reads share a line; no read waits behind those of another lane."""

    POINT = "point"
    """A bounded number of rows, found by their key."""
    QUERY = "query"
    """What a filter or an order has to look at: begins with a small budget, and goes on among the scans beyond it."""
    CATCHING_UP = "catching up"
    """The changes that a watch has missed: a bounded slice among the scans, though nobody waits for one answer."""


@dataclass(frozen=True, slots=True)
class Owner:
    """For whom work is done: what is fair is decided by project and principal."""

    principal: str
    """The name of the authenticated caller, else the address that the call came from; empty for the server itself."""
    project: str


@dataclass(frozen=True, slots=True)
class Work:
    """One piece of work. `deadline` is in seconds of `time.monotonic()`; None: it may take as long as it takes."""

    owner: Owner
    deadline: float | None = None


SERVER: Final = Work(Owner("", ""))
"""The server's own work, such as reading its keys: without a deadline, since nobody's call waits for it."""
