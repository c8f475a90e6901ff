"""Which read is next where reads wait: in turn by project and principal; without threads, and without a database."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from plaudit_server.errors import Overloaded
from plaudit_server.store.work import Owner

T = TypeVar("T")

_RETRY_SECONDS: Final = 1.0
# Projects and principals that used something lately, as many as are remembered before those are looked through.
_REMEMBERED: Final = 1_000
_SMALL_FOR_SECONDS: Final = 1.0
_LONG_FOR_SECONDS: Final = 60.0
# What a turn costs an owner at once, in seconds: what it took beyond that is known when it has ended.
_LEAST_SECONDS: Final = 0.0001
# After a scan, its place rests for so many times what the scan took, if other projects are in use: a database on the
# same machine has no lower priority to give to scans, and so they take two fifths of a processor, not all of it.
_REST: Final = 1.5
_LONGEST_REST: Final = 5.0
_IN_USE_SECONDS: Final = 1.0


def too_many_reads() -> Overloaded:
    """The answer to a read that found no place."""
    return Overloaded(_RETRY_SECONDS, "reads")


@dataclass(frozen=True, slots=True)
class LaneUse:
    """How many reads of a lane run and how many wait, for metrics."""

    running: int = 0
    waiting: int = 0


class OverBudget(Exception):
    """A read has used up what it may in the quick lane; nothing is wrong with it."""


class Overruns:
    """What needed more than the quick lane gives, a while ago: whose it was gets less of it, the same question nothing.

    A caller who asks for scans without a pause, and leaves before they are done, would fill the quick lane otherwise,
    and so would many callers of one project, or one with many projects; and what is asked again and again would always
    run twice.
    """

    def __init__(self) -> None:
        self._projects: dict[Hashable, float] = {}
        self._principals: dict[Hashable, float] = {}
        self._questions: dict[Hashable, float] = {}

    def note(self, owner: Owner, question: Hashable) -> None:
        """A question (None: one that will not be asked again) of the owner was over its budget."""
        _note(self._projects, owner.project)
        _note(self._principals, owner.principal)
        if question is not None:
            _note(self._questions, hash(question))  # a question may be large

    def has_recent(self, owner: Owner) -> bool:
        """Whether one of the owner's project, or of its principal, was within the last second."""
        youngest = min(_age(self._projects, owner.project), _age(self._principals, owner.principal))
        return youngest < _SMALL_FOR_SECONDS

    def is_long(self, question: Hashable) -> bool:
        """Whether the question was over its budget within the last minute."""
        if question is None or not self._questions:
            return False
        return _age(self._questions, hash(question)) < _LONG_FOR_SECONDS


def _note(times: dict[Hashable, float], key: Hashable) -> None:
    times.pop(key, None)
    times[key] = time.monotonic()
    if len(times) > _REMEMBERED:
        del times[next(iter(times))]  # the one whose last was first


def _age(times: dict[Hashable, float], key: Hashable) -> float:
    last = times.get(key)
    return math.inf if last is None else time.monotonic() - last


class _Shares:
    """The seconds that each of several names has used of a lane, so that the one that used least is next.

    The counts are those of start-time fair queueing: who comes back after a pause starts where the others are, so a
    pause earns nothing, and someone new neither owes nor is owed anything.
    """

    def __init__(self) -> None:
        self._used: dict[str, float] = {}
        self._now = 0.0

    def join(self, name: str) -> None:
        """A name has something waiting."""
        if self._used.get(name, -1.0) < self._now:
            if len(self._used) > _REMEMBERED:
                self._used = {name: used for name, used in self._used.items() if used > self._now}
            self._used[name] = self._now

    def used(self, name: str) -> float:
        """How much a name has used, on the scale of all."""
        return self._used.get(name, self._now)

    def begin(self, name: str) -> None:
        """A name is next."""
        used = self._used.get(name, self._now)
        if used > self._now:
            self._now = used
        self._used[name] = used + _LEAST_SECONDS

    def charge(self, name: str, seconds: float) -> None:
        """A name has used its turn for as long as this."""
        self._used[name] = self.used(name) + seconds


