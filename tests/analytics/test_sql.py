"""What SQLite answers is what the plain evaluator says: the worked cases, and random questions over difficult rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from plaudit_server.analytics import reads
from plaudit_server.analytics.rules import check_aggregate
from tests.analytics import cases, comparing, generated
from tests.analytics.driving import SqliteTable
from tests.shared import as_parameters


@pytest.fixture(scope="module")
def table() -> SqliteTable:
    return SqliteTable()


@pytest.mark.parametrize("case", as_parameters(cases.analytics_cases("aggregate")))
def test_aggregate_of_a_case(case: dict[str, Any], table: SqliteTable) -> None:
    question = check_aggregate(cases.aggregate_request(case["when"]), [])
    if question is not None:
        comparing.check_aggregate(table, question, comparing.rows_of(case))
        comparing.check_pages(table, question, comparing.rows_of(case), 1)


@pytest.mark.parametrize(
    "case", as_parameters(cases.analytics_cases("describe", "summarize_refs", "measure_agreement"))
)
def test_others_of_a_case(case: dict[str, Any], table: SqliteTable) -> None:
    comparing.check_other(table, case["when"], comparing.rows_of(case))


@pytest.mark.parametrize("value", ["good", True, 5, "5", 5.5, None, {}])
def test_a_count_by_itself_counts_values_of_every_kind(value: Any, table: SqliteTable) -> None:
    record: dict[str, Any] = {"id": "f1", "project_id": cases.PROJECT, "weave_ref": "urn:x", "feedback_type": "a"}
    record["payload"] = {"v": value}
    row = cases.evaluator_row(record | {"created_at": "2025-03-01T10:00:00Z"}, 1)
    measure = {"name": "n", "function": "count", "value": {"$getField": "payload.v"}}
    when: dict[str, Any] = {"project_id": cases.PROJECT, "measures": [measure]}
    comparing.check_aggregate(table, generated.question_of(when), [row])


@pytest.mark.parametrize("case", as_parameters(cases.analytics_cases("summarize_refs")))
def test_refs_of_a_case_as_if_they_had_very_many_records(
    case: dict[str, Any], table: SqliteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "_LISTED", 0)
    comparing.check_other(table, case["when"], comparing.rows_of(case))


@generated.model(40)
@given(rows=generated.tables(), when=generated.aggregates())
def test_aggregate(table: SqliteTable, rows: list[dict[str, Any]], when: dict[str, Any]) -> None:
    question = generated.question_of(when)
    comparing.check_aggregate(table, question, rows)
    comparing.check_pages(table, question, rows, 2)


@generated.model(40)
@given(rows=generated.tables(), when=generated.others())
def test_others(table: SqliteTable, rows: list[dict[str, Any]], when: dict[str, Any]) -> None:
    comparing.check_other(table, when, rows)
