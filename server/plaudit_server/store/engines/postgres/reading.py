"""Reads of a PostgreSQL database: their connections, apart from those of writes, and how a statement ends in time."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Generic, NamedTuple, TypeVar

import psycopg
from psycopg import AsyncCursor
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolClosed

from plaudit_server.errors import QueryTooExpensive, StoreUnavailable
from plaudit_server.store.base import Insert, Read, Statement, Steps
from plaudit_server.store.engines.postgres.driving import bounded_rows, drive, severed_at
from plaudit_server.store.engines.postgres.faults import ESTRANGED, is_passing, is_stray, is_unavailable
from plaudit_server.store.engines.postgres.schema import Connection
from plaudit_server.store.lanes import Company, LaneUse, OverBudget, Overruns, Places, too_many_reads
from plaudit_server.store.work import Lane, Owner, Work

logger = logging.getLogger("plaudit_server")

T = TypeVar("T")
Pool = AsyncConnectionPool[Connection]

_QUICK_SECONDS: Final = 0.02
_QUICK_SECONDS_AGAIN: Final = 0.005  # for whom it was not enough a moment ago
_READ_SECONDS: Final = 5.0  # how long a read tries to reach the database
_LOCK_SECONDS: Final = 1.0  # reads wait for no row; a change of the schema locks a table: after this time they fail
_SEVER_SECONDS: Final = 1.0  # after its deadline, a connection that does not even answer a cancel request is cut off
_MOST_WAITING: Final = 1_000  # in a lane; those that wait cost memory only
_FETCHED: Final = 1_000  # rows that are read at a time: about 2 ms
_FIRST_DELAY: Final = 0.005
_LONGEST_DELAY: Final = 0.25

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"
_BEGIN_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Compiling a query cannot be interrupted, and takes longer than a server has for most of them. And a scan has one
# processor: with workers beside it, it would take those of other callers.
_SETTINGS: Final = (
    "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true),"
    " set_config('jit', 'off', true), set_config('max_parallel_workers_per_gather', '0', true)"
)
_Sql = tuple[str, Sequence[Any]]


class Shares(NamedTuple):
    """How a server's connections are divided: one lane never waits for another's."""

    writes: int
    """One of these connections is for probes and for work that is about no project."""
    reads: int
    """Point reads, and queries in the quick lane."""
    quick: int
    """How many of `reads` queries may use; the others are always there for point reads."""
    scans: int

    @classmethod
    def of(cls, connections: int) -> Shares:
        """The shares of a number of connections, five at least."""
        scans = max(1, connections // 6)
        writes = max(2, connections // 3)
        reads = max(2, connections - writes - scans)
        return cls(writes, reads, max(1, reads * 2 // 3), scans)


class Traits(NamedTuple):
    """How this database differs from others."""

    statement_timeout: int
    """The database's own limit, in milliseconds; 0: none. It is never raised."""
    citus: bool
    """Whether settings of a transaction must be sent on to the machines that hold the rows."""


async def traits_of(connection: Connection) -> Traits:
    """The traits of the database that a connection is to."""
    cursor = await connection.execute(
        "SELECT setting::int, EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus')"
        " FROM pg_settings WHERE name = 'statement_timeout'"
    )
    [(timeout, citus)] = await cursor.fetchall()
    return Traits(timeout, citus)


