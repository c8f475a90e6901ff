"""Signing keys and revoked tokens in the store: their tables, and how these are read and written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from plaudit_server.store.base import Placement, Reading, SqlEngine, Statement, Steps, Table
from plaudit_server.store.prepared import Prepared
from plaudit_server.store.work import Lane
from plaudit_server.tokens.keyring import Keyring, KeyScope

SIGNING_KEY: Final = Table(
    name="signing_key",
    title="signing keys",
    columns=("id", "projects", "types", "max_days", "per_minute", "created_at", "revoked_at"),
    placement=Placement.EVERYWHERE,
    order=("id",),
    types={"max_days": "int8", "per_minute": "int8", "created_at": "int8", "revoked_at": "int8"},
)
REVOKED_TOKEN: Final = Table(
    name="revoked_token",
    title="revoked feedback tokens",
    columns=("key_id", "token_id", "expires_at"),
    placement=Placement.EVERYWHERE,
    order=("key_id", "token_id"),
    types={"expires_at": "int8"},
)

_KEY_COLUMNS: Final = ", ".join(SIGNING_KEY.columns)


@dataclass(frozen=True, slots=True)
class _Stored:
    scopes: Sequence[KeyScope]
    revoked: Sequence[tuple[str, str]]


class StoredTokens:
    """The signing keys and revoked tokens of a store that is open."""

    def __init__(self, store: SqlEngine) -> None:
        self._store = store

    async def add(self, scope: KeyScope) -> bool:
        """Store a new key, durably; False when its id is taken. Raises StoreUnavailable."""
        values = (
            scope.id, json.dumps(scope.projects), json.dumps(scope.types), scope.max_days, scope.per_minute,
            scope.created_at, scope.revoked_at,
        )  # fmt: skip

        def steps(sql: Prepared) -> Steps[bool]:
            # The first statement writes: it is what locks the row of a key that two make at once.
            made = f"INSERT INTO signing_key ({_KEY_COLUMNS}) VALUES ({', '.join('?' * len(values))})"
            rows = yield Statement(sql.traits.sql(f"{made} ON CONFLICT (id) DO NOTHING RETURNING id"), values)
            return bool(rows)

        return await self._store.transact(steps)

    async def revoke_key(self, id: str, now: int) -> bool:
        """Mark a key as revoked at `now` (microseconds); False when there is no such key. Raises StoreUnavailable."""

        def steps(sql: Prepared) -> Steps[bool]:
            yield Statement(
                sql.traits.sql("UPDATE signing_key SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"), (now, id)
            )
            return bool((yield Statement(sql.traits.sql("SELECT 1 FROM signing_key WHERE id = ?"), (id,))))

        return await self._store.transact(steps)

    async def revoke_token(self, key_id: str, token_id: str, expires_at: int, now: int) -> None:
        """Revoke a token until it ends, at `expires_at`; forget those that have ended at `now`. Unix seconds."""

        def steps(sql: Prepared) -> Steps[None]:
            text = "INSERT INTO revoked_token (key_id, token_id, expires_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
            yield Statement(sql.traits.sql(text), (key_id, token_id, expires_at))
            yield Statement(sql.traits.sql("DELETE FROM revoked_token WHERE expires_at < ?"), (now,))

        await self._store.transact(steps)

    async def scopes(self) -> list[KeyScope]:
        """Every key, oldest first. Raises StoreUnavailable."""
        return list((await self._read()).scopes)

    async def keyring(self, master: bytes, before: Keyring | None) -> Keyring:
        """The keys in force; `before` itself where nothing has changed since."""
        stored = await self._read()
        made = Keyring(master, stored.scopes, stored.revoked)
        return before if before == made else made

    async def _read(self) -> _Stored:
        return await self._store.read(Reading(_all, Lane.POINT))


def _all(sql: Prepared) -> Steps[_Stored]:
    keys = yield Statement(f"SELECT {_KEY_COLUMNS} FROM signing_key ORDER BY created_at, id")
    revoked = yield Statement("SELECT key_id, token_id FROM revoked_token ORDER BY key_id, token_id")
    return _Stored(
        [
            KeyScope(id, tuple(json.loads(projects)), tuple(json.loads(types)), *numbers)
            for id, projects, types, *numbers in keys
        ],
        [(key_id, token_id) for key_id, token_id in revoked],
    )
