"""The KeyStore of a SQLite file: the table `api_key`, over a connection of its own beside the store's."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, Final

import apsw

from plaudit_server.auth.keys import ApiKey, KeyStore
from plaudit_server.principals import Role
from plaudit_server.errors import StartError

_BUSY_MS: Final = 5_000


class SqliteKeyStore:
    """The keys in the store's file, which the store has made. Safe to use from several threads."""

    def __init__(self, path: str | Path) -> None:
        """Open the file. Raises StartError when it is not there or has no keys' table."""
        self._path = path
        self._lock = threading.Lock()
        try:
            self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
            self._connection.set_busy_timeout(_BUSY_MS)
            for setting in ("secure_delete = ON", "synchronous = FULL", "trusted_schema = OFF"):
                self._connection.execute(f"PRAGMA {setting}").fetchall()
            self.stamp()
        except apsw.Error as error:
            raise StartError(f"the store {path} has no API keys to read: {error}") from error

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        with self._lock:
            self._connection.close()

    def add(self, key: ApiKey) -> None:
        """Store a new key, durably."""
        row = (
            key.id,
            key.principal,
            key.hash,
            key.role.label,
            json.dumps(key.projects, ensure_ascii=False),
            key.created_at,
            key.expires_at,
            key.revoked_at,
        )
        with self._lock:
            self._connection.execute(
                "INSERT INTO api_key (id, principal, hash, role, projects, created_at, expires_at, revoked_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )

    def revoke(self, id: str, now: int) -> bool:
        """Mark a key as revoked at `now` (microseconds); False when there is no such key."""
        with self._lock:
            self._connection.execute("UPDATE api_key SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, id))
            return bool(self._connection.execute("SELECT 1 FROM api_key WHERE id = ?", (id,)).fetchall())

    def all(self) -> list[ApiKey]:
        """Every key, oldest first."""
        with self._lock:
            rows: list[Any] = self._connection.execute(
                "SELECT id, principal, hash, role, projects, created_at, expires_at, revoked_at"
                " FROM api_key ORDER BY created_at, id"
            ).fetchall()
        return [
            ApiKey(id, principal, hash, Role.parse(role), tuple(json.loads(projects)), *times)
            for id, principal, hash, role, projects, *times in rows
        ]

    def stamp(self) -> tuple[int, int]:
        """How many keys there are and how many of them are revoked: keys are never removed."""
        with self._lock:
            counts: Any = self._connection.execute("SELECT count(*), count(revoked_at) FROM api_key").fetchone()
        return counts[0], counts[1]


def open_keys(store: str) -> SqliteKeyStore:
    """The keys of the store that a `--store` URL names. Raises StartError."""
    scheme, _, path = store.partition(":")
    if scheme != "sqlite" or not path:
        raise StartError(f"API keys are kept in the store, and that of {scheme} can not yet; use a sqlite store")
    return SqliteKeyStore(path)


_: type[KeyStore] = SqliteKeyStore
