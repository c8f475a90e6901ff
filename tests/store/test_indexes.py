"""Declared indexes in a SQLite file: used by the planner when they pay, and without effect on any answer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from plaudit_server.feedback import matching
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.reads import Count, Select, SelectChanges
from plaudit_server.query.fields import Column
from plaudit_server.query.indexes.conditions import Indexes
from plaudit_server.query.indexes.declared import DeclaredIndex, declare
from plaudit_server.query.tree import And, Compare, Convert, Field, In, Literal, Not, Op, Operation, Or, SortKey
from plaudit_server.store import declared
from plaudit_server.store.base import StoreError
from plaudit_server.store.declared import State
from plaudit_server.store.engines.sqlite import indexes as sqlite_indexes
from plaudit_server.store.engines.sqlite.dialect import SQLITE
from plaudit_server.store.engines.sqlite.engine import TRAITS, SqliteEngine
from plaudit_server.store.prepared import Prepared
from tests.store.declared import scored
from tests.store.factory import BY_TIME, id_of, record
from tests.store.purges import purge, until_erased
from tests.store.suite import column
from tests.store.test_plans import plans

SCORE, NAME, FLAG = declare("payload.score", "number"), declare("payload.name", "text"), declare("payload.flag", "bool")
ELEMENT, QUALITY = declare("payload.list.0.v", "number"), declare("scorer_ratings.q")
ALL = (SCORE, NAME, FLAG, ELEMENT, QUALITY)
P0 = "acme/p0"


def compared(index: DeclaredIndex, op: Op, value: Any) -> Operation:
    return Compare(op, Field(index.ref), Literal(value))


def by(index: DeclaredIndex) -> str:
    return f"SEARCH f USING INDEX {declared.declaration(SQLITE, index).name} (project=? AND <expr>"


async def write(store: SqliteEngine, rows: int) -> None:
    records = scored(rows)
    for start in range(0, rows, 1000):
        await store.write([Create(P0, records[start : start + 1000])])


@pytest.fixture(scope="module", params=["as it is", "analysed", "with statistics"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    """A store with declared indexes: without statistics, with all that SQLite gathers, and with ours."""
    path = tmp_path_factory.mktemp("indexes") / "plaudit.db"
    rows = 2000

    async def fill() -> None:
        store = SqliteEngine(path)
        await store.open()
        await write(store, rows)
        await store.close()

    asyncio.run(fill())
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "with statistics":
            patch.setattr(sqlite_indexes, "_ROWS_FOR_STATISTICS", rows)
        for index in ALL:
            assert sqlite_indexes.create(str(path), index)
    connection = SqliteEngine(path)._connect()
    tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_stat1'"
    assert connection.execute(tables).get == int(request.param == "with statistics")
    if request.param == "analysed":
        connection.execute("ANALYZE")
    yield connection
    connection.close()


@pytest.fixture
def connection(filled: apsw.Connection) -> apsw.Connection:
    return filled


def planned(connection: apsw.Connection, filter: Operation, **more: Any) -> list[str]:
    """The plans of a page with this filter, by a server that has not read the declared indexes yet."""
    return plans(connection, Select(P0, filter, BY_TIME, **more).steps(Prepared(TRAITS)))


@pytest.mark.parametrize(
    ("filter", "index"),
    [
        (compared(SCORE, "gt", 0.99), SCORE),
        (compared(SCORE, "lte", 0.01), SCORE),
        (compared(SCORE, "eq", 0.5), SCORE),
        (Not(compared(SCORE, "lt", 0.99)), SCORE),
        (Compare("gt", Convert(Field(SCORE.ref), "double"), Literal(0.99)), SCORE),
        (Compare("lt", Literal(0.99), Field(SCORE.ref)), SCORE),
        (And((compared(SCORE, "gte", 0.5), compared(SCORE, "lt", 0.51))), SCORE),
        (And((column("feedback_type", "t1"), compared(SCORE, "gte", 0.99))), SCORE),
        (compared(NAME, "eq", "n5"), NAME),
        (And((column("feedback_type", "t1"), compared(NAME, "eq", "n5"))), NAME),
        (compared(FLAG, "eq", True), FLAG),
        (compared(ELEMENT, "lt", 5), ELEMENT),
        (compared(QUALITY, "lt", 0.01), QUALITY),
    ],
)
def test_a_filter_by_a_declared_path_comes_from_its_index(
    connection: apsw.Connection, filter: Operation, index: DeclaredIndex
) -> None:
    *counting, plan = planned(connection, filter)
    assert plan.startswith(by(index))
    assert "SCAN f" not in plan
    for before in counting:
        assert before.startswith("CO-ROUTINE (subquery-1); SEARCH f USING COVERING INDEX feedback_declared_")
    [*_, counted] = plans(connection, Count(P0, filter).steps(Prepared(TRAITS)))
    assert counted.startswith(by(index))


def test_what_equals_a_text_or_a_bool_comes_in_the_order_of_time(connection: apsw.Connection) -> None:
    for filter in (compared(NAME, "eq", "n5"), compared(FLAG, "eq", True)):
        [plan] = planned(connection, filter)
        assert "TEMP B-TREE" not in plan
        [plan] = planned(connection, filter, after=(5, id_of(1)))
        assert "(project=? AND <expr>=? AND (created_at,id)>(?,?))" in plan


def test_alternatives_come_from_their_indexes_once_there_are_statistics(
    connection: apsw.Connection, request: pytest.FixtureRequest
) -> None:
    either = Or((compared(SCORE, "gt", 0.99), compared(NAME, "eq", "n5")))
    members = In(Field(NAME.ref), (Literal("n5"), Literal("n7")))
    [_, for_either] = planned(connection, either)
    [_, for_members] = planned(connection, members)
    if connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_stat1'").get:
        assert by(SCORE) in for_either
        assert by(NAME) in for_either
        assert for_members.startswith(by(NAME))
    else:
        assert for_either.startswith("SEARCH f USING INDEX feedback_by_time")


def test_an_index_that_finds_too_much_is_not_used(connection: apsw.Connection) -> None:
    rows: int = connection.execute("SELECT count(*) FROM feedback").get

    def page(limit: int, above: float, order: tuple[SortKey, ...] = BY_TIME) -> str:
        filter = compared(SCORE, "gt", above)
        *_, plan = plans(connection, Select(P0, filter, order, limit=limit).steps(Prepared(TRAITS)))
        return plan

    # A page in the order of time ends early when much matches; then a tenth of the rows is too much to sort.
    few = 2 / rows
    assert page(10, 0.9).startswith("SEARCH f USING INDEX feedback_by_time (project=?);")
    assert page(10, 1 - few).startswith(by(SCORE))
    # In another order, and for a count, all matches are needed: a quarter of the rows is too much.
    by_user = (SortKey(Column("user_id", "text")), SortKey(Column("id", "text")))
    assert page(10, 0.9, by_user).startswith(by(SCORE))
    assert by(SCORE) not in page(10, 0.6, by_user)
    for above, pays in ((0.9, True), (0.6, False)):
        *_, plan = plans(connection, Count(P0, compared(SCORE, "gt", above)).steps(Prepared(TRAITS)))
        assert plan.startswith(by(SCORE)) is pays
    # An index that gives rows in the order of time pays however many match.
    [plan] = planned(connection, compared(FLAG, "eq", False))
    assert plan.startswith(by(FLAG))


def test_a_watch_reads_by_revision_alone(connection: apsw.Connection) -> None:
    statements = Prepared(TRAITS)
    statements.indexes = Indexes(ALL)
    [plan] = plans(connection, SelectChanges(P0, 0, compared(SCORE, "gt", 0.99), 10, 1000).steps(statements))
    assert "feedback_declared_" not in plan


# A store and its indexes ---------------------------------------------------------------------------------------


class Opened:
    """A store with an event loop of its own, as a server's store has beside a command."""

    def __init__(self, path: Path, rows: int) -> None:
        self.path = path
        self.store = SqliteEngine(path)
        self._loop = asyncio.new_event_loop()
        self.run(self.store.open())
        self.run(write(self.store, rows))

    def run(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)

    def answers(self) -> list[Any]:
        """What filters by every declared path find."""
        operations = (
            compared(SCORE, "gt", 0.9),
            compared(NAME, "eq", "n5"),
            Not(compared(FLAG, "eq", True)),
            Or((compared(QUALITY, "lt", 0.1), compared(ELEMENT, "gte", 290))),
            In(Field(NAME.ref), (Literal("n5"), Literal("n7"))),
        )
        return [self.run(self.store.read(Select(P0, operation, BY_TIME, with_total=True))) for operation in operations]

    def close(self) -> None:
        self.run(self.store.close())
        self._loop.close()


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    monkeypatch.setattr(matching, "_INDEXES_SECONDS", 0.0)
    opened = Opened(tmp_path / "plaudit.db", 300)
    yield opened
    opened.close()