class Reads:
    """All reads of a store: three lanes over two pools. Made and closed on the event loop."""

    def __init__(self, shown: str, make_pool: Callable[[str, int], Pool], shares: Shares, traits: Traits) -> None:
        """`shown` is the store's URL as it may be logged; `make_pool` makes a pool of a given size."""
        self._shown = shown
        self._traits = traits
        self._pool = make_pool("plaudit-read", shares.reads)
        self._scan_pool = make_pool("plaudit-scan", shares.scans)
        self._points = Places(shares.reads, _MOST_WAITING)
        self._quick = Places(shares.quick, _MOST_WAITING)
        self._company = Company()
        self._scans = Places(shares.scans, _MOST_WAITING, self._company)
        self._overruns = Overruns()
        self._lent: Counter[str] = Counter()
        """How many connections of each pool are used by reads."""
        self._tidying: set[asyncio.Task[None]] = set()
        self._checking: asyncio.Task[None] | None = None

    @property
    def use(self) -> Mapping[str, LaneUse]:
        """How many reads run and wait, by lane."""
        return {"point": self._points.use, "quick": self._quick.use, "scan": self._scans.use}

    async def open(self) -> None:
        """Begin to connect."""
        await self._pool.open()
        await self._scan_pool.open()

    async def close(self) -> None:
        """Release the connections. Safe to call twice."""
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.gather(self._checking, return_exceptions=True)
        await asyncio.gather(*self._tidying, return_exceptions=True)
        await self._pool.close()
        await self._scan_pool.close()

    async def read(self, read: Read[T], steps: Callable[[], Steps[T]], work: Work) -> T:
        """The answer of a read.

        Raises QueryTooExpensive when it is not done by its deadline, Overloaded when it finds no place by then, and
        StoreUnavailable. When its caller is cancelled, the database is asked to cancel the statement.
        """
        asked = _Asked(steps, read.snapshot, work.deadline, work.may_begin)
        owner = work.owner
        self._company.note(owner.project)
        if read.lane is Lane.POINT:
            async with self._points.place(owner, asked.deadline):
                return await self._run(self._pool, asked, None)
        if not self._overruns.is_long(read.question):
            try:
                return await self._read_quickly(asked, owner)
            except OverBudget:
                self._overruns.note(owner, read.question)
        try:
            async with self._scans.place(owner, asked.deadline):
                return await self._run(self._scan_pool, asked, math.inf)
        finally:
            self._overruns.note(owner, None)  # a scan may take longer than is remembered

    async def _read_quickly(self, asked: _Asked[T], owner: Owner) -> T:
        """The answer, or OverBudget."""
        seconds = _QUICK_SECONDS_AGAIN if self._overruns.has_recent(owner) else _QUICK_SECONDS
        async with self._quick.place(owner, asked.deadline), self._points.place(owner, asked.deadline):
            return await self._run(self._pool, asked, seconds)

    async def _run(self, pool: Pool, asked: _Asked[T], seconds: float | None) -> T:
        """Answer within `seconds` (None: without a limit of the statement's own), again when the connection is lost."""
        loop = asyncio.get_running_loop()
        if asked.left <= 0:
            raise too_many_reads()
        if asked.may_begin is not None:
            asked.may_begin()
        until = loop.time() + min(_READ_SECONDS, asked.left)
        delay = _FIRST_DELAY
        own = self._traits.statement_timeout / 1000 or math.inf
        is_repeated = False
        while True:
            began, given = loop.time(), min(asked.left, own, math.inf if seconds is None else seconds)
            try:
                async with asyncio.timeout_at(asked.deadline), self._connection(pool) as connection:
                    with severed_at(connection, None if asked.deadline is None else asked.deadline + _SEVER_SECONDS):
                        return await self._answer(connection, asked, seconds)
            except TimeoutError:
                if asked.begun:
                    raise asked.too_expensive() from None
                if self._lent[pool.name]:  # the last ones are being made ready
                    raise too_many_reads() from None
                logger.error("store %s: no connection within the time of a read", self._shown)
                raise StoreUnavailable("postgresql", retry_delay=1.0) from None
            except psycopg.errors.QueryCanceled as error:
                if not is_repeated and is_stray(loop.time() - began, given):
                    is_repeated = True
                    continue
                if seconds is not None and seconds < asked.left:
                    raise OverBudget from None
                raise asked.too_expensive() from error
            except psycopg.Error as error:
                if not is_unavailable(error):
                    raise
                passing = is_passing(error) and not isinstance(error, PoolClosed)
                if not passing or loop.time() + delay > until:
                    logger.error("store %s: %s: %s", self._shown, type(error).__name__, str(error).strip())
                    raise StoreUnavailable("postgresql", retry_delay=1.0 if passing else None) from error
                logger.debug("store %s: again after %s: %s", self._shown, type(error).__name__, error)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(2 * delay, _LONGEST_DELAY)

    async def _answer(self, connection: Connection, asked: _Asked[T], seconds: float | None) -> T:
        asked.begun = True
        if seconds is None and not asked.snapshot:
            return await drive(connection, asked.steps())
        begin: list[_Sql] = [(_BEGIN_SNAPSHOT if asked.snapshot else _BEGIN, ())]
        if seconds is not None:
            begin += self._settings(min(seconds, asked.left))
        return await _drive_within(connection, begin, asked.steps())

    def _settings(self, seconds: float) -> list[_Sql]:
        """Statements that bound those after them in their transaction."""
        own = self._traits.statement_timeout
        limit = own if math.isinf(seconds) else max(1, math.ceil(seconds * 1000))
        limit = min(limit, own or limit)
        lock = min(limit or math.inf, round(_LOCK_SECONDS * 1000))
        if not self._traits.citus:
            return [(_SETTINGS, (str(limit), str(lock)))]
        # Settings made by a function are not sent on, and without this those of SET are not either.
        return [
            ("SET LOCAL citus.propagate_set_commands = 'local'", ()),
            (f"SET LOCAL statement_timeout = {limit:d}", ()),
            (f"SET LOCAL lock_timeout = {lock:d}", ()),
            ("SET LOCAL jit = off", ()),
            ("SET LOCAL max_parallel_workers_per_gather = 0", ()),
        ]

    @asynccontextmanager
    async def _connection(self, pool: Pool) -> AsyncIterator[Connection]:
        """A connection, which is made ready for the next read after the caller has its answer."""
        connection = await pool.getconn()
        self._lent[pool.name] += 1
        try:
            yield connection
        except psycopg.Error as error:
            if error.sqlstate in ESTRANGED:
                await connection.close()
            if connection.closed:
                self._check_pools(error)
            raise
        finally:
            self._lent[pool.name] -= 1
            if not _is_settled(connection):
                await connection.close()
            if connection.closed or connection.info.transaction_status == TransactionStatus.IDLE:
                await pool.putconn(connection)
            else:
                task = asyncio.create_task(_tidy(pool, connection))
                self._tidying.add(task)
                task.add_done_callback(self._tidying.discard)

    def _check_pools(self, error: psycopg.Error) -> None:
        """Discard the connections that broke while they were idle, so that calls do not meet them one by one."""
        if self._checking is None or self._checking.done():
            logger.warning("store %s: a connection was lost: %s", self._shown, " ".join(str(error).split()))
            self._checking = asyncio.create_task(self._check())

    async def _check(self) -> None:
        for pool in (self._pool, self._scan_pool):
            with suppress(psycopg.Error):
                await pool.check()


