"""Query plans: each common shape uses the index meant for it, and none sorts or scans what an index orders."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import apsw
import pytest

from plaudit_server.analytics.overview import SummaryQuestion
from plaudit_server.analytics.reads import SelectOverviews
from plaudit_server.feedback.batches import SelectBatch
from plaudit_server.feedback.commands import Purge, Replace
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.purging import FindIds, FindMatches
from plaudit_server.feedback.reactions import Viewer
from plaudit_server.feedback.reads import Get, Select, SelectChanges, SelectRefs, SelectVersions
from plaudit_server.feedback.retaining import FindDue, Retain
from plaudit_server.query.fields import Column
from plaudit_server.query.indexes.declared import declare
from plaudit_server.query.tree import And, Operation, SortKey
from plaudit_server.store import declared
from plaudit_server.store.base import Command, Statement, Steps
from plaudit_server.store.engines.sqlite.dialect import SQLITE
from plaudit_server.store.engines.sqlite.engine import TRAITS, SqliteEngine
from plaudit_server.store.engines.sqlite.reading import drive
from plaudit_server.store.ledger import write_group
from plaudit_server.store.prepared import Prepared
from tests.store.factory import BY_TIME, PROJECT, REF, id_of, record
from tests.store.suite import column, payload

STATEMENTS = Prepared(TRAITS)
BY_CREATOR_DECLARED = declared.declaration(SQLITE, declare("creator"))
NEWEST_FIRST = (SortKey(Column("created_at", "time"), descending=True), SortKey(Column("id", "text")))


@pytest.fixture(scope="module", params=["as it is", "analysed"])
def connection(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    """A store of 2,000 records on 50 refs, 4 types and 10 creators, with a declared index of these; with and without
    statistics.
    """
    path = tmp_path_factory.mktemp("plans") / "plaudit.db"

    async def fill() -> None:
        store = SqliteEngine(path)
        await store.open()
        for start in range(0, 2000, 500):
            records = [
                record(n, ref=f"{REF}{n % 50}", feedback_type=f"t{n % 4}", creator=f"c{n % 10}")
                for n in range(start, start + 500)
            ]
            await store.write([Create(PROJECT, records)])
        await store.close()

    asyncio.run(fill())
    store = SqliteEngine(path)
    connection = store._connect()
    connection.execute(declared.create(SQLITE, BY_CREATOR_DECLARED))
    if request.param == "analysed":
        connection.execute("ANALYZE")
    yield connection
    connection.close()


def plans(connection: apsw.Connection, steps: Steps[Any]) -> list[str]:
    """The plan of each statement that reads or changes feedback, in order."""
    found = []

    def explained() -> Steps[None]:
        rows: list[Any] = []
        try:
            step = next(steps)
            while True:
                if isinstance(step, Statement) and "feedback" in step.sql:
                    explanation = connection.execute(f"EXPLAIN QUERY PLAN {step.sql}", step.params)
                    found.append("; ".join(row[3] for row in explanation))
                rows = yield step
                step = steps.send(rows)
        except StopIteration:
            return

    connection.execute("BEGIN")
    try:
        drive(connection, explained())
    finally:
        connection.execute("ROLLBACK")
    return found


def page(filter: Operation | None, order: tuple[SortKey, ...] = BY_TIME, **more: Any) -> Steps[Any]:
    return Select(PROJECT, filter, order, **more).steps(STATEMENTS)


def write(command: Command[Any]) -> Steps[Any]:
    return write_group(STATEMENTS, [command], lambda: 0)


BY_REF = "SEARCH f USING INDEX feedback_by_ref (project=? AND ref=?"
BY_CREATOR = f"SEARCH f USING INDEX {BY_CREATOR_DECLARED.name} (project=? AND creator=?"
BY_TYPE = "SEARCH f USING INDEX feedback_by_type (project=? AND feedback_type=?"
BY_ID = "SEARCH f USING INDEX sqlite_autoindex_feedback_1 (project=? AND id=?"
IN_TIME = "SEARCH f USING INDEX feedback_by_time (project=?"
REF_AND_TYPE = And((column("ref", REF + "1"), column("feedback_type", "t1")))


@pytest.mark.parametrize(
    ("filter", "index"),
    [
        (None, IN_TIME),
        (column("ref", REF + "1"), BY_REF),
        (column("feedback_type", "t1"), BY_TYPE),
        (column("creator", "c1"), BY_CREATOR),
        (REF_AND_TYPE, BY_REF),
        (column("user_id", "anonymous"), IN_TIME),
    ],
)
def test_a_page_comes_from_the_index_meant_for_it_in_order(
    connection: apsw.Connection, filter: Operation | None, index: str
) -> None:
    for order in (BY_TIME, NEWEST_FIRST):
        [plan] = plans(connection, page(filter, order))
        assert plan.startswith(index)
        assert "SCAN" not in plan
        if order is BY_TIME:
            assert "TEMP B-TREE" not in plan
        else:  # ids break ties upwards in both directions, so only rows of one microsecond are sorted
            assert "USE TEMP B-TREE FOR ORDER BY" not in plan


def test_a_page_goes_on_from_its_place_in_the_index(connection: apsw.Connection) -> None:
    [plan] = plans(connection, page(None, after=(5, id_of(1))))
    assert plan.startswith("SEARCH f USING INDEX feedback_by_time (project=? AND ")
    assert "TEMP B-TREE" not in plan
    [plan] = plans(connection, page(column("ref", REF + "1"), after=(5, id_of(1))))
    assert plan.startswith("SEARCH f USING INDEX feedback_by_ref (project=? AND ref=? AND ")


def test_one_id_is_found_by_its_key(connection: apsw.Connection) -> None:
    [plan] = plans(connection, page(column("id", id_of(1))))
    assert plan.startswith(BY_ID)
    for version in (0, 1):
        found = plans(connection, Get(PROJECT, id_of(1), version).steps(STATEMENTS))
        assert len(found) == 1
        assert BY_ID in found[0]
        assert "SCAN" not in found[0]


def test_a_range_of_time_is_a_range_of_the_index(connection: apsw.Connection) -> None:
    since = column("created_at", 5, "gte", "time")
    [plan] = plans(connection, page(since))
    assert plan.startswith("SEARCH f USING INDEX feedback_by_time (project=? AND created_at>?")
    assert "TEMP B-TREE" not in plan


def test_refs_are_grouped_in_the_order_of_the_index(connection: apsw.Connection) -> None:
    [plan] = plans(connection, SelectRefs(PROJECT, None, REF, 10).steps(STATEMENTS))
    assert plan == "SEARCH f USING COVERING INDEX feedback_by_ref (project=? AND ref>?)"


def test_what_refs_have_by_type_is_counted_in_the_index_alone(connection: apsw.Connection) -> None:
    question = SummaryQuestion(PROJECT, (f"{REF}1", f"{REF}2"), None, (), Viewer("anonymous"))
    [listed] = plans(connection, SelectOverviews(question).steps(STATEMENTS))
    # The types, and the newest.
    assert listed.count("SEARCH f USING COVERING INDEX feedback_by_ref (project=? AND ref=?)") == 2
    assert "TEMP B-TREE" not in listed


def test_changes_merge_both_tables_in_the_order_of_their_indexes(connection: apsw.Connection) -> None:
    [plan] = plans(connection, SelectChanges(PROJECT, 5, None, 10, 1000).steps(STATEMENTS))
    assert "SEARCH f USING INDEX feedback_by_revision (project=? AND revision>? AND revision<?)" in plan
    assert "SEARCH h USING INDEX feedback_history_by_revision (project=? AND revision>? AND revision<?)" in plan
    assert "TEMP B-TREE" not in plan
    assert "SCAN" not in plan


def test_a_tail_finds_each_replaced_version_by_its_key(connection: apsw.Connection) -> None:
    [plan] = plans(connection, SelectBatch(PROJECT, 5, ("id", "payload"), 10, 1000).steps(STATEMENTS))
    assert "SEARCH f USING INDEX feedback_by_revision (project=? AND revision>? AND revision<?)" in plan
    assert "SEARCH h USING INDEX feedback_history_by_revision (project=? AND revision>? AND revision<?)" in plan
    assert (
        plan.count("SEARCH o USING INDEX sqlite_autoindex_feedback_history_1 (project=? AND id=? AND version=?)") == 2
    )
    assert "TEMP B-TREE" not in plan
    assert "SCAN" not in plan


def test_versions_come_by_the_key(connection: apsw.Connection) -> None:
    for plan in plans(connection, SelectVersions(PROJECT, id_of(1), 0, 10).steps(STATEMENTS)):
        assert "(project=? AND id=?" in plan
        assert "SCAN" not in plan


def test_a_purge_finds_its_slices_by_an_index_and_without_sorting(connection: apsw.Connection) -> None:
    about, rare = column("ref", REF + "1"), payload("n", 1)
    for filter, index in ((None, "feedback_by_time"), (about, "feedback_by_ref"), (rare, "feedback_by_time")):
        for after in (None, (5, id_of(1))):
            for find in (
                FindMatches(PROJECT, filter, after, 10**9, 10, "p"),
                FindMatches(PROJECT, filter, after, 10**9, 10, None, 5),
            ):
                for plan in plans(connection, find.steps(STATEMENTS)):
                    assert "TEMP B-TREE" not in plan
                    expected = "feedback_by_time" if find.window else index
                    assert expected in plan or BY_ID in plan
    [plan] = plans(connection, FindIds(PROJECT, [id_of(1), id_of(2)]).steps(STATEMENTS))
    assert BY_ID in plan


def test_a_purge_looks_again_by_key_whatever_its_filter(connection: apsw.Connection) -> None:
    for filter in (column("ref", REF + "1"), column("created_at", 5, "gte", "time"), payload("n", 1)):
        again = Purge(PROJECT, "p", [id_of(1), id_of(2)], (0, 0), filter)
        looks = [plan for plan in plans(connection, write(again)) if plan.startswith("SEARCH f ")]
        assert len(looks) >= 2
        for plan in looks:
            assert plan.startswith(BY_ID)


@pytest.mark.parametrize(
    "command",
    [
        Create(PROJECT, [record(1), record(5000), record(2, {"other": 1})], atomic=False),
        Replace(PROJECT, record(1, {"a": 1})),
        Purge(PROJECT, "p", ids=[id_of(1), id_of(2)]),
        Purge(PROJECT, "p", [id_of(1), id_of(2)], (0, 0), column("ref", REF + "1")),
        Retain(PROJECT, "t1", 2**60, [id_of(1), id_of(2)]),
    ],
    ids=lambda command: type(command).__name__,
)
def test_writing_looks_up_by_key_and_scans_no_table(connection: apsw.Connection, command: Command[Any]) -> None:
    found = plans(connection, write(command))
    assert found
    for plan in found:
        scans = [line for line in plan.split("; ") if line.startswith("SCAN")]
        assert all(line.startswith(("SCAN json_each", "SCAN first")) for line in scans), plan
        assert "(project=?" in plan or not plan, "a row of values has no plan"
        assert not re.search(r"\(project=\?( AND created_at<\?)?\)", plan), "it reads the whole project"


def test_what_is_due_of_a_type_is_found_without_records_of_others(connection: apsw.Connection) -> None:
    found = plans(connection, FindDue(PROJECT, "t1", 2**60, 100, (5, id_of(1))).steps(STATEMENTS))[0]
    assert found == (
        "SEARCH f USING INDEX feedback_by_type (project=? AND feedback_type=? AND created_at>? AND created_at<?)"
    )
