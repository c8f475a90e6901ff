"""Watches over the HTTP port that are open for a long time, beside a writer, and beside tabs that come and go."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import plaudit
from tests.faults.web_watching import PROTOCOLS, Seen, Watch
from tests.service.operators import Scraped, page

LIVE, SILENT = "acme/live", "acme/silent"
WATCHES: Final = 12

_BATCH: Final = 5
_PAUSE_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 0.01
_PATIENCE_SECONDS: Final = 60.0


@dataclass(slots=True)
class Results:
    """What happened: changes written and seen, heartbeats in a project without changes, and after how many seconds the
    server no longer had the watch of each tab that was closed.
    """

    written: int = 0
    seen: int = 0
    heartbeats: int = 0
    closed: list[float] = field(default_factory=list)


async def run(target: str, http: str, admin: str, seconds: float) -> Results:
    """Watch for the given time. Raises AssertionError when a watch misses a change, sees one twice, or ends."""
    results = Results()
    loop = asyncio.get_running_loop()
    last: asyncio.Future[int] = loop.create_future()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(plaudit.AsyncClient(LIVE, target=target))
        following: list[asyncio.Task[int]] = []
        for number in range(WATCHES):
            live = await stack.enter_async_context(Watch(http, LIVE, PROTOCOLS[number % len(PROTOCOLS)]))
            following.append(asyncio.create_task(_each_change(live.messages(), last)))
        waiting: list[asyncio.Task[int]] = []
        for protocol in PROTOCOLS:
            silent = await stack.enter_async_context(Watch(http, SILENT, protocol))
            waiting.append(asyncio.create_task(_first_change(silent.messages())))
        tabs = asyncio.create_task(_tabs(http, admin, loop.time() + seconds))
        while not tabs.done():
            records = [{"ref": "urn:x", "feedback_type": "a", "payload": {"n": n}} for n in range(_BATCH)]
            await client.create_batch(records)
            results.written += len(records)
            await asyncio.sleep(_PAUSE_SECONDS)
        results.closed = tabs.result()
        # One more change in each project, with which every watch ends.
        record = {"ref": "urn:x", "feedback_type": "a", "payload": {}}
        last.set_result((await client.create(record)).revision)
        await client.create(record, project=SILENT)
        results.written += 1
        async with asyncio.timeout(_PATIENCE_SECONDS):
            results.seen = sum(await asyncio.gather(*following))
            results.heartbeats = sum(await asyncio.gather(*waiting))
    return results


async def _each_change(messages: AsyncIterator[Seen], last: asyncio.Future[int]) -> int:
    """Follow a watch until the last change; how many there were."""
    revision = 0
    async for message in messages:
        for changed in message.changes:
            assert changed == revision + 1, f"after revision {revision} came {changed}"
            revision = changed
        assert message.revision >= revision
        if last.done() and revision >= last.result():
            return revision
    raise AssertionError("the watch ended")


async def _first_change(messages: AsyncIterator[Seen]) -> int:
    """Follow a watch until its first change; how many heartbeats came before."""
    heartbeats = 0
    async for message in messages:
        if message.changes:
            return heartbeats
        heartbeats += 1
    raise AssertionError("the watch ended")


async def _tabs(http: str, admin: str, end: float) -> list[float]:
    """Open and close a watch until a moment of the loop's clock: how many seconds the server had it after its end."""
    closed: list[float] = []
    open_always = WATCHES + len(PROTOCOLS)
    loop = asyncio.get_running_loop()
    while not closed or loop.time() < end:
        async with Watch(http, SILENT, PROTOCOLS[len(closed) % len(PROTOCOLS)]):
            await _until_watchers(admin, open_always + 1)
        before = time.monotonic()
        await _until_watchers(admin, open_always)
        closed.append(time.monotonic() - before)
        await asyncio.sleep(_PAUSE_SECONDS)
    return closed


async def _until_watchers(admin: str, count: int) -> None:
    """Ask a server's metrics until it has this number of watches."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        for answer in iter(lambda: asyncio.to_thread(page, admin, "/metrics"), None):
            if Scraped((await answer).text).value("plaudit_watchers") == count:
                return
            await asyncio.sleep(_LOOK_SECONDS)
