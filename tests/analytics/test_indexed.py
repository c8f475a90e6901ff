"""Indexes for aggregates: the answers are those of the records, and the records are not read for them; SQLite."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from plaudit_server.analytics.reads import SelectGroups
from plaudit_server.analytics.records import Aggregate
from plaudit_server.analytics.rules import check_aggregate
from plaudit_server.analytics.serving import serving
from plaudit_server.query.indexes.conditions import Indexes
from plaudit_server.query.indexes.declared import declare
from tests.analytics import cases, comparing, generated
from tests.analytics.driving import SqliteTable

PATHS = ("payload.a", "payload.a.0", "scorer_ratings.a")
MEAN = {"name": "m", "function": "mean", "value": {"$getField": "payload.a"}}
OF_TYPE = {"$expr": {"$eq": [{"$getField": "feedback_type"}, {"$literal": "a"}]}}
NUMERALS = ("1", "-0", "0.1", "123456789012345678", "9223372036854775807", "9223372036854775808", "1e3", "-1.5E-7")
TEXTS = ('"12"', '"0x1"', '"+1.50"', '"-"')
MORE = (
    "2251799813685248.0",
    "-2251799813685247.5",
    "9007199254740991.0",
    "9007199254740993.0",
    "-9007199254740993.00",
    "999999999999999.99999",
    "0.1234567890123",
    "0.12345678901234567890",
    "1.0",
    "100",
    '"12"',
    '"0x1"',
    '"+1.50"',
    '"-"',
    "true",
    "null",
    "[1]",
)


@pytest.fixture(scope="module")
def table() -> SqliteTable:
    return SqliteTable([declare(path, "aggregates") for path in PATHS])


def row(number: int, numeral: str) -> dict[str, Any]:
    given = {"id": f"f{number}", "project_id": cases.PROJECT, "weave_ref": "urn:x", "feedback_type": "a"}
    given["created_at"] = "2025-03-01T10:00:00Z"
    return cases.evaluator_row(given, number) | {"payload": f'{{"a": {numeral}}}'}


def question(**parts: Any) -> Aggregate:
    out: list[Any] = []
    found = check_aggregate(cases.aggregate_request({"project_id": cases.PROJECT, "measures": [MEAN]} | parts), out)
    assert found is not None, out
    return found


@generated.model(25)
@given(rows=generated.tables(), when=generated.served_aggregates(PATHS))
def test_answers_are_those_of_the_records(table: SqliteTable, rows: list[dict[str, Any]], when: dict[str, Any]) -> None:
    comparing.check_aggregate(table, generated.question_of(when), rows)


def test_every_kind_of_numeral(table: SqliteTable) -> None:
    rows = [row(number, numeral) for number, numeral in enumerate((*NUMERALS, *TEXTS, *MORE), 1)]
    functions = ("count", "sum", "mean", "min", "max", "count_distinct", "percentiles", "top_values", "variance")
    for function in functions:
        measure: dict[str, Any] = MEAN | {"name": "n", "function": function}
        measure |= {"percents": [0, 37.5, 100]} if function == "percentiles" else {}
        if function in ("count", "count_distinct", "top_values"):
            measure["value"] = {"$convert": {"input": {"$getField": "payload.a"}, "to": "double"}}
        comparing.check_aggregate(table, question(measures=[MEAN, measure]), rows)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"query": OF_TYPE},
        {"group_by": [{"value": {"$getField": "feedback_type"}}]},
        {"group_by": [{"name": "day", "time": {"unit": "day", "time_zone": "Europe/Berlin"}}]},
        {"measures": [MEAN | {"where": OF_TYPE}, {"name": "n", "function": "count"}]},
        {"measures": [MEAN | {"function": "percentiles", "percents": [50]}]},
    ],
)
def test_what_an_index_holds_is_answered_by_it_alone(parts: dict[str, Any], table: SqliteTable) -> None:
    table.fill([row(1, "1")])
    last = table.plans(SelectGroups(question(**parts)))[-1]
    searches = [line for line in last.splitlines() if line.startswith("SEARCH f ")]
    assert len(searches) == 2
    assert "COVERING INDEX feedback_declared" in searches[0]
    assert "INDEX feedback_declared" in searches[1]


@pytest.mark.parametrize(
    "parts",
    [
        {"query": {"$expr": {"$eq": [{"$getField": "ref"}, {"$literal": "a"}]}}},
        {"group_by": [{"value": {"$getField": "payload.model"}}]},
        {"group_by": [{"value": {"$getField": "payload.a"}}]},
        {"newest_of": [{"$getField": "ref"}]},
        {"measures": [MEAN, MEAN | {"name": "b", "value": {"$getField": "payload.b"}}]},
        {"measures": [MEAN, {"name": "b", "function": "count", "value": {"$getField": "payload.a"}}]},
        {"measures": [MEAN | {"value": {"$getField": "payload.nowhere"}}]},
    ],
)
def test_what_it_does_not_hold_is_read(parts: dict[str, Any]) -> None:
    indexes = Indexes(declare(path, "aggregates") for path in PATHS)
    assert serving(question(), indexes) is not None
    assert serving(question(**parts), indexes) is None
