"""The embedded store: one SQLite file, one writer thread, a few reader threads; no SQL of its own but for the file."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import apsw

from plaudit_server.errors import StoreUnavailable
from plaudit_server.feedback import steps as sql
from plaudit_server.feedback.records import Row
from plaudit_server.query.compile.functions import FUNCTIONS
from plaudit_server.query.tree import Operation
from plaudit_server.store.base import (
    Changes,
    Command,
    Outcome,
    Page,
    Purged,
    RefCount,
    Select,
    Store,
    StoreError,
    Versions,
    WriteFailed,
    Written,
)
from plaudit_server.store.dialect import SQLITE
from plaudit_server.store.engines.sqlite.threads import Threads
from plaudit_server.store.migrate import LEDGER, migrations, newer, pending

logger = logging.getLogger("plaudit_server")

T = TypeVar("T")

APPLICATION_ID: Final = 0x706C6474  # "pldt": tells the file from every other SQLite database
_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100

_BUSY_MS: Final = 5_000
_ERASE_WAIT_MS: Final = 50
_ERASE_RETRY_SECONDS: Final = (0.05, 1.0)

_WRITER_CACHE_KIB: Final = 65_536
_READER_CACHE_KIB: Final = 8_192  # of each reader: filled by the first long stream, and kept
_CHECKPOINT_PAGES: Final = 4_000
# Reads that overlap without a pause keep the log from starting over; above this size it is made to.
_LOG_BYTES: Final = 64 * 1024 * 1024
_LOG_RETRY_SECONDS: Final = 1.0
_INTERRUPT_SECONDS: Final = 0.01

# What says that the engine can not do its work, whatever it was asked; all else is about one command.
_UNAVAILABLE: Final = (
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.FullError,
    apsw.IOError,
    apsw.LockedError,
    apsw.NoMemError,
    apsw.NotADBError,
    apsw.PermissionsError,
    apsw.ProtocolError,
    apsw.ReadOnlyError,
)

ENGINE: Final = sql.Engine(
    dialect=SQLITE,
    in_list="IN (SELECT value FROM json_each(?))",
    bind_list=json.dumps,
    payload_bytes="CAST({}.payload AS BLOB)",
    counts_first=True,
)

_ROW: Final = f"({', '.join('?' * len(sql.COLUMNS))})"
# One statement for many rows: the interpreter lock changes hands once for each statement, and not for each row.
_INSERT_ROWS: Final = 64
# Every number of rows has a statement of its own, in two tables, beside all that are not inserts.
_STATEMENTS_CACHED: Final = 2 * _INSERT_ROWS + 64


def microseconds() -> int:
    """The time now, in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class SqliteStore(Store):
    """A store in the file `path`, which is made when it is not there; its directory must be."""

    name = "sqlite"

    def __init__(
        self, path: str | os.PathLike[str], *, clock: Callable[[], int] = microseconds, readers: int = 2
    ) -> None:
        self._path = Path(path).absolute()
        self._clock = clock
        self._reader_count = readers
        self._sql = sql.Statements(ENGINE)
        self._writer: Threads | None = None
        self._readers: Threads | None = None
        self._idle: deque[_Reader] = deque()
        self._connection: apsw.Connection | None = None
        self._suspect = False
        self._unerased = False
        self._log_checked = 0.0
        self._eraser: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the file, or make it. Raises StoreError, and leaves a file that can not be used as it is."""
        self._writer = Threads(1, "plaudit-writer")
        self._readers = Threads(self._reader_count, "plaudit-reader")
        try:
            await self._run(self._writer, self._open)
        except BaseException:
            await self.close()
            raise
        self._erase_in_background()

    async def close(self) -> None:
        """Let what runs finish, write everything into the one file, and release it."""
        if self._eraser is not None:
            self._eraser.cancel()
            await asyncio.gather(self._eraser, return_exceptions=True)
            self._eraser = None
        readers, self._readers = self._readers, None
        writer, self._writer = self._writer, None
        if readers is not None:
            await readers.close()
        if writer is not None:
            await writer.run(self._close)
            await writer.close()

    async def write(self, group: Sequence[Command]) -> Written:
        """Apply a group in one transaction; when one command breaks it, each in its own."""
        written = await self._run(self._writer, self._write, group)
        if self._unerased:
            self._erase_in_background()
        return written

    async def get(self, project: str, id: str, version: int = 0) -> Row | None:
        """One record."""
        return await self._read(sql.get(self._sql, project, id, version))

    async def select(self, select: Select) -> Page:
        """A page of rows."""
        return await self._read(sql.select(self._sql, select))

    async def count(self, project: str, filter: Operation | None) -> int:
        """How many rows match."""
        return await self._read(sql.count(self._sql, project, filter))

    async def refs(self, project: str, filter: Operation | None, after: str | None, limit: int) -> list[RefCount]:
        """Unique refs of matching rows."""
        return await self._read(sql.refs(self._sql, project, filter, after, limit))

    async def versions(self, project: str, id: str, after_version: int, limit: int) -> Versions:
        """The versions of one record, about 4 MB of them at most."""
        return await self._read(sql.versions(self._sql, project, id, after_version, limit))

    async def changes(
        self, project: str, after: int, filter: Operation | None, limit: int, max_bytes: int = 4_000_000
    ) -> Changes:
        """Changes above a revision."""
        return await self._read(sql.changes(self._sql, project, after, filter, limit, max_bytes))

    async def revision(self, project: str) -> int:
        """The project's revision."""
        return await self._read(sql.revision(self._sql, project))

    async def check(self) -> None:
        """Write something and wait until it is on disk."""
        await self._run(self._writer, self._probe)

    @property
    def erasure_pending(self) -> bool:
        """Whether a purge still waits for its checkpoint."""
        return self._unerased

    async def _run(self, threads: Threads | None, work: Callable[..., T], *args: object) -> T:
        """Do blocking work on one of our threads, and hide what the engine says when it fails."""
        if threads is None:
            raise StoreUnavailable(self.name)
        try:
            return await threads.run(work, *args)
        except _UNAVAILABLE as error:
            logger.error("store %s: %s: %s", self._path, type(error).__name__, error)
            raise StoreUnavailable(self.name) from error

    async def _read(self, steps: sql.Steps[T]) -> T:
        """Run a reading generator on a reader thread; when nobody waits any more, it is interrupted."""
        read = _Read(steps, self._idle)
        try:
            return await self._run(self._readers, read.run)
        except asyncio.CancelledError:
            read.cancel(asyncio.get_running_loop())
            raise

    async def export(self, steps: Callable[[sql.Statements], sql.Steps[T]]) -> T:
        """Run a reading generator, as transfer.py has them."""
        return await self._read(steps(self._sql))

    async def restore(self, steps: Callable[[sql.Statements], sql.Steps[T]]) -> T:
        """Run a writing generator in one transaction, as transfer.py has them."""
        return await self._run(self._writer, self._transaction, steps(self._sql))

    # ── On the writer thread ─────────────────────────────────────────────────────────────────────────────

    def _open(self) -> None:
        _check_file(self._path)
        try:
            self._connection = self._connect()
            self._prepare(self._connection)
            # Readers stay open: were the writer alone, closing it after a failure would replay the log.
            for _ in range(self._reader_count):
                self._idle.append(_Reader(self._connect_reader))
            self._unerased = not self._erase()
        except (apsw.Error, OSError) as error:
            raise StoreError(f"the store {self._path} can not be opened: {error}") from error

    def _connect(self) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        connection = apsw.Connection(str(self._path), flags=flags, statementcachesize=_STATEMENTS_CACHED)
        return _configured(connection, _WRITER_CACHE_KIB, "temp_store = MEMORY")

    def _connect_reader(self) -> apsw.Connection:
        connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
        return _configured(connection, _READER_CACHE_KIB, "query_only = ON")

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
                for statement in migration.statements():
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO schema_migration (number, name, checksum) VALUES (?, ?, ?)", migration[:3]
                )
            if waiting:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {len(known)}")
                connection.execute("INSERT INTO meta VALUES ('store_id', ?) ON CONFLICT DO NOTHING", (os.urandom(32),))
                connection.execute("INSERT INTO meta VALUES ('probe', x'') ON CONFLICT DO NOTHING")
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise
        if connection.pragma("journal_mode", "wal") != "wal":
            raise StoreError(f"the store {self._path} can not keep a write-ahead log: is it on a network file system?")
        [(self.store_id,)] = connection.execute("SELECT value FROM meta WHERE key = 'store_id'")

    def _close(self) -> None:
        if self._connection is None:
            return
        while self._idle:
            self._idle.pop().close()
        if self._unerased:
            self._erase()
        try:
            self._connection.close()
        except apsw.Error as error:
            logger.warning("store %s: closing: %s", self._path, error)
        self._connection = None

    def _write(self, group: Sequence[Command]) -> Written:
        try:
            written = self._transaction(sql.write_group(self._sql, group, self._clock))
        except _UNAVAILABLE:
            raise
        except Exception:
            logger.exception("store %s: a group of %d failed, each is tried alone", self._path, len(group))
            written = self._one_by_one(group)
        if any(type(outcome) is Purged and outcome.purged for outcome in written.outcomes):
            self._unerased = not self._erase()
        else:
            self._bound_log()
        return written

    def _one_by_one(self, group: Sequence[Command]) -> Written:
        outcomes: list[Outcome | WriteFailed] = []
        revisions: dict[str, int] = {}
        repeated = 0
        for command in group:
            try:
                written = self._transaction(sql.write_group(self._sql, (command,), self._clock))
            except _UNAVAILABLE as error:
                logger.error("store %s: %s: %s", self._path, type(error).__name__, error)
                outcomes.append(StoreUnavailable(self.name))
            except Exception as error:
                logger.exception("store %s: one command of %s failed", self._path, command.project)
                outcomes.append(WriteFailed(str(error)))
            else:
                outcomes += written.outcomes
                revisions |= written.revisions
                repeated += written.repeated
        return Written(outcomes, revisions, repeated)

    def _transaction(self, steps: sql.Steps[T]) -> T:
        """Run a writing generator, and come back only when the commit is on disk."""
        connection = self._writable()
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = _drive(connection, steps)
            connection.execute("COMMIT")
        except BaseException as error:
            _roll_back(connection)
            if isinstance(error, _UNAVAILABLE) and not isinstance(error, apsw.BusyError):
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
            _drive(connection, _probe_steps())
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise
        self._suspect = False

    def _recover_if_possible(self) -> None:
        try:
            self._recover()
        except _UNAVAILABLE as error:
            logger.warning("store %s: still failing: %s: %s", self._path, type(error).__name__, error)

    def _probe(self) -> None:
        self._transaction(_probe_steps())

    # ── Erasure ──────────────────────────────────────────────────────────────────────────────────────────

    def _erase(self) -> bool:
        """Move the log into the file and truncate it; False when a reader's snapshot is in the way."""
        connection = self._connection
        if connection is None:
            return False
        connection.set_busy_timeout(_ERASE_WAIT_MS)
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except _UNAVAILABLE as error:
            if not isinstance(error, apsw.BusyError):
                logger.warning("store %s: erasure: %s: %s", self._path, type(error).__name__, error)
            return False
        finally:
            connection.set_busy_timeout(_BUSY_MS)
        return True

    def _bound_log(self) -> None:
        """Keep the log from growing without end; at most once in a while, since writes wait meanwhile."""
        now = time.monotonic()
        if now - self._log_checked >= _LOG_RETRY_SECONDS:
            self._log_checked = now
            if os.stat(f"{self._path}-wal").st_size > _LOG_BYTES:
                self._erase()

    def _erase_in_background(self) -> None:
        if self._unerased and (self._eraser is None or self._eraser.done()):
            self._eraser = asyncio.create_task(self._retry_erasure())

    async def _retry_erasure(self) -> None:
        delay, longest = _ERASE_RETRY_SECONDS
        while self._unerased:
            await asyncio.sleep(delay)
            delay = min(2 * delay, longest)
            await self._run(self._writer, self._erase_again)

    def _erase_again(self) -> None:
        if self._unerased:
            self._unerased = not self._erase()


