"""What the database's errors mean: which pass by themselves, which say that it cannot work at all."""

from __future__ import annotations

import re
from typing import Final

import psycopg

# What passes by itself: conflicts of transactions, servers that come, go or change their role, and what a server calls
# an error of its own (XX): Citus answers that while shards move, also to a commit that was done.
_PASSING: Final = frozenset(
    {"40001", "40P01", "40003", "55P03", "57P01", "57P02", "57P03", "57P05", "25006", "25P03", "53300"}
)
_PASSING_CLASSES: Final = ("08", "XX")
# What says that the engine cannot do its work, whatever it was asked; all else is about one command.
_UNAVAILABLE: Final = frozenset({"25006", "25P03", "42501", "55P03", "57014"})
_UNAVAILABLE_CLASSES: Final = ("08", "28", "3D", "40", "53", "57", "58", "XX")
# The unique indexes of revisions; Citus adds a shard's number, and names them in the message alone.
_BY_REVISION: Final = re.compile(r"\b\w+_by_revision(_[0-9]+)?\b")
# After these the connection is to another kind of server than it was made for.
ESTRANGED: Final = frozenset({"25006", "57P01", "57P02", "57P03"})


def is_unavailable(error: psycopg.Error) -> bool:
    """Whether the engine could not do its work, whatever it was asked."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state in _UNAVAILABLE or state.startswith(_UNAVAILABLE_CLASSES) or _is_late(error)


def is_passing(error: psycopg.Error) -> bool:
    """Whether the same may well succeed in a moment, perhaps on another connection."""
    state = error.sqlstate
    return state is None or state in _PASSING or state.startswith(_PASSING_CLASSES) or _is_late(error)


def _is_late(error: psycopg.Error) -> bool:
    """Whether another transaction has given out the same revisions first: this one read where its project stood before.

    The lock keeps that from happening; where it ever fails, reading again is the cure.
    """
    if error.sqlstate != "23505":
        return False
    return _BY_REVISION.search(error.diag.constraint_name or error.diag.message_primary or "") is not None


def is_rollback(error: psycopg.Error) -> bool:
    """Whether a commit was refused for certain; any other error leaves it unclear."""
    state = error.sqlstate or ""
    return state.startswith(("40", "23")) and state != "40003"