class _Asked(Generic[T]):
    """One read, which may run several times."""

    def __init__(
        self,
        steps: Callable[[], Steps[T]],
        snapshot: bool,
        deadline: float | None,
        may_begin: Callable[[], None] | None,
    ) -> None:
        """`deadline` is in seconds of the monotonic clock."""
        self.steps = steps
        self.may_begin = may_begin
        self.snapshot = snapshot
        self.begun = False
        """Whether it has had a connection."""
        self._asked = time.monotonic()
        self._deadline = deadline
        self.deadline: float | None = None
        """Its deadline, in seconds of the loop's clock."""
        if deadline is not None:
            self.deadline = asyncio.get_running_loop().time() + deadline - self._asked

    @property
    def left(self) -> float:
        """How many seconds are left."""
        return math.inf if self._deadline is None else self._deadline - time.monotonic()

    def too_expensive(self) -> QueryTooExpensive:
        """The error of a read whose time was not enough."""
        return QueryTooExpensive(min(time.monotonic(), self._deadline or math.inf) - self._asked)


async def _drive_within(connection: Connection, begin: Sequence[_Sql], steps: Steps[T]) -> T:
    """Run a generator's statements in a transaction, which is left open: it only reads.

    The statements that begin it, and its settings, go to the database in one trip with the first of its own.
    """
    cursor = connection.cursor(binary=True)
    try:
        step: Statement | Insert | None = next(steps)
        rows = await _begin(connection, begin, cursor, step)
        while True:
            step = steps.send(rows) if rows is not None else step
            assert isinstance(step, Statement), "a read inserts nothing"
            if step.budget is not None:
                rows = await bounded_rows(cursor, step, step.budget)
            else:
                await cursor.execute(step.sql.encode(), step.params)
                rows = await _fetched(cursor)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def _begin(
    connection: Connection, begin: Sequence[_Sql], cursor: AsyncCursor[Any], first: Statement | Insert | None
) -> list[Any] | None:
    """Begin, and return the rows of the first statement, or None where it must be run separately."""
    alone = not isinstance(first, Statement) or first.budget is not None
    try:
        async with connection.pipeline():
            for sql, params in begin:
                await connection.cursor().execute(sql.encode(), params)
            if isinstance(first, Statement) and not alone:
                await cursor.execute(first.sql.encode(), first.params)
    except psycopg.Error:
        raise
    except BaseException:
        # The caller has left in the middle: the results that are still to come would be taken for the next read's.
        await connection.close()
        raise
    return None if alone else await _fetched(cursor)


async def _fetched(cursor: AsyncCursor[Any]) -> list[Any]:
    """All rows; of many some at a time, for they are read on the event loop, which other calls need meanwhile."""
    if cursor.rowcount <= _FETCHED:
        return await cursor.fetchall()
    rows: list[Any] = []
    while some := await cursor.fetchmany(_FETCHED):
        rows += some
        await asyncio.sleep(0)
    return rows


def _is_settled(connection: Connection) -> bool:
    """Whether nothing that was asked of the connection is still to be answered."""
    pgconn = connection.pgconn
    return pgconn.pipeline_status == PipelineStatus.OFF and pgconn.transaction_status != TransactionStatus.ACTIVE


async def _tidy(pool: Pool, connection: Connection) -> None:
    """End the transaction of a read, and give its connection back."""
    try:
        with suppress(psycopg.Error):
            if connection.info.transaction_status == TransactionStatus.INTRANS:
                await connection.commit()
            else:
                await connection.rollback()
    finally:
        await pool.putconn(connection)