class _Reader:
    """A reader's connection, made again after it has failed."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._connect = connect
        self._connection: apsw.Connection | None = connect()

    def connection(self) -> apsw.Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(True)


class _Read(Generic[T]):
    """One read on its way through the reader threads."""

    def __init__(self, steps: sql.Steps[T], idle: deque[_Reader]) -> None:
        self._steps = steps
        self._idle = idle
        self._lock = threading.Lock()
        self._connection: apsw.Connection | None = None
        self._cancelled = False

    def run(self) -> T:
        """Read in one snapshot. Raises InterruptError when it was cancelled."""
        # There is one for each thread; the one used last has the pages that are asked for again.
        reader = self._idle.pop()
        try:
            connection = reader.connection()
            with self._lock:
                if self._cancelled:
                    raise apsw.InterruptError("nobody waits for this read")
                self._connection = connection
            try:
                connection.execute("BEGIN")
                return _drive(connection, self._steps)
            finally:
                with self._lock:
                    self._connection = None
                _roll_back(connection)
        except _UNAVAILABLE:
            reader.close()
            raise
        finally:
            self._idle.append(reader)

    def cancel(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop the read: interrupt it again and again until it has ended.

        Once is not enough: the engine forgets an interrupt that comes between two statements.
        """
        with self._lock:
            self._cancelled = True
            if self._connection is None:
                return
            self._connection.interrupt()
        loop.call_later(_INTERRUPT_SECONDS, self.cancel, loop)


