"""Definitions under two writers with caches of their own over one SQLite file, step by step against a model."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from tests.store.definition_machine import DefinitionMachine

STEPS = 50
RUNS = max(8, int(os.environ.get("PLAUDIT_EXAMPLES", "0")) // STEPS)
"""PLAUDIT_EXAMPLES=20000 takes about as many steps."""


def test_no_row_breaks_the_version_in_force_and_every_retry_is_answered_alike(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        # A file has one engine; each server has a writer and a cache of its own over it.
        store = SqliteEngine(tmp_path / "plaudit.db")
        runner.run(store.open())

        class Machine(DefinitionMachine):
            pass

        Machine.runner, Machine.stores = runner, (store, store)
        try:
            run_state_machine_as_test(
                Machine,
                settings=settings(
                    max_examples=RUNS,
                    stateful_step_count=STEPS,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(store.close())
        assert Machine.steps > RUNS
