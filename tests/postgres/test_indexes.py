"""Declared indexes in PostgreSQL: made while servers run, used by the planner, and without effect on any answer."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from plaudit_server.feedback import matching
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.reads import Count, Select
from plaudit_server.query.indexes.declared import TEXT_CHARACTERS, DeclaredIndex, declare
from plaudit_server.query.tree import And, Compare, Convert, Field, In, Literal, Not, Op, Operation, Or
from plaudit_server.store import declared
from plaudit_server.store.base import StoreError
from plaudit_server.store.declared import State
from plaudit_server.store.engines.postgres import indexes as postgres_indexes
from plaudit_server.store.engines.postgres.engine import PostgresEngine, traits
from plaudit_server.store.engines.postgres.schema import connected, folding, migrate
from plaudit_server.store.prepared import Prepared
from tests.postgres.cluster import Database
from tests.postgres.querytable import Table
from tests.postgres.test_plans import plan_of
from tests.postgres.test_sharding import CATALOG
from tests.service.test_cli import run
from tests.store.declared import HOSTILE, path_of, scored
from tests.store.factory import BY_TIME, record
from tests.store.purges import purge
from tests.store.suite import column
from tests.unit.test_query_compile import row

SCORE, NAME, FLAG = declare("payload.score", "number"), declare("payload.name", "text"), declare("payload.flag", "bool")
ELEMENT, QUALITY = declare("payload.list.0.v", "number"), declare("scorer_ratings.q")
ALL = (SCORE, NAME, FLAG, ELEMENT, QUALITY)
P0 = "acme/p0"
ROWS = 10_000

# Scores from 0 to 1 in no order, a thousand names, a flag that is rarely set.
FILL = """
INSERT INTO feedback SELECT f.project, lpad(n::text, 36, '0'), n, 1, 1, n, n, 'anonymous', f.ref, 't' || mod(n, 4),
  'c' || mod(n, 10), NULL, NULL, NULL, NULL, NULL, '[]', '{}', '{}',
  json_build_object('q', mod(n * 7919, 20011) / 20011.0)::text,
  '{}', '{}', '', '', 'UNSET', '', '', '', f.head,
  json_build_object('score', mod(n * 7919, 20011) / 20011.0, 'name', 'n' || mod(n, 1000), 'flag', mod(n, 100) = 0,
    'list', json_build_array(json_build_object('v', n)), 'text', repeat('x', 200))::text
