"""The store's file and connections to it: whether it is a store, how a connection is set up, what errors mean."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Any, Final

import apsw

from plaudit_server.query.compile.functions import FUNCTIONS
from plaudit_server.store.base import StoreError
from plaudit_server.store.migrate import migrations, newer

logger = logging.getLogger("plaudit_server")

APPLICATION_ID: Final = 0x706C6474  # "pldt": distinguishes the file from every other SQLite database
_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100

BUSY_MS: Final = 5_000
_CHECKPOINT_PAGES: Final = 4_000

# Errors that mean that the engine cannot work at all; all others are about one command.
UNAVAILABLE: Final = (
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


def roll_back(connection: apsw.Connection) -> None:
    """End the transaction, if the engine has not done so itself."""
    if connection.in_transaction:
        try:
            connection.execute("ROLLBACK")
        except apsw.Error as error:
            logger.warning("rolling back: %s: %s", type(error).__name__, error)


def configured(connection: apsw.Connection, cache_kib: int, *pragmas: str) -> apsw.Connection:
    """The connection, set up so that a commit is on disk and purged bytes are overwritten."""
    connection.set_busy_timeout(BUSY_MS)
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


def has_table(connection: apsw.Connection, name: str) -> bool:
    """Whether the file has a table of this name."""
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (name,)).get is not None


def gather_statistics(connection: apsw.Connection) -> None:
    """Count how many rows each index of the records finds, for the planner."""
    connection.execute("ANALYZE feedback")
    # Samples of what is indexed, which would outlive a purge.
    if has_table(connection, "sqlite_stat4"):
        connection.execute("DELETE FROM sqlite_stat4")


def check_file(path: Path) -> None:
    """Refuse a file that cannot be a store, by its bytes: SQLite would leave traces in it. Raises StoreError."""
    directory = path.parent
    if not directory.is_dir():
        raise StoreError(f"the directory {directory} of the store does not exist; make it first")
    if not path.exists():
        if not os.access(directory, os.W_OK | os.X_OK):
            raise StoreError(f"the directory {directory} of the store cannot be written to")
        return
    if not path.is_file():
        raise StoreError(f"the store {path} is not a file")
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise StoreError(f"the store {path} cannot be read: {error.strerror}") from error
    if header:
        if not header.startswith(_MAGIC) or int.from_bytes(header[68:72], "big") != APPLICATION_ID:
            raise StoreError(f"{path} is not a store of plaudit; it was left as it is")
        version, known = int.from_bytes(header[60:64], "big"), len(migrations("sqlite"))
        if version > known:
            raise StoreError(f"{path}: {newer(version, known)}; it was left as it is")
    # The mode counts too: root can write every file, but one that is read-only is meant to stay as it is.
    if not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) or not os.access(path, os.W_OK):
        raise StoreError(f"the store {path} is read-only")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise StoreError(f"the directory {directory} of the store cannot be written to")


def applied(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """Numbers and checksums of the migrations that a store's file remembers; none when there is no file yet.

    Changes nothing. Raises StoreError for a file that is no store of ours.
    """
    file = Path(path).absolute()
    check_file(file)
    if not file.exists() or not file.stat().st_size:
        return []
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(BUSY_MS)
        remembered: list[Any] = connection.execute("SELECT number, checksum FROM schema_migration").fetchall()
        return remembered
    except apsw.Error as error:
        raise StoreError(f"the store {file} cannot be read: {error}") from error
    finally:
        connection.close()
