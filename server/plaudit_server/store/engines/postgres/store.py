"""The store in a PostgreSQL database, for several servers at once; no session state and no locks but rows'."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from decimal import Decimal
from typing import Any, Final, TypeVar

import psycopg
from psycopg import AsyncCursor
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolClosed

from plaudit_server.config import without_password
from plaudit_server.errors import StoreUnavailable
from plaudit_server.feedback import steps as sql
from plaudit_server.feedback.records import Row
from plaudit_server.query.tree import Operation
from plaudit_server.store.base import (
    Changes,
    Command,
    Outcome,
    Page,
    RefCount,
    Select,
    SortValue,
    Store,
    StoreError,
    Versions,
    WriteFailed,
    Written,
)
from plaudit_server.store.engines.postgres.dialect import postgres
from plaudit_server.store.engines.postgres.schema import (
    Connection,
    applied,
    connected,
    connection_string,
    folding,
    migrate,
)
from plaudit_server.store.migrate import migrations, pending

logger = logging.getLogger("plaudit_server")

T = TypeVar("T")

# Below the client's ten seconds, so that it hears from us what happened.
_WRITE_SECONDS: Final = 8.0
_READ_SECONDS: Final = 5.0  # how long a read looks for a database that answers; one that runs may take longer
_CHECK_SECONDS: Final = 1.0
_RESTORE_SECONDS: Final = 60.0  # for a copy, in which nobody waits for an answer
_POOL_WAIT_SECONDS: Final = 1.0
_RECONNECT_SECONDS: Final = 0.5
_FIRST_DELAY: Final = 0.005
_LONGEST_DELAY: Final = 0.25

# Rows that one statement inserts faster than a COPY, which takes two more round trips.
_FEW_ROWS: Final = 4
# Rows fetched at a time where bytes are counted: payloads may have a megabyte each.
_CHUNK_ROWS: Final = 16 if psycopg.capabilities.has_stream_chunked() else 1

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
_BEGIN_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

# What passes by itself: conflicts of transactions, servers that come, go or change their role, and what a server calls
# an error of its own (XX): Citus answers that while shards move, also to a commit that was done.
_PASSING: Final = frozenset(
    {"40001", "40P01", "40003", "55P03", "57P01", "57P02", "57P03", "57P05", "25006", "25P03", "53300"}
)
_PASSING_CLASSES: Final = ("08", "XX")
# What says that the engine can not do its work, whatever it was asked; all else is about one command.
_UNAVAILABLE: Final = frozenset({"25006", "25P03", "42501", "55P03", "57014"})
_UNAVAILABLE_CLASSES: Final = ("08", "28", "3D", "40", "53", "57", "58", "XX")
# The unique indexes of revisions; Citus adds a shard's number, and names them in the message alone.
_BY_REVISION: Final = re.compile(r"\bfeedback(_history)?_by_revision(_[0-9]+)?\b")
# After these the connection is to another kind of server than it was made for.
_ESTRANGED: Final = frozenset({"25006", "57P01", "57P02", "57P03"})

_INSERT_TYPES: Final = {
    "revision": "int8",
    "version": "int8",
    "kind": "int2",
    "created_at": "int8",
    "updated_at": "int8",
    "head": "bytea",
}
_COPY_TYPES: Final = tuple(_INSERT_TYPES.get(column, "text") for column in sql.COLUMNS)
_COLUMNS: Final = ", ".join(sql.COLUMNS)
_ROW: Final = f"({', '.join(['%s'] * len(sql.COLUMNS))})"

_ID, _REVISION, _UPDATED_AT, _HEAD = (sql.COLUMNS.index(name) for name in ("id", "revision", "updated_at", "head"))

_Mark = tuple[str, int, int, bytes]
"""A row that a transaction wrote, so that it can be told from any other: id, revision, updated_at and head."""


def engine(fold_collation: str) -> sql.Engine:
    """What PostgreSQL does in its own way; `fold_collation` folds case by Unicode."""
    return sql.Engine(
        dialect=postgres(fold_collation),
        make_project="INSERT INTO project (project, revision, last_created_at) VALUES (?, 0, 0)"
        " ON CONFLICT (project) DO NOTHING",
        in_list="= ANY(?)",
        bind_list=list,
        payload_bytes="convert_to({}.payload, 'UTF8')",
        placeholder="%s",
        orders_each=True,
    )


def microseconds() -> int:
    """The time now, in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class PostgresStore(Store):
    """A store in the database that `url` names (`postgresql://…`), over at most `connections` connections.

    A write is retried for `write_seconds` at most. `open` makes the schema in an empty database; one that an older
    version made is left for `plaudit-server migrate`.
    """

    name = "postgresql"
    poll_seconds = 0.1

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], int] = microseconds,
        connections: int = 10,
        write_seconds: float = _WRITE_SECONDS,
    ) -> None:
        self._url = url
        self._clock = clock
        self._size = max(connections, 2)
        self._write_seconds = write_seconds
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._checking: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect. Raises StoreError for a database that can not be reached or used, or that waits for migration."""
        async with connected(self._url) as connection:
            collation = await folding(connection)
            found = await applied(connection)
            if not found:
                await migrate(connection)
            elif waiting := pending(migrations("postgres"), found):
                raise StoreError(
                    f"the store {self._shown} waits for {len(waiting)} migrations of its schema; "
                    "run plaudit-server migrate"
                )
            await self._check_durability(connection)
            cursor = await connection.execute("SELECT value FROM meta WHERE key = 'store_id'")
            [(self.store_id,)] = await cursor.fetchall()
        self._sql = sql.Statements(engine(collation))
        self._writing = asyncio.Semaphore(max(1, self._size // 2))
        self._pool = AsyncConnectionPool(
            connection_string(self._url),
            kwargs={"autocommit": True, "prepare_threshold": None},
            min_size=1,
            max_size=self._size,
            open=False,
            timeout=_POOL_WAIT_SECONDS,
            reconnect_timeout=_RECONNECT_SECONDS,
            name="plaudit",
        )
        # It would say of each connection, and at each attempt, what we say once.
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
        await self._pool.open()

    async def close(self) -> None:
        """Release the connections. Safe to call twice."""
        pool, self._pool = self._pool, None
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.gather(self._checking, return_exceptions=True)
            self._checking = None
        if pool is not None:
            await pool.close()

    async def write(self, group: Sequence[Command]) -> Written:
        """Apply a group, each project's commands in a transaction of their own, the projects side by side."""
        deadline = asyncio.get_running_loop().time() + self._write_seconds
        by_project: dict[str, list[int]] = {}
        for index, command in enumerate(group):
            by_project.setdefault(command.project, []).append(index)
        parts = await asyncio.gather(
            *(self._write_project([group[index] for index in indexes], deadline) for indexes in by_project.values())
        )
        outcomes: list[Outcome | WriteFailed] = [[]] * len(group)
        revisions: dict[str, int] = {}
        for indexes, part in zip(by_project.values(), parts, strict=True):
            for index, outcome in zip(indexes, part.outcomes, strict=True):
                outcomes[index] = outcome
            revisions |= part.revisions
        if outcomes and all(isinstance(outcome, StoreUnavailable) for outcome in outcomes):
            raise StoreUnavailable(self.name)
        return Written(outcomes, revisions, sum(part.repeated for part in parts))

    async def get(self, project: str, id: str, version: int = 0) -> Row | None:
        """One record."""
        return await self._read(lambda: sql.get(self._sql, project, id, version))

    async def select(self, select: Select) -> Page:
        """A page of rows."""
        page = await self._read(lambda: sql.select(self._sql, select), snapshot=select.with_total)
        return page if page.last is None else page._replace(last=plain_key(page.last))

    async def count(self, project: str, filter: Operation | None) -> int:
        """How many rows match."""
        return await self._read(lambda: sql.count(self._sql, project, filter))

    async def refs(self, project: str, filter: Operation | None, after: str | None, limit: int) -> list[RefCount]:
        """Unique refs of matching rows."""
        return await self._read(lambda: sql.refs(self._sql, project, filter, after, limit))

    async def versions(self, project: str, id: str, after_version: int, limit: int) -> Versions:
        """The versions of one record, about 4 MB of them at most."""
        return await self._read(lambda: sql.versions(self._sql, project, id, after_version, limit), snapshot=True)

    async def changes(
        self, project: str, after: int, filter: Operation | None, limit: int, max_bytes: int = 4_000_000
    ) -> Changes:
        """Changes above a revision."""
        # Without a snapshot: what is read after the revision holds at least all up to it.
        return await self._read(lambda: sql.changes(self._sql, project, after, filter, limit, max_bytes))

    async def revision(self, project: str) -> int:
        """The project's revision."""
        return await self._read(lambda: sql.revision(self._sql, project))

    async def check(self) -> None:
        """Write something and wait until it is on disk."""

        async def probe(connection: Connection) -> None:
            await connection.execute("UPDATE meta SET value = %s WHERE key = 'probe'", (os.urandom(8),), binary=True)

        deadline = asyncio.get_running_loop().time() + _CHECK_SECONDS
        await self._retrying(probe, deadline, sever=True)

    async def export(self, steps: Callable[[sql.Statements], sql.Steps[T]]) -> T:
        """Run a reading generator, as transfer.py has them."""
        return await self._read(lambda: steps(self._sql))

    async def restore(self, steps: Callable[[sql.Statements], sql.Steps[T]]) -> T:
        """Run a writing generator in one transaction, as transfer.py has them; again when it may have failed."""

        async def attempt(connection: Connection) -> T:
            async with _transaction(connection, _BEGIN):
                result = await self._drive(connection, steps(self._sql))
            await connection.execute("COMMIT")
            return result

        deadline = asyncio.get_running_loop().time() + _RESTORE_SECONDS
        return await self._retrying(attempt, deadline, sever=True)

    # ── Writing ──────────────────────────────────────────────────────────────────────────────────────────

    async def _write_project(self, commands: Sequence[Command], deadline: float) -> Written:
        """Commands of one project in one transaction; when one of them breaks it, each in its own."""
        async with self._writing:
            try:
                return await self._commit(commands, deadline)
            except StoreUnavailable as error:
                return Written([StoreUnavailable(self.name, error.retry_delay) for _ in commands])
            except Exception as error:
                logger.exception("store %s: %d commands of %s failed", self._shown, len(commands), commands[0].project)
                if len(commands) == 1:
                    return Written([WriteFailed(str(error))])
        outcomes: list[Outcome | WriteFailed] = []
        revisions: dict[str, int] = {}
        repeated = 0
        for command in commands:
            part = await self._write_project((command,), deadline)
            outcomes += part.outcomes
            revisions |= part.revisions
            repeated += part.repeated
        return Written(outcomes, revisions, repeated)

    async def _commit(self, commands: Sequence[Command], deadline: float) -> Written:
        """Write in a transaction, again until it has committed, once: an unclear commit is looked up first."""
        project = commands[0].project
        unclear: _Committing | None = None

        async def attempt(connection: Connection) -> Written:
            nonlocal unclear
            if unclear is not None and await self._has_committed(connection, project, unclear):
                return unclear.written
            unclear = None
            committing = await self._apply(connection, commands)
            if committing.marks:
                unclear = committing
            try:
                await connection.execute("COMMIT")
            except psycopg.Error as error:
                if _is_rollback(error):
                    unclear = None
                raise
            return committing.written

        return await self._retrying(attempt, deadline, sever=True)

    async def _apply(self, connection: Connection, commands: Sequence[Command]) -> _Committing:
        """Everything of a transaction but its commit."""
        async with _transaction(connection, _BEGIN):
            marks: list[_Mark] = []
            written = await self._drive(connection, sql.write_group(self._sql, commands, self._clock), marks)
            return _Committing(written, marks)

    async def _has_committed(self, connection: Connection, project: str, unclear: _Committing) -> bool:
        """Whether a transaction whose commit was not answered did commit: whether a row that it wrote is there.

        Locking the project first waits until that transaction has ended, if the server still works on it.
        """
        revisions = [revision for _, revision, _, _ in unclear.marks]
        span = (project, min(revisions), max(revisions))
        async with _transaction(connection, _BEGIN):
            await self._drive(connection, sql.lock(self._sql, project))
            cursor = connection.cursor(binary=True)
            await cursor.execute(_WRITTEN_BETWEEN, (*span, *span))
            found = set(await cursor.fetchall())
        await connection.execute("COMMIT")
        return not found.isdisjoint(unclear.marks)

    # ── Reading ──────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self, steps: Callable[[], sql.Steps[T]], *, snapshot: bool = False) -> T:
        """Run a reading generator, again when the connection is lost; in one snapshot where that matters."""

        async def attempt(connection: Connection) -> T:
            if not snapshot:
                return await self._drive(connection, steps())
            async with _transaction(connection, _BEGIN_SNAPSHOT):
                result = await self._drive(connection, steps())
            await connection.execute("COMMIT")
            return result

        deadline = asyncio.get_running_loop().time() + _READ_SECONDS
        return await self._retrying(attempt, deadline)

    # ── Driving ──────────────────────────────────────────────────────────────────────────────────────────

    async def _drive(self, connection: Connection, steps: sql.Steps[T], marks: list[_Mark] | None = None) -> T:
        """Run a generator's statements and send it the rows, until it returns; `marks` gets what was written."""
        cursor = connection.cursor(binary=True)
        rows: list[Any] = []
        try:
            step = next(steps)
            while True:
                if isinstance(step, sql.Insert):
                    rows = []
                    await _insert(cursor, step)
                    if marks is not None:
                        marks += [(row[_ID], row[_REVISION], row[_UPDATED_AT], row[_HEAD]) for row in step.rows]
                elif step.budget is not None:
                    rows = await _bounded(cursor, step, step.budget)
                else:
                    await cursor.execute(step.sql.encode(), step.params)
                    rows = await cursor.fetchall() if cursor.description else []
                    if marks is not None and step.sql is self._sql.replace:
                        revision, _, _, updated_at, *_, head, _, _, id = step.params
                        marks.append((id, revision, updated_at, head))
                step = steps.send(rows)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _retrying(self, work: Callable[[Connection], Awaitable[T]], deadline: float, *, sever: bool = False) -> T:
        """Do work on a connection, and again on another while what fails passes by itself, until the deadline.

        With `sever`, a connection on which the work is not done by the deadline is cut off. Raises StoreUnavailable,
        and what the database says about one command as it is.
        """
        delay = _FIRST_DELAY
        while True:
            pool = self._pool
            if pool is None:
                raise StoreUnavailable(self.name)
            try:
                async with pool.connection() as connection:
                    try:
                        with _severed_at(connection, deadline if sever else None):
                            return await work(connection)
                    except psycopg.Error as error:
                        await self._after(connection, error)
                        raise
            except psycopg.Error as error:
                if not _is_unavailable(error):
                    raise
                passing = _is_passing(error) and not isinstance(error, PoolClosed)
                if not passing or asyncio.get_running_loop().time() + delay > deadline:
                    logger.error("store %s: %s: %s", self._shown, type(error).__name__, str(error).strip())
                    raise StoreUnavailable(self.name, retry_delay=1.0 if passing else None) from error
                logger.debug("store %s: again after %s: %s", self._shown, type(error).__name__, error)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(2 * delay, _LONGEST_DELAY)

    async def _after(self, connection: Connection, error: psycopg.Error) -> None:
        """Leave a connection fit for the pool, or closed; when it was lost, the others are looked at too."""
        if error.sqlstate in _ESTRANGED:
            await connection.close()
        if connection.closed:
            if self._checking is None or self._checking.done():
                logger.warning("store %s: a connection was lost: %s", self._shown, " ".join(str(error).split()))
                self._checking = asyncio.create_task(self._check_pool())
        elif connection.info.transaction_status != TransactionStatus.IDLE:
            with suppress(psycopg.Error):
                await connection.rollback()

    async def _check_pool(self) -> None:
        """Discard the connections that broke while they were idle, so that nobody has to find them one by one."""
        if self._pool is not None:
            with suppress(psycopg.Error):
                await self._pool.check()

    async def _check_durability(self, connection: Connection) -> None:
        """Warn of settings under which an acknowledged write may be lost. Raises StoreError for the plainest one."""
        cursor = await connection.execute(
            "SELECT current_setting('synchronous_commit'), current_setting('fsync'),"
            " current_setting('full_page_writes')"
        )
        [(commit, fsync, pages)] = await cursor.fetchall()
        if commit == "off":
            raise StoreError(
                f"the store {self._shown} answers before a write is on disk: synchronous_commit is off; "
                "turn it on, as by ALTER ROLE … SET synchronous_commit = on"
            )
        if "off" in (fsync, pages):
            logger.warning("store %s: fsync or full_page_writes is off: a crash may lose everything", self._shown)

    @property
    def _shown(self) -> str:
        return without_password(self._url)


