"""Statements that are sent without waiting for those before them: fewer round trips, and nothing else is different."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from plaudit_server.feedback.commands import Purge, Purged, Replace
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.reads import Count, Select
from plaudit_server.feedback.records import message
from plaudit_server.store.base import WriteFailed
from plaudit_server.store.engines.postgres import writing
from plaudit_server.store.engines.postgres.driving import transaction
from plaudit_server.store.engines.postgres.engine import PostgresEngine
from plaudit_server.store.ledger import ProjectRevision
from tests.conformance import test_definitions
from tests.conformance.definition_cases import servers
from tests.postgres import test_held, test_model, test_trouble
from tests.postgres.cluster import Database
from tests.postgres.proxy import Fate, Proxy
from tests.postgres.test_pgbouncer import pooled_url  # noqa: F401  # a fixture
from tests.postgres.test_trouble import only, through_a_proxy
from tests.shared import as_parameters
from tests.store import suite
from tests.store.factory import BY_TIME, PROJECT, id_of, record

# The other cases ask.
WRITING = ("batch", "create", "replace", "purge", "import", "retry", "repeat", "alias", "unique", "counter", "revision")
CASES = [case for case in suite.CASES if any(word in suite.name_of(case) for word in WRITING)]


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every database is far away, once it has been written to."""
    monkeypatch.setattr(writing, "_LONG_TRIP_SECONDS", 0.0)
    monkeypatch.setattr(writing, "_TRIPS", 1)
    monkeypatch.setattr(writing, "_NOTED_EACH", 1_000_000)


async def warm(store: PostgresEngine) -> None:
    await only(store, Purge("acme/warm", "p", ids=[id_of(1)]))


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("case", CASES, ids=suite.name_of)
def test_behaves_as_a_store(case: suite.Case, empty_database: Database) -> None:
    suite.run(case, lambda clock: PostgresEngine(empty_database.url, clock=clock))


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("case", as_parameters([case for case in test_definitions.CASES if case["id"] == "def-119"]))
def test_what_asks_for_many_rows_is_not_piped(case: dict[str, Any], empty_database: Database) -> None:
    with servers(empty_database.url) as two:
        test_definitions.test_case(case, two)


@pytest.mark.usefixtures("far")
def test_agrees_with_the_model(shared_database: Database) -> None:
    test_model.agree(shared_database, max(1, test_model.RUNS // 4))


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize(
    "fate", [("cut before",), ("cut after", "error before"), ("error after", "cut after")], ids=str
)
def test_an_unclear_commit_is_settled(empty_database: Database, fate: tuple[Fate, ...]) -> None:
    test_trouble.test_an_unclear_commit_is_settled_and_each_write_is_done_once(empty_database, fate)


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("side_by_side", [False, True])
def test_what_is_held_waits(empty_database: Database, side_by_side: bool) -> None:
    test_held.test_others_write_while_a_projects_row_is_locked(empty_database, side_by_side)


@pytest.mark.usefixtures("far")
def test_behind_pgbouncer(pooled_url: str, empty_database: Database) -> None:  # noqa: F811
    async def work(store: PostgresEngine, number: int) -> None:
        for step in range(10):
            first = (number * 100 + step) * 3
            created = await only(store, Create(PROJECT, [record(first + n, {"text": "x" * 9_000}) for n in range(3)]))
            assert len(created) == 3
            assert message(await only(store, Replace(PROJECT, record(first, {"a": 1})))).version == 2
            await store.read(Select(PROJECT, None, BY_TIME, with_total=True, max_bytes=300_000))
        assert await only(store, Purge(PROJECT, "p", ids=[id_of(number * 300)])) == Purged(1)

    async def scenario() -> None:
        stores = [PostgresEngine(pooled_url) for _ in range(4)]
        await asyncio.gather(*(store.open() for store in stores))
        await asyncio.gather(*(work(store, number) for number, store in enumerate(stores * 2)))
        assert await stores[0].read(Count(PROJECT, None)) == 8 * 29
        assert await stores[0].read(ProjectRevision(PROJECT)) == 8 * 41
        await asyncio.gather(*(store.close() for store in stores))

    asyncio.run(scenario())


@pytest.mark.usefixtures("far")
def test_the_command_that_the_database_refuses_is_the_only_one(empty_database: Database) -> None:
    async def run() -> None:
        store = PostgresEngine(empty_database.url)
        await store.open()
        await warm(store)
        # No server lets such a payload in, whose text the index of a path cannot hold.
        empty_database.execute("CREATE INDEX broken ON feedback (project, (((payload)::json ->> 'score')::float8))")
        good, bad = record(1, {"score": 1}), record(2, {"score": "none"})
        one, two = (await store.write([Create(PROJECT, [good]), Create(PROJECT, [bad])])).outcomes
        assert isinstance(one, list)
        assert isinstance(two, WriteFailed)
        assert (await store.read(Count(PROJECT, None)), await store.read(ProjectRevision(PROJECT))) == (1, 1)
        await store.close()

    try:
        asyncio.run(run())
    finally:
        empty_database.execute("DROP INDEX IF EXISTS broken")


def test_round_trips(empty_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(store: PostgresEngine, proxy: Proxy) -> None:
        async def trips(first: int, count: int, **options: Any) -> int:
            before = proxy.trips
            await only(store, Create(PROJECT, [record(first + n, **options) for n in range(count)]))
            return proxy.trips - before

        await warm(store)
        near = await trips(0, 20), await trips(100, 20, new_id=True)
        monkeypatch.setattr(writing, "_LONG_TRIP_SECONDS", 0.0)
        for n in range(writing._TRIPS):
            await trips(200 + n, 1)
        piped = await trips(300, 20), await trips(400, 20, new_id=True)
        # Begin and lock; look ids up, if they were given; write and raise; commit.
        assert piped == (4, 3)
        assert near[0] >= 7
        assert near[1] >= 6

    through_a_proxy(empty_database, scenario)


def test_a_database_is_far_or_near_by_its_shortest_round_trips() -> None:
    trips = writing.Trips()
    assert not trips.are_long
    for _ in range(writing._TRIPS):
        trips.note(0.1)
    assert trips.are_long
    trips.note(0.0001)
    assert not trips.are_long, "the others waited for something else"
    for _ in range(writing._TRIPS):
        trips.note(0.001)
    asked = [trips.are_long for _ in range(2 * writing._NOTED_EACH)]
    assert asked.count(False) == 2, "some are not piped, so that they are noted"


def test_a_pipe_that_is_left_by_something_else_than_the_database_is_closed(empty_database: Database) -> None:
    async def run() -> None:
        connection = await psycopg.AsyncConnection.connect(empty_database.url, autocommit=True)

        async def left() -> None:
            async with transaction(connection, "BEGIN", piped=True):
                await connection.execute("SELECT 1")
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await left()
        assert connection.closed

    asyncio.run(run())
