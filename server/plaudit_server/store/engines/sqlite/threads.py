"""Threads for blocking work of an event loop, at the price of one queue and one callback for each piece of work.

`loop.run_in_executor` gives each piece a future of `concurrent.futures` beside the loop's own, with a lock and a
condition. Without them 16 callers get 3 % more creates (ADR 0018).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, NamedTuple, TypeVar

T = TypeVar("T")

logger: Final = logging.getLogger("plaudit_server")


class _Work(NamedTuple):
    """What is to be done, and who gets what came of it."""

    loop: asyncio.AbstractEventLoop
    outcome: asyncio.Future[Any]
    call: Callable[..., Any]
    arguments: tuple[Any, ...]


class Threads:
    """A fixed number of threads that do what they are given, in its order, whatever fails in it."""

    def __init__(self, count: int, name: str) -> None:
        self._waiting: SimpleQueue[_Work | None] = SimpleQueue()
        # Daemons: a program that ends without `close` does not wait for ever for them.
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, call: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """What will come of a call on one of the threads; it is not made at all if that is cancelled before."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()
        self._waiting.put(_Work(loop, outcome, call, arguments))
        return outcome

    async def close(self) -> None:
        """End the threads, after what they have been given."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            await asyncio.get_running_loop().run_in_executor(None, thread.join)

    def _work(self) -> None:
        while (work := self._waiting.get()) is not None:
            if not work.outcome.cancelled():
                settle(work.loop, work.outcome, work.call, *work.arguments)
            del work  # else the last piece and its outcome would live until the next


def settle(
    loop: asyncio.AbstractEventLoop, outcome: asyncio.Future[T], call: Callable[..., T], *arguments: Any
) -> None:
    """Make a call on this thread, and hand what came of it to a future of the loop."""
    result, error = None, None
    try:
        result = call(*arguments)
    except BaseException as raised:
        error = raised
    try:
        loop.call_soon_threadsafe(_set, outcome, result, error)
    except RuntimeError:
        logger.debug("what came of %r reaches nobody: its event loop is closed", call)
    finally:
        # An error's traceback holds this frame, which would hold the error, by itself and in the outcome.
        del outcome, call, arguments, result, error


def _set(outcome: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if outcome.done():  # nobody waits for it any more
        return
    if error is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(error)
