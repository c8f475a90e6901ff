"""The project's row: how it is locked, the revisions and times that it gives out, how a group is applied under it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from plaudit_server.store.base import (
    Command,
    Outcome,
    Placement,
    Read,
    Statement,
    Steps,
    Table,
    WriteFailed,
    Written,
)
from plaudit_server.store.prepared import Prepared, Traits
from plaudit_server.store.work import Lane

PROJECT: Final = Table(
    name="project",
    title="projects",
    columns=("project", "revision", "last_created_at", "definitions"),
    placement=Placement.BY_PROJECT,
    order=("project",),
    copied=False,  # a copy makes each row itself, as the sign that it has begun with that project
)


def microseconds() -> int:
    """The time now, in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class LedgerStatements:
    """The statements about the project's row."""

    def __init__(self, traits: Traits) -> None:
        # A write on every engine, and no lock by SELECT: on Citus FOR UPDATE does not hold up the move of a distributed
        # table's shard, and what was read under it may be out of date when the transaction first writes.
        self.lock = traits.sql(
            "UPDATE project SET revision = revision WHERE project = ? RETURNING revision, last_created_at, definitions"
        )
        self.make = None if traits.make_project is None else traits.sql(traits.make_project)
        self.move = traits.sql(
            "INSERT INTO project (project, revision, last_created_at, definitions) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (project) DO UPDATE SET revision = excluded.revision,"
            " last_created_at = excluded.last_created_at, definitions = excluded.definitions"
        )
        self.revision = traits.sql("SELECT revision FROM project WHERE project = ?")


def write_group(sql: Prepared, group: Sequence[Command[Any]], clock: Callable[[], int]) -> Steps[Written]:
    """Apply a group in the transaction now open: project by project, and each project's commands in order.

    Projects do not depend on each other; they are sorted, so that all writers lock them in the same order. `clock`
    returns microseconds since 1970 UTC.
    """
    by_project: dict[str, list[int]] = {}
    for index, command in enumerate(group):
        by_project.setdefault(command.project, []).append(index)
    outcomes: list[Outcome | WriteFailed] = [None] * len(group)
    revisions = {}
    repeated, erased = 0, False
    for project in sorted(by_project):
        ledger = Ledger(sql, project, clock())
        yield from ledger.lock()
        for kind, indexes in _runs(by_project[project], group):
            results = yield from kind.apply(ledger, [group[index] for index in indexes])
            for index, result in zip(indexes, results, strict=True):
                outcomes[index] = result
        yield from ledger.release()
        revisions[project] = ledger.revision
        repeated += ledger.repeated
        erased = erased or ledger.erased
    return Written(outcomes, revisions, repeated, erased)


def _runs(indexes: Sequence[int], group: Sequence[Command[Any]]) -> Iterator[tuple[type[Command[Any]], list[int]]]:
    """Commands of one class that follow each other, which share what they look up."""
    run: list[int] = []
    for index in indexes:
        if run and type(group[index]) is not type(group[run[0]]):
            yield type(group[run[0]]), run
            run = []
        run.append(index)
    yield type(group[run[0]]), run


def lock(sql: Prepared, project: str) -> Steps[tuple[int, int, int]]:
    """Keep other writers out of a project until the transaction ends; its revision, clock and changes of definitions.

    The first statement of every transaction that writes to a project is the first of these.
    """
    statements = sql.of(LedgerStatements)
    rows = yield Statement(statements.lock, (project,))
    if not rows and statements.make is not None:
        yield Statement(statements.make, (project,))
        rows = yield Statement(statements.lock, (project,))
    return (rows[0][0], rows[0][1], rows[0][2]) if rows else (0, 0, 0)


def move(sql: Prepared, project: str, revision: int, last_created_at: int, definitions: int) -> Statement:
    """The statement that stores where a project stands."""
    return Statement(sql.of(LedgerStatements).move, (project, revision, last_created_at, definitions))


def revision(sql: Prepared, project: str) -> Steps[int]:
    """The project's revision; 0 when nothing was ever written."""
    rows = yield Statement(sql.of(LedgerStatements).revision, (project,))
    return int(rows[0][0]) if rows else 0


@dataclass(frozen=True, slots=True)
class ProjectRevision(Read[int]):
    """The revision of a project; 0 when nothing was ever written."""

    project: str

    @property
    def lane(self) -> Lane:
        """One row by its key."""
        return Lane.POINT

    def steps(self, sql: Prepared) -> Steps[int]:
        """One row by its key."""
        return revision(sql, self.project)


class Ledger:
    """One project inside a transaction, its row locked: gives out its revisions and times.

    Commands take a revision for each row that they write (`ledger.revision += 1`) and a time (`tick`).
    """

    def __init__(self, sql: Prepared, project: str, now: int) -> None:
        self.sql = sql
        self.project = project
        self.revision = 0
        self.definitions = 0
        """How often the project's definitions have changed."""
        self.repeated = 0
        """How many rows were already stored as they would have been stored."""
        self.erased = False
        """Whether a command removed what must not stay in the store's files."""
        self._now = now
        self._first = 0, 0
        self._time = 0

    def lock(self) -> Steps[None]:
        """Keep other writers out, and read where the project stands."""
        self.revision, self._time, self.definitions = yield from lock(self.sql, self.project)
        self._first = self.revision, self.definitions

    def release(self) -> Steps[None]:
        """Store where the project stands now, if it has moved."""
        if self._first != (self.revision, self.definitions):
            yield move(self.sql, self.project, self.revision, self._time, self.definitions)

    def tick(self) -> int:
        """The next time of the project's clock, which never stands still nor goes back."""
        self._time = max(self._now, self._time + 1)
        return self._time

    def mark(self) -> tuple[int, int]:
        """The revision and the time that were given out last, for `rewind`."""
        return self.revision, self._time

    def rewind(self, mark: tuple[int, int]) -> None:
        """Take back the revisions and times given out since `mark`, with which nothing was written."""
        self.revision, self._time = mark
