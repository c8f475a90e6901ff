"""Every worked case of shared/conformance, through a real server on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import plaudit_server.testing
from plaudit_server.testing import RunningServer
from tests.conformance import test_cases
from tests.postgres.cluster import Database
from tests.shared import as_parameters, worked_cases


@pytest.fixture(scope="module")
def running_on_postgres(shared_database: Database) -> Iterator[RunningServer]:
    with plaudit_server.testing.server(shared_database.url) as running:
        yield running


@pytest.mark.parametrize("data", as_parameters(worked_cases()))
def test_case(data: dict[str, Any], running_on_postgres: RunningServer, empty_database: Database) -> None:
    test_cases.test_case(data, running_on_postgres)
