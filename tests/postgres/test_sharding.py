"""The schema can be distributed by project as it is: shown from the catalog, and from the plan of every statement."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import psycopg
import pytest
from hypothesis import given, settings

from plaudit_server.feedback.aliases import ALIAS
from plaudit_server.feedback.batches import SelectBatch
from plaudit_server.feedback.commands import Purge, Replace
from plaudit_server.feedback.counted import Tally
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.purging import FindIds, FindMatches
from plaudit_server.feedback.reads import Count, Get, Select, SelectChanges, SelectRefs, SelectVersions
from plaudit_server.feedback.retaining import FindDue
from plaudit_server.ops.verifying import any_gone
from plaudit_server.query.compile.filters import compile_filter
from plaudit_server.query.compile.order import compile_order
from plaudit_server.query.parse import parse_order
from plaudit_server.query.tree import Operation
from plaudit_server.resources import tables
from plaudit_server.retention.commands import ApplyRule, PutRule
from plaudit_server.retention.deleting import Deletion, size_of
from plaudit_server.retention.holds import Hold, lift, put
from plaudit_server.retention.reads import CountDue, GetRules, SelectTypes
from plaudit_server.retention.records import Rule
from plaudit_server.store import counters, transfer
from plaudit_server.store.base import Insert, Placement, Read, Reading, Statement, Steps, Table
from plaudit_server.store.counters import Counted
from plaudit_server.store.engines.postgres.dialect import postgres
from plaudit_server.store.engines.postgres.driving import places, proofs
from plaudit_server.store.engines.postgres.engine import PostgresEngine
from plaudit_server.store.engines.postgres.schema import Connection
from plaudit_server.store.ledger import ProjectRevision, recounting
from plaudit_server.store.migrate import migrations
from plaudit_server.store.prepared import Prepared
from tests import strategies
from tests.postgres.cluster import Database
from tests.store import suite
from tests.store.factory import BY_TIME, PROJECT, id_of, record
from tests.store.purges import purge

T = TypeVar("T")

# Constructs that related engines do not have, or have in another form.
FORBIDDEN = re.compile(
    r"\b(listen|notify|unlisten|pg_(try_)?advisory\w*|trigger|nextval|setval|\w*serial|sequence|temp|temporary"
    r"|jsonb?_path\w*|jsonb|prepare|deallocate|discard|hold|set session|references|foreign key)\b|@\?|plaudit_server.",
    re.IGNORECASE,
)


class RecordingStore(PostgresEngine):
    """A store that remembers each statement that it ran."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.seen: dict[str, Any] = {}

    async def _drive(self, connection: Connection, steps: Steps[T], marks: Any = None) -> T:
        return await super()._drive(connection, self._recorded(steps), marks)

    def _steps(self, read: Read[T]) -> Steps[T]:
        return self._recorded(super()._steps(read))

    def _recorded(self, steps: Steps[T]) -> Steps[T]:
        rows: list[Any] = []
        try:
            step = next(steps)
            while True:
                if isinstance(step, Statement):
                    self.seen[step.sql] = step.params
                rows = yield step
                step = steps.send(rows)
        except StopIteration as stop:
            result: T = stop.value
            return result


FILTER = suite.payload("a.1.b", 5)

BY_PROJECT = [table for table in tables() if table.placement is Placement.BY_PROJECT]
EVERYWHERE = [table.name for table in tables() if table.placement is Placement.EVERYWHERE]


def exporting(table: Table) -> Reading[Any]:
    return Reading(lambda sql: transfer.export(sql, table, PROJECT, None, 5, 1000))


def positioned(table: Table) -> Reading[Any]:
    return Reading(lambda sql: transfer.position(sql, table, PROJECT))


def another_name(project: str) -> Callable[[Prepared], Steps[None]]:
    def steps(sql: Prepared) -> Steps[None]:
        yield Insert(ALIAS, [(project, id_of(20), id_of(1), 1)])

    return steps


