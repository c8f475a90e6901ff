"""The changes of projects for those who watch them: how each watcher is served, and one poll for all projects.

What happens while a watch is open comes from the project's tail, which reads each change once for all. A watcher that
is not served from there, since it comes late or reads slowly, reads the store itself, a slice at a time, at its own
account.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

from plaudit_server.errors import Overloaded, QueryTooExpensive, StoreUnavailable
from plaudit_server.feedback.errors import RevisionOutOfRange
from plaudit_server.feedback.feeds import Feed
from plaudit_server.feedback.reads import WATCH_SLICE, Changes, SelectChanges
from plaudit_server.feedback.records import FEEDBACK
from plaudit_server.feedback.tail import BATCH_BYTES, BATCH_CHANGES, RETRY_SECONDS, Tail, Window
from plaudit_server.query.tree import Operation
from plaudit_server.store.base import Engine
from plaudit_server.store.engines.sqlite.sieve import Sieve
from plaudit_server.store.ledger import ProjectRevision, ProjectRevisions
from plaudit_server.store.work import Work

logger = logging.getLogger("plaudit_server")

HEARTBEAT_SECONDS: Final = 10.0
# What all tails together keep of what they have read.
_WINDOW_BYTES: Final = 64 * 1024 * 1024
# Filters are matched in this many lines, so that those of one principal hold up few of the others'.
_LINES: Final = 8
_FIRST_SLICE: Final = 500
_ROWS_OF_A_TAIL: Final = 2**32


class Watches:
    """All watches of a server; `committed` is called after each commit, before its writers are answered."""

    def __init__(self, store: Engine, heartbeat: float = HEARTBEAT_SECONDS, poll: float | None = None) -> None:
        """`heartbeat` and `poll` in seconds; `poll` finds what other servers wrote to the same database."""
        self._store = store
        self._heartbeat = heartbeat
        self._poll_seconds = poll
        self._polling: asyncio.Task[None] | None = None
        self._sieve = Sieve(FEEDBACK)
        self._tails: dict[str, Tail] = {}
        self._numbers = count()
        self._window = Window(_WINDOW_BYTES)
        self._lines = _Lines()
        self._is_closed = False
        self.watchers = 0
        self.failed_reads = 0

    def committed(self, revisions: Mapping[str, int]) -> None:
        """New revisions by project, which are already durable."""
        if self._tails:
            for project, revision in revisions.items():
                if (tail := self._tails.get(project)) is not None:
                    tail.advance(revision)

    def close(self) -> None:
        """End every watch; each sends its revision first."""
        self._is_closed = True
        for tail in self._tails.values():
            tail.wake()

    async def release(self) -> None:
        """End the thread, after the last watch has ended."""
        await self._sieve.close()

    async def watch(
        self,
        project: str,
        after: int | None,
        filter: Operation | None,
        work: Callable[[], Work],
        question: bytes = b"",
        turn: Callable[[], Awaitable[None]] | None = None,
    ) -> AsyncGenerator[Changes, None]:
        """Changes above revision `after` (None: from now), then new ones as they come, in order, each once.

        Watchers with equal `question`, the encoded form of `filter`, share what is matched; `work` is the watcher's
        for each read of the store, and `turn` waits for its turn to read the next slice of what it has missed. Yields
        at least every heartbeat, without changes if there are none; ends when the server drains. Raises
        RevisionOutOfRange when `after` is above the project's revision.
        """
        async with self._following(project, filter, question, work().owner.principal) as (tail, feed):
            # Only now, with the tail in place: a commit is either in this revision, or reaches the tail.
            revision = await self._store.read(ProjectRevision(project), work())
            tail.begin(revision)
            position = revision if after is None else after
            if position > revision:
                raise RevisionOutOfRange(project, position, revision)
            # The first answer shows that the watch is open, and from which revision it would continue.
            yield Changes([], position)
            missed = _Missed(self._store, project, filter, work, turn)
            beat = time.monotonic() + self._heartbeat
            while not self._is_closed:
                found = feed.after(position)
                is_served = found is not None
                if found is None:
                    found = await missed.after(position)
                    if found.revision <= position:  # the store is not as far as it was
                        await asyncio.sleep(RETRY_SECONDS)
                position = max(position, found.revision)
                if found.changes or time.monotonic() >= beat:
                    yield Changes(found.changes, position)
                    beat = time.monotonic() + self._heartbeat
                elif is_served:
                    await feed.moved(beat - time.monotonic())
            yield Changes([], position)

    @asynccontextmanager
    async def _following(
        self, project: str, filter: Operation | None, question: bytes, principal: str
    ) -> AsyncIterator[tuple[Tail, Feed]]:
        key = None if filter is None else question
        compiled = None
        tail = self._tails.get(project)
        if filter is not None and (tail is None or key not in tail.feeds):
            compiled = self._sieve.compile(filter)
        if tail is None:
            tail = self._tails[project] = self._new_tail(project)
        feed = tail.feeds.get(key)
        if feed is None:
            feed = tail.follow(key, compiled, self._lines.enter(principal))
            feed.principal = principal
        feed.watchers += 1
        self.watchers += 1
        try:
            yield tail, feed
        finally:
            feed.watchers -= 1
            self.watchers -= 1
            if feed.watchers == 0:
                tail.leave(key)
                self._lines.leave(feed.principal)
            if not tail.feeds:
                del self._tails[project]
                tail.stop()
                if not self._tails and self._polling is not None:
                    self._polling.cancel()
                    self._polling = None

    def _new_tail(self, project: str) -> Tail:
        if self._polling is None and self._poll_seconds is not None:
            self._polling = asyncio.create_task(self._poll(self._poll_seconds))
        first = next(self._numbers) * _ROWS_OF_A_TAIL
        return Tail(self._store, self._sieve, project, first, self._window, self._read_failed)

    def _read_failed(self, error: Exception) -> None:
        self.failed_reads += 1
        if not isinstance(error, StoreUnavailable | Overloaded):
            logger.error("reading the changes of watched projects failed", exc_info=error)

    async def _poll(self, seconds: float) -> None:
        """Look for what other servers have written, in all watched projects at once."""
        while True:
            await asyncio.sleep(seconds)
            try:
                found = await self._store.read(ProjectRevisions(tuple(self._tails)))
            except Exception as error:
                self._read_failed(error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self.committed(found)


class _Missed:
    """What a watcher has missed, from the store, in slices that grow as long as they are quick enough."""

    def __init__(
        self,
        store: Engine,
        project: str,
        filter: Operation | None,
        work: Callable[[], Work],
        turn: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._store = store
        self._project = project
        self._filter = filter
        self._work = work
        self._turn = turn
        self._has_read = False
        self._revisions = _FIRST_SLICE

    async def after(self, position: int) -> Changes:
        """The next slice. Raises QueryTooExpensive when one revision alone takes too long."""
        while True:
            if self._turn is not None and self._has_read:
                await self._turn()
            self._has_read = True
            read = SelectChanges(
                self._project, position, self._filter, BATCH_CHANGES, BATCH_BYTES, most_revisions=self._revisions
            )
            try:
                found = await self._store.read(read, self._work())
            except QueryTooExpensive:
                if self._revisions == 1:
                    raise
                self._revisions = max(1, self._revisions // 10)
            else:
                self._revisions = min(2 * self._revisions, WATCH_SLICE)
                return found


class _Lines:
    """Which line each principal's filters are put into: all into one, and a new principal's into the emptiest."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}
        self._filters: Counter[str] = Counter()
        self._used = [0] * _LINES

    def enter(self, principal: str) -> int:
        """The line for another filter."""
        line = self._lines.get(principal)
        if line is None:
            line = self._lines[principal] = self._used.index(min(self._used))
        self._filters[principal] += 1
        self._used[line] += 1
        return line

    def leave(self, principal: str) -> None:
        """One of the principal's filters is not watched any more."""
        self._used[self._lines[principal]] -= 1
        self._filters[principal] -= 1
        if not self._filters[principal]:
            del self._filters[principal], self._lines[principal]
