"""A PostgreSQL database as a place for the store: whether it is usable, its schema, its distribution over machines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

from plaudit_server.config import without_password
from plaudit_server.store.base import Placement, StoreError, Table
from plaudit_server.store.engines.postgres import citus
from plaudit_server.store.migrate import LEDGER, Migration, migrations, pending

Connection = AsyncConnection[tuple[Any, ...]]

_OLDEST_VERSION: Final = 140_000
_FOLDING: Final = ("pg_c_utf8", "und-x-icu")  # what folds case by Unicode, the best first
_TRIES: Final = 20
_TRY_AGAIN_SECONDS: Final = 0.05

# Used unless the URL has others: they notice within seconds, not hours, that a machine is gone.
_DEFAULTS: Final = {
    "application_name": "plaudit",
    "connect_timeout": "5",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "client_encoding": "UTF8",
}

# When several servers make the ledger at once, all but one get one of these errors.
_RACE: Final = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.DuplicateTable,
    psycopg.errors.DuplicateObject,
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
)


def connection_string(url: str) -> str:
    """A store's URL with our defaults, for the driver. Raises StoreError when it cannot be read."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error as error:
        raise StoreError(f"{without_password(url)} is no URL of a PostgreSQL database: {error}") from error
    defaults = {name: value for name, value in _DEFAULTS.items() if name not in given}
    if "," in str(given.get("host", "")):
        defaults.setdefault("target_session_attrs", str(given.get("target_session_attrs", "read-write")))
    return make_conninfo(url, **defaults)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A new connection, in autocommit, until the block ends. Raises StoreError for errors of the database in it."""
    try:
        connection = await AsyncConnection.connect(connection_string(url), autocommit=True, prepare_threshold=None)
        async with connection:
            yield connection
    except psycopg.Error as error:
        raise StoreError(f"the store {without_password(url)}: {' '.join(str(error).split())}") from error


async def applied(connection: Connection) -> list[tuple[int, str]]:
    """Numbers and checksums of the migrations that the database remembers; none when it holds no store."""
    if (await _one(connection, "SELECT to_regclass('schema_migration') IS NULL"))[0]:
        return []
    cursor = await connection.execute("SELECT number, checksum FROM schema_migration WHERE number > 0")
    return [(number, checksum) for number, checksum in await cursor.fetchall()]


async def folding(connection: Connection) -> str:
    """The collation that folds case by Unicode here. Raises StoreError when the database cannot hold a store."""
    version, encoding = await _one(
        connection, "SELECT current_setting('server_version_num')::int, current_setting('server_encoding')"
    )
    if version < _OLDEST_VERSION:
        raise StoreError("the database is older than PostgreSQL 14, the oldest that plaudit works with")
    if encoding != "UTF8":
        raise StoreError(f"the database keeps text as {encoding}; create it with ENCODING 'UTF8'")
    cursor = await connection.execute(
        "SELECT collname FROM pg_collation WHERE collname = ANY(%s) AND collencoding IN (-1, 6)", (list(_FOLDING),)
    )
    there = {name for (name,) in await cursor.fetchall()}
    for name in _FOLDING:
        if name in there and await _folds(connection, name):
            return name
    raise StoreError(
        "the database cannot fold case by Unicode, which $contains needs: "
        "use PostgreSQL 17 or later, or a build with ICU, as distributions ship it"
    )


async def migrate(connection: Connection) -> Sequence[Migration]:
    """Apply the migrations that are due, one server at a time and all or none; returns those that were applied.

    Raises StoreError for a database that cannot hold a store, or whose schema is of a newer version.
    """
    await folding(connection)
    known = migrations("postgres")
    if pending(known, await applied(connection)):
        await citus.check_coordinator(connection, "the schema is changed")
    await _make_ledger(connection)
    async with connection.transaction():
        # A row is locked, by writing it, instead of a table or an advisory lock: every related engine supports that.
        await connection.execute("UPDATE schema_migration SET name = name WHERE number = 0")
        remembered = await applied(connection)
        waiting = pending(known, remembered)
        for migration in waiting:
            for statement in migration.statements(new=not remembered):
                await connection.execute(statement.encode())
            await connection.execute(
                "INSERT INTO schema_migration (number, name, checksum) VALUES (%s, %s, %s)", migration[:3]
            )
        await connection.execute(
            "INSERT INTO meta (key, value) VALUES ('store_id', %s), ('probe', '') ON CONFLICT DO NOTHING",
            (os.urandom(32),),
        )
    return waiting


async def distribute(connection: Connection, tables: Sequence[Table]) -> list[str]:
    """Place the declared tables on the machines of a Citus cluster, and return the names of those just placed.

    Raises StoreError where the extension is not.
    """
    if not await citus.is_here(connection):
        raise StoreError("the extension citus is not in this database: preload it, then CREATE EXTENSION citus")
    await citus.check_coordinator(connection, "tables are placed")
    cursor = await connection.execute("SELECT logicalrelid::text FROM pg_dist_partition")
    placed = {name.rpartition(".")[2] for (name,) in await cursor.fetchall()}
    done = []
    everywhere = [table.name for table in tables if table.placement is Placement.EVERYWHERE]
    first, *others = [table.name for table in tables if table.placement is Placement.BY_PROJECT]
    for table in (*everywhere, first, *others):
        if table in placed:
            continue
        if table in everywhere:
            await connection.execute("SELECT create_reference_table(%s)", (table,))
        else:
            # The rows of a project are together: each further table is placed like the first one.
            beside = "none" if table == first else first
            await connection.execute(
                "SELECT create_distributed_table(%s, 'project', colocate_with => %s)", (table, beside)
            )
        done.append(table)
    return done


async def _make_ledger(connection: Connection) -> None:
    for remaining in reversed(range(_TRIES)):
        try:
            await connection.execute(LEDGER.encode())
            await connection.execute(
                "INSERT INTO schema_migration (number, name, checksum) VALUES (0, 'lock', '') ON CONFLICT DO NOTHING"
            )
        except _RACE:
            if not remaining:
                raise
            await asyncio.sleep(_TRY_AGAIN_SECONDS)
        else:
            return


async def _folds(connection: Connection, collation: str) -> bool:
    query = SQL("SELECT lower('ÀЖΩ' COLLATE {}) = 'àжω'").format(Identifier(collation))
    return bool((await (await connection.execute(query)).fetchall())[0][0])


async def _one(connection: Connection, query: Any) -> tuple[Any, ...]:
    """The first row, or an empty one."""
    return await (await connection.execute(query)).fetchone() or ()