FROM feedback AS f, generate_series(2, %s) AS n"""


def compared(index: DeclaredIndex, op: Op, value: Any) -> Operation:
    return Compare(op, Field(index.ref), Literal(value))


def name_of(index: DeclaredIndex) -> str:
    return declared.declaration(postgres_indexes._DIALECT, index).name


def make_schema(database: Database) -> str:
    """The schema, and the collation that folds case."""

    async def make() -> str:
        async with connected(database.url) as connection:
            await migrate(connection)
            return await folding(connection)

    return asyncio.run(make())


@pytest.fixture(scope="module", params=["as it is", "analysed"])
def filled(request: pytest.FixtureRequest, server: str) -> Iterator[tuple[Database, Prepared, bool]]:
    """A store with every index, with and without the statistics that making one gathers."""
    database = Database(server)
    collation = make_schema(database)
    analysed = request.param == "analysed"

    async def first() -> None:
        store = PostgresEngine(database.url)
        await store.open()
        await store.write([Create(P0, [record(1, project=P0)])])
        await store.close()

    asyncio.run(first())
    database.execute("ALTER TABLE feedback SET (autovacuum_enabled = off)")
    database.execute(FILL, (ROWS,))
    for index in ALL:
        if analysed:
            assert asyncio.run(postgres_indexes.create(database.url, index))
        else:
            made = declared.declaration(postgres_indexes._DIALECT, index)
            database.execute(declared.create(postgres_indexes._DIALECT, made))
            database.execute("INSERT INTO meta VALUES (%s, %s)", (made.key, made.name.encode()))
    yield database, Prepared(traits(collation)), analysed
    database.drop()


def scanned(database: Database, statements: Prepared, filter: Operation, **more: Any) -> tuple[list[str], int]:
    """The indexes that a page uses, and the number of rows that were read without a match."""
    statements.indexes_read = -float("inf")
    plan = plan_of(database, Select(P0, filter, BY_TIME, limit=100, **more).steps(statements), [[(1,)]])
    removed = sum(node.get("Rows Removed by Filter", 0) for node in plan)
    return sorted(node["Index Name"] for node in plan if "Index Name" in node), removed


@pytest.mark.parametrize(
    ("filter", "index"),
    [
        (compared(SCORE, "eq", 7919 / 20011), SCORE),
        (And((compared(SCORE, "gte", 0.5), compared(SCORE, "lt", 0.501))), SCORE),
        (compared(NAME, "eq", "n5"), NAME),
        (compared(FLAG, "eq", True), FLAG),
        (And((compared(ELEMENT, "gt", 5), compared(ELEMENT, "lt", 9))), ELEMENT),
        (And((compared(QUALITY, "gte", 0.5), compared(QUALITY, "lt", 0.501))), QUALITY),
    ],
)
def test_a_filter_by_a_declared_path_comes_from_its_index(
    filled: tuple[Database, Prepared, bool], filter: Operation, index: DeclaredIndex
) -> None:
    database, statements, _ = filled
    indexes, removed = scanned(database, statements, filter)
    assert indexes == [name_of(index)]
    assert removed < 100


@pytest.mark.parametrize(
    "filter",
    [
        compared(SCORE, "gt", 0.999),
        Not(compared(SCORE, "lte", 0.999)),
        Compare("gt", Convert(Field(SCORE.ref), "double"), Literal(0.999)),
        And((column("feedback_type", "t1"), compared(SCORE, "gt", 0.999))),
    ],
)
def test_an_open_range_comes_from_the_index_once_there_are_statistics(
    filled: tuple[Database, Prepared, bool], filter: Operation
) -> None:
    database, statements, analysed = filled
    indexes, _ = scanned(database, statements, filter)
    # Without them the planner assumes that a third of all rows match.
    assert indexes == [name_of(SCORE)] or not analysed


def test_alternatives_come_from_their_indexes(filled: tuple[Database, Prepared, bool]) -> None:
    database, statements, analysed = filled
    either = Or((compared(SCORE, "eq", 0.5), compared(NAME, "eq", "n5")))
    if analysed:
        assert scanned(database, statements, either)[0] == sorted([name_of(SCORE), name_of(NAME)])
    members = In(Field(NAME.ref), (Literal("n5"), Literal("n7")))
    assert scanned(database, statements, members)[0] == [name_of(NAME)]


def test_what_is_in_most_records_is_not_looked_for_in_an_index(
    filled: tuple[Database, Prepared, bool],
) -> None:
    database, statements, analysed = filled
    assert scanned(database, statements, compared(SCORE, "gt", 0.1))[0] == ["feedback_by_time"] or not analysed


def test_every_index_begins_with_project(filled: tuple[Database, Prepared, bool]) -> None:
    database, _, _ = filled
    found = {index: columns for _, index, _, columns in database.execute(CATALOG)}
    for index in ALL:
        assert found[name_of(index)][0] == "project"


# A store and its indexes ---------------------------------------------------------------------------------------


@pytest.fixture
def made(database: Database) -> Database:
    make_schema(database)
    return database


def create(database: Database, index: DeclaredIndex) -> bool:
    return asyncio.run(postgres_indexes.create(database.url, index))


def listing(database: Database) -> list[tuple[DeclaredIndex, State]]:
    return asyncio.run(postgres_indexes.listing(database.url))


def test_a_running_store_notices_indexes_and_none_changes_an_answer(
    made: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "_INDEXES_SECONDS", 0.0)
    operations = (
        compared(SCORE, "gt", 0.9),
        compared(NAME, "eq", "n5"),
        Not(compared(FLAG, "eq", True)),
        Or((compared(QUALITY, "lt", 0.1), compared(ELEMENT, "gte", 290))),
        In(Field(NAME.ref), (Literal("n5"), Literal("n7"))),
    )

    async def scenario() -> None:
        store = PostgresEngine(made.url)
        await store.open()
        await store.write([Create(P0, scored(300))])

        async def answers() -> list[Any]:
            return [await store.read(Select(P0, operation, BY_TIME, with_total=True)) for operation in operations]

        before = await answers()
        assert all(page.total for page in before)
        for index in ALL:
            assert await postgres_indexes.create(made.url, index)
            assert not await postgres_indexes.create(made.url, index)
            assert await answers() == before
        assert {state for _, state in await postgres_indexes.listing(made.url)} == {State.READY}
        assert store._sql.indexes.narrowing(operations[0], True, True) is not None
        made.execute(f"DROP INDEX {name_of(SCORE)}")
        assert await answers() == before
        for index in ALL:
            assert await postgres_indexes.drop(made.url, index)
            assert not await postgres_indexes.drop(made.url, index)
            assert await answers() == before
        assert await postgres_indexes.listing(made.url) == []
        assert await purge(store, P0, filter=compared(NAME, "eq", "n5")) == (3, False)
        await store.close()

    asyncio.run(scenario())


def test_no_value_is_too_long_or_too_odd_for_an_index(made: Database) -> None:
    for index in (SCORE, NAME, declare("payload.score", "text"), declare("payload.name", "number"), FLAG):
        create(made, index)
    project = "é" * 64 + "/" + "é" * 64
    odd: list[Any] = [
        "9" * 400,
        "1e400",
        "-1e400",
        "0." + "0" * 400 + "1",
        "1e-400",
        "\U0001f600" * 3000,
        "\u0130" * 300,
    ]
    odd += [5e-324, 1.7976931348623157e308, 2**63 - 1, [1], {"a": [1]}, None, True, "true", "nan", "inf", "0x10", ""]
    records = [
        record(n, {"score": value, "name": value, "flag": value}, project=project) for n, value in enumerate(odd)
    ]

    async def write() -> None:
        store = PostgresEngine(made.url)
        await store.open()
        [outcome] = (await store.write([Create(project, records)])).outcomes
        assert len(outcome) == len(odd)  # type: ignore[arg-type]
        long = compared(NAME, "eq", "\U0001f600" * 3000)
        assert await store.read(Count(project, long)) == 1
        assert await store.read(Count(project, compared(NAME, "eq", "\U0001f600" * TEXT_CHARACTERS))) == 0
        await store.close()

    asyncio.run(write())


@pytest.mark.parametrize("kind", ["number", "text", "bool"])
def test_a_hostile_key_is_only_a_key(shared_database: Database, kind: str) -> None:
    """The index is made, the planner uses it, and the table is not changed otherwise."""
    collation = make_schema(shared_database)
    value: Any = {"number": 5, "text": "five", "bool": True}[kind]
    with psycopg.connect(shared_database.url, autocommit=True) as connection:
        connection.execute("SET enable_seqscan = off")
        for key in HOSTILE:
            index = declare(path_of(key), kind)
            table = Table(connection, collation, [index])
            [segment] = index.ref.segments  # type: ignore[union-attr]
            table.fill([row(0, json.dumps({segment: value})), row(1, json.dumps({segment + "x": value})), row(2)])
            operation = compared(index, "eq", value)
            assert table.ids(operation) == ["f0"], key
            assert name_of(index) in table.plan(operation), key
            assert table.ids(Not(operation)) == []


def test_a_build_that_fails_leaves_nothing_and_tells_why(made: Database) -> None:
    broken = record(1, '{"score": 1e999}')

    async def write() -> None:
        store = PostgresEngine(made.url)
        await store.open()
        await store.write([Create(P0, [broken])])  # no server lets such a payload in
        await store.close()

    asyncio.run(write())
    with pytest.raises(StoreError, match="out of range"):
        create(made, SCORE)
    assert made.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'feedback\\_declared%'") == [(0,)]
    assert listing(made) == []


def test_what_a_build_that_was_cut_off_left_behind_is_made_anew(made: Database) -> None:
    create(made, SCORE)
    made.execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{name_of(SCORE)}'::regclass")
    assert listing(made) == [(SCORE, State.INVALID)]
    assert create(made, SCORE)
    assert listing(made) == [(SCORE, State.READY)]


def test_an_index_is_made_while_others_write_and_by_one_command_at_a_time(made: Database) -> None:
    results: list[bool] = []
    with psycopg.connect(made.url) as writer:
        writer.execute("INSERT INTO project VALUES ('acme/x', 0, 0)")
        writer.execute("DELETE FROM feedback")  # its transaction is what the build waits for
        thread = threading.Thread(target=lambda: results.append(create(made, SCORE)))
        thread.start()
        deadline = time.monotonic() + 30
        while not made.execute("SELECT 1 FROM pg_stat_progress_create_index") and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(StoreError, match=r"payload\.score is being made at this moment"):
            create(made, SCORE)
        made.execute("INSERT INTO project VALUES ('acme/y', 0, 0)")
        assert results == []
        writer.commit()
    thread.join(30)
    assert results == [True]
    assert listing(made) == [(SCORE, State.READY)]


def test_an_index_of_another_version_is_replaced(made: Database) -> None:
    create(made, SCORE)
    made.execute(f"ALTER INDEX {name_of(SCORE)} RENAME TO feedback_declared_old")
    made.execute("UPDATE meta SET value = 'feedback_declared_old' WHERE key = 'index number payload.score'")
    assert listing(made) == [(SCORE, State.OUTDATED)]
    assert create(made, SCORE)
    assert listing(made) == [(SCORE, State.READY)]
    assert made.execute("SELECT count(*) FROM pg_class WHERE relname = 'feedback_declared_old'") == [(0,)]


def test_a_database_without_a_store_is_refused(database: Database) -> None:
    with pytest.raises(StoreError, match="there is no store in this database"):
        create(database, SCORE)


def test_the_commands_work_on_a_database_too(made: Database) -> None:
    made_index = run("index", "create", "--path", "payload.score", "--as", "number", "--store", made.url)
    assert (made_index.exit_code, made_index.stderr) == (0, "")
    assert run("index", "list", "--store", made.url).stdout == "payload.score\tnumber\tready\n"
    assert run("index", "drop", "--path", "payload.score", "--store", made.url).exit_code == 0
    assert run("index", "list", "--store", made.url).stdout == ""
    refused = run("index", "list", "--store", "postgresql://u:geheim@127.0.0.1:1/db")
    assert (refused.exit_code, "geheim" in refused.output) == (1, False)


def test_columns_are_indexed_and_aggregates_are_not(empty_database: Database) -> None:
    url = empty_database.url
    for name in ("span_trace_id", "queue_id"):
        index = declare(name)
        assert asyncio.run(postgres_indexes.create(url, index))
        [(made,)] = empty_database.execute("SELECT indexdef FROM pg_indexes WHERE indexname = %s", (name_of(index),))
        assert made.endswith(f"(project, {name}, created_at, id)")
        assert asyncio.run(postgres_indexes.listing(url)) == [(index, State.READY)]
        assert asyncio.run(postgres_indexes.drop(url, index))
    with pytest.raises(StoreError, match="gains nothing"):
        asyncio.run(postgres_indexes.create(url, declare("payload.score", "aggregates")))


def test_an_older_store_keeps_its_index_of_creators_as_a_declared_one_and_a_new_store_has_none(
    database: Database,
) -> None:
    async def migrated() -> list[tuple[DeclaredIndex, State]]:
        async with connected(database.url) as connection:
            await migrate(connection)
        return await postgres_indexes.listing(database.url)

    assert asyncio.run(migrated()) == []
    database.execute("CREATE INDEX feedback_by_creator ON feedback (project, creator, created_at, id)")
    database.execute("DELETE FROM schema_migration WHERE number >= 8")
    assert asyncio.run(migrated()) == [(declare("creator"), State.READY)]
    assert database.execute("SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%creator%'") == [
        (name_of(declare("creator")),)
    ]
