"""Reads of a PostgreSQL store side by side: a long one is in nobody's way, and ends with its deadline or its caller."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from plaudit_server.errors import Overloaded, QueryTooExpensive, QuotaExceeded, StoreUnavailable
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.reads import Count, Get, Select, SelectVersions
from plaudit_server.store.base import Read, Reading, Statement, Steps
from plaudit_server.store.engines.postgres.engine import PostgresEngine
from plaudit_server.store.engines.postgres.reading import Shares
from plaudit_server.store.lanes import LaneUse
from plaudit_server.store.prepared import Prepared
from plaudit_server.store.work import Lane, Owner, Work
from tests.postgres.cluster import Database
from tests.store.factory import BY_TIME, PROJECT, id_of, record
from tests.store.suite import column

SCANS = Shares.of(12).scans
# It names itself, so that the tests find it among the statements that run; each round takes a while.
LONG = "SELECT count(*) /* scan of the tests */ FROM generate_series(1, {}) AS n WHERE md5(n::text) < 'f'"
ENDLESS = LONG.format("2000000000")
SETTINGS = "SELECT current_setting('{}')"
# Takes longer than the quick lane gives.
LIMIT_OF_A_SCAN = "SELECT current_setting('statement_timeout') FROM pg_sleep(0.1)"


def reading(sql: str, times: list[float] | None = None, lane: Lane = Lane.QUERY, waits: bool = False) -> Reading[Any]:
    """A read of one value, which notes each time that it begins; `waits`: its statement is not the first."""

    def steps(_: Prepared) -> Steps[Any]:
        if times is not None:
            times.append(time.monotonic())
        if waits:
            yield Statement("SELECT 1")
        [[found]] = yield Statement(sql)
        return found

    return Reading(steps, lane)


def work(project: str = PROJECT, principal: str = "ada", seconds: float | None = None) -> Work:
    return Work(Owner(principal, project), None if seconds is None else time.monotonic() + seconds)


def with_store(url: str, scenario: Callable[[PostgresEngine], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        store = PostgresEngine(url)
        await store.open()
        try:
            await store.write([Create(PROJECT, [record(number) for number in range(5)])])
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(run())


async def until(store: PostgresEngine, scans: LaneUse) -> None:
    async with asyncio.timeout(30):
        while store.lanes["scan"] != scans:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def active(url: str) -> int:
    """How many statements of the tests run in the database."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        cursor = await connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
            " AND query LIKE '%scan of the tests%' AND datname = current_database()"
        )
        [(count,)] = await cursor.fetchall()
        return int(count)


async def gone(url: str) -> None:
    """Wait until none runs."""
    async with asyncio.timeout(30):
        while await active(url):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def scanning(store: PostgresEngine, count: int, **owner: Any) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(store.read(reading(ENDLESS), work(**owner))) for _ in range(count)]


