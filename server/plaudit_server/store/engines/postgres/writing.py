"""Groups in PostgreSQL: one transaction for all of their projects that nobody else holds; unclear ones are settled."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import psycopg
from psycopg import errors

from plaudit_server.errors import StoreUnavailable, WriteTooExpensive
from plaudit_server.store.base import Command, Outcome, Steps, Table, WriteFailed, Written
from plaudit_server.store.engines.postgres import citus
from plaudit_server.store.engines.postgres.driving import (
    Mark,
    drive_together,
    places,
    proofs,
    transaction,
)
from plaudit_server.store.engines.postgres.faults import is_rollback, is_stray
from plaudit_server.store.engines.postgres.schema import Connection
from plaudit_server.store.ledger import Ledger, lock, lock_free, write_group, write_project
from plaudit_server.store.ledger import places as places_of
from plaudit_server.store.prepared import Prepared

logger = logging.getLogger("plaudit_server")

T = TypeVar("T")

# How long a transaction waits for what another one holds. What it cannot get by then is tried again later, without a
# connection: so a stuck transaction of somebody else's is a short wait for others, and not a long one.
_LOCK_SECONDS: Final = 0.02
# A group that has taken this part of its time is cut off, so that some is left for its projects one by one, and for the
# commands of a project.
_TOGETHER_SHARE: Final = 0.5
# A command that has had this part of a write's time, and is not done, is not worth another attempt.
_LEAST_SHARE: Final = 0.1
# Statements end a little before their time is up, when the connection is cut off: this share of what is left of it, or
# this many seconds, as long as that is not more than half.
_STOP_SHARE: Final = 0.05
_STOP_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 1.0
# From a round trip of this many seconds on, statements are piped: sent without waiting for those before them. That
# costs some processor time, and of many rows a COPY is faster all the same. On Citus nothing is piped: there the insert
# that is piped would not go to one machine.
_LONG_TRIP_SECONDS: Final = 0.0005
_TRIPS: Final = 32  # so that a busy server takes a database beside it for none far away
_NOTED_EACH: Final = 64
_PIPED_ROWS: Final = 128


class Database(Protocol):
    """What groups are written with: the engine's connections, and how it runs steps on one of them."""

    @property
    def name(self) -> str:
        """The kind of store, as it is named in errors."""

    async def retrying(
        self,
        work: Callable[[Connection], Awaitable[T]],
        deadline: float,
        *,
        sever: bool,
        lanes: asyncio.Semaphore | None,
    ) -> T:
        """Do work on a connection, each time in one of the lanes, and again while what fails passes by itself."""

    async def _drive(
        self, connection: Connection, steps: Steps[T], marks: dict[Table, list[Mark]] | None = None
    ) -> T: ...


class _Held(Exception):
    """One of the projects of a group, nobody knows which, is not to be had now, or takes too long.

    Of a group of one project: the database has stopped a statement, since its time was up or somebody canceled it.
    `given` are the seconds that the statements had, and `taken` those that passed.
    """

    def __init__(self, given: float, taken: float) -> None:
        super().__init__(given, taken)
        self.given = given
        self.taken = taken


class _Elsewhere(Exception):
    """The node of a cluster that has the project's rows is not to be had now; the database itself is."""


class Trips:
    """Whether the database is far away: told from the shortest of some round trips, since the longer ones waited."""

    __slots__ = ("_seconds", "_unnoted")

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_TRIPS)
        self._unnoted = 0

    def note(self, seconds: float) -> None:
        """A round trip took this long."""
        self._seconds.append(seconds)
        self._unnoted = 0

    @property
    def are_long(self) -> bool:
        """Whether it is worth while not to wait for each; no, now and then, so that one is noted."""
        if len(self._seconds) < _TRIPS or min(self._seconds) < _LONG_TRIP_SECONDS:
            return False
        self._unnoted += 1
        return self._unnoted % _NOTED_EACH != 0


class _Committing:
    """A transaction on its way: what is answered when it commits, and what it wrote in each project."""

    __slots__ = ("marks", "written")

    def __init__(self, written: Written, marks: dict[str, dict[Table, list[Mark]]]) -> None:
        self.written = written
        self.marks = {project: written for project, written in marks.items() if written}


