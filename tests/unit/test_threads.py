"""The threads of a store: they do their work in order, and no failure in it ends them."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable

import pytest

from plaudit_server.store.engines.sqlite.threads import Threads


def run(scenario: Callable[[Threads], Awaitable[None]], count: int = 1) -> None:
    async def with_threads() -> None:
        before = threading.enumerate()
        threads = Threads(count, "test")
        try:
            await scenario(threads)
        finally:
            await threads.close()
        assert not [thread for thread in set(threading.enumerate()) - set(before) if thread.name.startswith("test-")]

    asyncio.run(with_threads())


def test_calls_are_made_in_order_on_another_thread() -> None:
    async def scenario(threads: Threads) -> None:
        made: list[int] = []
        await asyncio.gather(*(threads.run(made.append, number) for number in range(100)))
        assert made == list(range(100))
        assert await threads.run(threading.current_thread) is not threading.current_thread()

    run(scenario)


def test_several_threads_work_side_by_side() -> None:
    async def scenario(threads: Threads) -> None:
        meeting = threading.Barrier(3, timeout=30)
        assert sorted(await asyncio.gather(*(threads.run(meeting.wait) for _ in range(3)))) == [0, 1, 2]

    run(scenario, count=3)


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3)])
def test_what_is_raised_goes_to_the_caller_and_the_thread_goes_on(error: BaseException) -> None:
    def fail() -> None:
        raise error

    async def scenario(threads: Threads) -> None:
        outcome = threads.run(fail)
        await asyncio.wait([outcome])
        assert outcome.exception() is error
        assert await threads.run(int, "7") == 7

    run(scenario)


def test_a_call_that_is_cancelled_before_it_began_is_not_made() -> None:
    async def scenario(threads: Threads) -> None:
        made: list[str] = []
        begun, go_on = threading.Event(), threading.Event()

        def first() -> None:
            begun.set()
            go_on.wait(30)
            made.append("first")

        outcomes = [threads.run(first), threads.run(made.append, "second"), threads.run(made.append, "third")]
        await asyncio.to_thread(begun.wait, 30)
        outcomes[0].cancel()  # too late: work that has begun is finished, and its result dropped
        outcomes[1].cancel()
        go_on.set()
        await outcomes[2]
        assert made == ["first", "third"]

    run(scenario)


def test_what_came_of_a_call_is_not_kept() -> None:
    class Result:
        pass

    class Failure(Exception):
        pass

    def fail() -> None:
        raise Failure

    async def scenario(threads: Threads) -> None:
        gc.disable()  # it must not need the collector of cycles
        try:
            result = weakref.ref(await threads.run(Result))
            outcome = threads.run(fail)
            await asyncio.wait([outcome])
            failure = weakref.ref(outcome.exception() or Result())
            del outcome
            await threads.run(int)
            assert (result(), failure()) == (None, None)
        finally:
            gc.enable()

    run(scenario)


def test_a_loop_that_is_closed_meanwhile_does_not_end_the_thread() -> None:
    go_on = threading.Event()

    async def begin() -> Threads:
        threads = Threads(1, "test")
        threads.run(go_on.wait, 30)
        return threads

    threads = asyncio.run(begin())
    go_on.set()

    async def end() -> int:
        seven = await threads.run(int, "7")
        await threads.close()
        return seven

    assert asyncio.run(end()) == 7