async def removals(store: PostgresEngine) -> None:
    """What removes records by rules, and whole projects, and what keeps it from doing so."""
    await store.write([PutRule(PROJECT, "note", 1, "root", 5)])
    await store.write([ApplyRule(PROJECT, "note", Rule("note", 1, "root", 5), 2**60, [id_of(5)])])
    await store.write([Create(PROJECT, [record(5)], atomic=False)])
    for type in ("note", None):
        await store.read(FindDue(PROJECT, type, 2**60, 5))
    await store.read(GetRules(PROJECT))
    await store.read(SelectTypes(PROJECT, "", 5))
    await store.read(CountDue(PROJECT, [Rule("note", 1, "root", 5), Rule("*", 1, "root", 5)], ["note"], 2**60))
    await store.transact(lambda sql: put(sql, Hold(PROJECT, 5, "root", "a case")))
    await store.transact(lambda sql: lift(sql, PROJECT, 6, "root"))
    await store.read(Reading(lambda sql: any_gone(sql, PROJECT)))


async def deletion(store: PostgresEngine) -> None:
    """The end of a project, and its beginning anew."""
    await Deletion(store, PROJECT, await size_of(store, PROJECT)).run()
    await store.write([Create(PROJECT, [record(70)])])


async def everything(store: PostgresEngine) -> None:
    """Everything that a store does, in each of its forms."""
    await store.write([Create(PROJECT, [record(n) for n in range(10)])])
    await store.write([Replace(PROJECT, record(1, {"a": 1}))])
    await store.write([Create(PROJECT, [record(0), record(1)])])
    # An id that became another name of a record, tried again.
    await store.transact(another_name(PROJECT))
    await store.write([Create(PROJECT, [record(20)])])
    for command in (
        Purge(PROJECT, "p", [id_of(2)]),
        Purge(PROJECT, "p", [id_of(3)], (0,), FILTER),
        Purge(PROJECT, "p", [id_of(4)], owner="p"),
    ):
        await store.write([command])
    await purge(store, PROJECT, filter=FILTER)
    await store.read(FindMatches(PROJECT, FILTER, (5, id_of(1)), None, 10, "p", 5))
    await store.read(FindIds(PROJECT, [id_of(4), id_of(5)], "p"))
    for filter in (None, FILTER):
        await store.read(Select(PROJECT, filter, BY_TIME, limit=2, with_total=True))
        await store.read(Select(PROJECT, filter, BY_TIME, after=(5, id_of(1)), offset=1, limit=2))
        await store.read(Count(PROJECT, filter))
        for after in (None, "urn:a"):
            await store.read(SelectRefs(PROJECT, filter, after, 10))
        await store.read(SelectChanges(PROJECT, 0, filter, 100))
    for version in (0, 1):
        await store.read(Get(PROJECT, id_of(1), version))
    await store.read(SelectVersions(PROJECT, id_of(1), 0, 10))
    await store.read(ProjectRevision(PROJECT))
    await store.read(Tally(PROJECT, Counted(frozenset({"t"}), 1, 2)))
    await store.read(Reading(lambda sql: counters.differences(sql, PROJECT)))
    await store.transact(lambda sql: counters.add(sql, [(PROJECT, "t", 1, 1)]))  # as on Citus
    await store.transact(recounting(PROJECT))
    await store.read(SelectBatch(PROJECT, 0, ("id", "owner", "payload"), 100, 1_000_000))
    await removals(store)
    # What a copy does. It also lists the projects, the one statement across projects; no server runs it.
    for table in BY_PROJECT[1:]:
        await store.read(exporting(table))
        await store.read(positioned(table))
    await store.read(Reading(lambda sql: transfer.count(sql, BY_PROJECT[1:], PROJECT)))
    await deletion(store)


@pytest.fixture(scope="module")
def statements(shared_database: Database) -> dict[str, Any]:
    """Every statement, with values for its placeholders."""
    shared_database.empty()
    store = RecordingStore(shared_database.url)

    async def run() -> None:
        await store.open()
        await everything(store)
        await store.close()

    asyncio.run(run())
    named = {text for made in store._sql._made.values() for text in vars(made).values() if isinstance(text, str)}
    assert named <= store.seen.keys(), "a fixed statement was never run here"
    return store.seen | {
        proofs(table): (PROJECT, [id_of(1)]) * len(places(table)) for table in BY_PROJECT if table.proof
    }


def scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a plan that read or change a table."""
    if "Relation Name" in plan:
        yield plan
    for child in plan.get("Plans", ()):
        yield from scans(child)


def test_every_statement_names_one_project_for_each_table(
    shared_database: Database, statements: dict[str, Any]
) -> None:
    with psycopg.connect(shared_database.url) as connection:
        for text, params in statements.items():
            [[[explained]]] = connection.execute(f"EXPLAIN (FORMAT JSON) {text}".encode(), params).fetchall()
            for node in scans(explained["Plan"]):
                if node["Node Type"] == "ModifyTable":
                    continue  # what it changes is what its scan finds; what it inserts carries its project
                if node["Relation Name"] in EVERYWHERE:
                    continue  # it is on every machine
                condition = f"{node.get('Index Cond', '')} {node.get('Recheck Cond', '')} {node.get('Filter', '')}"
                assert f"project = '{PROJECT}'::text" in condition, (text, json.dumps(node, indent=1))


def test_nothing_is_inserted_without_a_project() -> None:
    assert {table.columns[0] for table in BY_PROJECT} == {"project"}


def test_no_statement_uses_what_other_engines_lack(statements: dict[str, Any]) -> None:
    for text in (*statements, *(migration.sql for migration in migrations("postgres"))):
        plain = re.sub(r"--.*", "", text)
        assert not FORBIDDEN.search(plain), (FORBIDDEN.search(plain), text)


@settings(max_examples=100, deadline=None)
@given(query=strategies.queries, messages=strategies.orders)
def test_no_query_reads_another_table_or_uses_what_other_engines_lack(query: Operation, messages: Any) -> None:
    dialect = postgres("und-x-icu")
    order = compile_order(parse_order(messages), dialect)
    for piece in (compile_filter(query, dialect), order.columns, order.order_by):
        assert not FORBIDDEN.search(piece.text)
        assert not re.search(r"\b(from|join)\s+(?!\(select|json_array_elements\()", piece.text)


CATALOG = """
SELECT c.relname, i.relname, x.indisunique, (
  SELECT array_agg(a.attname::text ORDER BY k.position)
  FROM unnest(x.indkey) WITH ORDINALITY AS k (number, position)
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.number)
FROM pg_index AS x JOIN pg_class AS c ON c.oid = x.indrelid JOIN pg_class AS i ON i.oid = x.indexrelid
WHERE c.relnamespace = 'public'::regnamespace"""


def test_every_key_and_index_begins_with_project(shared_database: Database) -> None:
    there = {name for (name,) in shared_database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert there == {table.name for table in tables()}
    indexes = shared_database.execute(CATALOG)
    assert {table for table, *_ in indexes} == there
    for table, index, _, columns in indexes:
        assert table in EVERYWHERE or columns[0] == "project", (index, columns)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT tgname FROM pg_trigger",
        "SELECT relname FROM pg_class WHERE relkind IN ('S', 'v', 'm') AND relnamespace = 'public'::regnamespace",
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
        "SELECT conname FROM pg_constraint WHERE contype IN ('f', 'x', 't') AND connamespace = 'public'::regnamespace",
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND data_type = 'text'"
        " AND collation_name IS DISTINCT FROM 'C' AND table_name <> 'schema_migration'",
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public'"
        # Those are for servers of the release before, which make projects without them.
        " AND column_default IS NOT NULL"
        " AND (table_name, column_name) NOT IN"
        " (('project', 'definitions'), ('project', 'counted'), ('project', 'flags'))",
    ],
    ids=["triggers", "sequences and views", "functions", "constraints across tables", "other collations", "defaults"],
)
def test_the_schema_has_none_of(shared_database: Database, query: str) -> None:
    assert shared_database.execute(query) == []
