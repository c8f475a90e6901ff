"""Migrations: made once however many servers start together, applied to stores with data, refused when newer."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from plaudit_server.feedback.reads import Get
from plaudit_server.feedback.records import message
from plaudit_server.resources import tables
from plaudit_server.store.base import Engine, StoreError
from plaudit_server.store.engines.postgres import engine as postgres
from plaudit_server.store.engines.postgres import schema as postgres_schema
from plaudit_server.store.engines.postgres.engine import PostgresEngine
from plaudit_server.store.migrate import Migration, migrations
from tests.postgres.citus import STAND_IN
from tests.postgres.cluster import Cluster, Database, version
from tests.store import test_place_migration as places
from tests.store.factory import PROJECT
from tests.store.test_owner_migration import COLUMNS as COLUMNS_OF_BEFORE
from tests.store.test_owner_migration import EXPECTED as OWNER_OF
from tests.store.test_owner_migration import rows as rows_of_before

# A store as the first release made it.
FIRST_RELEASE = migrations("postgres")[:1]


def later(*extra: str) -> tuple[Migration, ...]:
    """The migrations of a later version: today's and these."""
    known = migrations("postgres")
    return known + tuple(
        Migration(len(known) + n, f"later_{n}", hashlib.sha256(text.encode()).hexdigest(), text)
        for n, text in enumerate(extra, 1)
    )


