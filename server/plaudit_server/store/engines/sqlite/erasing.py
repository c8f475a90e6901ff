"""The truncation of the log, which makes purged bytes disappear: beside the writer, and never long in its way."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import apsw

from plaudit_server.errors import StoreUnavailable
from plaudit_server.store.engines.sqlite.connection import BUSY_MS, UNAVAILABLE
from plaudit_server.store.engines.sqlite.threads import Threads

logger: Final = logging.getLogger("plaudit_server")

# How long the writer may wait for readers that hold a snapshot. Nothing, at first; short reads that never pause leave
# no other way, and end within this time.
_WAITS_MS: Final = (0, 5)
_RETRY_SECONDS: Final = (0.05, 60.0)  # the shortest and the longest delay after readers were in the way
# What was written while the log was being moved is left in it, and then SQLite does not wait until the file is on disk:
# that is left to the next one who moves, who would be the writer. So it is moved again, this often at most, until it
# has taken so little time that nearly nothing is left.
_MOVES: Final = 5
_SHORT_MOVE_SECONDS: Final = 0.005
_PAUSE_SECONDS: Final = 0.2  # between two truncations, so that a purge in many slices is not followed by as many


class Eraser:
    """Empties the write-ahead log after purges: moves it into the file, and cuts it to nothing.

    The first takes long, and is done on a connection and a thread of its own, beside writers and readers. The second
    is done by the writer between two groups, when nothing is left to move, and waits for no reader, or a few
    milliseconds; while a snapshot keeps it from being done it is tried again later and later.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], apsw.Connection],
        by_writer: Callable[[Callable[[int], bool], int], Awaitable[bool]],
        truncate: Callable[[int], bool],
    ) -> None:
        """`truncate(milliseconds)` cuts the log, on the thread on which `by_writer` runs it. `name` is the store's."""
        self._name = name
        self._connect = connect
        self._by_writer = by_writer
        self._truncate = truncate
        self._threads = Threads(1, "plaudit-eraser")
        self._connection: apsw.Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._asked = 0
        self._done = 0
        self._emptied = asyncio.Event()

    @property
    def pending(self) -> bool:
        """Whether the log may still have in it what was there when it was last asked for."""
        return self._done != self._asked

    def ask(self) -> None:
        """Let the log be emptied soon; on the thread that writes, after the commit."""
        self._asked += 1

    def go_on(self) -> None:
        """Begin, if it was asked for; on the event loop."""
        if self.pending and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(), name="plaudit-eraser")

    async def emptied(self, seconds: float) -> None:
        """Wait until all that was asked for is done, or for so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.pending:
                    self._emptied.clear()
                    await self._emptied.wait()

    async def close(self) -> None:
        """Stop, and release the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._threads.run(self._disconnect)
        await self._threads.close()

    def cut(self, milliseconds: int) -> bool:
        """Cut the log, on the thread that writes; remembers what that has emptied."""
        asked = self._asked
        if not self._truncate(milliseconds):
            return False
        self._done = asked
        return True

    async def _run(self) -> None:
        delay, longest = _RETRY_SECONDS
        attempts = 0
        while self.pending:
            moved = await self._threads.run(self._move)
            wait = _WAITS_MS[min(attempts, len(_WAITS_MS) - 1)]
            attempts += 1
            done = False
            if moved or wait:
                with suppress(StoreUnavailable):  # which is logged, and seen by the next write
                    done = await self._by_writer(self.cut, wait)
            if done:
                self._emptied.set()
                delay, longest = _RETRY_SECONDS
                attempts = 0
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                await asyncio.sleep(delay)
                delay = min(2 * delay, longest)

    def _move(self) -> bool:
        """Move what no reader needs any more from the log into the file; whether that is all of it."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            for _ in range(_MOVES):
                began = time.monotonic()
                frames, moved = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                if frames != moved or time.monotonic() - began < _SHORT_MOVE_SECONDS:
                    break
        except UNAVAILABLE as error:
            if not isinstance(error, apsw.BusyError):
                logger.warning("store %s: erasure: %s: %s", self._name, type(error).__name__, error)
                self._disconnect()
            return False
        return bool(frames == moved)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(True)


def truncate(connection: apsw.Connection, milliseconds: int) -> bool:
    """Move the rest of the log into the file and cut it; False when a reader's snapshot is in the way for so long.

    Raises what UNAVAILABLE lists.
    """
    connection.set_busy_timeout(milliseconds)
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError:
        return False
    finally:
        connection.set_busy_timeout(BUSY_MS)
    return True
