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
    """A call to make, and the future that gets its outcome."""

    loop: asyncio.AbstractEventLoop
    outcome: asyncio.Future[Any]
    call: Callable[..., Any]
    arguments: tuple[Any, ...]


class Threads:
    """A fixed number of threads that make the calls that they are given, in order, even after one has failed."""

    def __init__(self, count: int, name: str) -> None:
        self._waiting: SimpleQueue[_Work | None] = SimpleQueue()
        # Daemons: a program that ends without `close` does not wait for them.
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, call: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """The future of a call on one of the threads; a call whose future is cancelled before it begins is not made."""
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
            del work  # otherwise the last call and its outcome would live until the next


def settle(
    loop: asyncio.AbstractEventLoop, outcome: asyncio.Future[T], call: Callable[..., T], *arguments: Any
) -> None:
    """Make a call on this thread, and give its outcome to a future of the loop."""
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
        # An error's traceback holds this frame; the frame must not hold the error, itself or in the outcome.
        del outcome, call, arguments, result, error


def _set(outcome: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if outcome.done():  # nobody waits for it any more
        return
    if error is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(error)
