"""Checks that take long, of large payloads above all, beside the event loop: in one thread, part of the time, in turn.

A thread of Python shares the interpreter with the event loop, so that a check which runs there without a pause would
still be felt by every call. So while others have calls in flight, the thread pauses after each check.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from plaudit_server.errors import QuotaExceeded
from plaudit_server.rpc.admission import Admission
from plaudit_server.rpc.call import Call

T = TypeVar("T")

# Requests with fewer bytes are never looked at; others only when their payloads have many values, since a long text is
# read at once: 5,000 values take about 2 ms.
_LARGE_REQUEST_BYTES: Final = 32 * 1024
_MANY_VALUES: Final = 5_000

# While others have calls in flight, the thread rests for so many times what a check took.
_REST: Final = 3.0
_LONGEST_REST: Final = 2.0
# How many checks of one principal may wait; further ones are refused.
_WAITING: Final = 32
_RETRY_SECONDS: Final = 0.2
_QUOTA: Final = "heavy_checks"


def values_at_most(text: str) -> int:
    """A bound on how many values JSON text has, found without reading it: what separates values, in texts too."""
    return text.count(",") + text.count("[") + text.count("{") + 1


class Checks:
    """The thread, and who waits for it: one check of a principal is in line at a time, so principals take turns."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._thread = ThreadPoolExecutor(1, "plaudit-checker")
        self._turn = asyncio.Lock()
        self._of: dict[str, tuple[asyncio.Lock, int]] = {}
        self.limit = _QUOTA

    async def run(self, call: Call, payloads: Iterable[str], work: Callable[[], T]) -> T:
        """What `work` gives, which checks these payloads: at once if they are small, else in the thread.

        Raises what `work` raises, and QuotaExceeded when too many large ones of the caller wait already.
        """
        return work() if self.are_small(call, payloads) else await self.apart(call, work)

    def are_small(self, call: Call, payloads: Iterable[str]) -> bool:
        """Whether the payloads of a request are checked so fast that the event loop may do it."""
        return call.size < _LARGE_REQUEST_BYTES or sum(map(values_at_most, payloads)) < _MANY_VALUES

    async def apart(self, call: Call, work: Callable[[], T]) -> T:
        """What `work` gives, in the thread."""
        principal = call.owner_name or ""
        lock, waiting = self._of.get(principal, (asyncio.Lock(), 0))
        if waiting >= _WAITING:
            raise QuotaExceeded(_QUOTA, _RETRY_SECONDS)
        self._of[principal] = lock, waiting + 1
        try:
            async with lock, self._turn:
                started = time.monotonic()
                try:
                    return await asyncio.get_running_loop().run_in_executor(self._thread, work)
                finally:
                    if self._admission.has_others(principal):
                        await asyncio.sleep(min(_REST * (time.monotonic() - started), _LONGEST_REST))
        finally:
            lock, waiting = self._of[principal]
            if waiting > 1:
                self._of[principal] = lock, waiting - 1
            else:
                del self._of[principal]

    def close(self) -> None:
        """End the thread after what it does now."""
        self._thread.shutdown(wait=False, cancel_futures=True)
