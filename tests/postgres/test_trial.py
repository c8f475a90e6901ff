"""The trial resource on PostgreSQL, its copies from and to SQLite, and its table on a Citus cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from plaudit_server.resources import tables
from plaudit_server.store.engines.postgres.schema import connected, distribute
from tests.postgres.citus import STAND_IN
from tests.postgres.cluster import Database
from tests.trial import suite


def test_it_answers_whom_it_may(database: Database) -> None:
    suite.check_answers_and_permission(database.url)


def test_it_is_charged_and_measured(database: Database) -> None:
    suite.check_quotas_and_metrics(database.url)


def test_it_is_admitted(database: Database) -> None:
    suite.check_admission(database.url)


def test_it_is_audited(database: Database, tmp_path: Path) -> None:
    suite.check_audit(database.url, tmp_path / "audit.log")


@pytest.mark.parametrize("direction", ["to PostgreSQL", "to SQLite"])
def test_it_is_copied(database: Database, tmp_path: Path, direction: str) -> None:
    urls = [f"sqlite:{tmp_path / 'plaudit.db'}", database.url]
    if direction == "to SQLite":
        urls.reverse()
    suite.check_copy(*urls)


def test_its_table_is_placed_on_a_cluster_beside_the_others(database: Database) -> None:
    suite.on(database.url, suite.apply_migration)
    database.execute(STAND_IN)

    async def place() -> list[str]:
        async with connected(database.url) as connection:
            return await distribute(connection, tables(suite.WITH_TRIAL))

    assert "mark" in asyncio.run(place())
    placed = dict(database.execute("SELECT logicalrelid::text, asked FROM pg_dist_partition"))
    assert placed["mark"] == placed["feedback"] == "project with project"
