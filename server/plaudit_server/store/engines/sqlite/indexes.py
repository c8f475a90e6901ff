"""Declared indexes in a SQLite file: made, listed and dropped over a connection beside the store's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import apsw

from plaudit_server.query.indexes.declared import DeclaredIndex
from plaudit_server.store import declared
from plaudit_server.store.base import StoreError
from plaudit_server.store.declared import Declaration, State
from plaudit_server.store.engines.sqlite.connection import applied, gather_statistics
from plaudit_server.store.engines.sqlite.dialect import SQLITE
from plaudit_server.store.migrate import migrations, pending

# A server holds the file for the length of a write; an erasure or another index takes longer.
_BUSY_MS: Final = 30_000
# With fewer rows an index is small as well, and statistics of a store that will grow would mislead.
_ROWS_FOR_STATISTICS: Final = 10_000


def create(path: str, index: DeclaredIndex) -> bool:
    """Make and declare an index, in one transaction; False when it was there. Raises StoreError.

    Nothing can be written to the store meanwhile.
    """
    new = declared.declaration(SQLITE, index)
    with _connected(path) as connection:
        for old in _forget(connection, index):
            if old.name != new.name:
                connection.execute(f"DROP INDEX IF EXISTS {old.name}")
        missing = not _exists(connection, new)
        if missing:
            connection.execute(declared.create(SQLITE, new))
        connection.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (new.key, new.name.encode()))
        _gather_statistics(connection)
    return missing


def drop(path: str, index: DeclaredIndex) -> bool:
    """Drop an index and forget its declaration; False when it is not declared. Raises StoreError."""
    with _connected(path) as connection:
        found = _forget(connection, index)
        for old in found:
            connection.execute(f"DROP INDEX IF EXISTS {old.name}")
    return bool(found)


def listing(path: str) -> list[tuple[DeclaredIndex, State]]:
    """The declared indexes, by kind and path, and the state of each. Raises StoreError."""
    with _connected(path, "BEGIN") as connection:
        return [(found.index, _state(connection, found)) for found in _declarations(connection)]


def rows(path: str) -> int:
    """About how many records the store holds. Raises StoreError."""
    with _connected(path, "BEGIN") as connection:
        return _rows(connection)


def _rows(connection: apsw.Connection) -> int:
    # Rows are numbered in the order of their arrival; purged rows leave gaps.
    return int(connection.execute("SELECT coalesce(max(rowid), 0) FROM feedback").get)


def _state(connection: apsw.Connection, found: Declaration) -> State:
    if found != declared.declaration(SQLITE, found.index):
        return State.OUTDATED
    return State.READY if _exists(connection, found) else State.MISSING


def _exists(connection: apsw.Connection, found: Declaration) -> bool:
    name = (found.name,)
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = ?", name).get is not None


def _declarations(connection: apsw.Connection) -> list[Declaration]:
    return declared.read(connection.execute(declared.READ).fetchall())


def _forget(connection: apsw.Connection, index: DeclaredIndex) -> list[Declaration]:
    """Remove the declaration of an index, and return it; None when it was not declared."""
    key = Declaration(index, "").key
    return declared.read(connection.execute("DELETE FROM meta WHERE key = ? RETURNING key, value", (key,)).fetchall())


def _gather_statistics(connection: apsw.Connection) -> None:
    """Let the planner know how many rows each index finds; otherwise it uses none of them for alternatives."""
    if _rows(connection) >= _ROWS_FOR_STATISTICS:
        gather_statistics(connection)


@contextmanager
def _connected(path: str, begin: str = "BEGIN IMMEDIATE") -> Iterator[apsw.Connection]:
    """A connection in a transaction, which is committed in the end. Raises StoreError."""
    found = applied(path)
    if not found:
        raise StoreError(f"there is no store {path}; a server makes it when it starts")
    if pending(migrations("sqlite"), found):
        raise StoreError(f"the store {path} waits for a migration of its schema; run plaudit-server migrate")
    try:
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    except apsw.Error as error:
        raise StoreError(f"the store {path} cannot be opened: {error}") from error
    try:
        connection.set_busy_timeout(_BUSY_MS)
        for setting in ("secure_delete = ON", "synchronous = FULL", "fullfsync = ON", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {setting}").fetchall()
        connection.execute(begin)
        yield connection
        connection.execute("COMMIT")
        # A large index leaves a large log, which every read has to search.
        with suppress(apsw.BusyError):
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    except apsw.BusyError as error:
        raise StoreError(f"the store {path} is being written to without a pause; try again later") from error
    except apsw.Error as error:
        raise StoreError(f"the store {path}: {error}") from error
    finally:
        connection.close(True)
