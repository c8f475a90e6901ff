"""What the database's errors mean: which are temporary, and which mean that it cannot work at all."""

from __future__ import annotations

import re
from typing import Final

import psycopg

# Temporary errors: conflicts of transactions, servers that start, stop or change their role, and internal errors (XX),
# which Citus also reports while shards move, even for a commit that was done.
_PASSING: Final = frozenset(
    {"40001", "40P01", "40003", "55P03", "57P01", "57P02", "57P03", "57P05", "25006", "25P03", "53300"}
)
_PASSING_CLASSES: Final = ("08", "XX")
# Errors that mean that the engine cannot work at all; all others are about one command.
_UNAVAILABLE: Final = frozenset({"25006", "25P03", "42501", "55P03", "57014"})
_UNAVAILABLE_CLASSES: Final = ("08", "28", "3D", "40", "53", "57", "58", "XX")
# The unique indexes of revisions; Citus adds a shard's number, and names them in the message alone.
_BY_REVISION: Final = re.compile(r"\b\w+_by_revision(_[0-9]+)?\b")
# After these the connection is to another kind of server than it was made for.
ESTRANGED: Final = frozenset({"25006", "57P01", "57P02", "57P03"})

_EARLY_SHARE: Final = 0.5  # of its time, within which a statement is not over it, however coarse the clocks are


def is_unavailable(error: psycopg.Error) -> bool:
    """Whether the engine cannot work at all; otherwise the error is about one command."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state in _UNAVAILABLE or state.startswith(_UNAVAILABLE_CLASSES) or _is_late(error)


def is_passing(error: psycopg.Error) -> bool:
    """Whether the same work may succeed in a moment, perhaps on another connection."""
    state = error.sqlstate
    return state is None or state in _PASSING or state.startswith(_PASSING_CLASSES) or _is_late(error)


def _is_late(error: psycopg.Error) -> bool:
    """Whether another transaction has given out the same revisions since this one read its project's row.

    The lock prevents that; should it ever fail, the transaction is run again.
    """
    if error.sqlstate != "23505":
        return False
    return _BY_REVISION.search(error.diag.constraint_name or error.diag.message_primary or "") is not None


def is_rollback(error: psycopg.Error) -> bool:
    """Whether a commit certainly failed; any other error leaves it unclear."""
    state = error.sqlstate or ""
    return state.startswith(("40", "23")) and state != "40003"


def is_stray(taken: float, given: float) -> bool:
    """Whether a statement was cancelled so long before its time is up that it may be for the sake of another one.

    A connection is used again after the statement of a caller who has left, and the request to cancel that may come a
    moment later than its end. Both times are in seconds.
    """
    return taken < given * _EARLY_SHARE