async def ended(tasks: list[asyncio.Task[int]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_the_shares_of_connections_leave_something_for_everything() -> None:
    for connections in range(1, 40):
        shares = Shares.of(connections)
        assert sum((shares.writes, shares.reads, shares.scans)) == max(connections, 5)
        assert shares.writes >= 2
        assert 1 <= shares.quick < shares.reads
    assert Shares.of(12) == Shares(4, 6, 4, 2)


def test_what_may_not_begin_when_it_is_its_turn_is_not_read(empty_database: Database) -> None:
    async def scenario(store: PostgresEngine) -> None:
        def refuse() -> None:
            raise QuotaExceeded("answer_bytes", 0.1)

        times: list[float] = []
        with pytest.raises(QuotaExceeded):
            await store.read(reading(LONG.format(10), times), work()._replace(may_begin=refuse))
        assert times == []

    with_store(empty_database.url, scenario)


def test_scans_are_in_nobody_elses_way_and_end_with_their_callers(empty_database: Database) -> None:
    async def scenario(store: PostgresEngine) -> None:
        attackers = scanning(store, 8)
        await until(store, LaneUse(SCANS - 1, 8 - SCANS + 1))
        other = work("acme/other", "bob")
        async with asyncio.timeout(30):
            assert await store.read(Get(PROJECT, id_of(1)), other) is not None
            assert len((await store.read(Select(PROJECT, None, BY_TIME, with_total=True), other)).rows) == 5
            assert await store.read(Count(PROJECT, None), other) == 5
            assert (await store.write([Create(PROJECT, [record(9)])])).revisions == {PROJECT: 6}
            await store.check()
            # A scan, too, of another project: one place is kept.
            assert await store.read(reading(LONG.format(300_000)), other) > 0
        await ended(attackers)
        await until(store, LaneUse(0, 0))
        await gone(empty_database.url)
        assert await store.read(Count(PROJECT, None), work()) == 6

    with_store(empty_database.url, scenario)


@pytest.mark.parametrize("waits", [False, True], ids=["first statement", "second statement"])
def test_what_is_not_done_by_its_deadline_is_too_expensive(empty_database: Database, waits: bool) -> None:
    async def scenario(store: PostgresEngine) -> None:
        for lane in (Lane.QUERY, Lane.QUERY, Lane.QUERY, Lane.POINT):
            with pytest.raises(QueryTooExpensive) as caught:
                await store.read(reading(ENDLESS, lane=lane, waits=waits), work(seconds=0.2))
            assert caught.value.seconds == pytest.approx(0.2, abs=0.01)
        await gone(empty_database.url)
        assert store.lanes == dict.fromkeys(("point", "quick", "scan"), LaneUse(0, 0))
        assert await store.read(Count(PROJECT, None), work(seconds=60)) == 5

    with_store(empty_database.url, scenario)


@pytest.fixture
def limited_database(empty_database: Database) -> Iterator[Database]:
    """A database that ends every statement after 150 ms."""

    def alter(change: str) -> None:
        with psycopg.connect(empty_database.url, autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{connection.info.dbname}" {change}'.encode())

    alter("SET statement_timeout = 150")
    yield empty_database
    alter("RESET statement_timeout")


def test_the_limit_of_the_database_is_no_outage(limited_database: Database) -> None:
    async def scenario(store: PostgresEngine) -> None:
        for seconds in (None, 60):
            begun: list[float] = []
            with pytest.raises(QueryTooExpensive) as caught:
                await store.read(reading(ENDLESS, begun), work(seconds=seconds))
            assert len(begun) == 2, "once in the quick lane, once among the scans, and not again"
            assert caught.value.seconds < 30
            # It is not raised where ours is longer.
            assert await store.read(reading(LIMIT_OF_A_SCAN), work(seconds=seconds)) == "150ms"
        with pytest.raises(QueryTooExpensive):
            await store.read(reading(ENDLESS, lane=Lane.POINT), work(seconds=60))

    with_store(limited_database.url, scenario)


def test_settings_end_with_the_read(empty_database: Database) -> None:
    async def scenario(store: PostgresEngine) -> None:
        before = {
            name: await store.read(reading(SETTINGS.format(name), lane=Lane.POINT))
            for name in ("statement_timeout", "lock_timeout", "jit", "max_parallel_workers_per_gather")
        }
        for waits in (False, True):
            assert await store.read(reading(SETTINGS.format("jit"), waits=waits), work(seconds=5)) == "off"
            limit = await store.read(reading(SETTINGS.format("statement_timeout"), waits=waits), work(seconds=5))
            assert limit == "20ms"
            assert await store.read(reading(SETTINGS.format("lock_timeout"), waits=waits), work(seconds=5)) == "20ms"
        # Among the scans, what is left of the time of the call.
        [left] = re.findall("^([0-9]+)ms$", await store.read(reading(LIMIT_OF_A_SCAN), work(seconds=59.5)))
        assert 30_000 < int(left) < 59_500
        for name, value in before.items():
            assert await store.read(reading(SETTINGS.format(name), lane=Lane.POINT)) == value

    with_store(empty_database.url, scenario)


def test_what_has_found_no_place_by_its_deadline_may_come_again(empty_database: Database) -> None:
    async def scenario(store: PostgresEngine) -> None:
        attackers = scanning(store, 4)
        await until(store, LaneUse(SCANS - 1, 4 - SCANS + 1))
        with pytest.raises(Overloaded) as caught:
            await store.read(reading(LONG.format(3_000_000)), work(seconds=0.2))
        assert caught.value.retry_delay > 0
        reads: list[Read[Any]] = [Get(PROJECT, id_of(1)), Count(PROJECT, None)]
        for read in reads:
            with pytest.raises(Overloaded):
                await store.read(read, work(seconds=-1.0))
        await ended(attackers)

    with_store(empty_database.url, scenario)


def test_a_lock_on_a_table_is_an_outage_and_no_expensive_query(empty_database: Database) -> None:
    counted = column("ref", "urn:none", "ne")  # by the records, and not by counters

    async def scenario(store: PostgresEngine) -> None:
        async with await psycopg.AsyncConnection.connect(empty_database.url) as connection:
            await connection.execute("LOCK TABLE feedback")
            with pytest.raises(StoreUnavailable):
                await store.read(Count(PROJECT, counted), work(seconds=10))
        assert await store.read(Count(PROJECT, counted), work(seconds=10)) == 5
        assert len((await store.read(SelectVersions(PROJECT, id_of(1), 0, 10), work(seconds=10))).rows) == 1

    with_store(empty_database.url, scenario)


def test_a_store_closes_while_scans_run_and_wait(empty_database: Database) -> None:
    tasks: list[asyncio.Task[int]] = []

    async def scenario(store: PostgresEngine) -> None:
        tasks.extend(scanning(store, 6))
        await until(store, LaneUse(SCANS - 1, 6 - SCANS + 1))
        await ended(tasks)

    with_store(empty_database.url, scenario)
    assert all(task.cancelled() for task in tasks)
    asyncio.run(gone(empty_database.url))


def page(number: int) -> Reading[Any]:
    """A read of rows that are streamed, each with the number."""

    def steps(_: Prepared) -> Steps[Any]:
        [[before]] = yield Statement(f"SELECT {number}")
        sql = f"SELECT '{number}', repeat('x', 2000) FROM generate_series(1, 500)"
        rows = yield Statement(sql, (), 100_000 + number % 2 * 10_000_000)
        return {before, *(int(row[0]) for row in rows)}

    return Reading(steps)


def test_who_reads_after_a_caller_has_left_gets_answers_of_their_own(empty_database: Database) -> None:
    async def ask(store: PostgresEngine, number: int) -> None:
        reads = [reading(f"SELECT {number} FROM pg_sleep(0.001)", waits=number % 5 == 0), page(number)]
        asked = asyncio.create_task(store.read(reads[number % 2], work()))
        await asyncio.sleep(random.uniform(0, 0.02))
        if number % 3:
            asked.cancel()
        with suppress(asyncio.CancelledError):
            assert await asked in (number, {number})

    async def scenario(store: PostgresEngine) -> None:
        for first in range(0, 600, 30):
            await asyncio.gather(*(ask(store, number) for number in range(first, first + 30)))

    with_store(empty_database.url, scenario)
