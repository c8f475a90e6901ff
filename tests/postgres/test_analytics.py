"""The worked cases of analytics through a real server on PostgreSQL, and random questions against the evaluator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import grpc
import psycopg
import pytest
from hypothesis import given

import plaudit_server.testing
from plaudit_server.store.base import Read
from plaudit_server.store.engines.postgres.engine import traits
from plaudit_server.store.prepared import Prepared
from plaudit_server.testing import RunningServer
from tests.analytics import cases, comparing, generated
from tests.analytics.driving import drive
from tests.analytics.test_served import AREAS, check_case
from tests.postgres import querytable
from tests.postgres.cluster import Database
from tests.postgres.test_query_model import fold_collation
from tests.shared import as_parameters

T = TypeVar("T")


class PostgresTable(querytable.Table):
    """A table of feedback with what else reads look at."""

    def __init__(self, connection: psycopg.Connection[Any], collation: str) -> None:
        super().__init__(connection, collation)
        for statement in (
            "ALTER TABLE feedback ADD COLUMN head bytea DEFAULT ''",
            "CREATE TEMP TABLE IF NOT EXISTS project (project text, revision bigint)",
        ):
            connection.execute(statement.encode())
        self._prepared = Prepared(traits(collation))

    def read(self, read: Read[T]) -> T:
        """The answer to a question."""
        return drive(read.steps(self._prepared), self._execute)

    def _execute(self, sql: str, params: Sequence[Any]) -> list[Any]:
        cursor = self._connection.cursor(binary=True)
        return cursor.execute(sql.encode(), params, prepare=False).fetchall()


@pytest.fixture(scope="module")
def table(shared_database: Database) -> Iterator[PostgresTable]:
    with psycopg.connect(shared_database.url, autocommit=True) as connection:
        yield PostgresTable(connection, fold_collation(shared_database))


@pytest.fixture(scope="module")
def running(shared_database: Database) -> Iterator[RunningServer]:
    with plaudit_server.testing.server(shared_database.url) as running:
        yield running


@pytest.mark.parametrize("case", as_parameters(cases.analytics_cases(*AREAS)))
def test_case(case: dict[str, Any], running: RunningServer, channel: grpc.Channel) -> None:
    check_case(case, running, channel)


@generated.model(15)
@given(rows=generated.tables(), when=generated.aggregates())
def test_aggregate(table: PostgresTable, rows: list[dict[str, Any]], when: dict[str, Any]) -> None:
    question = generated.question_of(when)
    assert question is not None
    comparing.check_aggregate(table, question, rows)
    comparing.check_pages(table, question, rows, 2)


@generated.model(15)
@given(rows=generated.tables(), when=generated.others())
def test_others(table: PostgresTable, rows: list[dict[str, Any]], when: dict[str, Any]) -> None:
    comparing.check_other(table, when, rows)


def test_the_variance_of_a_column_of_large_integers(table: PostgresTable) -> None:
    rows = [
        cases.evaluator_row(
            {"id": f"f{n}", "project_id": cases.PROJECT, "weave_ref": "urn:x", "feedback_type": "a"}
            | {"created_at": "2025-03-01T10:00:00Z"},
            2**62 + n,
        )
        for n in range(3)
    ]
    when: dict[str, Any] = {"project_id": cases.PROJECT, "measures": []}
    for function in ("variance", "stddev", "sum", "mean"):
        when["measures"].append({"name": function, "function": function, "value": {"$getField": "revision"}})
    comparing.check_aggregate(table, generated.question_of(when), rows)
