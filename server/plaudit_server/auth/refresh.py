"""A value that is loaded again and again in the background, so that no request ever waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from plaudit_server.errors import StoreUnavailable

logger = logging.getLogger("plaudit_server")

T = TypeVar("T")


class Refreshed(Generic[T]):
    """The last result of `load`, which runs every `interval` seconds, and sooner when asked.

    After a failure the old value stays, for at most `stale_after` seconds; then reading it raises StoreUnavailable.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], Awaitable[T]],
        interval: float,
        *,
        stale_after: float = float("inf"),
        earliest: float = 1.0,
    ) -> None:
        """`earliest` is the least number of seconds between two loads."""
        self._name = name
        self._load = load
        self._interval = interval
        self._stale_after = stale_after
        self._earliest = min(earliest, interval)
        self._value: T | None = None
        self._loaded_at = -float("inf")
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load once, and raise its failure unchanged; then keep loading until `close`."""
        await self._refresh()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop loading. Safe to call twice, and without `start`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def get(self) -> T:
        """The value now, at once. Raises StoreUnavailable when it is too old to be trusted."""
        if self._value is None or time.monotonic() - self._loaded_at > self._stale_after:
            raise StoreUnavailable(self._name, retry_delay=1.0)
        return self._value

    def soon(self) -> None:
        """Ask for an early load, because something is missing in the value."""
        self._wanted.set()

    async def _refresh(self) -> None:
        started = time.monotonic()
        self._value = await self._load()
        self._loaded_at = started

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._earliest)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), self._interval - self._earliest)
            self._wanted.clear()
            try:
                await self._refresh()
            except Exception as error:
                logger.warning("reading %s failed, what was read before stays in force: %s", self._name, error)
