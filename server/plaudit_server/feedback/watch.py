"""The changes of a project for those who watch it: read once for each question and commit, shared by its watchers.

A Tail reads the store after each commit and keeps a bounded window of what it read. A watcher inside the window is
served from it; a slower one reads the store itself, so that it costs no memory for others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from plaudit_server.errors import StoreUnavailable
from plaudit_server.feedback.errors import RevisionOutOfRange
from plaudit_server.feedback.reads import Changes, SelectChanges
from plaudit_server.query.tree import Operation
from plaudit_server.store.base import Engine
from plaudit_server.store.ledger import ProjectRevision

logger = logging.getLogger("plaudit_server")

HEARTBEAT_SECONDS: Final = 10.0
_BATCH_CHANGES: Final = 500
# Small, because for each stalled watcher one message waits inside grpc.
_BATCH_BYTES: Final = 256 * 1024
_WINDOW_BATCHES: Final = 16

_RETRY_SECONDS: Final = 0.2

_Question = tuple[str, bytes]


class Watches:
    """All watches of a server; `committed` is called after each commit, before its writers are answered."""

    def __init__(self, store: Engine, heartbeat: float = HEARTBEAT_SECONDS, poll: float | None = None) -> None:
        """`heartbeat` and `poll` in seconds; `poll` finds what other servers wrote to the same database."""
        self._store = store
        self._heartbeat = heartbeat
        self._poll = poll
        self._tails: dict[_Question, _Tail] = {}
        self._closed = False
        self.watchers = 0
        self.failed_reads = 0

    def committed(self, revisions: Mapping[str, int]) -> None:
        """New revisions by project, which are already durable."""
        if self._tails:
            for tail in self._tails.values():
                if (revision := revisions.get(tail.project)) is not None:
                    tail.advance(revision)

    def _read_failed(self) -> None:
        self.failed_reads += 1

    def close(self) -> None:
        """End every watch; each sends its revision first."""
        self._closed = True
        for tail in self._tails.values():
            tail.wake()

    async def watch(
        self, project: str, after: int | None, filter: Operation | None, question: bytes = b""
    ) -> AsyncGenerator[Changes, None]:
        """Changes above revision `after` (None: from now), then new ones as they come, in order, each once.

        Watchers with equal `question`, the encoded form of `filter`, share what is read. Yields at least every
        heartbeat, without changes if there are none; ends when the server drains.
        Raises RevisionOutOfRange when `after` is above the project's revision.
        """
        with self._following(project, filter, question) as tail:
            # Only now, with the tail in place: a commit is either in this revision, or reaches the tail.
            revision = await self._store.read(ProjectRevision(project))
            tail.begin(revision)
            position = revision if after is None else after
            if position > revision:
                raise RevisionOutOfRange(project, position, revision)
            # The first answer shows that the watch is open, and from which revision it would continue.
            yield Changes([], position)
            beat = time.monotonic() + self._heartbeat
            while not self._closed:
                found = tail.after(position)
                if found is None:
                    found = await self._store.read(
                        SelectChanges(project, position, filter, _BATCH_CHANGES, _BATCH_BYTES)
                    )
                position = max(position, found.revision)
                if found.changes or time.monotonic() >= beat:
                    yield Changes(found.changes, position)
                    beat = time.monotonic() + self._heartbeat
                else:
                    await tail.moved(position, beat - time.monotonic())
            yield Changes([], position)

    @contextmanager
    def _following(self, project: str, filter: Operation | None, question: bytes) -> Iterator[_Tail]:
        key = (project, question)
        tail = self._tails.get(key)
        if tail is None:
            tail = self._tails[key] = _Tail(self._store, project, filter, self._poll, self._read_failed)
        tail.watchers += 1
        self.watchers += 1
        try:
            yield tail
        finally:
            tail.watchers -= 1
            self.watchers -= 1
            if tail.watchers == 0:
                del self._tails[key]
                tail.stop()


class _Tail:
    """The newest changes for one question: a window of batches, each from a revision to a revision."""

    def __init__(
        self,
        store: Engine,
        project: str,
        filter: Operation | None,
        poll: float | None,
        on_failure: Callable[[], None],
    ) -> None:
        self.project = project
        self.filter = filter
        self.watchers = 0
        self._on_failure = on_failure
        self._store = store
        self._known = 0
        self._read: int | None = None  # not before `begin`
        self._window: deque[tuple[int, Changes]] = deque(maxlen=_WINDOW_BATCHES)
        self._stirred = asyncio.Event()
        self._moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(poll))

    def begin(self, revision: int) -> None:
        """Follow the project from `revision` on; a tail that has begun stays where it is."""
        if self._read is None:
            self._read = revision
        self.advance(revision)

    def advance(self, revision: int) -> None:
        """The project has reached `revision`."""
        self._known = max(self._known, revision)
        if self._is_behind:
            self._stirred.set()

    @property
    def _is_behind(self) -> bool:
        return self._read is not None and self._known > self._read

    def wake(self) -> None:
        """Let every waiting watcher look again."""
        moved, self._moved = self._moved, asyncio.get_running_loop().create_future()
        if not moved.done():
            moved.set_result(None)

    def stop(self) -> None:
        """The last watcher has left."""
        self._task.cancel()

    def after(self, position: int) -> Changes | None:
        """What comes after `position`, if the window still has it; None means that the store must be read."""
        if self._read is None or position >= self._read:
            return Changes([], position)
        for start, batch in self._window:
            if start <= position < batch.revision:
                if start == position:
                    return batch
                return Changes([c for c in batch.changes if c.revision > position], batch.revision)
        return None

    async def moved(self, position: int, seconds: float) -> None:
        """Wait until there may be something after `position`, at most the given number of seconds."""
        if self._read is None or position >= self._read:
            await asyncio.wait((self._moved,), timeout=seconds)

    async def _run(self, poll: float | None) -> None:
        while True:
            try:
                await self._catch_up()
                self._stirred.clear()
                if not self._is_behind:
                    await self._stir(poll)
            except Exception as error:
                # Watchers keep their place, and see what they missed once the store answers again.
                self._on_failure()
                if not isinstance(error, StoreUnavailable):
                    logger.exception("reading the changes of a watched project failed")
                await asyncio.sleep(_RETRY_SECONDS)

    async def _stir(self, poll: float | None) -> None:
        """Wait for a commit of this server; look for those of other servers every `poll` seconds."""
        try:
            await asyncio.wait_for(self._stirred.wait(), poll)
        except TimeoutError:
            self.advance(await self._store.read(ProjectRevision(self.project)))

    async def _catch_up(self) -> None:
        while self._read is not None and self._known > self._read:
            read = self._read
            found = await self._store.read(SelectChanges(self.project, read, self.filter, _BATCH_CHANGES, _BATCH_BYTES))
            if found.revision <= read:
                return
            self._window.append((read, found))
            self._read = found.revision
            self.wake()
