"""The state machine of tests/store/test_model.py, with PostgreSQL against the plain model in memory."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from plaudit_server.feedback.model import FeedbackModel
from plaudit_server.store.engines.memory import MemoryEngine
from plaudit_server.store.engines.postgres.engine import PostgresEngine
from tests.postgres.cluster import Database
from tests.store import test_model
from tests.store.suite import Clock

RUNS = int(os.environ.get("PLAUDIT_TEST_MODEL_RUNS", "4"))


@pytest.mark.timeout(60 + 10 * RUNS)
def test_stores_agree(shared_database: Database) -> None:
    """PLAUDIT_TEST_MODEL_RUNS runs of up to 50 steps each."""
    agree(shared_database, RUNS)


def agree(shared_database: Database, runs: int) -> None:
    """Compare the store with the model in the given number of runs."""

    class Congruence(test_model.Congruence):
        def __init__(self) -> None:
            RuleBasedStateMachine.__init__(self)
            shared_database.empty()
            self.clock = Clock()
            self.runner = asyncio.Runner()
            self.sqlite: Any = PostgresEngine(shared_database.url, clock=self.clock)
            self.feedback = FeedbackModel(self.clock)
            self.model = MemoryEngine(self.feedback)
            self.runner.run(self.sqlite.open())

        def teardown(self) -> None:
            self.runner.run(self.sqlite.close())
            self.runner.close()

    run_state_machine_as_test(
        Congruence,
        settings=settings(
            max_examples=runs,
            stateful_step_count=test_model.STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
