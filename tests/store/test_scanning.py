"""Scans in a process of their own: it ends with the server and its calls, and is started again when it was killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from plaudit_server.background import Background, NotWanted, ProcessEnded, stopped
from plaudit_server.errors import StoreUnavailable
from plaudit_server.store.base import Reading, Statement, Steps
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from plaudit_server.store.prepared import Prepared
from plaudit_server.store.work import Owner, Work

COUNTED = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT {}) SELECT {} FROM n"
WORK = Work(Owner("ada", "acme/a"), None)


def until_stopped() -> None:
    while not stopped():
        time.sleep(0.001)
    raise NotWanted


def with_store(path: Path, work: Callable[[SqliteEngine], Awaitable[None]]) -> None:
    async def run() -> None:
        store = SqliteEngine(path / "plaudit.db", scans=1)
        await store.open()
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(run())


async def rows(store: SqliteEngine, count: int, columns: str) -> list[Any]:
    def steps(_: Prepared) -> Steps[list[Any]]:
        return (yield Statement(COUNTED.format(count, columns)))

    return await store.read(Reading(steps), WORK)


def test_a_call_is_made_in_another_process_of_low_priority() -> None:
    process = Background()
    assert process.pid is None
    assert process.call(os.getpid) == process.pid != os.getpid()
    assert process.call(os.nice, 0) == os.nice(0) + 10
    if sys.platform == "linux":
        assert process.call(os.sched_getscheduler, 0) == os.SCHED_IDLE
    with pytest.raises(FileNotFoundError):
        process.call(os.stat, "/nowhere")
    process.close()
    process.close()


def test_a_call_is_stopped_and_the_next_one_is_not() -> None:
    process = Background()
    process.stop()
    assert process.call(abs, -1) == 1

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(None, process.call, until_stopped)
        await asyncio.sleep(0.05)
        process.stop()
        process.stop()
        with pytest.raises(NotWanted):
            await running

    asyncio.run(scenario())
    process.stop()
    assert process.call(abs, -2) == 2
    process.close()


def test_it_ends_with_the_process_that_started_it() -> None:
    code = "import os; from plaudit_server.background import Background as B; B().call(abs, 1); os._exit(1)"
    # It has the same standard output, whose end is waited for here.
    ended = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    assert ended.returncode == 1


def test_a_process_that_was_killed_is_started_again() -> None:
    process = Background()
    process.call(abs, 1)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(ProcessEnded):
        process.call(time.sleep, 60)
    assert process.call(abs, -3) == 3
    process.close()


def test_a_scan_whose_process_is_killed_may_be_tried_again(tmp_path: Path) -> None:
    async def scenario(store: SqliteEngine) -> None:
        assert await rows(store, 200_000, "count(*)") == [(200_000,)]
        [scanner] = store._readers._scanners  # type: ignore[union-attr]
        scan = asyncio.create_task(rows(store, 1_000_000_000, "count(*)"))
        while not store.lanes["scan"].running:  # noqa: ASYNC110  # a thread changes it
            await asyncio.sleep(0.01)
        assert scanner.pid is not None
        os.kill(scanner.pid, signal.SIGKILL)
        with pytest.raises(StoreUnavailable):
            await scan
        assert await rows(store, 200_000, "count(*)") == [(200_000,)]

    with_store(tmp_path, scenario)


def test_all_rows_of_a_scan_come_in_their_order(tmp_path: Path) -> None:
    async def scenario(store: SqliteEngine) -> None:
        assert await rows(store, 20_500, "x, x + 1") == [(x, x + 1) for x in range(1, 20_501)]
        assert store._readers._scanners[0].pid is not None, "it was no scan"  # type: ignore[union-attr]

    with_store(tmp_path, scenario)
