"""Counters on SQLite; what both engines share is in counters.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw

from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from tests.store import counters


def test_the_migration_counts_what_is_there(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "plaudit.db"))
    counters.check_migration(lambda statement: connection.execute(statement).fetchall(), "sqlite")
    connection.close()


def test_they_are_used_while_they_are_those_of_the_revision(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteEngine(tmp_path / "plaudit.db")
        await store.open()
        await counters.check_use(store)
        await store.close()

    asyncio.run(run())
