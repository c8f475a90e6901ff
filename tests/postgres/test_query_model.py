"""PostgreSQL's answers against the oracle and SQLite: difficult rows, queries and orders, in a locale unlike C."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plaudit.v1 import OrderBy
from plaudit_server.query.evaluate import sort_key
from plaudit_server.query.indexes.declared import declare
from plaudit_server.query.parse import parse_order
from plaudit_server.query.tree import Not, Operation
from plaudit_server.store.engines.postgres.schema import connected, folding
from tests import strategies
from tests.postgres.cluster import Database
from tests.postgres.querytable import Table
from tests.unit import querytable
from tests.unit.test_query_cases import full_row

EXAMPLES = int(os.environ.get("PLAUDIT_EXAMPLES", "40"))

model = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def fold_collation(database: Database) -> str:
    async def collation() -> str:
        async with connected(database.url) as connection:
            return await folding(connection)

    return asyncio.run(collation())


@pytest.fixture(scope="module")
def table(shared_database: Database) -> Iterator[Table]:
    with psycopg.connect(shared_database.url, autocommit=True) as connection:
        yield Table(connection, fold_collation(shared_database))


@pytest.fixture(scope="module")
def indexed(shared_database: Database) -> Iterator[Table]:
    with psycopg.connect(shared_database.url, autocommit=True) as connection:
        # Otherwise the planner never uses an index for tables of a few rows.
        connection.execute("SET enable_seqscan = off")
        yield Table(connection, fold_collation(shared_database), strategies.DECLARED)


@pytest.fixture(scope="module")
def sqlite() -> querytable.Table:
    return querytable.Table()


@pytest.mark.timeout(60 + EXAMPLES)
@model
@given(rows=strategies.tables(), query=strategies.queries)
def test_a_filter_finds_what_the_oracle_and_sqlite_find(
    table: Table, sqlite: querytable.Table, rows: list[dict[str, Any]], query: Operation
) -> None:
    table.fill(rows)
    sqlite.fill(rows)
    found, missed = table.ids(query), table.ids(Not(query))
    assert (set(found), set(missed)) == querytable.by_oracle(query, rows)
    assert (found, missed) == (sqlite.ids(query), sqlite.ids(Not(query)))


@pytest.mark.timeout(60 + EXAMPLES)
@model
@given(case=strategies.narrow_cases())
def test_declared_indexes_change_no_answer(indexed: Table, case: tuple[list[dict[str, Any]], Operation]) -> None:
    rows, query = case
    indexed.fill(rows)
    assert (set(indexed.ids(query)), set(indexed.ids(Not(query)))) == querytable.by_oracle(query, rows)


@pytest.mark.timeout(60 + EXAMPLES)
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


@pytest.mark.parametrize("kind", ["number", "text", "bool"])
def test_every_literal_finds_by_an_index_what_the_oracle_finds(shared_database: Database, kind: str) -> None:
    rows = [
        full_row(
            {
                "id": f"f{number}",
                "project": "acme/chat",
                "ref": "urn:x",
                "feedback_type": "t",
                "payload": {},
                "created_at": "2025-03-01T10:00:00Z",
            }
        )
        | {"payload": f'{{"a": {value}, "b": [{value}]}}'}
        for number, value in enumerate(strategies.nasty_values())
    ]
    declared = [declare("payload.a", kind), declare("payload.b.0", kind)]
    with psycopg.connect(shared_database.url, autocommit=True) as connection:
        connection.execute("SET enable_seqscan = off")
        table = Table(connection, fold_collation(shared_database), declared)
        table.fill(rows)
        for literal, op, path in strategies.nasty_comparisons(kind):
            value = {"$literal": literal}
            operation = strategies.parsed({op: [{"$getField": path}, [value] if op == "$in" else value]})
            found, _ = querytable.by_oracle(operation, rows)
            assert set(table.ids(operation)) == found, (literal, op, path)


def test_the_least_integer_equals_its_double(table: Table) -> None:
    """It is the one double of its size that an integer of 64 bits equals, and whose shortest text is another number."""
    least = {"$literal": -(2.0**63)}
    values = ("-9223372036854775808", "-9223372036854775808.0", '"-9223372036854775808"', "-9223372036854775807")
    base = full_row(
        {
            "id": "f",
            "project": "acme/chat",
            "ref": "urn:x",
            "feedback_type": "t",
            "payload": {},
            "created_at": "2025-03-01T10:00:00Z",
        }
    )
    table.fill([base | {"id": f"f{n}", "payload": f'{{"a": {value}}}'} for n, value in enumerate(values)])
    for op in ("$eq", "$in"):
        operand = [least] if op == "$in" else least
        assert table.ids(strategies.parsed({op: [{"$getField": "payload.a"}, operand]})) == ["f0", "f1", "f2"]
