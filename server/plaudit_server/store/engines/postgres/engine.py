"""The store in a PostgreSQL database, for several servers at once; no session state and no locks but rows'."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Any, Final, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolClosed

from plaudit_server.config import without_password
from plaudit_server.errors import StoreUnavailable
from plaudit_server.store import identity
from plaudit_server.store.base import (
    Command,
    Read,
    SqlEngine,
    Steps,
    StoreError,
    Table,
    Written,
)
from plaudit_server.store.engines.postgres import citus
from plaudit_server.store.engines.postgres.dialect import postgres
from plaudit_server.store.engines.postgres.driving import Mark, drive, severed_at, text_array, transaction
from plaudit_server.store.engines.postgres.faults import ESTRANGED, is_passing, is_unavailable
from plaudit_server.store.engines.postgres.reading import Pool, Reads, Shares, traits_of
from plaudit_server.store.engines.postgres.schema import (
    Connection,
    applied,
    connected,
    connection_string,
    folding,
    migrate,
)
from plaudit_server.store.engines.postgres.writing import Groups
from plaudit_server.store.identity import StoreId
from plaudit_server.store.lanes import LaneUse
from plaudit_server.store.ledger import microseconds
from plaudit_server.store.migrate import migrations, pending
from plaudit_server.store.prepared import Prepared, Traits
from plaudit_server.store.work import SERVER, Work

logger = logging.getLogger("plaudit_server")

T = TypeVar("T")

# Below the client's ten seconds, so that the server's answer reaches it.
_WRITE_SECONDS: Final = 8.0
_CHECK_SECONDS: Final = 1.0
_TRANSACT_SECONDS: Final = 60.0  # for a copy, in which nobody waits for an answer
_POOL_WAIT_SECONDS: Final = 1.0
_RECONNECT_SECONDS: Final = 0.5
_LOOK_AROUND_SECONDS: Final = 5.0
_FIRST_DELAY: Final = 0.005
_LONGEST_DELAY: Final = 0.25

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"


def traits(fold_collation: str, *, on_citus: bool = False) -> Traits:
    """What PostgreSQL does in its own way; `fold_collation` folds case by Unicode."""
    return Traits(
        dialect=postgres(fold_collation),
        make_project="INSERT INTO project (project, revision, last_created_at) VALUES (?, 0, 0)"
        " ON CONFLICT (project) DO NOTHING",
        in_list="= ANY(?)",
        list_table='(SELECT unnest(%s::text[]) COLLATE "C" AS ref)',
        bind_list=text_array,
        # OFFSET keeps it from becoming a join or a condition, which are planned as a scan of the whole project for as
        # long as the table was not analysed since it grew, and for a long list also afterwards.
        by_key="SELECT {columns} FROM (SELECT DISTINCT ref FROM asked) AS asked"
        " CROSS JOIN LATERAL (SELECT * FROM {table} AS f"
        " WHERE f.project = ? AND f.id = asked.ref{condition} OFFSET 0) AS f",
        text_bytes="convert_to({}, 'UTF8')",
        uuid_bytes="uuid_send({}::uuid)",
        placeholder="%s",
        writes_in_with=not on_citus,
        orders_each=True,
    )


class PostgresEngine(SqlEngine):
    """A store in the database that `url` names (`postgresql://…`), over at most `connections` connections.

    A write is retried for `write_seconds` at most; with `side_by_side` each project is written by itself, which is the
    default on Citus only. `open` makes the schema in an empty database; one that an older
    version made is left for `plaudit-server migrate`.
    """

    name = "postgresql"
    poll_seconds = 0.1

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], int] = microseconds,
        connections: int = 12,
        write_seconds: float = _WRITE_SECONDS,
        side_by_side: bool | None = None,
    ) -> None:
        self._url = url
        self._clock = clock
        self._shares = Shares.of(connections)
        self._write_seconds = write_seconds
        self._pool: Pool | None = None
        self._reads: Reads | None = None
        self._side_by_side = side_by_side
        self.side_by_side = bool(side_by_side)
        self._groups: Groups | None = None
        self._checking: asyncio.Task[None] | None = None
        self._on_citus = False
        self._looking: asyncio.Task[None] | None = None
        self._nodes_unreachable = 0

    async def open(self) -> None:
        """Connect. Raises StoreError for a database that cannot be reached or used, or that waits for migration."""
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
            read_traits = await traits_of(connection)
            await self._check_durability(connection, read_traits.citus)
            cursor = await connection.execute(identity.SELECT)
            self.store_id = StoreId.of(await cursor.fetchall())
            if self._side_by_side is None:
                self.side_by_side = read_traits.citus
        self._on_citus = read_traits.citus
        self._sql = Prepared(traits(collation, on_citus=self._on_citus))
        lanes = self._shares.writes - 1  # the other one is for the probe
        self._groups = Groups(
            self,
            self._sql,
            self._clock,
            self._shown,
            seconds=self._write_seconds,
            lanes=lanes,
            on_citus=self._on_citus,
        )
        # It would log for each connection, and at each attempt, what is logged here once.
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
        self._pool = self._made_pool("plaudit-write", self._shares.writes)
        self._reads = Reads(self._shown, self._made_pool, self._shares, read_traits)
        await self._pool.open()
        await self._reads.open()
        if self._on_citus:
            self._looking = asyncio.create_task(self._look_around())

    async def close(self) -> None:
        """Release the connections. Safe to call twice."""
        pool, self._pool = self._pool, None
        reads, self._reads = self._reads, None
        for task in (self._checking, self._looking):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._checking = self._looking = None
        if pool is not None:
            await pool.close()
        if reads is not None:
            await reads.close()

    async def write(self, group: Sequence[Command[Any]]) -> Written:
        """Apply a group in one transaction; on Citus in one for each project, side by side."""
        if self._groups is None:
            raise StoreUnavailable(self.name)
        return await self._groups.write(group, together=not self.side_by_side)

    async def read(self, read: Read[T], work: Work = SERVER) -> T:
        """Answer a question, again when the connection is lost; in one snapshot where that matters."""
        if self._reads is None:
            raise StoreUnavailable(self.name)
        return await self._reads.read(read, lambda: self._steps(read), work)

    def _steps(self, read: Read[T]) -> Steps[T]:
        return read.steps(self._sql)

    @property
    def lanes(self) -> Mapping[str, LaneUse]:
        """The reads of each lane."""
        return {} if self._reads is None else self._reads.use

    @property
    def nodes_unreachable(self) -> int:
        """How many nodes of a Citus cluster could not be reached when that was last tried."""
        return self._nodes_unreachable

    async def check(self) -> None:
        """Write something and wait until it is on disk; on Citus on that of the connected node alone."""

        async def probe(connection: Connection) -> None:
            if self._on_citus:
                await connection.execute(citus.PROBE)
                return
            await connection.execute("UPDATE meta SET value = %s WHERE key = 'probe'", (os.urandom(8),), binary=True)

        deadline = asyncio.get_running_loop().time() + _CHECK_SECONDS
        await self.retrying(probe, deadline, sever=True)

    async def transact(self, steps: Callable[[Prepared], Steps[T]]) -> T:
        """Run writing steps in one transaction; again when it may have failed."""

        async def attempt(connection: Connection) -> T:
            async with transaction(connection, _BEGIN):
                result = await self._drive(connection, steps(self._sql))
            await connection.execute("COMMIT")
            return result

        deadline = asyncio.get_running_loop().time() + _TRANSACT_SECONDS
        return await self.retrying(attempt, deadline, sever=True)

    def _made_pool(self, name: str, size: int) -> Pool:
        return AsyncConnectionPool(
            connection_string(self._url),
            kwargs={"autocommit": True, "prepare_threshold": None},
            min_size=1,
            max_size=size,
            open=False,
            timeout=_POOL_WAIT_SECONDS,
            reconnect_timeout=_RECONNECT_SECONDS,
            name=name,
        )

    async def _drive(self, connection: Connection, steps: Steps[T], marks: dict[Table, list[Mark]] | None = None) -> T:
        return await drive(connection, steps, marks)

    # ── Driving ──────────────────────────────────────────────────────────────────────────────────────────

    async def retrying(
        self,
        work: Callable[[Connection], Awaitable[T]],
        deadline: float,
        *,
        sever: bool = False,
        lanes: asyncio.Semaphore | None = None,
    ) -> T:
        """Do work on a connection, and again on another while errors are temporary, until the deadline.

        With `sever`, a connection on which the work is not done by the deadline is cut off. Each attempt waits for one
        of the `lanes`, and leaves it to others between two attempts. Raises StoreUnavailable, and what the database
        says about one command as it is.
        """
        delay = _FIRST_DELAY
        while True:
            pool = self._pool
            if pool is None:
                raise StoreUnavailable(self.name)
            try:
                async with lanes or nullcontext(), pool.connection() as connection:
                    try:
                        with severed_at(connection, deadline if sever else None):
                            return await work(connection)
                    except psycopg.Error as error:
                        await self._after(connection, error)
                        raise
            except psycopg.Error as error:
                if not is_unavailable(error):
                    raise
                passing = is_passing(error) and not isinstance(error, PoolClosed)
                if not passing or asyncio.get_running_loop().time() + delay > deadline:
                    logger.error("store %s: %s: %s", self._shown, type(error).__name__, str(error).strip())
                    raise StoreUnavailable(self.name, retry_delay=1.0 if passing else None) from error
                logger.debug("store %s: again after %s: %s", self._shown, type(error).__name__, error)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(2 * delay, _LONGEST_DELAY)

    async def _after(self, connection: Connection, error: psycopg.Error) -> None:
        """Make a connection usable for the pool, or close it; when it was lost, the others are checked too."""
        if error.sqlstate in ESTRANGED:
            await connection.close()
        if connection.closed:
            if self._checking is None or self._checking.done():
                logger.warning("store %s: a connection was lost: %s", self._shown, " ".join(str(error).split()))
                self._checking = asyncio.create_task(self._check_pool())
        elif connection.info.transaction_status != TransactionStatus.IDLE:
            with suppress(psycopg.Error):
                await connection.rollback()

    async def _check_pool(self) -> None:
        """Discard the connections that broke while they were idle, so that calls do not meet them one by one."""
        if self._pool is not None:
            with suppress(psycopg.Error):
                await self._pool.check()

    async def _look_around(self) -> None:
        """Count the nodes that cannot be reached, again and again, over a connection that nothing else waits for."""
        while True:
            try:
                async with connected(self._url) as connection:
                    while True:
                        self._nodes_unreachable = await citus.unreachable(connection)
                        await asyncio.sleep(_LOOK_AROUND_SECONDS)
            except StoreError as error:
                logger.debug("%s", error)
            await asyncio.sleep(_LOOK_AROUND_SECONDS)

    async def _check_durability(self, connection: Connection, on_citus: bool) -> None:
        """Warn of settings under which an acknowledged write may be lost. Raises StoreError for the plainest one."""
        cursor = await connection.execute(
            "SELECT current_setting('synchronous_commit'), current_setting('fsync'),"
            " current_setting('full_page_writes')"
        )
        places = [citus.Durability("", *row) for row in await cursor.fetchall()]
        if on_citus:
            places += await citus.durability(connection, self._shown)
        for node, commit, fsync, pages in places:
            at = f" on {node}" if node else ""
            if commit == "off":
                raise StoreError(
                    f"the store {self._shown} answers before a write is on disk: synchronous_commit is off{at}; "
                    "turn it on, as by ALTER ROLE … SET synchronous_commit = on"
                )
            if "off" in (fsync, pages):
                logger.warning(
                    "store %s: fsync or full_page_writes is off%s: a crash may lose everything", self._shown, at
                )

    @property
    def _shown(self) -> str:
        return without_password(self._url)