def _drive(connection: apsw.Connection, steps: sql.Steps[T]) -> T:
    """Run a generator's statements and send it the rows, until it returns."""
    cursor = connection.cursor()
    rows: list[Any] = []
    send = steps.send
    try:
        step = next(steps)
        while True:
            if isinstance(step, sql.Insert):
                _insert(cursor, step)
                rows = []
            elif step.budget is None:
                rows = cursor.execute(step.sql, step.params).fetchall()
            else:
                rows = sql.bounded(cursor.execute(step.sql, step.params), step.budget)
                cursor = connection.cursor()
            step = send(rows)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        # Not left to an exception's traceback: it is dropped on the event loop, where freeing the cursor would
        # wait for the statement that this connection then runs for somebody else.
        cursor.close(True)


def _insert(cursor: apsw.Cursor, step: sql.Insert) -> None:
    for start in range(0, len(step.rows), _INSERT_ROWS):
        rows = step.rows[start : start + _INSERT_ROWS]
        cursor.execute(_insert_statement(step.table, len(rows)), tuple(chain.from_iterable(rows)))


@cache
def _insert_statement(table: str, rows: int) -> str:
    return f"INSERT INTO {table} ({', '.join(sql.COLUMNS)}) VALUES {', '.join([_ROW] * rows)}"


