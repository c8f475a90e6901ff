"""Definitions under two writers with caches of their own over one SQLite file, step by step against a model."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from tests.store.definition_machine import run_machine

STEPS = int(os.environ.get("PLAUDIT_TEST_DEFINITION_STEPS", "150"))


def test_no_row_breaks_the_version_in_force_and_every_retry_is_answered_alike(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        # A file has one engine; each server has a writer and a cache of its own over it.
        store = SqliteEngine(tmp_path / "plaudit.db")
        runner.run(store.open())
        try:
            taken = run_machine(runner, (store, store), STEPS)
        finally:
            runner.run(store.close())
    print(f"SQLite: {taken.total()} steps as the model says: {dict(taken)}")
    assert taken.total() >= STEPS
