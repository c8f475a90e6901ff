"""The database server of these tests, and its databases."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from plaudit_server.store.engines.postgres.schema import connected, migrate
from tests.postgres.cluster import EXISTING, Cluster, Database, binaries


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A temporary server, which tests may stop and kill, if they start it again."""
    if binaries() is None:
        message = "no PostgreSQL is installed: install your distribution's postgresql, or set PLAUDIT_TEST_POSTGRES"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    cluster = Cluster()
    yield cluster
    cluster.remove()


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> str:
    """The URL of the server for databases: the one that the environment names, or a temporary one."""
    if EXISTING:
        return EXISTING
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.url("postgres")


@pytest.fixture
def database(server: str) -> Iterator[Database]:
    """A database without a schema, for one test."""
    database = Database(server)
    yield database
    database.drop()


@pytest.fixture(scope="session")
def shared_database(server: str) -> Iterator[Database]:
    """A database with the schema, for many tests."""

    made = Database(server)

    async def make() -> None:
        async with connected(made.url) as connection:
            await migrate(connection)

    asyncio.run(make())
    yield made
    made.drop()


@pytest.fixture
def empty_database(shared_database: Database) -> Database:
    """A database with the schema and no record; faster than a new one."""
    shared_database.empty()
    return shared_database