def _probe_steps() -> sql.Steps[None]:
    yield sql.Statement("UPDATE meta SET value = randomblob(8) WHERE key = 'probe'")


def _roll_back(connection: apsw.Connection) -> None:
    """End the transaction, if the engine has not done so itself."""
    if connection.in_transaction:
        try:
            connection.execute("ROLLBACK")
        except apsw.Error as error:
            logger.warning("rolling back: %s: %s", type(error).__name__, error)


def _configured(connection: apsw.Connection, cache_kib: int, *pragmas: str) -> apsw.Connection:
    connection.set_busy_timeout(_BUSY_MS)
    for pragma in (
        "secure_delete = ON",
        "synchronous = FULL",
        "fullfsync = ON",
        "checkpoint_fullfsync = ON",
        "trusted_schema = OFF",
        f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
        f"cache_size = -{cache_kib}",
        *pragmas,
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    for name, function in FUNCTIONS.items():
        connection.create_scalar_function(name, function, 1, deterministic=True)
    return connection


def _check_file(path: Path) -> None:
    """Refuse what can not be our store, by its bytes alone: SQLite would leave traces. Raises StoreError."""
    directory = path.parent
    if not directory.is_dir():
        raise StoreError(f"the directory {directory} of the store does not exist; make it first")
    if not path.exists():
        if not os.access(directory, os.W_OK | os.X_OK):
            raise StoreError(f"the directory {directory} of the store can not be written to")
        return
    if not path.is_file():
        raise StoreError(f"the store {path} is not a file")
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise StoreError(f"the store {path} can not be read: {error.strerror}") from error
    if header:
        if not header.startswith(_MAGIC) or int.from_bytes(header[68:72], "big") != APPLICATION_ID:
            raise StoreError(f"{path} is not a store of plaudit; it was left as it is")
        version, known = int.from_bytes(header[60:64], "big"), len(migrations("sqlite"))
        if version > known:
            raise StoreError(f"{path}: {newer(version, known)}; it was left as it is")
    # The mode is asked for too: to root every file is writable, but a read-only one was meant to stay so.
    if not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) or not os.access(path, os.W_OK):
        raise StoreError(f"the store {path} is read-only")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StoreError(f"the directory {directory} of the store can not be written to")


def applied(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """Numbers and checksums of the migrations that a store's file remembers; none when there is no file yet.

    Changes nothing. Raises StoreError for a file that is no store of ours.
    """
    file = Path(path).absolute()
    _check_file(file)
    if not file.exists() or not file.stat().st_size:
        return []
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(_BUSY_MS)
        remembered: list[Any] = connection.execute("SELECT number, checksum FROM schema_migration").fetchall()
        return remembered
    except apsw.Error as error:
        raise StoreError(f"the store {file} can not be read: {error}") from error
    finally:
        connection.close()
