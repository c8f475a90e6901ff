"""Threads for blocking work of an event loop, at the price of one queue and one callback for each piece of work.

`loop.run_in_executor` gives each piece a future of `concurrent.futures` beside the loop's own, with a lock and a
condition. Without them 16 callers get 3 % more creates (ADR 0018).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, TypeVar

T = TypeVar("T")

logger: Final = logging.getLogger("plaudit_server")


class _Work(NamedTuple):
    """What is to be done, and who is told what came of it."""

    loop: asyncio.AbstractEventLoop
    outcome: asyncio.Future[Any]
    call: Callable[..., Any]
    arguments: tuple[Any, ...]


class Threads:
    """So many threads that do what they are given, in its order, whatever fails in it.

    One of them does it alone as long as it gets on. Two that fetch rows at the same time take the interpreter lock from
    each other at every row: that costs more than a second processor brings (ADR 0021). The others help when the first
    has been at one piece for `PATIENCE` seconds.
    """

    PATIENCE: Final = 0.004

    def __init__(self, count: int, name: str) -> None:
        self._waiting: SimpleQueue[_Work | None] = SimpleQueue()
        self._calls_for_help: SimpleQueue[bool] = SimpleQueue()
        self._began = 0.0
        """When the first thread began with its piece, in seconds of the monotonic clock; 0 while it has none."""
        self._looking: asyncio.TimerHandle | None = None
        # Daemons: a program that ends without `close` does not wait for ever for them.
        self._threads = [
            threading.Thread(target=self._help if number else self._work, name=f"{name}-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, call: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """What will come of a call on one of the threads; it is not made at all if that is cancelled before."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()
        self._waiting.put(_Work(loop, outcome, call, arguments))
        if len(self._threads) > 1:
            self._look(loop)
        return outcome

    async def close(self) -> None:
        """End the threads, behind what they have been given."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._waiting.put(None)
        for thread in self._threads:
            await asyncio.get_running_loop().run_in_executor(None, thread.join)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Call for help if work waits behind a piece that takes long; look again, as long as any waits."""
        if self._waiting.empty():
            return
        seconds = self._patience_left()
        if seconds <= 0 and self._calls_for_help.empty():
            self._calls_for_help.put(True)
        if self._looking is None:
            self._looking = loop.call_later(seconds if seconds > 0 else self.PATIENCE, self._look_again, loop)

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._looking = None
        self._look(loop)

    def _patience_left(self) -> float:
        began = self._began
        return began + self.PATIENCE - time.monotonic() if began else self.PATIENCE

    def _work(self) -> None:
        while (work := self._waiting.get()) is not None:
            self._began = time.monotonic()
            _do(work)
            self._began = 0.0
            del work  # else the last piece and its outcome would live until the next
        for _ in self._threads[1:]:
            self._calls_for_help.put(False)

    def _help(self) -> None:
        while self._calls_for_help.get():
            while self._patience_left() <= 0:
                try:
                    work = self._waiting.get_nowait()
                except Empty:
                    break
                if work is None:  # the first thread's
                    self._waiting.put(work)
                    break
                _do(work)
                del work


def _do(work: _Work) -> None:
    if work.outcome.cancelled():
        return
    result, error = None, None
    try:
        result = work.call(*work.arguments)
    except BaseException as raised:
        error = raised
    try:
        work.loop.call_soon_threadsafe(_settle, work.outcome, result, error)
    except RuntimeError:
        logger.debug("what came of %r is told to nobody: its event loop is closed", work.call)
    finally:
        # An error's traceback holds this frame, which would hold the error, by itself and in the outcome.
        del work, error


def _settle(outcome: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if outcome.done():  # nobody waits for it any more
        return
    if error is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(error)
