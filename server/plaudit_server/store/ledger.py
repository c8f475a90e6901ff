"""The project's row: how it is locked, the revisions and times that it gives out, how a group is applied under it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby
from typing import Any, Final

from plaudit_server.store.base import (
    Command,
    Many,
    Outcome,
    Placement,
    Read,
    Statement,
    Steps,
    Table,
    WriteFailed,
    Written,
)
from plaudit_server.store.counters import DAY, add, add_together, added_with, changes, recount
from plaudit_server.store.prepared import Prepared, Traits
from plaudit_server.store.work import Lane

PROJECT: Final = Table(
    name="project",
    title="projects",
    columns=("project", "revision", "last_created_at", "definitions", "counted", "flags"),
    placement=Placement.BY_PROJECT,
    order=("project",),
    copied=False,  # a copy makes each row itself, as the sign that it has begun with that project
)


class Flag(IntEnum):
    """What may be true of a whole project, and is known with its lock; the numbers are stored.

    Bits that are added up in an integer. Not an IntFlag, which would make an object for each time one is looked at,
    and every group of writes looks at them.
    """

    HELD = 1
    """It is under a legal hold: nothing that is stored may be removed or replaced."""
    GONE = 2
    """Ids of its records are in the table of those that are gone."""
    RULES = 4
    """It has rules of retention, or had some."""
    DELETED = 8
    """Everything in it was deleted, and nothing was stored since then."""


def microseconds() -> int:
    """The time now, in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


# The counters go on with the revision if they were those of the revision before.
_MOVED: Final = (
    " ON CONFLICT (project) DO UPDATE SET revision = excluded.revision, last_created_at = excluded.last_created_at,"
    " definitions = excluded.definitions,"
    " counted = CASE WHEN project.counted = project.revision THEN excluded.revision ELSE project.counted END"
)


class LedgerStatements:
    """The statements about the project's row."""

    def __init__(self, traits: Traits) -> None:
        # A write on every engine, and no lock by SELECT: on Citus FOR UPDATE does not hold up the move of a distributed
        # table's shard, and what was read under it may be out of date when the transaction first writes.
        self.lock = traits.sql(
            "UPDATE project SET revision = revision WHERE project = ?"
            " RETURNING revision, last_created_at, definitions, flags"
        )
        self.make = None if traits.make_project is None else traits.sql(traits.make_project)
        self.move = traits.sql(
            "INSERT INTO project (project, revision, last_created_at, definitions, counted) VALUES (?, ?, ?, ?, ?)"
            + _MOVED
        )
        self.raise_flags = traits.sql(
            "INSERT INTO project (project, revision, last_created_at, definitions, flags) VALUES (?, 0, 0, 0, ?)"
            " ON CONFLICT (project) DO UPDATE SET flags = project.flags | excluded.flags"
        )
        self.set_flags = traits.sql("UPDATE project SET flags = ? WHERE project = ?")
        self.revision = traits.sql("SELECT revision FROM project WHERE project = ?")


class PollStatements:
    """The one statement of a server that reads several projects, wherever they are."""

    def __init__(self, traits: Traits) -> None:
        self.revisions = traits.sql("SELECT project, revision FROM project WHERE project {in}")


class TogetherStatements:
    """The statements about the rows of several projects, for engines that write them in one transaction."""

    def __init__(self, traits: Traits) -> None:
        # The only row lock by SELECT of this server. It skips the projects that others hold, which no UPDATE can do;
        # and the statement writes what it has locked, so that the transaction begins with a write all the same. It is
        # not used on Citus, which takes no such lock over several shards: there each project is written by itself.
        self.lock_free = traits.sql(
            "WITH free AS (SELECT project FROM project WHERE project = ANY(?) ORDER BY project FOR UPDATE SKIP LOCKED)"
            " UPDATE project SET revision = project.revision FROM free WHERE project.project = free.project"
            " RETURNING project.project, project.revision, project.last_created_at, project.definitions, project.flags"
        )
        # Of a project that another writer is making at this moment it waits to hear what becomes of it.
        self.make_missing = traits.sql(
            "INSERT INTO project (project, revision, last_created_at, definitions) SELECT missing, 0, 0, 0"
            " FROM unnest(?::text[]) AS missing ORDER BY missing ON CONFLICT (project) DO NOTHING RETURNING project"
        )
        self.move = traits.sql(
            "INSERT INTO project (project, revision, last_created_at, definitions, counted)"
            " SELECT * FROM unnest(?::text[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[])" + _MOVED
        )


def write_group(sql: Prepared, group: Sequence[Command[Any]], clock: Callable[[], int]) -> Steps[Written]:
    """Apply a group in the transaction now open: project by project, and each project's commands in order.

    Projects do not depend on each other; they are sorted, so that all writers lock them in the same order. `clock`
    returns microseconds since 1970 UTC.
    """
    by_project = places(group)
    outcomes: list[Outcome | WriteFailed] = [None] * len(group)
    revisions = {}
    repeated, erased, ahead = 0, False, 0
    for project in sorted(by_project):
        ledger = Ledger(sql, project, clock())
        yield from ledger.lock()
        results = yield from write_project(ledger, [group[index] for index in by_project[project]])
        for index, result in zip(by_project[project], results, strict=True):
            outcomes[index] = result
        revisions[project] = ledger.revision
        repeated += ledger.repeated
        erased = erased or ledger.erased
        ahead = max(ahead, ledger.ahead)
    return Written(outcomes, revisions, repeated, erased, ahead=ahead)


def places(group: Sequence[Command[Any]]) -> dict[str, list[int]]:
    """Where in a group the commands of each project are."""
    by_project: dict[str, list[int]] = {}
    for index, command in enumerate(group):
        by_project.setdefault(command.project, []).append(index)
    return by_project