@pytest.fixture
def knows(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the migrations that this version has."""

    def know(known: Sequence[Migration]) -> None:
        for module in (postgres, postgres_schema):
            monkeypatch.setattr(module, "migrations", lambda _: tuple(known))

    return know


async def migrate(url: str) -> Sequence[Migration]:
    async with postgres_schema.connected(url) as connection:
        return await postgres_schema.migrate(connection)


async def opened(url: str) -> Engine:
    store = PostgresEngine(url)
    await store.open()
    return store


def test_many_that_start_together_make_the_schema_once(database: Database) -> None:
    async def scenario() -> None:
        applied = await asyncio.gather(*(migrate(database.url) for _ in range(8)))
        assert sorted(map(len, applied)) == [0] * 7 + [len(migrations("postgres"))]
        stores = await asyncio.gather(*(opened(database.url) for _ in range(4)))
        assert len({store.store_id for store in stores}) == 1
        await asyncio.gather(*(store.close() for store in stores))

    asyncio.run(scenario())
    numbers = [number for (number,) in database.execute("SELECT number FROM schema_migration ORDER BY number")]
    assert numbers == list(range(len(migrations("postgres")) + 1))


def test_servers_that_open_an_empty_database_together_all_open_it(database: Database) -> None:
    async def scenario() -> None:
        stores = await asyncio.gather(*(opened(database.url) for _ in range(4)))
        await asyncio.gather(*(store.close() for store in stores))

    asyncio.run(scenario())


def test_the_first_released_schema_is_carried_forward_with_its_data(database: Database, knows: Any) -> None:
    knows(FIRST_RELEASE)

    async def before() -> Any:
        await migrate(database.url)
        for revision, row in enumerate(rows_of_before(), 1):
            places = ", ".join(["%s"] * len(COLUMNS_OF_BEFORE))
            database.execute(
                f"INSERT INTO {row.table} ({', '.join(COLUMNS_OF_BEFORE)}) VALUES ({places})", row.values(revision)
            )

    asyncio.run(before())
    known = later("ALTER TABLE meta ADD COLUMN note text;\n", "CREATE INDEX later ON feedback (project, user_id);\n")
    knows(known)

    async def after() -> None:
        with pytest.raises(StoreError, match=rf"waits for {len(known) - 1} migrations .* plaudit-server migrate"):
            await opened(database.url)
        assert [migration.name for migration in await migrate(database.url)][-2:] == ["later_1", "later_2"]
        assert await migrate(database.url) == ()
        store = await opened(database.url)
        for row in rows_of_before():
            if row.version:
                found = await store.read(Get(PROJECT, row.id, row.version))
                assert found is not None
                assert (message(found).id, message(found).owner) == (row.id, OWNER_OF[row.id])
        await store.close()

    asyncio.run(after())
    assert database.execute("SELECT note FROM meta WHERE key = 'probe'") == [(None,)]


def test_a_place_of_an_older_store_is_still_taken(database: Database) -> None:
    asyncio.run(migrate(database.url))
    asyncio.run(places.write(PostgresEngine(database.url), 1))
    before = database.execute(places.ROWS)
    database.execute("UPDATE feedback SET unique_key = right(unique_key, 32)")
    database.execute("DELETE FROM schema_migration WHERE number >= 9")

    asyncio.run(migrate(database.url))
    asyncio.run(places.write(PostgresEngine(database.url), 11))

    places.check(before, database.execute(places.ROWS))


def test_a_migration_that_fails_leaves_everything_as_it_was(database: Database, knows: Any) -> None:
    asyncio.run(migrate(database.url))
    knows(later("ALTER TABLE meta ADD COLUMN note text;\n", "ALTER TABLE nonsense ADD COLUMN note text;\n"))
    with pytest.raises(StoreError, match="nonsense"):
        asyncio.run(migrate(database.url))
    assert database.execute("SELECT max(number) FROM schema_migration") == [(len(migrations("postgres")),)]
    columns = database.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'meta'")
    assert sorted(columns) == [("key",), ("value",)]


def test_a_newer_schema_is_refused(database: Database, knows: Any) -> None:
    today = migrations("postgres")
    knows(later("ALTER TABLE meta ADD COLUMN note text;\n"))
    asyncio.run(migrate(database.url))
    knows(today)
    for act in (opened, migrate):
        with pytest.raises(StoreError, match="used by a newer version of plaudit"):
            asyncio.run(act(database.url))


def test_another_line_of_migrations_is_refused(database: Database) -> None:
    asyncio.run(migrate(database.url))
    database.execute("UPDATE schema_migration SET checksum = 'x' WHERE number = 1")
    with pytest.raises(StoreError, match="migration 1 is not the one"):
        asyncio.run(migrate(database.url))


def plain_locale() -> str:
    return "TEMPLATE template0 LOCALE 'C'" + (" LOCALE_PROVIDER libc" if version() >= 15 else "")


def test_a_database_that_keeps_text_otherwise_is_refused(cluster: Cluster) -> None:
    latin = Database(cluster.url("postgres"), f"ENCODING 'LATIN1' {plain_locale()}")
    try:
        with pytest.raises(StoreError, match="keeps text as LATIN1"):
            asyncio.run(migrate(latin.url))
    finally:
        latin.drop()


def test_a_database_that_can_not_fold_case_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a build without ICU before PostgreSQL 17: none of the collations exists.
    monkeypatch.setattr(postgres_schema, "_FOLDING", ("pg_c_utf8_not_here", "C"))
    with pytest.raises(StoreError, match="cannot fold case by Unicode"):
        asyncio.run(migrate(database.url))
    assert database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []


def test_a_locale_of_c_alone_does_as_well(cluster: Cluster) -> None:
    plain = Database(cluster.url("postgres"), plain_locale())
    try:
        asyncio.run(migrate(plain.url))
    finally:
        plain.drop()


def test_on_citus_every_table_is_placed_once(database: Database) -> None:
    async def distribute() -> list[str]:
        async with postgres_schema.connected(database.url) as connection:
            await postgres_schema.migrate(connection)
            return await postgres_schema.distribute(connection, tables())

    database.execute(STAND_IN)
    assert asyncio.run(distribute()) == [
        "meta",
        "schema_migration",
        "api_key",
        "signing_key",
        "revoked_token",
        "project",
        "feedback",
        "feedback_history",
        "feedback_alias",
        "feedback_gone",
        "feedback_count",
        "definition",
        "retention_rule",
        "legal_hold",
    ]
    assert dict(database.execute("SELECT logicalrelid::text, asked FROM pg_dist_partition")) == {
        "meta": "reference",
        "schema_migration": "reference",
        "api_key": "reference",
        "signing_key": "reference",
        "revoked_token": "reference",
        "project": "project with none",
        "feedback": "project with project",
        "feedback_history": "project with project",
        "feedback_alias": "project with project",
        "feedback_gone": "project with project",
        "feedback_count": "project with project",
        "definition": "project with project",
        "retention_rule": "project with project",
        "legal_hold": "project with project",
    }
    assert asyncio.run(distribute()) == []


def run(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "plaudit_server", "migrate", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("PLAUDIT_")},
    )
    return done.returncode, done.stdout + done.stderr


def test_the_command_migrates_checks_and_refuses_in_one_line(database: Database, server: str) -> None:
    assert run("--store", database.url, "--check")[0] == 3
    code, said = run("--store", database.url)
    assert (code, said.count("\n")) == (0, 1)
    assert "applied: feedback" in said
    assert run("--store", database.url, "--check")[0] == 0
    code, said = run("--store", database.url, "--citus")
    assert code == 1
    assert said.splitlines()[-1].startswith("plaudit-server: the extension citus is not in this database")
    code, said = run("--store", "postgresql://nobody:secret@127.0.0.1:1/none")
    assert (code, said.count("\n")) == (1, 1)
    assert "secret" not in said