class Turns(Generic[T]):
    """What waits for one of several places, given out in turn: to the owner who has used least of them.

    An owner's use is that of its project or of its principal, whichever used more: neither many projects of one
    principal nor many principals of one project get more turns. A project has one place while others wait; alone, it
    has all places but one, so that another project finds a place at once. With a single place that makes no difference.
    """

    def __init__(self, places: int = 1) -> None:
        self.places = places
        self._waiting: dict[Owner, deque[T]] = {}
        self._running: dict[str, int] = {}
        self._projects = _Shares()
        self._principals = _Shares()
        self._count = 0
        self._taken = 0

    def __len__(self) -> int:
        """How many wait."""
        return self._count

    def __iter__(self) -> Iterator[T]:
        """What waits, owner by owner."""
        for line in self._waiting.values():
            yield from line

    @property
    def use(self) -> LaneUse:
        """How many run and wait now."""
        return LaneUse(self._taken, self._count)

    @property
    def has_new(self) -> bool:
        """Whether something waits of a project that has no place."""
        return any(owner.project not in self._running for owner in self._waiting)

    def put(self, owner: Owner, item: T) -> None:
        """Let an item wait."""
        line = self._waiting.get(owner)
        if line is None:
            line = self._waiting[owner] = deque()
            self._projects.join(owner.project)
            self._principals.join(owner.principal)
        line.append(item)
        self._count += 1

    def take(self) -> tuple[Owner, T] | None:
        """The item that is next, which now has a place; None when nothing waits that may have one."""
        owner = self._next()
        if owner is None:
            return None
        line = self._waiting[owner]
        item = line.popleft()
        self._count -= 1
        if not line:
            del self._waiting[owner]
        self._taken += 1
        self._running[owner.project] = self._running.get(owner.project, 0) + 1
        self._projects.begin(owner.project)
        self._principals.begin(owner.principal)
        return owner, item

    def done(self, owner: Owner, seconds: float) -> None:
        """An item that was taken has ended, and used its place for as long as this."""
        self._taken -= 1
        running = self._running[owner.project] - 1
        if running:
            self._running[owner.project] = running
        else:
            del self._running[owner.project]
        self._projects.charge(owner.project, seconds)
        self._principals.charge(owner.principal, seconds)

    def remove(self, owner: Owner, item: T) -> bool:
        """Forget an item that waits; False when it does not."""
        line = self._waiting.get(owner)
        if line is None or item not in line:
            return False
        line.remove(item)
        self._count -= 1
        if not line:
            del self._waiting[owner]
        return True

    def _next(self) -> Owner | None:
        running = self._taken
        if not self._waiting or running >= self.places:
            return None
        if not running and len(self._waiting) == 1:
            return next(iter(self._waiting))
        idle = [owner for owner in self._waiting if owner.project not in self._running] if running else self._waiting
        if idle:
            return min(idle, key=self._used)
        # Only projects that have a place already: the last one is kept for another project.
        return min(self._waiting, key=self._used) if running < self.places - 1 else None

    def _used(self, owner: Owner) -> float:
        return max(self._projects.used(owner.project), self._principals.used(owner.principal))


class Company:
    """Which two projects were read last, so that it is known of each whether another one is in use."""

    def __init__(self) -> None:
        self._last = ("", -math.inf)
        self._other = ("", -math.inf)

    def note(self, project: str) -> None:
        """A read of a project begins; none is the server's own."""
        if project:
            if project != self._last[0]:
                self._other = self._last
            self._last = (project, time.monotonic())

    def has_others(self, project: str) -> bool:
        """Whether another project was read within the last second."""
        last = self._other if self._last[0] == project else self._last
        return time.monotonic() - last[1] < _IN_USE_SECONDS


class Places:
    """Places in turn for tasks of one event loop; at most `most_waiting` of them wait.

    With `company`, a place is not given to its project again for a while when it was used, as long as others read.
    """

    def __init__(self, places: int, most_waiting: int, company: Company | None = None) -> None:
        self._turns: Turns[asyncio.Future[None]] = Turns(places)
        self._most_waiting = most_waiting
        self._company = company
        self._resting: dict[asyncio.TimerHandle, tuple[Owner, float]] = {}

    @property
    def use(self) -> LaneUse:
        """How many run and wait now."""
        use = self._turns.use
        return LaneUse(use.running - len(self._resting), use.waiting)

    @asynccontextmanager
    async def place(self, owner: Owner, deadline: float | None) -> AsyncIterator[None]:
        """Hold a place until the block ends. `deadline` is in seconds of the loop's clock.

        Raises Overloaded when too many wait, and when it is not this one's turn by the deadline.
        """
        loop = asyncio.get_running_loop()
        if len(self._turns) >= self._most_waiting:
            raise too_many_reads()
        turn: asyncio.Future[None] = loop.create_future()
        self._turns.put(owner, turn)
        self._give()
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except TimeoutError:
            self._leave(owner, turn, 0.0)
            raise too_many_reads() from None
        except BaseException:
            self._leave(owner, turn, 0.0)
            raise
        began = loop.time()
        try:
            yield
        finally:
            self._done(owner, loop.time() - began)

    def _done(self, owner: Owner, seconds: float) -> None:
        """Give a place back, at once or after a rest."""
        if self._company is None or not self._company.has_others(owner.project):
            self._turns.done(owner, seconds)
            self._give()
            return
        loop = asyncio.get_running_loop()

        def rested() -> None:
            self._end_rest(timer)

        timer = loop.call_later(min(_REST * seconds, _LONGEST_REST), rested)
        self._resting[timer] = owner, seconds
        self._give()

    def _end_rest(self, timer: asyncio.TimerHandle) -> None:
        owner, seconds = self._resting.pop(timer)
        timer.cancel()
        self._turns.done(owner, seconds)
        self._give()

    def _leave(self, owner: Owner, turn: asyncio.Future[None], seconds: float) -> None:
        """Stop waiting, or give the place back if it was given at the same moment."""
        if not self._turns.remove(owner, turn):
            self._turns.done(owner, seconds)
            self._give()

    def _give(self) -> None:
        while (taken := self._turns.take()) is not None:
            _, turn = taken
            if not turn.done():
                turn.set_result(None)
        if self._resting and self._turns.has_new:
            self._end_rest(next(iter(self._resting)))
