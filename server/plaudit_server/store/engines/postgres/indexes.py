"""Declared indexes in a PostgreSQL database: made, listed and dropped while servers read and write."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import psycopg

from plaudit_server.query.indexes.declared import DeclaredIndex
from plaudit_server.store import declared
from plaudit_server.store.base import StoreError
from plaudit_server.store.declared import Declaration, State
from plaudit_server.store.engines.postgres import citus
from plaudit_server.store.engines.postgres.dialect import postgres
from plaudit_server.store.engines.postgres.schema import Connection, applied, connected
from plaudit_server.store.migrate import migrations, pending

# An index holds nothing that depends on how case is folded.
_DIALECT: Final = postgres("C")


async def create(url: str, index: DeclaredIndex) -> bool:
    """Make and declare an index; False when it was there. Raises StoreError.

    Writes continue meanwhile. The rest of an interrupted build is removed first; the rest of this one, if it fails,
    at the end.
    """
    if index.kind == "aggregates":
        raise StoreError("PostgreSQL answers from no index over an expression alone: one for aggregates gains nothing")
    new = declared.declaration(_DIALECT, index)
    async with connected(url) as connection:
        await _check(connection)
        await citus.check_coordinator(connection, "an index is made")
        state = await _state_of(connection, new.name)
        if state is State.INVALID:
            if await _is_being_built(connection, new.name):
                raise StoreError(f"the index for {index.path} is being made at this moment, by another command")
            await _drop(connection, new.name)
        if state is not State.READY:
            await _build(connection, new)
        outdated = [old for old in await _declarations(connection) if old.key == new.key and old.name != new.name]
        await connection.execute(
            "INSERT INTO meta (key, value) VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (new.key, new.name.encode()),
        )
        for old in outdated:
            await _drop(connection, old.name)
        # Until then the planner guesses how many rows an expression finds.
        await connection.execute("ANALYZE feedback")
    return state is not State.READY


async def drop(url: str, index: DeclaredIndex) -> bool:
    """Drop an index and forget its declaration; False when it is not declared. Raises StoreError."""
    async with connected(url) as connection:
        await _check(connection)
        await citus.check_coordinator(connection, "an index is dropped")
        found = [old for old in await _declarations(connection) if old.index == index]
        for old in found:
            await _drop(connection, old.name)
            await connection.execute("DELETE FROM meta WHERE key = %s", (old.key,))
    return bool(found)


async def listing(url: str) -> list[tuple[DeclaredIndex, State]]:
    """The declared indexes, by kind and path, and the state of each. Raises StoreError."""
    async with connected(url) as connection:
        await _check(connection)
        return [(found.index, await _state(connection, found)) for found in await _declarations(connection)]


async def rows(url: str) -> int:
    """About how many records the store holds, as the database last counted. Raises StoreError."""
    async with connected(url) as connection:
        await _check(connection)
        [(count,)] = await _fetch(connection, "SELECT reltuples FROM pg_class WHERE oid = 'feedback'::regclass")
        return max(0, round(float(count)))


async def _check(connection: Connection) -> None:
    found = await applied(connection)
    if not found:
        raise StoreError("there is no store in this database; a server makes it when it starts")
    if pending(migrations("postgres"), found):
        raise StoreError("the store waits for a migration of its schema; run plaudit-server migrate")


async def _state(connection: Connection, found: Declaration) -> State:
    if found != declared.declaration(_DIALECT, found.index):
        return State.OUTDATED
    return await _state_of(connection, found.name)


async def _state_of(connection: Connection, name: str) -> State:
    valid = await _fetch(connection, "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", name)
    if not valid:
        return State.MISSING
    return State.READY if valid[0][0] else State.INVALID


async def _is_being_built(connection: Connection, name: str) -> bool:
    query = "SELECT 1 FROM pg_stat_progress_create_index WHERE index_relid = to_regclass(%s)"
    return bool(await _fetch(connection, query, name))


async def _build(connection: Connection, new: Declaration) -> None:
    try:
        await connection.execute(declared.create(_DIALECT, new, "CONCURRENTLY ").encode())
    except BaseException:
        # A failed or cancelled build leaves an index that no query uses and every write has to keep.
        if not connection.closed:
            with suppress(psycopg.Error):
                await _drop(connection, new.name)
        raise


async def _drop(connection: Connection, name: str) -> None:
    await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}".encode())


async def _declarations(connection: Connection) -> list[Declaration]:
    return declared.read(await _fetch(connection, declared.READ))


async def _fetch(connection: Connection, query: str, *values: Any) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query.encode(), values)).fetchall()
