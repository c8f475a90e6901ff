"""A line of filters: matched together with what a tail has read, at their own pace, and at nobody else's expense."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from plaudit_server.feedback.feeds import Feed
from plaudit_server.feedback.reads import Change, Changes
from plaudit_server.store.engines.sqlite.sieve import Filter, Rows
from plaudit_server.store.work import Owner

if TYPE_CHECKING:
    from plaudit_server.feedback.tail import Tail

logger = logging.getLogger("plaudit_server")

# What is done for one line of filters before the next one has its turn: versions times filters, and a version with a
# large payload counts as several.
_JOB_WEIGHT: Final = 2_000
_WEIGHT_BYTES: Final = 1_024
_MOST_FILTERS: Final = 512
# A line that needs more than this for some batches pauses for as long: so it takes half of a processor at most, and has
# more batches to match at once.
_PAUSE_SECONDS: Final = 0.002
_LONGEST_PAUSE_SECONDS: Final = 0.05


@dataclass(slots=True, eq=False)
class Portion:
    """A batch in the window: the changes above revision `start` up to `revision`, and their versions for the sieve."""

    start: int
    revision: int
    changes: list[Change]
    size: int
    columns: frozenset[str]
    rows: Rows
    places: list[int]
    removals: list[int]
    """The places of removals among the changes: they pass every filter."""
    readers: int = 0
    """How many lines put it through their filters now."""
    is_dropped: bool = False

    def passing(self, numbers: list[int]) -> list[Change]:
        """The changes of which a version has one of these numbers, and all removals."""
        first, end = self.rows.first, self.rows.end
        places = {self.places[number - first] for number in numbers if first <= number < end}
        return [self.changes[place] for place in sorted(places.union(self.removals))]


class Line:
    """Filters that are matched together: it goes through the tail's window at its own pace.

    One that does not keep up makes its own watchers read the store, and nobody else's.
    """

    def __init__(self, tail: Tail, owner: Owner) -> None:
        self.upto = tail.upto
        self._tail = tail
        self._owner = owner
        self._reaching = tail.upto
        self._feeds: dict[Feed, Filter] = {}
        self._columns: Counter[str] = Counter()
        self._stirred = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    def follow(self, filter: Filter) -> Feed:
        """A new feed, of what comes from now on."""
        feed = Feed(self, self._reaching)
        self._feeds[feed] = filter
        self._columns.update(filter.columns)
        return feed

    def leave(self, feed: Feed) -> bool:
        """Remove a feed; whether the line is of no use any more."""
        filter = self._feeds.pop(feed)
        self._columns.subtract(filter.columns)
        self._tail.sieve.drop(filters=[filter])
        if not self._feeds:
            self._task.cancel()
        return not self._feeds

    @property
    def columns(self) -> frozenset[str]:
        """What its filters look at."""
        return frozenset(name for name, count in self._columns.items() if count)

    def begin(self, revision: int) -> None:
        """Go on from this revision."""
        self.upto = self._reaching = revision

    def stir(self) -> None:
        """There is another batch."""
        self._stirred.set()

    async def _run(self) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            while portions := self._next():
                self._reaching = portions[-1].revision
                feeds = dict(self._feeds)
                for portion in portions:
                    portion.readers += 1
                began = time.monotonic()
                try:
                    found = await self._match(portions, feeds)
                except Exception:
                    logger.exception("the filters of a watched project could not be matched")
                    found = {}
                finally:
                    for portion in portions:
                        portion.readers -= 1
                    self._tail.release()
                self._give(portions, feeds, found)
                self.upto = self._reaching
                self._tail.release()
                took = time.monotonic() - began
                if took > _PAUSE_SECONDS:
                    await asyncio.sleep(min(took, _LONGEST_PAUSE_SECONDS))

    def _next(self) -> list[Portion]:
        """The next batches, as many as are matched at once."""
        waiting = [portion for portion in self._tail.window if portion.revision > self.upto]
        if not waiting:
            return []
        if waiting[0].start > self.upto:  # what was in between has left the window
            self.upto = self._reaching = waiting[0].start
            for feed in self._feeds:
                feed.miss(self.upto)
        taken = waiting[:1]
        weight = _weight(waiting[0])
        for portion in waiting[1:]:
            weight += _weight(portion)
            if weight > _JOB_WEIGHT or portion.columns != taken[0].columns:
                break
            taken.append(portion)
        return taken

    async def _match(self, portions: list[Portion], feeds: dict[Feed, Filter]) -> dict[Filter, list[int]]:
        """The numbers of the versions that match, by filter; of some there is no answer."""
        columns = portions[0].columns
        filters = [filter for filter in feeds.values() if filter.columns <= columns]
        rows = [portion.rows for portion in portions if portion.rows.end > portion.rows.first]
        if not rows:
            return {filter: [] for filter in filters}
        # Those of one shape together, since they share a statement.
        filters.sort(key=attrgetter("shape"))
        weight = sum(map(_weight, portions))
        at_once = max(1, min(_MOST_FILTERS, _JOB_WEIGHT // weight))
        found: dict[Filter, list[int]] = {}
        for first in range(0, len(filters), at_once):
            found |= await self._tail.sieve.match(self._owner, rows, filters[first : first + at_once])
        return found

    def _give(self, portions: list[Portion], feeds: dict[Feed, Filter], found: dict[Filter, list[int]]) -> None:
        removals = any(portion.removals for portion in portions)
        for feed, filter in feeds.items():
            numbers = found.get(filter)
            if numbers is None:
                feed.miss(self._reaching)
            elif numbers or removals:
                for portion in portions:
                    if passing := portion.passing(numbers):
                        feed.add(Changes(passing, portion.revision))
                feed.wake()


def _weight(portion: Portion) -> int:
    """What it takes to put a batch through a filter: at least one for each version."""
    return max(1, portion.rows.end - portion.rows.first, portion.size // _WEIGHT_BYTES)
