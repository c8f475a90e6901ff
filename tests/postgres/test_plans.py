"""Query plans over many projects: each common shape uses the index meant for it, and a deep page reads no more than the
first. PLAUDIT_TEST_ROWS=1000000 tries it at full size; what pages cost is printed, beside a store of 10,000 rows.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

from plaudit_server.feedback.batches import SelectBatch
from plaudit_server.feedback.commands import Purge
from plaudit_server.feedback.held import look_up
from plaudit_server.feedback.reads import Get, Select, SelectChanges, SelectRefs
from plaudit_server.feedback.records import FEEDBACK
from plaudit_server.query.fields import Column
from plaudit_server.query.indexes.declared import declare
from plaudit_server.query.tree import And, Operation, SortKey
from plaudit_server.store import declared
from plaudit_server.store.base import Statement, Steps
from plaudit_server.store.engines.postgres.dialect import postgres
from plaudit_server.store.engines.postgres.engine import PostgresEngine, traits
from plaudit_server.store.engines.postgres.schema import connected, folding, migrate
from plaudit_server.store.ledger import Ledger
from plaudit_server.store.prepared import Prepared
from tests.postgres.cluster import Database
from tests.store.factory import BY_TIME, PROJECT, id_of, record
from tests.store.suite import column

ROWS = int(os.environ.get("PLAUDIT_TEST_ROWS", "20000"))
PROJECTS = 100 if ROWS >= 1_000_000 else 10
FEW_ROWS = 10_000
ROUNDS = 51 if ROWS >= 1_000_000 else 3
BY_CREATOR = declared.declaration(postgres("C"), declare("creator"))
NEWEST_FIRST = (SortKey(Column("created_at", "time"), descending=True), SortKey(Column("id", "text")))

# Rows as the store writes them, made by the database: seven refs, four types, a hundred creators in each project.
FILL = f"""
INSERT INTO {{table}} ({", ".join(FEEDBACK.columns)})
SELECT CASE p WHEN 0 THEN '{PROJECT}' ELSE 'acme/p' || p END, lpad(n::text, 36, '0'), n * 2 + {{odd}}, 1, 1, n, n,
  'anonymous', 'urn:' || mod(n, 7), 't' || mod(n, 4), 'c' || mod(n, 100), NULL, NULL, NULL, NULL, NULL,
  '[]', '{{{{}}}}', '{{{{}}}}', '{{{{}}}}', '{{{{}}}}', '{{{{}}}}', '', '', 'UNSET', '', '', '', %s, %s,
  NULL, 'anonymous'
FROM generate_series(0, {{projects}} - 1) AS p, generate_series(1, {{rows}} / {{projects}}) AS n"""


def fill(server: str, rows: int, projects: int) -> Database:
    """A new database with `rows` rows in all, equally many in each project, and the same number as history."""

    async def make() -> None:
        async with connected(database.url) as connection:
            await migrate(connection)

    database = Database(server)
    asyncio.run(make())
    row = record(1, {"text": "x" * 100})
    with psycopg.connect(database.url, autocommit=True) as connection:
        for odd, table in enumerate(("feedback", "feedback_history")):
            statement = FILL.format(table=table, odd=odd, rows=rows, projects=projects)
            connection.execute(statement.encode(), (row.body, row.payload))
        connection.execute(
            "INSERT INTO project SELECT project, max(revision) + 1, max(created_at) FROM feedback GROUP BY project"
        )
        connection.execute(declared.create(postgres("C"), BY_CREATOR).encode())
        connection.execute("VACUUM ANALYZE")
    return database


@pytest.fixture(scope="module")
def filled(server: str) -> Iterator[Database]:
    database = fill(server, ROWS, PROJECTS)
    yield database
    database.drop()


@pytest.fixture(scope="module")
def statements(filled: Database) -> Prepared:
    async def collation() -> str:
        async with connected(filled.url) as connection:
            return await folding(connection)

    return Prepared(traits(asyncio.run(collation())))


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def plan_of(database: Database, steps: Steps[Any], answers: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """The nodes of the plan of a generator's last statement; `answers` are the rows of those before it."""
    step = next(steps)
    for rows in answers:
        step = steps.send(rows)
    if isinstance(step, Statement) and step.sql == declared.READ:
        step = steps.send(database.execute(declared.READ))
    assert isinstance(step, Statement)
    with psycopg.connect(database.url) as connection:
        cursor = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {step.sql}".encode(), step.params)
        [[[explained]]] = cursor.fetchall()
    return list(nodes(explained["Plan"]))