class Groups:
    """Writes groups of commands. Each ends within `seconds`; at most `lanes` projects are written side by side."""

    def __init__(
        self,
        database: Database,
        sql: Prepared,
        clock: Callable[[], int],
        shown: str,
        *,
        seconds: float,
        lanes: int,
        on_citus: bool = False,
    ) -> None:
        self._database = database
        self._sql = sql
        self._clock = clock
        self._shown = shown
        self._seconds = seconds
        self._lanes = asyncio.Semaphore(lanes)
        self._on_citus = on_citus
        self._trips = Trips()

    async def write(self, group: Sequence[Command[Any]], *, together: bool) -> Written:
        """Apply a group: with `together` in one transaction, and project by project if that fails for one of them.

        Projects that somebody else holds are skipped. Raises StoreUnavailable when the database cannot be written to.
        """
        deadline = asyncio.get_running_loop().time() + self._seconds
        projects = places_of(group)
        if together and len(projects) > 1:
            try:
                return await self._commit(group, _TOGETHER_SHARE, deadline)
            except (StoreUnavailable, asyncio.CancelledError):
                raise
            except _Held:
                logger.debug("store %s: %d projects are written one by one", self._shown, len(projects))
            except Exception:
                logger.exception("store %s: %d commands failed together", self._shown, len(group))
        parts = await asyncio.gather(
            *(self._write_project([group[index] for index in indexes], deadline) for indexes in projects.values())
        )
        outcomes: list[Outcome | WriteFailed] = [None] * len(group)
        skipped: list[int] = []
        revisions: dict[str, int] = {}
        for indexes, (part, _) in zip(projects.values(), parts, strict=True):
            for index, outcome in zip(indexes, part.outcomes, strict=True):
                outcomes[index] = outcome
            skipped += [indexes[place] for place in part.skipped]
            revisions |= part.revisions
        if parts and not any(reached for _, reached in parts):
            raise StoreUnavailable(self._database.name)
        repeated = sum(part.repeated for part, _ in parts)
        erased = any(part.erased for part, _ in parts)
        ahead = max((part.ahead for part, _ in parts), default=0)
        return Written(outcomes, revisions, repeated, erased, skipped, ahead)

    async def _write_project(
        self, commands: Sequence[Command[Any]], deadline: float, *, again: bool = False
    ) -> tuple[Written, bool]:
        """Commands of one project in one transaction; when one of them breaks it, each in its own, a second time where
        it may have been cancelled for the sake of another statement.

        Also whether the database did what it was asked, or was busy with other things, and did not fail altogether.
        """
        try:
            return await self._commit(commands, 1.0 if len(commands) == 1 else _TOGETHER_SHARE, deadline), True
        except _Held as held:
            if len(commands) == 1:
                if not again and is_stray(held.taken, held.given):
                    return await self._write_project(commands, deadline, again=True)
                # No sign that the database does not work. One that had little time is tried again by its caller.
                had_time = held.given > self._seconds * _LEAST_SHARE
                refusal = WriteTooExpensive(held.taken) if had_time else self._refusal(_RETRY_SECONDS)
                return Written([refusal]), True
        except _Elsewhere:
            return _skipped(commands), True
        except StoreUnavailable as error:
            return Written([self._refusal(error.retry_delay) for _ in commands]), False
        except Exception as error:
            logger.exception("store %s: %d commands of %s failed", self._shown, len(commands), commands[0].project)
            if len(commands) == 1:
                return Written([WriteFailed(str(error))]), True
        outcomes: list[Outcome | WriteFailed] = []
        skipped: list[int] = []
        revisions: dict[str, int] = {}
        repeated, erased, reached, ahead = 0, False, False, 0
        for place, command in enumerate(commands):
            if skipped:  # what comes after a command is not done before it
                skipped.append(place)
                outcomes.append(None)
                continue
            part, this_reached = await self._write_project((command,), deadline)
            outcomes += part.outcomes
            skipped += [place] * len(part.skipped)
            revisions |= part.revisions
            repeated += part.repeated
            erased = erased or part.erased
            reached = reached or this_reached
            ahead = max(ahead, part.ahead)
        return Written(outcomes, revisions, repeated, erased, skipped, ahead), reached

    def _refusal(self, delay: float | None) -> StoreUnavailable:
        return StoreUnavailable(self._database.name, delay)

    async def _commit(self, commands: Sequence[Command[Any]], share: float, deadline: float) -> Written:
        """Write in a transaction, again until it has committed, once: an unclear commit is looked up first.

        Statements end after this share of the time from the first of them to the deadline. Raises _Held when one of
        several projects is to blame, or time is up, and _Elsewhere.
        """
        loop = asyncio.get_running_loop()
        unclear: _Committing | None = None
        began, until = 0.0, 0.0

        async def attempt(connection: Connection) -> Written:
            nonlocal unclear, began, until
            if not began:
                began = loop.time()
                until = began + (deadline - began) * share
            if unclear is not None and await self.has_committed(connection, unclear, deadline):
                return unclear.written
            unclear = None
            try:
                committing = await self._apply(connection, commands, until)
            except errors.LockNotAvailable as error:
                if any(command.project != commands[0].project for command in commands):
                    raise _Held(until - began, loop.time() - began) from error
                return _skipped(commands)
            except errors.QueryCanceled as error:
                raise _Held(until - began, loop.time() - began) from error
            except psycopg.Error as error:
                if self._on_citus and citus.is_elsewhere(connection, error):
                    logger.debug("store %s: %s waits: %s", self._shown, commands[0].project, error)
                    raise _Elsewhere from error
                raise
            if committing.marks:
                unclear = committing
            try:
                await connection.execute("COMMIT")
            except psycopg.Error as error:
                if is_rollback(error):
                    unclear = None
                raise
            return committing.written

        return await self._database.retrying(attempt, deadline, sever=True, lanes=self._lanes)

    async def _apply(self, connection: Connection, commands: Sequence[Command[Any]], until: float) -> _Committing:
        """Everything of a transaction but its commit."""
        piped = not self._on_citus and self._trips.are_long
        piped = piped and all(command.pipes for command in commands)
        piped = piped and sum(command.rows for command in commands) <= _PIPED_ROWS
        began = asyncio.get_running_loop().time()
        async with transaction(connection, *self._begin(until, _LOCK_SECONDS), piped=piped):
            if not piped:
                self._trips.note(asyncio.get_running_loop().time() - began)
            projects = places_of(commands)
            if len(projects) == 1:
                marks: dict[Table, list[Mark]] = {}
                steps = write_group(self._sql, commands, self._clock)
                written = await self._database._drive(connection, steps, marks)
                return _Committing(written, {commands[0].project: marks})
            return await self._apply_together(connection, commands, projects)

    async def _apply_together(
        self, connection: Connection, commands: Sequence[Command[Any]], projects: dict[str, list[int]]
    ) -> _Committing:
        """The commands of those of the projects that nobody else holds."""
        free = await self._database._drive(connection, lock_free(self._sql, sorted(projects)))
        now = self._clock()
        ledgers = {project: Ledger(self._sql, project, now) for project in sorted(free)}
        for project, ledger in ledgers.items():
            ledger.begin(*free[project], together=True)
        every_mark: dict[str, dict[Table, list[Mark]]] = {project: {} for project in ledgers}
        found = await drive_together(
            connection,
            {
                project: write_project(ledger, [commands[index] for index in projects[project]])
                for project, ledger in ledgers.items()
            },
            every_mark,
        )
        outcomes: list[Outcome | WriteFailed] = [None] * len(commands)
        for project, results in found.items():
            for index, outcome in zip(projects[project], results, strict=True):
                outcomes[index] = outcome
        written = Written(
            outcomes,
            {project: ledger.revision for project, ledger in ledgers.items()},
            sum(ledger.repeated for ledger in ledgers.values()),
            any(ledger.erased for ledger in ledgers.values()),
            [index for project, indexes in projects.items() if project not in free for index in indexes],
            max((ledger.ahead for ledger in ledgers.values()), default=0),
        )
        return _Committing(written, every_mark)

    async def has_committed(self, connection: Connection, unclear: _Committing, deadline: float) -> bool:
        """Whether a transaction whose commit was not answered did commit: whether a row that it wrote is there.

        Locking one of its projects first waits until that transaction has ended, if the server still works on it.
        """
        wait = max(deadline - asyncio.get_running_loop().time(), _LOCK_SECONDS)
        async with transaction(connection, *self._begin(deadline, wait)):
            await self._database._drive(connection, lock(self._sql, next(iter(unclear.marks))))
            cursor = connection.cursor(binary=True)
            found = False
            for project, tables in unclear.marks.items():
                for table, marks in tables.items():
                    looked_up = (project, [mark[0] for mark in marks])
                    await cursor.execute(proofs(table).encode(), looked_up * len(places(table)))
                    found = found or not set(await cursor.fetchall()).isdisjoint(marks)
                if found:
                    break
        await connection.execute("COMMIT")
        return found

    def _begin(self, until: float, lock_seconds: float) -> Sequence[str]:
        """The statements that begin a transaction; `until` is a time of the loop's clock."""
        left = until - asyncio.get_running_loop().time()
        left -= max(left * _STOP_SHARE, min(_STOP_SECONDS, left / 2))
        # Without this, settings stay on the connected node, and the rows are locked on another.
        sent_on = ("SET LOCAL citus.propagate_set_commands = 'local'",) if self._on_citus else ()
        return (
            "BEGIN ISOLATION LEVEL READ COMMITTED",
            *sent_on,
            f"SET LOCAL lock_timeout = {max(1, round(lock_seconds * 1000))}",
            f"SET LOCAL statement_timeout = {max(1, round(left * 1000))}",
        )


def _skipped(commands: Sequence[Command[Any]]) -> Written:
    """Nothing was done; the commands may be given again."""
    return Written([None] * len(commands), skipped=range(len(commands)))
