"""The PostgreSQL store: the suite of every store."""

from __future__ import annotations

import pytest

from plaudit_server.store.engines.postgres.engine import PostgresEngine
from tests.postgres.cluster import Database
from tests.store import suite


@pytest.mark.parametrize("case", [*suite.CASES, suite.a_clock_that_is_ahead_is_noticed], ids=suite.name_of)
def test_behaves_as_a_store(case: suite.Case, empty_database: Database) -> None:
    suite.run(case, lambda clock: PostgresEngine(empty_database.url, clock=clock))
