"""Legal holds: put and lifted on the machine alone, in a transaction of their own; nobody can do it over the wire."""

from __future__ import annotations

from typing import Final, NamedTuple

from plaudit_server.store.base import Insert, Placement, Statement, Steps, StoreError, Table
from plaudit_server.store.ledger import Flag, LedgerStatements, lock
from plaudit_server.store.prepared import Prepared, Traits


class Hold(NamedTuple):
    """A legal hold on a project, in force as long as it is not lifted; times in microseconds since 1970 UTC."""

    project: str
    put_at: int
    put_by: str
    reason: str
    lifted_at: int | None = None
    lifted_by: str | None = None


HOLD: Final = Table(
    name="legal_hold",
    title="legal holds",
    columns=Hold._fields,
    placement=Placement.BY_PROJECT,
    order=("put_at",),
    types={"put_at": "int8", "lifted_at": "int8"},
)
"""Every hold that there ever was: rows are lifted, never removed."""


class HoldStatements:
    """The fixed statements about holds."""

    def __init__(self, traits: Traits) -> None:
        self.lift = traits.sql(
            "UPDATE legal_hold SET lifted_at = ?, lifted_by = ? WHERE project = ? AND lifted_at IS NULL"
        )


class EveryHoldStatements:
    """The statement that reads across projects: a command runs it, no server does."""

    def __init__(self, traits: Traits) -> None:
        self.all = traits.sql(f"SELECT {', '.join(HOLD.columns)} FROM legal_hold ORDER BY project, put_at")


def put(sql: Prepared, hold: Hold) -> Steps[None]:
    """Put a project under a hold. Raises StoreError when it is under one, and when there is no such project."""
    flags = yield from _flags(sql, hold.project)
    if flags & Flag.HELD:
        raise StoreError(f"the project {hold.project} is under a legal hold already")
    yield Insert(HOLD, [tuple(hold)])
    yield Statement(sql.of(LedgerStatements).set_flags, (flags | Flag.HELD, hold.project))


def lift(sql: Prepared, project: str, at: int, by: str) -> Steps[None]:
    """Lift the hold of a project, `at` in microseconds since 1970 UTC. Raises StoreError when it is under none."""
    flags = yield from _flags(sql, project)
    if not flags & Flag.HELD:
        raise StoreError(f"the project {project} is not under a legal hold")
    yield Statement(sql.of(HoldStatements).lift, (at, by, project))
    yield Statement(sql.of(LedgerStatements).set_flags, (flags & ~Flag.HELD, project))


def every(sql: Prepared) -> Steps[list[Hold]]:
    """Every hold, also those that were lifted, by project and time."""
    rows = yield Statement(sql.of(EveryHoldStatements).all)
    return [Hold(*row) for row in rows]


def _flags(sql: Prepared, project: str) -> Steps[int]:
    revision, _, definitions, flags = yield from lock(sql, project)
    if not (revision or definitions or flags):
        raise StoreError(f"there is no project {project}: nothing was ever stored in it")
    return flags
