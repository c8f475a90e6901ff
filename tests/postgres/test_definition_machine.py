"""Definitions under two servers on one PostgreSQL, each with connections of its own, step by step against a model."""

from __future__ import annotations

import asyncio
import os

import pytest

from plaudit_server.store.engines.postgres.engine import PostgresEngine
from tests.postgres.cluster import Database
from tests.store.definition_machine import run_machine

STEPS = int(os.environ.get("PLAUDIT_TEST_DEFINITION_STEPS", "150"))


@pytest.mark.timeout(120 + STEPS)
def test_no_row_breaks_the_version_in_force_and_every_retry_is_answered_alike(empty_database: Database) -> None:
    with asyncio.Runner() as runner:
        stores = [PostgresEngine(empty_database.url) for _ in range(2)]
        for store in stores:
            runner.run(store.open())
        try:
            taken = run_machine(runner, stores, STEPS)
        finally:
            for store in stores:
                runner.run(store.close())
    print(f"PostgreSQL: {taken.total()} steps as the model says: {dict(taken)}")
    assert taken.total() >= STEPS
