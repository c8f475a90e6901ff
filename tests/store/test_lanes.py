"""Reads of a SQLite store side by side: a long one is in nobody's way, and ends with its deadline or its caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from plaudit_server.errors import Overloaded, QueryTooExpensive, QuotaExceeded
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.reads import Count, Get, Select
from plaudit_server.store import lanes
from plaudit_server.store.base import Read, Reading, Statement, Steps
from plaudit_server.store.engines.sqlite import readers
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from plaudit_server.store.lanes import LaneUse
from plaudit_server.store.prepared import Prepared
from plaudit_server.store.work import Lane, Owner, Work
from tests.store.factory import BY_TIME, PROJECT, id_of, record

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
COUNTED = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT {}) SELECT count(*) FROM n"
# Few instructions, each of which takes long.
HEAVY = (
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 200)"
    " SELECT sum(length(hex(randomblob(500000)))) FROM n"
)
SCANS = 3


def reading(sql: str, times: list[str] | None = None) -> Reading[int]:
    """A query of one number, which notes each time that it begins."""

    def steps(_: Prepared) -> Steps[int]:
        if times is not None:
            times.append(sql)
        [[found]] = yield Statement(sql)
        return int(found)

    return Reading(steps)


class Again(Reading[int]):
    """A query that is the same each time that it is asked."""

    def __init__(self, sql: str, times: list[str]) -> None:
        super().__init__(reading(sql, times).steps)
        self._sql = sql

    @property
    def question(self) -> str:
        return self._sql


def work(project: str = PROJECT, principal: str = "ada", seconds: float | None = None) -> Work:
    return Work(Owner(principal, project), None if seconds is None else time.monotonic() + seconds)


def with_store(path: Path, scenario: Callable[[SqliteEngine], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        store = SqliteEngine(path / "plaudit.db", scans=SCANS)
        await store.open()
        try:
            await store.write([Create(PROJECT, [record(number) for number in range(5)])])
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(run())


async def until(store: SqliteEngine, scans: LaneUse) -> None:
    """Wait until so many scans run and wait."""
    async with asyncio.timeout(30):
        while store.lanes["scan"] != scans:  # noqa: ASYNC110  # a thread changes it
            await asyncio.sleep(0.005)


def scanning(store: SqliteEngine, count: int, **owner: Any) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(store.read(reading(ENDLESS), work(**owner))) for _ in range(count)]


async def ended(tasks: list[asyncio.Task[int]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_scans_are_in_nobody_elses_way_and_end_with_their_callers(tmp_path: Path) -> None:
    async def scenario(store: SqliteEngine) -> None:
        attackers = scanning(store, 8)
        await until(store, LaneUse(SCANS - 1, 8 - SCANS + 1))
        other = work("acme/other", "bob")
        async with asyncio.timeout(30):
            assert await store.read(Get(PROJECT, id_of(1)), other) is not None
            assert len((await store.read(Select(PROJECT, None, BY_TIME), other)).rows) == 5
            assert await store.read(Count(PROJECT, None), other) == 5
            # A scan, too, of another project: one place is kept.
            assert await store.read(reading(COUNTED.format(300_000)), other) == 300_000
            # And of the same project, once it is its turn; until then it costs nothing to leave.
            waiting = asyncio.create_task(store.read(reading(COUNTED.format(300_000)), work(principal="bob")))
            await until(store, LaneUse(SCANS - 1, 8 - SCANS + 2))
            await ended([waiting])
            await until(store, LaneUse(SCANS - 1, 8 - SCANS + 1))
            await ended(attackers)
            await until(store, LaneUse(0, 0))
            assert await store.read(Count(PROJECT, None), work()) == 5

    with_store(tmp_path, scenario)


def test_what_may_not_begin_when_it_is_its_turn_is_not_read(tmp_path: Path) -> None:
    async def scenario(store: SqliteEngine) -> None:
        def refuse() -> None:
            raise QuotaExceeded("answer_bytes", 0.1)

        times: list[str] = []
        with pytest.raises(QuotaExceeded):
            await store.read(reading(COUNTED.format(10), times), work()._replace(may_begin=refuse))
        assert times == []

    with_store(tmp_path, scenario)


def test_what_is_not_done_by_its_deadline_is_too_expensive(tmp_path: Path) -> None:
    async def scenario(store: SqliteEngine) -> None:
        for _ in range(SCANS + 1):
            with pytest.raises(QueryTooExpensive) as caught:
                await store.read(reading(ENDLESS), work(seconds=0.1))
            assert caught.value.seconds == pytest.approx(0.1, abs=0.01)
        assert store.lanes["scan"] == LaneUse(0, 0)
        assert await store.read(reading(COUNTED.format(300_000)), work(seconds=60)) == 300_000

    with_store(tmp_path, scenario)


def test_the_deadline_holds_where_single_instructions_take_long(tmp_path: Path) -> None:
    async def scenario(store: SqliteEngine) -> None:
        with pytest.raises(QueryTooExpensive):
            await store.read(reading(HEAVY.replace("200)", "1000000)")), work(seconds=0.3))

    with_store(tmp_path, scenario)


def test_what_has_found_no_place_by_its_deadline_may_come_again(tmp_path: Path) -> None:
    async def scenario(store: SqliteEngine) -> None:
        attackers = scanning(store, 4)
        await until(store, LaneUse(SCANS - 1, 4 - SCANS + 1))
        with pytest.raises(Overloaded) as caught:
            await store.read(reading(COUNTED.format(300_000)), work(seconds=0.1))
        assert caught.value.retry_delay > 0
        reads: list[Read[Any]] = [Get(PROJECT, id_of(1)), Count(PROJECT, None)]
        for read in reads:
            with pytest.raises(Overloaded):
                await store.read(read, work(seconds=-1.0))
        await ended(attackers)

    with_store(tmp_path, scenario)


def test_a_query_runs_once_within_its_budget_and_twice_beyond_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # "For a while" below: the second of a server is too short for a busy machine.
    monkeypatch.setattr(lanes, "_SMALL_FOR_SECONDS", 60.0)

    async def scenario(store: SqliteEngine) -> None:
        begun: list[str] = []
        # Each step of the counting is several instructions.
        for steps, times in ((500, 1), (100_000, 2)):
            begun.clear()
            assert await store.read(reading(COUNTED.format(steps), begun), work(principal=str(steps))) == steps
            assert len(begun) == times, steps
        # Who was over it has less, for a while; enough for a page.
        half = readers._BUDGET.instructions // 2 // 10
        for principal, project, times in (("100000", "acme/other", 2), ("eve", PROJECT, 2), ("eva", "acme/third", 1)):
            begun.clear()
            await store.read(reading(COUNTED.format(half), begun), work(principal=principal, project=project))
            assert len(begun) == times, principal
        begun.clear()
        # What is known to be long begins among the scans, whoever asks.
        for principal in ("ada", "bob"):
            assert await store.read(Again(COUNTED.format(100_000), begun), work(principal=principal)) == 100_000
        assert len(begun) == 3
        begun.clear()
        point = Reading(reading(COUNTED.format(100_000), begun).steps, Lane.POINT)
        assert await store.read(point, work()) == 100_000
        assert len(begun) == 1

    with_store(tmp_path, scenario)


def test_long_instructions_go_on_among_the_scans_while_others_wait(tmp_path: Path) -> None:
    async def scenario(store: SqliteEngine) -> None:
        begun: list[str] = []
        heavy = asyncio.create_task(store.read(reading(HEAVY, begun), work()))
        while not begun:  # noqa: ASYNC110  # a thread changes it
            await asyncio.sleep(0.001)
        assert await store.read(Count(PROJECT, None), work("acme/other", "bob")) == 5
        assert not heavy.done()
        assert await heavy == 200 * 1_000_000
        assert len(begun) == 2
        begun.clear()
        # Alone, it may stay where it is.
        await store.read(reading(HEAVY, begun), work(principal="eve"))
        assert len(begun) == 1

    with_store(tmp_path, scenario)


def test_a_scan_that_computes_in_the_server_is_followed_by_a_rest_while_others_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_REST", 1e9)
    monkeypatch.setattr(readers, "_LONGEST_REST", 3600.0)
    monkeypatch.setattr(lanes, "_IN_USE_SECONDS", 3600.0)  # a loaded machine scans for longer than a second

    async def scenario(store: SqliteEngine) -> None:
        scan = COUNTED.format(300_000)
        for _ in range(2 * SCANS):  # alone, without a rest
            assert await store.read(reading(scan), work()) == 300_000
        assert await store.read(Get(PROJECT, id_of(1)), work("acme/other", "bob"))
        for _ in range(SCANS - 1):  # as many places as a project has
            assert await store.read(reading(scan), work()) == 300_000
        waiting = asyncio.create_task(store.read(reading(scan), work()))
        await until(store, LaneUse(SCANS - 1, 1))
        # The other project has the last place, and the first one's rests end when a third one waits.
        assert await store.read(reading(scan), work("acme/other", "bob")) == 300_000
        assert await store.read(reading(scan), work("acme/third", "eve")) == 300_000
        assert await waiting == 300_000

    with_store(tmp_path, scenario)


def test_a_store_closes_while_scans_run_and_wait(tmp_path: Path) -> None:
    tasks: list[asyncio.Task[int]] = []

    async def scenario(store: SqliteEngine) -> None:
        tasks.extend(scanning(store, 6))
        await until(store, LaneUse(SCANS - 1, 6 - SCANS + 1))
        for task in tasks:
            task.cancel()

    with_store(tmp_path, scenario)
    assert all(task.cancelled() for task in tasks)
