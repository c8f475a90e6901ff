"""The embedded store: one SQLite file, one writer thread, a few reader threads; its own SQL is only about the file."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw

from plaudit_server.errors import StoreUnavailable
from plaudit_server.store import identity
from plaudit_server.store.base import (
    Command,
    Outcome,
    Read,
    SqlEngine,
    Statement,
    Steps,
    StoreError,
    WriteFailed,
    Written,
)
from plaudit_server.store.engines.sqlite.connection import (
    APPLICATION_ID,
    UNAVAILABLE,
    check_file,
    configured,
    gather_statistics,
    has_table,
    roll_back,
)
from plaudit_server.store.engines.sqlite.dialect import SQLITE
from plaudit_server.store.engines.sqlite.erasing import Eraser, truncate
from plaudit_server.store.engines.sqlite.readers import Readers
from plaudit_server.store.engines.sqlite.reading import STATEMENTS_CACHED, Asked, drive
from plaudit_server.store.engines.sqlite.scanning import Scanner
from plaudit_server.store.engines.sqlite.threads import Threads
from plaudit_server.store.identity import StoreId
from plaudit_server.store.lanes import LaneUse
from plaudit_server.store.ledger import microseconds, write_group
from plaudit_server.store.migrate import LEDGER, migrations, newer, pending
from plaudit_server.store.prepared import Prepared, Traits
from plaudit_server.store.work import SERVER, Work

logger = logging.getLogger("plaudit_server")

T = TypeVar("T")

_CLOSING_WAIT_MS: Final = 50  # for readers of other programs, when the store is opened or closed

_CLAIM_SUFFIX: Final = "-serving"

_WRITER_CACHE_KIB: Final = 65_536
_QUICK_CACHE_KIB: Final = 8_192  # filled by the first long stream, and kept
_READER_CACHE_KIB: Final = 2_048  # of the others: a scan passes through it, a point read needs little
# Reads that overlap without a pause keep the log from starting over; above this size it is forced to.
_LOG_BYTES: Final = 64 * 1024 * 1024
_LOG_RETRY_SECONDS: Final = 1.0
TRAITS: Final = Traits(
    dialect=SQLITE,
    in_list="IN (SELECT value FROM json_each(?))",
    list_table="(SELECT value AS ref FROM json_each(?))",
    bind_list=json.dumps,
    by_key="SELECT {columns} FROM {table} AS f WHERE f.project = ? AND f.id IN (SELECT ref FROM asked){condition}",
    text_bytes="CAST({} AS BLOB)",
    uuid_bytes="unhex({}, '-')",
    by_type=" INDEXED BY feedback_by_type",
    counts_first=True,
)


class SqliteEngine(SqlEngine):
    """A store in the file `path`, which is made when it is not there; its directory must be."""

    name = "sqlite"

    def __init__(
        self, path: str | os.PathLike[str], *, clock: Callable[[], int] = microseconds, scans: int | None = None
    ) -> None:
        """`scans` is how many reads that need more than the quick lane gives run at a time; None: by processors."""
        self._path = Path(path).absolute()
        self._claimed: int | None = None
        self._clock = clock
        self._scans = scans
        self._sql = Prepared(TRAITS)
        self._writer: Threads | None = None
        self._readers: Readers | None = None
        self._connection: apsw.Connection | None = None
        self._suspect = False
        self._log_checked = 0.0
        self._eraser: Eraser | None = None

    async def open(self) -> None:
        """Open the file, or make it. Raises StoreError, and leaves a file that cannot be used as it is."""
        self._writer = Threads(1, "plaudit-writer")
        self._readers = Readers(
            partial(self._connect_reader, _QUICK_CACHE_KIB),
            partial(self._connect_reader, _READER_CACHE_KIB),
            partial(Scanner, str(self._path), _READER_CACHE_KIB),
            self._scans,
        )
        self._eraser = Eraser(
            str(self._path), partial(self._connect_reader, _READER_CACHE_KIB), self._by_writer, self._truncate
        )
        try:
            await self._run(self._writer, self._open)
        except BaseException:
            await self.close()
            raise
        self._eraser.go_on()

    def claim(self) -> None:
        """Lock a file beside the store; the system unlocks it when this process ends, however it ends."""
        # Not the store's own file: closing any other handle of that would take SQLite's locks away.
        claimed = os.open(f"{self._path}{_CLAIM_SUFFIX}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(claimed, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(claimed)
            raise StoreError(
                f"the store {self._path} is served by another process: a SQLite store has one server at a time; "
                "stop that one first, or use PostgreSQL"
            ) from error
        self._claimed = claimed

    async def close(self) -> None:
        """Let what runs finish, write everything into the one file, and close it."""
        if self._eraser is not None:
            await self._eraser.close()
        readers, self._readers = self._readers, None
        writer, self._writer = self._writer, None
        if readers is not None:
            await readers.close()
        if writer is not None:
            await writer.run(self._close)
            await writer.close()
        self._eraser = None
        claimed, self._claimed = self._claimed, None
        if claimed is not None:
            # Last of all, and before the lock goes: whoever makes the file anew finds the store closed.
            with suppress(OSError):
                os.unlink(f"{self._path}{_CLAIM_SUFFIX}")
            os.close(claimed)

    async def write(self, group: Sequence[Command[Any]]) -> Written:
        """Apply a group in one transaction; when one command breaks it, each in its own."""
        written = await self._run(self._writer, self._write, group)
        if self._eraser is not None:
            self._eraser.go_on()
        return written

    async def read(self, read: Read[T], work: Work = SERVER) -> T:
        """Answer a question on a reader thread; interrupted after its deadline, or when nobody waits any more."""
        if self._readers is None:
            raise StoreUnavailable(self.name)
        asked = Asked(lambda: read.steps(self._sql), work.deadline, work.may_begin)
        try:
            return await self._readers.read(asked, read, work)
        except UNAVAILABLE as error:
            raise self._unavailable(error) from error

    async def transact(self, steps: Callable[[Prepared], Steps[T]]) -> T:
        """Run writing steps in one transaction."""
        return await self._run(self._writer, self._transaction, steps(self._sql))

    async def check(self) -> None:
        """Write something and wait until it is on disk."""
        await self._run(self._writer, self._probe)

    @property
    def lanes(self) -> Mapping[str, LaneUse]:
        """The reads of each lane."""
        return {} if self._readers is None else self._readers.use

    @property
    def erasure_pending(self) -> bool:
        """Whether a purge still waits for its checkpoint."""
        return self._eraser is not None and self._eraser.pending

    async def erased(self, seconds: float) -> None:
        """Wait until the log is empty, or for so many seconds."""
        if self._eraser is not None:
            await self._eraser.emptied(seconds)

    async def _run(self, threads: Threads | None, work: Callable[..., T], *args: object) -> T:
        """Do blocking work on a thread of the store; failures of the engine are logged and become StoreUnavailable."""
        if threads is None:
            raise StoreUnavailable(self.name)
        try:
            return await threads.run(work, *args)
        except UNAVAILABLE as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: BaseException) -> StoreUnavailable:
        """Log a failure of the engine, and return what is raised instead."""
        logger.error("store %s: %s: %s", self._path, type(error).__name__, error)
        return StoreUnavailable(self.name)

    # ── On the writer thread ─────────────────────────────────────────────────────────────────────────────

    def _open(self) -> None:
        check_file(self._path)
        try:
            self._connection = self._connect()
            self._prepare(self._connection)
            # Readers stay open: without them, closing the writer after a failure would replay the log.
            if self._readers is not None:
                self._readers.open()
            self._ask_for_erasure()
            self._cut_log()
        except (apsw.Error, OSError) as error:
            raise StoreError(f"the store {self._path} cannot be opened: {error}") from error

    def _connect(self) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        connection = apsw.Connection(str(self._path), flags=flags, statementcachesize=STATEMENTS_CACHED)
        return configured(connection, _WRITER_CACHE_KIB, "temp_store = MEMORY")

    def _connect_reader(self, cache_kib: int) -> apsw.Connection:
        connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
        return configured(connection, cache_kib, "query_only = ON")

    def _prepare(self, connection: apsw.Connection) -> None:
        """Make or migrate the schema, and read the store's id.

        A new file is made with a rollback journal, in one transaction: so its header says whose it is from
        the first moment on, and not only after a checkpoint.
        """
        known = migrations("sqlite")
        connection.execute("BEGIN IMMEDIATE")
        try:
            if connection.pragma("user_version") > len(known):
                raise StoreError(f"{self._path}: {newer(connection.pragma('user_version'), len(known))}")
            connection.execute(LEDGER)
            remembered: list[Any] = connection.execute("SELECT number, checksum FROM schema_migration").fetchall()
            waiting = pending(known, remembered)
            for migration in waiting:
                for statement in migration.statements(new=not remembered):
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO schema_migration (number, name, checksum) VALUES (?, ?, ?)", migration[:3]
                )
            if waiting:
                # Of an index that a migration made there are none yet, and the planner would avoid all the others.
                if has_table(connection, "sqlite_stat1"):
                    gather_statistics(connection)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {len(known)}")
                connection.execute("INSERT INTO meta VALUES ('store_id', ?) ON CONFLICT DO NOTHING", (os.urandom(32),))
                connection.execute("INSERT INTO meta VALUES ('probe', x'') ON CONFLICT DO NOTHING")
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise
        if connection.pragma("journal_mode", "wal") != "wal":
            raise StoreError(f"the store {self._path} cannot keep a write-ahead log: is it on a network file system?")
        self.store_id = StoreId.of(connection.execute(identity.SELECT))

    def _close(self) -> None:
        if self._connection is None:
            return
        if self.erasure_pending:
            self._cut_log()
        try:
            self._connection.close()
        except apsw.Error as error:
            logger.warning("store %s: closing: %s", self._path, error)
        self._connection = None

    def _write(self, group: Sequence[Command[Any]]) -> Written:
        try:
            written = self._transaction(write_group(self._sql, group, self._clock))
        except UNAVAILABLE:
            raise
        except Exception:
            logger.exception("store %s: a group of %d failed, each is tried alone", self._path, len(group))
            written = self._one_by_one(group)
        if written.erased or self._is_log_large():
            self._ask_for_erasure()
        return written

    def _one_by_one(self, group: Sequence[Command[Any]]) -> Written:
        outcomes: list[Outcome | WriteFailed] = []
        revisions: dict[str, int] = {}
        repeated, erased, ahead = 0, False, 0
        for command in group:
            try:
                written = self._transaction(write_group(self._sql, (command,), self._clock))
            except UNAVAILABLE as error:
                outcomes.append(self._unavailable(error))
            except Exception as error:
                logger.exception("store %s: one command of %s failed", self._path, command.project)
                outcomes.append(WriteFailed(str(error)))
            else:
                outcomes += written.outcomes
                revisions |= written.revisions
                repeated += written.repeated
                erased = erased or written.erased
                ahead = max(ahead, written.ahead)
        return Written(outcomes, revisions, repeated, erased, ahead=ahead)

    def _transaction(self, steps: Steps[T]) -> T:
        """Run a writing generator; returns only when the commit is on disk."""
        connection = self._writable()
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = drive(connection, steps)
            connection.execute("COMMIT")
        except BaseException as error:
            roll_back(connection)
            if isinstance(error, UNAVAILABLE) and not isinstance(error, apsw.BusyError):
                self._suspect = True
                self._recover_if_possible()
            raise
        return result

    def _writable(self) -> apsw.Connection:
        if self._suspect:
            self._recover()
        if self._connection is None:
            raise apsw.CantOpenError("the store is closed")
        return self._connection

    def _recover(self) -> None:
        """After a failure: a new connection, and a small commit over whatever the failed one left in the log.

        A commit that failed as late as its sync is in the log, whole: forgotten by the running processes,
        but a restart would replay it, unless something is written in its place.
        """
        if self._connection is not None:
            self._connection.close(True)
            self._connection = None
        self._connection = connection = self._connect()
        connection.execute("BEGIN IMMEDIATE")
        try:
            drive(connection, _probe_steps())
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise
        self._suspect = False

    def _recover_if_possible(self) -> None:
        try:
            self._recover()
        except UNAVAILABLE as error:
            logger.warning("store %s: still failing: %s: %s", self._path, type(error).__name__, error)

    def _probe(self) -> None:
        self._transaction(_probe_steps())

    # ── Erasure ──────────────────────────────────────────────────────────────────────────────────────────

    def _ask_for_erasure(self) -> None:
        if self._eraser is not None:
            self._eraser.ask()

    async def _by_writer(self, work: Callable[[int], bool], milliseconds: int) -> bool:
        return await self._run(self._writer, work, milliseconds)

    def _truncate(self, milliseconds: int) -> bool:
        return self._connection is not None and truncate(self._connection, milliseconds)

    def _cut_log(self) -> None:
        """Empty the log while nobody waits for the writer, as far as other programs allow it."""
        assert self._eraser is not None
        try:
            self._eraser.cut(_CLOSING_WAIT_MS)
        except UNAVAILABLE as error:
            logger.warning("store %s: erasure: %s: %s", self._path, type(error).__name__, error)

    def _is_log_large(self) -> bool:
        """Whether the log must be kept from growing without end; checked from time to time."""
        now = time.monotonic()
        if now - self._log_checked < _LOG_RETRY_SECONDS:
            return False
        self._log_checked = now
        try:
            return os.stat(f"{self._path}-wal").st_size > _LOG_BYTES
        except OSError:  # what was committed is committed, wherever its log is
            return False


def _probe_steps() -> Steps[None]:
    yield Statement("UPDATE meta SET value = randomblob(8) WHERE key = 'probe'")
