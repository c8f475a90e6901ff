"""Retention over the wire on PostgreSQL; the scenarios are those of every engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import plaudit_server.testing
from plaudit._contract.uuid7 import uuid7
from plaudit_server.testing import RunningServer
from tests.postgres.cluster import Database
from tests.service import retained


@pytest.fixture(scope="module")
def running(shared_database: Database) -> Iterator[RunningServer]:
    shared_database.empty()  # what other tests have left need not be whole
    with plaudit_server.testing.server(shared_database.url) as running:
        yield running


@pytest.mark.parametrize("scenario", retained.SCENARIOS, ids=retained.name_of)
def test_retention(scenario: retained.Scenario, running: RunningServer) -> None:
    scenario(running, running.client(f"acme/{uuid7()}"))
