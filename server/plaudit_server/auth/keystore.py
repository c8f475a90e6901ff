"""The KeyStores of both engines: the store's table `api_key`, over a connection of its own beside the store's."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import apsw

from plaudit_server.auth.keys import ApiKey
from plaudit_server.config.grants import Role
from plaudit_server.errors import StartError

if TYPE_CHECKING:
    import psycopg

_BUSY_MS: Final = 5_000
_COLUMNS: Final = "id, principal, hash, role, projects, created_at, expires_at, revoked_at"


class StoredKeys(ABC):
    """A KeyStore in a database that the store has made. Safe to use from several threads; methods block."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @abstractmethod
    def _run(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """The rows of one statement, which is durable when it returns; `?` stands for each value."""

    @abstractmethod
    def close(self) -> None:
        """Release the connection. Safe to call twice."""

    def add(self, key: ApiKey) -> None:
        """Store a new key, durably."""
        projects = json.dumps(key.projects, ensure_ascii=False)
        facts = (key.id, key.principal, key.hash, key.role.label, projects)
        times = (key.created_at, key.expires_at, key.revoked_at)
        with self._lock:
            self._run(f"INSERT INTO api_key ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", facts + times)

    def revoke(self, id: str, now: int) -> bool:
        """Mark a key as revoked at `now` (microseconds); False when there is no such key."""
        with self._lock:
            self._run("UPDATE api_key SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, id))
            return bool(self._run("SELECT 1 FROM api_key WHERE id = ?", (id,)))

    def all(self) -> list[ApiKey]:
        """Every key, oldest first."""
        with self._lock:
            rows = self._run(f"SELECT {_COLUMNS} FROM api_key ORDER BY created_at, id")
        return [
            ApiKey(id, principal, bytes(hash), Role.parse(role), tuple(json.loads(projects)), *times)
            for id, principal, hash, role, projects, *times in rows
        ]

    def stamp(self) -> tuple[int, int]:
        """How many keys there are and how many of them are revoked: keys are never removed."""
        with self._lock:
            [(keys, revoked)] = self._run("SELECT count(*), count(revoked_at) FROM api_key")
        return keys, revoked


class SqliteKeyStore(StoredKeys):
    """The keys in a SQLite file."""

    def __init__(self, path: str | Path) -> None:
        """Open the file. Raises StartError when it is not there or has no keys' table."""
        super().__init__()
        try:
            self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
            self._connection.set_busy_timeout(_BUSY_MS)
            for setting in ("secure_delete = ON", "synchronous = FULL", "trusted_schema = OFF"):
                self._run(f"PRAGMA {setting}")
            self.stamp()
        except apsw.Error as error:
            raise StartError(f"the store {path} has no API keys to read: {error}") from error

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        with self._lock:
            self._connection.close()

    def _run(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        return self._connection.execute(statement, tuple(values)).fetchall()


class PostgresKeyStore(StoredKeys):
    """The keys in a PostgreSQL database; a connection that broke is made anew by the next statement."""

    def __init__(self, url: str) -> None:
        """Connect. Raises StoreError for a URL that can not be read, StartError when there are no keys to read."""
        import psycopg

        from plaudit_server.store.engines.postgres.schema import connection_string

        super().__init__()
        self._errors = psycopg.Error
        self._connection: psycopg.Connection[Any] | None = None

        def connect() -> psycopg.Connection[Any]:
            return psycopg.connect(connection_string(url), autocommit=True, prepare_threshold=None)

        self._connect = connect
        try:
            self.stamp()
        except psycopg.Error as error:
            self.close()
            raise StartError(f"the store has no API keys to read: {' '.join(str(error).split())}") from error

    def close(self) -> None:
        """Release the connection. Safe to call twice."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _run(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        if self._connection is None:
            self._connection = self._connect()
        try:
            cursor = self._connection.execute(statement.replace("?", "%s").encode(), values)
            return cursor.fetchall() if cursor.description else []
        except self._errors:
            self._drop()
            raise


def open_keys(store: str) -> StoredKeys:
    """The keys of the store that a `--store` URL names. Raises StartError, and StoreError for a wrong URL."""
    scheme, _, rest = store.partition(":")
    if scheme == "sqlite" and rest:
        return SqliteKeyStore(rest)
    if scheme in ("postgresql", "postgres"):
        return PostgresKeyStore(store)
    raise StartError(f"API keys are kept in the store, and a store of {scheme!r} has none; use sqlite or postgresql")
