"""API keys in the store: the table that they are in, and what is read and written of it."""

from __future__ import annotations

import json
from typing import Final

from plaudit_server.auth.keys import ApiKey
from plaudit_server.config.grants import known_role
from plaudit_server.store.base import Placement, Reading, SqlEngine, Statement, Steps, Table
from plaudit_server.store.prepared import Prepared
from plaudit_server.store.work import Lane

API_KEY: Final = Table(
    name="api_key",
    title="API keys",
    columns=("id", "principal", "hash", "role", "projects", "created_at", "expires_at", "revoked_at"),
    placement=Placement.EVERYWHERE,
    order=("id",),
    types={"hash": "bytea", "created_at": "int8", "expires_at": "int8", "revoked_at": "int8"},
)

_COLUMNS: Final = ", ".join(API_KEY.columns)


class StoredKeys:
    """The keys of a store that is open."""

    def __init__(self, store: SqlEngine) -> None:
        self._store = store

    async def add(self, key: ApiKey) -> None:
        """Store a new key, durably. Raises StoreUnavailable."""
        projects = json.dumps(key.projects, ensure_ascii=False)
        values = (
            key.id, key.principal, key.hash, key.role.label, projects, key.created_at, key.expires_at, key.revoked_at,
        )  # fmt: skip

        def steps(sql: Prepared) -> Steps[None]:
            yield Statement(
                sql.traits.sql(f"INSERT INTO api_key ({_COLUMNS}) VALUES ({', '.join('?' * len(values))})"), values
            )

        await self._store.transact(steps)

    async def revoke(self, id: str, now: int) -> bool:
        """Mark a key as revoked at `now` (microseconds); False when there is no such key. Raises StoreUnavailable."""

        def steps(sql: Prepared) -> Steps[bool]:
            yield Statement(
                sql.traits.sql("UPDATE api_key SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"), (now, id)
            )
            return bool((yield Statement(sql.traits.sql("SELECT 1 FROM api_key WHERE id = ?"), (id,))))

        return await self._store.transact(steps)

    async def all(self) -> list[ApiKey]:
        """Every key, oldest first. Raises StoreUnavailable."""
        return await self._store.read(Reading(_all, Lane.POINT))

    async def stamp(self) -> tuple[int, int]:
        """How many keys there are and how many of them are revoked: keys are never removed."""
        return await self._store.read(Reading(_stamp, Lane.POINT))


def _all(sql: Prepared) -> Steps[list[ApiKey]]:
    rows = yield Statement(f"SELECT {_COLUMNS} FROM api_key ORDER BY created_at, id")
    keys = []
    for id, principal, hash, label, projects, *times in rows:
        role = known_role(label, f"the API key {id}")
        if role is not None:
            keys.append(ApiKey(id, principal, bytes(hash), role, tuple(json.loads(projects)), *times))
    return keys


def _stamp(sql: Prepared) -> Steps[tuple[int, int]]:
    [(keys, revoked)] = yield Statement("SELECT count(*), count(revoked_at) FROM api_key")
    return keys, revoked