def page(statements: Prepared, filter: Operation | None, order: Any = BY_TIME, **more: Any) -> Steps[Any]:
    return Select(PROJECT, filter, order, limit=100, **more).steps(statements)


@pytest.mark.parametrize(
    ("filter", "index"),
    [
        (None, "feedback_by_time"),
        (column("ref", "urn:3"), "feedback_by_ref"),
        (column("feedback_type", "t1"), "feedback_by_type"),
        (column("creator", "c1"), BY_CREATOR.name),
        (And((column("ref", "urn:3"), column("feedback_type", "t1"))), "feedback_by_ref"),
    ],
)
@pytest.mark.parametrize("order", [BY_TIME, NEWEST_FIRST], ids=["oldest first", "newest first"])
def test_a_page_comes_from_the_index_meant_for_it(
    filled: Database, statements: Prepared, filter: Operation | None, index: str, order: Any
) -> None:
    plan = plan_of(filled, page(statements, filter, order), [[(ROWS,)]])
    assert [node["Index Name"] for node in plan if "Index Name" in node] == [index]
    assert not any(node["Node Type"] in ("Seq Scan", "Sort", "Hash") for node in plan)


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_a_deep_page_reads_no_more_rows_than_the_first(filled: Database, statements: Prepared, part: float) -> None:
    at = int(part * (ROWS // PROJECTS - 200))
    plan = plan_of(filled, page(statements, None, after=(at, id_of(0))), [[(ROWS,)]])
    [scan] = [node for node in plan if "Index Name" in node]
    assert scan["Index Name"] == "feedback_by_time"
    assert scan["Actual Rows"] <= 101
    assert scan.get("Rows Removed by Filter", 0) == 0


def test_changes_merge_both_tables_in_the_order_of_their_indexes(filled: Database, statements: Prepared) -> None:
    revision = 2 * ROWS // PROJECTS
    plan = plan_of(
        filled, SelectChanges(PROJECT, revision // 2, None, 10, 1_000_000).steps(statements), [[(revision,)]]
    )
    assert sorted(node["Index Name"] for node in plan if "Index Name" in node) == [
        "feedback_by_revision",
        "feedback_history_by_revision",
    ]
    assert "Sort" not in {node["Node Type"] for node in plan}
    assert max(node["Actual Rows"] for node in plan) <= 12


def test_a_tail_finds_each_replaced_version_by_its_key(filled: Database, statements: Prepared) -> None:
    revision = 2 * ROWS // PROJECTS
    read = SelectBatch(PROJECT, revision // 2, ("id", "payload"), 10, 1_000_000)
    plan = plan_of(filled, read.steps(statements), [[(revision,)]])
    assert sorted(node["Index Name"] for node in plan if "Index Name" in node) == [
        "feedback_by_revision",
        "feedback_history_by_revision",
        "feedback_history_pkey",
        "feedback_history_pkey",
    ]
    assert "Sort" not in {node["Node Type"] for node in plan}
    assert max(node["Actual Rows"] for node in plan) <= 12


def test_refs_are_grouped_in_the_order_of_the_index(filled: Database, statements: Prepared) -> None:
    plan = plan_of(filled, SelectRefs(PROJECT, None, "urn:5", 10).steps(statements))
    assert [node["Index Name"] for node in plan if "Index Name" in node] == ["feedback_by_ref"]
    assert not any(node["Node Type"] in ("Seq Scan", "Sort", "HashAggregate") for node in plan)


def test_the_ids_of_a_batch_are_looked_up_by_their_keys_however_many(filled: Database, statements: Prepared) -> None:
    ids = [id_of(number) for number in range(1_000)]
    plan = plan_of(filled, look_up(Ledger(statements, PROJECT, 0), ids))
    found = [(node["Relation Name"], node.get("Index Name")) for node in plan if "Relation Name" in node]
    # The third table is empty, and read as a whole.
    assert found[:2] == [("feedback", "feedback_pkey"), ("feedback_history", "feedback_history_pkey")]
    assert max(node["Actual Rows"] for node in plan) <= len(ids)
    plan = plan_of(filled, Purge(PROJECT, "someone", ids).steps(Ledger(statements, PROJECT, 0)))
    assert [node["Index Name"] for node in plan if "Index Name" in node] == ["feedback_pkey"]
    assert max(node["Actual Rows"] for node in plan) <= len(ids)


def test_one_id_and_its_versions_come_by_the_key(filled: Database, statements: Prepared) -> None:
    reads: list[tuple[Steps[Any], list[Any]]] = [
        (Get(PROJECT, id_of(5), 0).steps(statements), []),
        (Get(PROJECT, id_of(5), 1).steps(statements), []),
        (page(statements, column("id", id_of(5))), [[(ROWS,)]]),
    ]
    for steps, answers in reads:
        plan = plan_of(filled, steps, answers)
        assert {node["Index Name"] for node in plan if "Index Name" in node} <= {
            "feedback_pkey",
            "feedback_history_pkey",
        }
        assert "Seq Scan" not in {node["Node Type"] for node in plan}


def test_what_pages_cost(server: str, filled: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """Compared with a store of one project; without a bound, because the machine is shared (plans have bounds)."""
    few = fill(server, FEW_ROWS, 1)

    async def measure() -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        stores = PostgresEngine(few.url), PostgresEngine(filled.url)
        costs: tuple[dict[str, list[float]], dict[str, list[float]]] = {}, {}
        for store in stores:
            await store.open()
        for _ in range(ROUNDS):
            for store, cost, rows in zip(stores, costs, (FEW_ROWS, ROWS // PROJECTS), strict=True):
                for name, select in shapes(rows).items():
                    started = time.perf_counter()
                    page = await store.read(select)
                    cost.setdefault(name, []).append(1000 * (time.perf_counter() - started))
                    assert len(page.rows) == 100
        for store in stores:
            await store.close()
        return costs

    small, large = asyncio.run(measure())
    few.drop()
    with capsys.disabled():
        print(f"\npages of 100, ms, median of {ROUNDS} (quartiles): {FEW_ROWS} rows in 1 project, {ROWS} in {PROJECTS}")
        for name in small:
            ratio = statistics.median(large[name]) / statistics.median(small[name])
            print(f"  {name}: {spread(small[name])}, {spread(large[name])}, ratio {ratio:.2f}")


def shapes(rows: int) -> dict[str, Select]:
    """The reads that are measured, in a project with the given number of rows."""
    deep = rows - 200
    return {
        "by ref": Select(PROJECT, column("ref", "urn:3"), BY_TIME, limit=100),
        "by project and time": Select(PROJECT, None, BY_TIME, limit=100),
        "newest first": Select(PROJECT, None, NEWEST_FIRST, limit=100),
        "deep page": Select(PROJECT, None, BY_TIME, after=(deep, id_of(0)), limit=100),
    }


def spread(times: list[float]) -> str:
    """The median with its quartiles."""
    low, median, high = statistics.quantiles(times, n=4)
    return f"{median:.2f} ({low:.2f} to {high:.2f})"