def write_project(ledger: Ledger, commands: Sequence[Command[Any]]) -> Steps[list[Outcome]]:
    """Apply commands of the project that the ledger has locked, in order, and store where it stands then."""
    outcomes: list[Outcome] = []
    for kind, run in groupby(commands, _kind):  # those of one class that follow each other share what they look up
        outcomes += yield from kind.apply(ledger, list(run))
    yield from ledger.release()
    return outcomes


def _kind(command: Command[Any]) -> type[Command[Any]]:
    return type(command)


def lock_free(sql: Prepared, projects: Sequence[str]) -> Steps[dict[str, tuple[int, int, int, int]]]:
    """Lock those of the projects that no other writer holds, and read where they stand; the others are left out.

    The first statement of a transaction that writes to several projects is the first of these.
    """
    statements = sql.of(TogetherStatements)
    bind_list = sql.traits.bind_list
    found = yield Statement(statements.lock_free, (bind_list(projects),))
    locked = {project: (revision, time, definitions, flags) for project, revision, time, definitions, flags in found}
    missing = [project for project in projects if project not in locked]
    if missing:
        made = yield Statement(statements.make_missing, (bind_list(missing),))
        locked |= {project: (0, 0, 0, 0) for (project,) in made}
    return locked


def lock(sql: Prepared, project: str) -> Steps[tuple[int, int, int, int]]:
    """Keep other writers out of a project until the transaction ends; its revision, clock, definitions and flags.

    The first statement of every transaction that writes to a project is the first of these.
    """
    statements = sql.of(LedgerStatements)
    rows = yield Statement(statements.lock, (project,))
    if not rows and statements.make is not None:
        yield Statement(statements.make, (project,))
        rows = yield Statement(statements.lock, (project,))
    return (rows[0][0], rows[0][1], rows[0][2], rows[0][3]) if rows else (0, 0, 0, 0)


def move(sql: Prepared, project: str, revision: int, last_created_at: int, definitions: int) -> Statement:
    """The statement that stores where a project stands."""
    params = (project, revision, last_created_at, definitions, revision)
    return Statement(sql.of(LedgerStatements).move, params, silent=True)


def raise_flags(sql: Prepared, project: str, flags: int) -> Statement:
    """The statement that adds to a project's flags, and makes its row if there is none."""
    return Statement(sql.of(LedgerStatements).raise_flags, (project, flags))


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


@dataclass(frozen=True, slots=True)
class ProjectRevisions(Read[dict[str, int]]):
    """The revisions of any number of projects, of which those are missing to which nothing was ever written."""

    projects: tuple[str, ...]

    @property
    def lane(self) -> Lane:
        """One row by its key for each."""
        return Lane.POINT

    def steps(self, sql: Prepared) -> Steps[dict[str, int]]:
        """One statement for all."""
        rows = yield Statement(sql.of(PollStatements).revisions, (sql.traits.bind_list(self.projects),))
        return dict(rows)


def recounting(project: str) -> Callable[[Prepared], Steps[None]]:
    """The steps that make a project's counters anew, to be run in a transaction of their own."""

    def steps(sql: Prepared) -> Steps[None]:
        yield from lock(sql, project)
        yield from recount(sql, project)

    return steps


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
        self.flags = 0
        """What is true of the whole project: see Flag."""
        self.repeated = 0
        """How many rows were already stored as they would have been stored."""
        self.ahead = 0
        """By how much the project's clock was ahead of this server's, in microseconds."""
        self.erased = False
        """Whether a command removed what must not stay in the store's files."""
        self.together = False
        """Whether other projects are written in the same transaction, and statements may be run for all at once."""
        self._now = now
        self._first = 0, 0
        self._time = 0
        self._counts: dict[tuple[str, int], int] = {}

    def lock(self) -> Steps[None]:
        """Keep other writers out, and read where the project stands."""
        self.begin(*(yield from lock(self.sql, self.project)))

    def begin(self, revision: int, time: int, definitions: int, flags: int, *, together: bool = False) -> None:
        """Go on from where the project stands, which is locked; `together` with others in the same transaction."""
        self.revision, self._time, self.definitions, self.flags = revision, time, definitions, flags
        self._first = revision, definitions
        self.ahead = max(0, time - self._now)
        self.together = together

    def release(self) -> Steps[None]:
        """Store where the project stands now, if it has moved."""
        if self._first == (self.revision, self.definitions):
            return
        statement = move(self.sql, self.project, self.revision, self._time, self.definitions)
        counts = changes(self.project, self._counts)
        if self.together:
            if counts:
                yield add_together(self.sql, counts)
            statement = statement._replace(many=Many(self.sql.of(TogetherStatements).move, [tuple(statement.params)]))
        elif counts and self.sql.traits.writes_in_with:
            statement = added_with(self.sql, counts, statement)
        else:
            yield from add(self.sql, counts)
        yield statement
        if self.flags & Flag.DELETED and self.revision > self._first[0]:
            self.flags &= ~Flag.DELETED
            yield Statement(self.sql.of(LedgerStatements).set_flags, (self.flags, self.project))
        self._first = self.revision, self.definitions
        self._counts.clear()

    def count(self, feedback_type: str, created_at: int, records: int = 1) -> None:
        """Note that records of a type and a time are there now, or with a negative number that they are gone."""
        key = feedback_type, created_at // DAY
        self._counts[key] = self._counts.get(key, 0) + records

    def raise_flag(self, flag: Flag) -> Steps[None]:
        """Let something be true of the project from now on."""
        if not self.flags & flag:
            yield raise_flags(self.sql, self.project, flag)
            self.flags |= flag

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
