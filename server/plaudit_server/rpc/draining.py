"""The end of calls when a server stops: new ones are refused, those that outlast its grace are ended; both may retry.

grpc ends a call with a bare CANCELLED when it stops, whether it has handed the call over or not; no client can know
that it may retry that. So calls are refused here first, until no more are on their way, and then grpc is stopped; those
that still run shortly before the end of the grace are ended from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from plaudit_server.errors import Stopping
from plaudit_server.rpc.call import Call

RETRY_SECONDS: Final = 0.5
"""After this time a client should come back: by then its connection has ended, and it finds another server, or waits
for this one."""

_QUIET_SECONDS: Final = 0.05
_LONGEST_SECONDS: Final = 1.0


_ENDING_SECONDS: Final = 0.3  # for the status of a call that is ended to reach its client
_ENDING_SHARE: Final = 0.25  # at most this part of the grace


class Draining:
    """Lets every call in until `begin`; after that, none that has not begun."""

    def __init__(self) -> None:
        self.refused = 0
        """How many calls were refused."""
        self._is_on = False
        self._running: set[asyncio.Task[Any]] = set()
        self._ended: set[asyncio.Task[Any]] = set()

    def check(self, call: Call) -> None:
        """The first gate. Raises Stopping for a call that comes too late; further messages of a stream pass."""
        if self._is_on and call.place is None:
            self.refused += 1
            raise Stopping(RETRY_SECONDS)

    async def begin(self) -> None:
        """Refuse calls from now on; returns when none has come for a moment, or after a second."""
        self._is_on = True
        loop = asyncio.get_running_loop()
        end, seen = loop.time() + _LONGEST_SECONDS, -1
        while self.refused != seen and loop.time() < end:
            seen = self.refused
            await asyncio.sleep(_QUIET_SECONDS)

    def entered(self, task: asyncio.Task[Any]) -> None:
        """A task that answers a call has begun."""
        self._running.add(task)

    def left(self, task: asyncio.Task[Any]) -> None:
        """A task that answers a call has ended."""
        self._running.discard(task)
        self._ended.discard(task)

    def has_ended(self, task: asyncio.Task[Any]) -> bool:
        """Whether the task was cancelled here, and not because its client left."""
        return task in self._ended

    @contextmanager
    def grace(self, seconds: float) -> Iterator[None]:
        """While grpc waits for the calls that run: shortly before the grace is over, those that are left are ended."""
        soon = seconds - min(_ENDING_SECONDS, seconds * _ENDING_SHARE)
        ending = asyncio.get_running_loop().call_later(soon, self._end)
        try:
            yield
        finally:
            ending.cancel()

    def _end(self) -> None:
        for task in self._running:
            self._ended.add(task)
            task.cancel()