def test_a_running_store_notices_indexes_and_none_changes_an_answer(opened: Opened) -> None:
    path, before = str(opened.path), opened.answers()
    assert all(page.total for page in before)
    for index in ALL:
        assert sqlite_indexes.create(path, index)
        assert not sqlite_indexes.create(path, index)
        assert opened.answers() == before
    assert sqlite_indexes.listing(path) == sorted(
        [(index, State.READY) for index in ALL], key=lambda x: (x[0].kind, x[0].path)
    )
    assert opened.store._sql.indexes.narrowing(compared(SCORE, "gt", 0.9), True, False) is not None
    for index in ALL:
        assert sqlite_indexes.drop(path, index)
        assert not sqlite_indexes.drop(path, index)
        assert opened.answers() == before
    assert sqlite_indexes.listing(path) == []
    assert opened.store._sql.indexes.narrowing(compared(SCORE, "gt", 0.9), True, False) is None


def test_an_index_that_is_gone_makes_no_answer_wrong_and_is_made_again(opened: Opened) -> None:
    path, before = str(opened.path), opened.answers()
    for index in ALL:
        sqlite_indexes.create(path, index)
    with sqlite3.connect(path) as other:
        for index in ALL:
            other.execute(f"DROP INDEX {declared.declaration(SQLITE, index).name}")
    other.close()
    assert {state for _, state in sqlite_indexes.listing(path)} == {State.MISSING}
    assert opened.answers() == before
    assert sqlite_indexes.create(path, SCORE)
    assert (SCORE, State.READY) in sqlite_indexes.listing(path)


