"""SQL against the oracle: random rows, random queries, random orders; both must give one answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plaudit.v1 import OrderBy
from plaudit_server.query.evaluate import sort_key
from plaudit_server.query.parse import parse_order
from plaudit_server.query.tree import Not, Operation
from tests import strategies
from tests.unit.querytable import Table, by_oracle

# A table is emptied and filled again for each example; tree and rows are large, so the first ones are slow to draw.
model = settings(
    max_examples=strategies.EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@pytest.fixture(scope="module")
def table() -> Table:
    return Table()


@pytest.fixture(scope="module")
def indexed() -> Table:
    return Table(declared=strategies.DECLARED)


@model
@given(rows=strategies.tables(), query=strategies.queries)
def test_a_filter_finds_what_the_oracle_finds(table: Table, rows: list[dict[str, Any]], query: Operation) -> None:
    table.fill(rows)
    assert (set(table.ids(query)), set(table.ids(Not(query)))) == by_oracle(query, rows)


@model
@given(case=strategies.narrow_cases())
def test_declared_indexes_change_no_answer(indexed: Table, case: tuple[list[dict[str, Any]], Operation]) -> None:
    rows, query = case
    indexed.fill(rows)
    assert (set(indexed.ids(query)), set(indexed.ids(Not(query)))) == by_oracle(query, rows)


@model
@given(rows=strategies.tables(8), messages=strategies.orders, size=st.integers(1, 9))
def test_an_order_is_the_oracles_on_pages_of_every_size(
    table: Table, rows: list[dict[str, Any]], messages: list[OrderBy], size: int
) -> None:
    table.fill(rows)
    order = parse_order(messages)
    whole = table.ids(order=order)
    assert whole == [row["id"] for row in sorted(rows, key=lambda row: sort_key(order, row))]
    assert table.pages(None, order, size) == whole
