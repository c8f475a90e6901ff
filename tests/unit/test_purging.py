"""A purge by query whose reads take too long: it goes on in windows, which shrink, and an answer says where."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import pytest

from plaudit_server.errors import Overloaded, QueryTooExpensive, QuotaExceeded
from plaudit_server.feedback.commands import Purge
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.errors import NotOwner
from plaudit_server.feedback.model import FeedbackModel
from plaudit_server.feedback.purging import FindMatches, Progress
from plaudit_server.feedback.reads import Count
from plaudit_server.store.base import Read
from plaudit_server.store.engines.memory import MemoryEngine
from plaudit_server.store.work import SERVER, Work
from tests.store.factory import PROJECT, id_of, record
from tests.store.purges import purging
from tests.store.suite import payload

T = TypeVar("T")


class SlowStore(MemoryEngine):
    """Has time for no more than `most` records in one read of a purge."""

    def __init__(self, most: int, refusal: Exception) -> None:
        super().__init__(FeedbackModel(lambda: 0))
        self.most = most
        self.refusal = refusal
        self.asked: list[int | None] = []

    async def read(self, read: Read[T], work: Work = SERVER) -> T:
        if isinstance(read, FindMatches):
            self.asked.append(read.window)
            if read.window is None or read.window > self.most:
                raise self.refusal
        return await super().read(read, work)


async def filled(most: int, refusal: Exception) -> SlowStore:
    store = SlowStore(most, refusal)
    await store.write([Create(PROJECT, [record(n, {"n": n % 100}) for n in range(1000)])])
    return store


@pytest.mark.parametrize("refusal", [QueryTooExpensive(1.0), Overloaded(1.0)])
def test_what_is_too_expensive_is_done_in_windows(refusal: Exception) -> None:
    async def scenario() -> None:
        store = await filled(300, refusal)
        going = purging(store, PROJECT)
        stopped = await going.matches(payload("n", 7), Progress(), 100)
        assert (stopped, going.removed) == (Progress(checked=True, window=250), 0)
        # From there on each request gets somewhere, and one that asked for too much at once says so.
        progress: Progress | None = stopped
        requests = 0
        while progress is not None:
            progress = await going.matches(payload("n", 7), progress, 100)
            requests += 1
            assert requests < 10
        assert going.removed == 10
        assert store.asked[:3] == [None, 2000, 250]
        assert await store.read(Count(PROJECT, payload("n", 7))) == 0

    asyncio.run(scenario())


def test_what_is_too_expensive_in_the_smallest_window_is_refused() -> None:
    async def scenario() -> None:
        store = await filled(0, QueryTooExpensive(1.0))
        going = purging(store, PROJECT)
        progress: Any = Progress()
        for window in (250, 50):
            progress = await going.matches(payload("n", 7), progress, 100)
            assert progress == Progress(checked=True, window=window)
        with pytest.raises(QueryTooExpensive):
            await going.matches(payload("n", 7), progress, 100)

    asyncio.run(scenario())


def test_a_purge_that_does_not_get_its_turn_says_where_to_go_on_once_it_has_removed_something() -> None:
    async def scenario() -> None:
        store = await filled(1000, QueryTooExpensive(1.0))
        turns = 1

        async def submit(purge: Purge) -> Any:
            nonlocal turns
            turns -= 1
            if turns < 0:
                raise QuotaExceeded("heavy_checks", 0.1)
            return (await store.write([purge])).outcomes[0]

        going = purging(store, PROJECT)
        going._submit = submit
        stopped: Any = await going.matches(None, Progress(window=100), 1000)
        assert (stopped.created_at, going.removed) == (100, 100)
        again = purging(store, PROJECT)
        again._submit = submit
        with pytest.raises(QuotaExceeded):
            await again.matches(None, stopped, 1000)
        turns = 1000
        assert await again.matches(None, stopped, 1000) is None
        assert again.removed == 900

    asyncio.run(scenario())


def test_another_ones_record_is_found_before_anything_is_removed_however_many_requests_that_takes() -> None:
    async def scenario() -> None:
        store = await filled(100, QueryTooExpensive(1.0))
        await store.write([Create(PROJECT, [record(5000, {"n": 7}, user_id="bob")])])
        going = purging(store, PROJECT, "anonymous", owner="anonymous", seconds=3600.0, share=0.0)
        progress: Any = Progress(window=100)
        for _ in range(10):
            progress = await going.matches(payload("n", 7), progress._replace(window=100), 100)
            assert not progress.checked
        with pytest.raises(NotOwner, match=id_of(5000)):
            await going.matches(payload("n", 7), progress._replace(window=100), 100)
        assert going.removed == 0

    asyncio.run(scenario())