def test_what_another_version_declared_is_left_or_made_anew(opened: Opened) -> None:
    path = str(opened.path)
    sqlite_indexes.create(path, SCORE)
    name = declared.declaration(SQLITE, SCORE).name
    with sqlite3.connect(path) as other:
        other.execute("DROP INDEX " + name)
        other.execute("CREATE INDEX feedback_declared_old ON feedback (project, created_at)")
        other.execute("UPDATE meta SET value = ? WHERE key = 'index number payload.score'", (b"feedback_declared_old",))
        other.executemany(
            "INSERT INTO meta VALUES (?, ?)",
            [("index vector payload.v", b"feedback_declared_v"), ("index text payload.", b"feedback_declared_x")],
        )
    other.close()
    assert sqlite_indexes.listing(path) == [(SCORE, State.OUTDATED)]
    opened.answers()
    assert opened.store._sql.indexes.narrowing(compared(SCORE, "gt", 0.9), True, False) is None
    assert sqlite_indexes.create(path, SCORE)
    assert sqlite_indexes.listing(path) == [(SCORE, State.READY)]
    connection = apsw.Connection(path)
    names = [
        row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE name GLOB 'feedback_declared_*'")
    ]
    connection.close()
    assert names == [name]


def test_other_programs_can_write_to_a_store_with_indexes(opened: Opened) -> None:
    for index in ALL:
        sqlite_indexes.create(str(opened.path), index)
    plain = apsw.Connection(str(opened.path))
    payload = '{"score": 0.95, "name": "é", "flag": "true", "list": [{"v": 1e3}]}'
    plain.execute("UPDATE feedback SET payload = ? WHERE id = ?", (payload, id_of(1)))
    plain.execute("DELETE FROM feedback WHERE id = ?", (id_of(2),))
    assert plain.execute("PRAGMA integrity_check").get == "ok"
    plain.close()


def test_a_purge_leaves_nothing_in_indexes_or_statistics(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_indexes, "_ROWS_FOR_STATISTICS", 0)
    secrets = [f"geheimnis-{n}" for n in range(40)]
    records = [record(1000 + n, {"name": secret}, project=P0) for n, secret in enumerate(secrets)]
    opened.run(opened.store.write([Create(P0, records)]))
    sqlite_indexes.create(str(opened.path), NAME)
    assert b"geheimnis" in opened.path.read_bytes()
    found = compared(NAME, "gte", "geheimnis"), compared(NAME, "lt", "geheimnit")
    assert opened.run(purge(opened.store, P0, filter=And(found))) == (40, False)
    opened.run(until_erased(opened.store))
    assert b"geheimnis" not in opened.path.read_bytes()


def test_a_store_that_is_not_there_or_waits_for_migration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        sqlite_indexes.create(str(tmp_path / "plaudit.db"), SCORE)
    assert list(tmp_path.iterdir()) == []
    opened = Opened(tmp_path / "plaudit.db", 1)
    opened.close()
    with sqlite3.connect(opened.path) as other:
        other.execute("UPDATE schema_migration SET checksum = 'x'")
    other.close()
    with pytest.raises(StoreError, match="schema migration 1"):
        sqlite_indexes.listing(str(opened.path))