class _Committing:
    """A transaction on its way: what is answered when it commits, and what it wrote."""

    __slots__ = ("marks", "written")

    def __init__(self, written: Written, marks: list[_Mark]) -> None:
        self.written = written
        self.marks = marks


_WRITTEN_BETWEEN: Final = " UNION ALL ".join(
    f"SELECT id, revision, updated_at, head FROM {table} WHERE project = %s AND revision BETWEEN %s AND %s"
    for table in ("feedback", "feedback_history")
)


@asynccontextmanager
async def _transaction(connection: Connection, begin: str) -> AsyncIterator[None]:
    """Begin; roll back if what is within fails, and leave the commit to the caller."""
    await connection.execute(begin.encode())
    try:
        yield
    except BaseException:
        if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
            with suppress(psycopg.Error):
                await connection.rollback()
        raise


async def _insert(cursor: AsyncCursor[Any], step: sql.Insert) -> None:
    rows = step.rows
    if len(rows) <= _FEW_ROWS:
        query = f"INSERT INTO {step.table} ({_COLUMNS}) VALUES {', '.join([_ROW] * len(rows))}"
        await cursor.execute(query.encode(), [value for row in rows for value in row])
        return
    async with cursor.copy(f"COPY {step.table} ({_COLUMNS}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
        copy.set_types(_COPY_TYPES)
        for row in rows:
            await copy.write_row(row)


async def _bounded(cursor: AsyncCursor[Any], step: sql.Statement, budget: int) -> list[Any]:
    """Rows up to and with the one that passes the budget, two at least; the others are not sent."""
    taken: list[Any] = []
    stream = cursor.stream(step.sql.encode(), step.params, binary=True, size=_CHUNK_ROWS)
    async with aclosing(stream) as rows:  # type: ignore[type-var]
        async for row in rows:
            taken.append(row)
            budget -= len(row[0]) + len(row[1])
            if budget < 0 and len(taken) > 1:
                break
    return taken


@contextmanager
def _severed_at(connection: Connection, deadline: float | None) -> Iterator[None]:
    """Cut a connection off at a time of the loop's clock, whatever it waits for; what waits gets an error."""
    if deadline is None:
        yield
        return
    timer = asyncio.get_running_loop().call_at(deadline, _sever, connection)
    try:
        yield
    finally:
        timer.cancel()


def _sever(connection: Connection) -> None:
    if not connection.closed:
        with socket.socket(fileno=os.dup(connection.fileno())) as stream, suppress(OSError):
            stream.shutdown(socket.SHUT_RDWR)


def plain_key(key: Sequence[Any]) -> tuple[SortValue, ...]:
    """A sort key as page tokens carry it: a numeric is a whole number of 64 bits, or came from a double."""
    return tuple(map(_plain, key))


def _plain(value: Any) -> SortValue:
    if isinstance(value, Decimal):
        whole = -(2**63) <= value < 2**63 and value == value.to_integral_value()
        return int(value) if whole else float(value)
    plain: SortValue = value
    return plain


def _is_unavailable(error: psycopg.Error) -> bool:
    """Whether the engine could not do its work, whatever it was asked."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state in _UNAVAILABLE or state.startswith(_UNAVAILABLE_CLASSES) or _is_late(error)


def _is_passing(error: psycopg.Error) -> bool:
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


def _is_rollback(error: psycopg.Error) -> bool:
    """Whether a commit was refused for certain; any other error leaves it unclear."""
    state = error.sqlstate or ""
    return state.startswith(("40", "23")) and state != "40003"
