"""A feed: the newest changes that pass one filter, from which all watchers of a project with that filter are served."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from plaudit_server.feedback.reads import Changes


class Source(Protocol):
    """What fills a feed."""

    upto: int
    """All changes up to this revision have been put into its feeds, unless a feed has missed them."""


class Feed:
    """Changes in revision order, in the portions in which they were read.

    It has all of them above the revision `since`, up to the one that its source has reached; what is not there any
    more, or was never put there, is in the store.
    """

    def __init__(self, source: Source, since: int) -> None:
        self.since = since
        self.watchers = 0
        self.principal = ""
        """Whose filter it is: who asked for it first."""
        self._source = source
        self._found: deque[Changes] = deque()
        self._moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, found: Changes) -> None:
        """The next changes that pass."""
        self._found.append(found)

    def miss(self, revision: int) -> None:
        """What is up to this revision was not put here, and must be read from the store."""
        self._found.clear()
        self.since = max(self.since, revision)
        self.wake()

    def forget(self, revision: int) -> None:
        """Keep no changes up to this revision."""
        while self._found and self._found[0].revision <= revision:
            self.since = max(self.since, self._found.popleft().revision)

    def wake(self) -> None:
        """Let every waiting watcher look again."""
        moved, self._moved = self._moved, asyncio.get_running_loop().create_future()
        if not moved.done():
            moved.set_result(None)

    def after(self, position: int) -> Changes | None:
        """What comes after `position`, if the feed still has it; None means that the store must be read."""
        if position < self.since:
            return None
        upto = self._source.upto
        for found in self._found:
            if found.revision > position:
                if found.changes[0].revision > position:
                    return found
                later = [change for change in found.changes if change.revision > position]
                if later:
                    return Changes(later, found.revision)
        return Changes([], max(position, upto))

    async def moved(self, seconds: float) -> None:
        """Wait until there may be something new, at most the given number of seconds."""
        await asyncio.wait((self._moved,), timeout=seconds)
