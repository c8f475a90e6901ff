"""The tail of a project that is watched: each change is read once, and put through the filters of all its watchers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final

from plaudit_server.feedback.batches import Batch, SelectBatch, columns_of
from plaudit_server.feedback.feeds import Feed
from plaudit_server.feedback.lines import Line, Portion
from plaudit_server.feedback.reads import Changes
from plaudit_server.feedback.records import ChangeKind
from plaudit_server.store.base import Engine
from plaudit_server.store.engines.sqlite.sieve import Filter, Rows, Sieve
from plaudit_server.store.work import Owner, Work

RETRY_SECONDS: Final = 0.2
BATCH_CHANGES: Final = 500
# Small, because for each stalled watcher one message waits inside grpc.
BATCH_BYTES: Final = 256 * 1024
_BATCHES: Final = 16


class Window:
    """How much all tails together keep of what they have read, in bytes."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.tails = 0

    @property
    def share(self) -> int:
        """What each tail may keep, in bytes."""
        return self.most_bytes // max(1, self.tails)


class Tail:
    """Reads a project's changes in order. Those who want all of them have one feed; filters are put into lines."""

    def __init__(
        self,
        store: Engine,
        sieve: Sieve,
        project: str,
        first: int,
        window: Window,
        on_failure: Callable[[Exception], None],
    ) -> None:
        """`first` is the first of the numbers for its rows in the sieve; no other tail uses those after it."""
        self.project = project
        self.feeds: dict[Hashable, Feed] = {}
        self.upto = 0
        self.window: deque[Portion] = deque()
        self._store = store
        self.sieve = sieve
        self._share = window
        self._on_failure = on_failure
        self._next = first
        self._lines: dict[int, Line] = {}
        self._line_of: dict[Feed, int] = {}
        self._everything: Feed | None = None
        self._loaded: list[Portion] = []
        self._known = 0
        self._has_begun = False
        self._stirred = asyncio.Event()
        self._work = Work(Owner(f"watchers of {project}", project))
        window.tails += 1
        self._task = asyncio.create_task(self._run())

    def follow(self, key: Hashable, filter: Filter | None, line: int) -> Feed:
        """The feed of a filter, which `key` identifies; a new filter is put into the line of this number."""
        feed = self.feeds.get(key)
        if feed is None:
            if filter is None:
                feed = self._everything = Feed(self, self.upto)
            else:
                if line not in self._lines:
                    self._lines[line] = Line(self, Owner(f"line {line}", self.project))
                feed = self._lines[line].follow(filter)
                self._line_of[feed] = line
            self.feeds[key] = feed
        return feed

    def leave(self, key: Hashable) -> None:
        """The last watcher of a feed has left."""
        feed = self.feeds.pop(key)
        if feed is self._everything:
            self._everything = None
            return
        line = self._line_of.pop(feed)
        if self._lines[line].leave(feed):
            del self._lines[line]

    def begin(self, revision: int) -> None:
        """Follow the project from `revision` on; a tail that has begun stays where it is."""
        if not self._has_begun:
            self._has_begun = True
            self.upto = revision
            for line in self._lines.values():
                line.begin(revision)
            for feed in self.feeds.values():
                feed.since = revision
        self.advance(revision)

    def advance(self, revision: int) -> None:
        """The project has reached `revision`."""
        if revision > self._known:
            self._known = revision
            self._stirred.set()

    def wake(self) -> None:
        """Let every waiting watcher look again."""
        for feed in self.feeds.values():
            feed.wake()

    def stop(self) -> None:
        """The last watcher has left."""
        self._share.tails -= 1
        self._task.cancel()
        for portion in self.window:
            portion.is_dropped = True
        self.release()

    async def _run(self) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            try:
                while self._has_begun and self._known > self.upto:
                    if not await self._read():
                        break
            except Exception as error:
                # Watchers keep their place, and see what they missed once the store answers again.
                self._on_failure(error)
                await asyncio.sleep(RETRY_SECONDS)
                self._stirred.set()

    async def _read(self) -> bool:
        """Read the next batch; False when there is none."""
        start = self.upto
        columns = frozenset[str]().union(*(line.columns for line in self._lines.values()))
        names = columns_of(columns)
        read = SelectBatch(self.project, start, names, BATCH_CHANGES, BATCH_BYTES)
        batch = await self._store.read(read, self._work)
        if batch.revision <= start:
            return False
        rows = Rows(self._next, names, batch.versions)
        self._next = rows.end
        removals = [place for place, change in enumerate(batch.changes) if change.kind >= ChangeKind.PURGED]
        portion = Portion(start, batch.revision, batch.changes, _size(batch), columns, rows, batch.places, removals)
        self.window.append(portion)
        self._shorten()
        if batch.versions:
            self._loaded.append(portion)
        self.upto = batch.revision
        if self._everything is not None and batch.changes:
            self._everything.add(Changes(batch.changes, batch.revision))
            self._everything.wake()
        for line in self._lines.values():
            line.stir()
        return True

    def _shorten(self) -> None:
        """Drop the oldest batches, so that the window keeps its size."""
        size = sum(portion.size for portion in self.window)
        while len(self.window) > _BATCHES or (len(self.window) > 1 and size > self._share.share):
            oldest = self.window.popleft()
            oldest.is_dropped = True
            size -= oldest.size
            for feed in self.feeds.values():
                feed.forget(oldest.revision)
        self.release()

    def release(self) -> None:
        """Forget the rows that no line needs any more."""
        upto = min((line.upto for line in self._lines.values()), default=self.upto)
        done = [
            portion
            for portion in self._loaded
            if portion.readers == 0 and (portion.is_dropped or portion.revision <= upto)
        ]
        if done:
            self._loaded = [portion for portion in self._loaded if portion not in done]
            self.sieve.drop(rows=[portion.rows for portion in done])


def _size(batch: Batch) -> int:
    return sum(len(change.row.head) + len(change.row.payload) for change in batch.changes if change.row is not None)
