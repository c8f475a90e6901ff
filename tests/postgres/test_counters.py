"""Counters on PostgreSQL; what both engines share is in tests/store."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import psycopg
import pytest

from plaudit_server.feedback.counted import Tally
from plaudit_server.feedback.creating import Create
from plaudit_server.store.base import Reading
from plaudit_server.store.counters import Counted, differences
from plaudit_server.store.engines.postgres.engine import PostgresEngine
from tests.postgres.cluster import Database
from tests.store import counters
from tests.store.factory import record


def test_the_migration_counts_what_is_there(database: Database) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:

        def execute(statement: str) -> list[Any]:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

        counters.check_migration(execute, "postgres")


def test_they_are_used_while_they_are_those_of_the_revision(empty_database: Database) -> None:
    async def run() -> None:
        store = PostgresEngine(empty_database.url)
        await store.open()
        await counters.check_use(store)
        await store.close()

    asyncio.run(run())


def test_migrate_counts_anew_where_a_server_of_before_has_written(empty_database: Database) -> None:
    async def fill() -> None:
        store = PostgresEngine(empty_database.url)
        await store.open()
        await store.write(
            [Create("acme/a", [record(1, project="acme/a")]), Create("acme/b", [record(1, project="acme/b")])]
        )
        await store.close()

    asyncio.run(fill())
    empty_database.execute("UPDATE project SET revision = 5 WHERE project = 'acme/a'")
    for said in ("the records of 1 projects are counted anew", ""):
        done = subprocess.run(
            [sys.executable, "-m", "plaudit_server", "migrate", "--store", empty_database.url],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert said in done.stdout
        assert done.stdout.count("\n") == 1 + bool(said)
    assert empty_database.execute("SELECT count(*) FROM project WHERE counted = revision") == [(2,)]


@pytest.mark.parametrize("side_by_side", [False, True])
def test_they_are_kept_by_writes_to_several_projects(empty_database: Database, side_by_side: bool) -> None:
    projects = [f"acme/p{n}" for n in range(5)]

    async def run() -> None:
        store = PostgresEngine(empty_database.url, side_by_side=side_by_side)
        await store.open()
        for at in range(4):
            group = [
                Create(
                    project, [record(10 * at + n, project=project, feedback_type=f"t{n % 3}") for n in range(at + 1)]
                )
                for project in projects
            ]
            await store.write(group)
        for project in projects:
            assert await store.read(Tally(project, Counted())) == 10
            assert await store.read(Reading(lambda sql: differences(sql, project))) == []  # noqa: B023
        await store.close()

    asyncio.run(run())
