"""The threads that read: one for point reads, one for queries in the quick lane, a few for scans, each in turn.

Those of the scans wait for a process each, see `scanning`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Any, Final, NamedTuple, TypeVar

import apsw

from plaudit_server.store.base import Read
from plaudit_server.store.engines.sqlite.reading import Asked, Budget, Reader
from plaudit_server.store.engines.sqlite.scanning import Scanner
from plaudit_server.store.engines.sqlite.threads import settle
from plaudit_server.store.lanes import Company, LaneUse, OverBudget, Overruns, Turns, too_many_reads
from plaudit_server.store.work import Lane, Owner, Work

T = TypeVar("T")

# About 4 ms, whatever the machine is busy with otherwise; and less for whom it was not enough a moment ago.
_BUDGET: Final = Budget(50_000, each=5_000)
_SMALL_BUDGET: Final = Budget(15_000, each=1_000)
# Some instructions take long, as those that look through a payload of a megabyte. While others wait, a read in the
# quick lane has this much of a processor's time, and, for a disk may be slow, this much time in all.
_PATIENCE_CPU_SECONDS: Final = 0.02
_PATIENCE_SECONDS: Final = 0.1
_LOOK_SECONDS: Final = 0.01

# What a scan computes in the server, with the rows that it gets from its process, is followed by so many times as much
# rest, if other projects are in use.
_REST: Final = 3.0
_LONGEST_REST: Final = 2.0

_FEWEST_SCANS, _MOST_SCANS = 2, 4  # one of them is kept for a second project


def scans_at_a_time() -> int:
    """How many scans run at a time: one for each processor, within bounds."""
    return max(_FEWEST_SCANS, min(os.cpu_count() or 1, _MOST_SCANS))


class _Piece(NamedTuple):
    """A read that waits for a thread, and the future of its outcome."""

    asked: Asked[Any]
    budget: Budget | None
    loop: asyncio.AbstractEventLoop
    outcome: asyncio.Future[Any]


class _Running(NamedTuple):
    """A read on its thread, and what it had used of time and of a processor when it began, in seconds."""

    asked: Asked[Any]
    thread: int
    began: float
    began_cpu: float

    def is_long(self) -> bool:
        """Whether it has run for longer than others should wait."""
        if time.monotonic() - self.began > _PATIENCE_SECONDS:
            return True
        return _cpu_seconds(self.thread) - self.began_cpu > _PATIENCE_CPU_SECONDS


def _cpu_seconds(thread: int) -> float:
    """What a running thread has used of a processor; 0 where the system does not report that."""
    if sys.platform != "linux":
        return 0.0
    return time.clock_gettime(time.pthread_getcpuclockid(thread))


class Readers:
    """All reads of a store.

    `connect` and `connect_small` make a connection, with a larger or a smaller page cache; `make_scanner` makes what
    reads in a process of its own.
    """

    def __init__(
        self,
        connect: Callable[[], apsw.Connection],
        connect_small: Callable[[], apsw.Connection],
        make_scanner: Callable[[], Scanner],
        scans: int | None = None,
    ) -> None:
        self._company = Company()
        self._points = _LaneThreads("plaudit-point", [Reader(connect_small)], self._company)
        self._quick = _LaneThreads("plaudit-quick", [Reader(connect)], self._company)
        self._scanners = [make_scanner() for _ in range(scans or scans_at_a_time())]
        self._scans = _LaneThreads("plaudit-scan", self._scanners, self._company, for_long=True)
        self._overruns = Overruns()

    @property
    def use(self) -> Mapping[str, LaneUse]:
        """What runs and waits, by lane."""
        return {"point": self._points.use, "quick": self._quick.use, "scan": self._scans.use}

    def open(self) -> None:
        """Connect those that are used at once, on the thread that calls."""
        self._points.open()
        self._quick.open()

    async def read(self, asked: Asked[T], read: Read[T], work: Work) -> T:
        """The answer of a read. Raises as `Asked.run` does, and ends the read when its caller is cancelled."""
        self._company.note(work.owner.project)
        if read.lane is Lane.POINT:
            return await self._points.run(asked, work.owner, None)
        if self._overruns.is_long(read.question):
            return await self._scans.run(asked, work.owner, None)
        try:
            budget = _SMALL_BUDGET if self._overruns.has_recent(work.owner) else _BUDGET
            if read.steps_through_index:
                budget = Budget(2 * budget.instructions, budget.each)
            return await self._quick.run(asked, work.owner, budget)
        except OverBudget:
            self._overruns.note(work.owner, read.question)
        asked.again()
        try:
            return await self._scans.run(asked, work.owner, None)
        finally:
            self._overruns.note(work.owner, None)  # a scan may take longer than is remembered

    async def close(self) -> None:
        """End the threads after what they have been given, and release their connections."""
        for lane in (self._points, self._quick, self._scans):
            await lane.close()


class _LaneThreads:
    """Threads with a reader each, which take what waits in turn."""

    def __init__(
        self, name: str, readers: Sequence[Reader | Scanner], company: Company, *, for_long: bool = False
    ) -> None:
        self._turns: Turns[_Piece] = Turns(len(readers))
        self._lock = threading.Lock()
        self._calls: SimpleQueue[bool] = SimpleQueue()
        """True for each piece that was put in line; False ends a thread."""
        self._for_long = for_long
        self._company = company
        self._is_closing = False
        self._awaited = threading.Event()
        """Set when a project that has no place waits for one."""
        self._readers = readers
        self._running: _Running | None = None
        """What the first thread is at; of interest in the quick lane, which has one."""
        self._looking: asyncio.TimerHandle | None = None
        # Daemons: a program that ends without `close` does not wait for them.
        self._threads = [
            threading.Thread(target=self._work, args=(reader,), name=f"{name}-{number}", daemon=True)
            for number, reader in enumerate(self._readers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def use(self) -> LaneUse:
        with self._lock:
            return self._turns.use

    def open(self) -> None:
        for reader in self._readers:
            if isinstance(reader, Reader):
                reader.connection()

    async def run(self, asked: Asked[T], owner: Owner, budget: Budget | None) -> T:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()
        piece = _Piece(asked, budget, loop, outcome)
        with self._lock:
            self._turns.put(owner, piece)
            if self._for_long and self._turns.has_new:
                self._awaited.set()
        self._calls.put(True)
        timer = None
        if budget is not None:
            self._look(loop)  # it ends soon, and looks at the clock itself
        elif asked.deadline is not None and self._for_long:
            timer = loop.call_later(asked.deadline - time.monotonic(), self._end, owner, piece)
        try:
            return await outcome
        except asyncio.CancelledError:
            if not self._remove(owner, piece):
                asked.leave()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._is_closing = True
        self._awaited.set()
        for _ in self._threads:
            self._calls.put(False)
        for thread in self._threads:
            await asyncio.get_running_loop().run_in_executor(None, thread.join)

    def _remove(self, owner: Owner, piece: _Piece) -> bool:
        with self._lock:
            return self._turns.remove(owner, piece)

    def _end(self, owner: Owner, piece: _Piece) -> None:
        """The deadline of a piece has passed."""
        if not self._remove(owner, piece):
            piece.asked.end()
        elif not piece.outcome.done():
            piece.outcome.set_exception(too_many_reads())

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Move what runs for long to the scans while others wait; look again, as long as any wait."""
        if self._looking is None and self._turns:
            self._looking = loop.call_later(_LOOK_SECONDS, self._look_again, loop)

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._looking = None
        running = self._running
        if self._turns and running is not None and running.is_long():
            running.asked.go_on_later()
        self._look(loop)

    # ── On the threads ───────────────────────────────────────────────────────────────────────────────────

    def _work(self, reader: Reader | Scanner) -> None:
        while self._calls.get():
            while (taken := self._take()) is not None:
                self._do(reader, *taken)
                del taken  # else the last piece and its outcome would live until the next
        reader.close()

    def _take(self) -> tuple[Owner, _Piece] | None:
        with self._lock:
            return self._turns.take()

    def _do(self, reader: Reader | Scanner, owner: Owner, piece: _Piece) -> None:
        if piece.outcome.cancelled():
            with self._lock:
                self._turns.done(owner, 0.0)
        else:
            rests: list[float] = []
            settle(piece.loop, piece.outcome, self._read, reader, owner, piece, rests)
            for seconds in rests:
                self._rest(owner, seconds)

    def _rest(self, owner: Owner, seconds: float) -> None:
        """Keep the place of a scan that has ended for so long, unless another project waits, or the store is closed."""
        began = time.monotonic()
        self._awaited.clear()
        with self._lock:
            is_awaited = self._turns.has_new or self._is_closing
        if not is_awaited:
            self._awaited.wait(seconds)
        with self._lock:
            self._turns.done(owner, time.monotonic() - began)

    def _read(self, reader: Reader | Scanner, owner: Owner, piece: _Piece, rests: list[float]) -> Any:
        """The answer; a rest is put into `rests` if one is to follow, and then the place is still taken."""
        began, used = time.monotonic(), time.thread_time()
        if piece.budget is not None:
            thread = threading.get_ident()
            self._running = _Running(piece.asked, thread, began, _cpu_seconds(thread))
        try:
            if isinstance(reader, Scanner):
                return piece.asked.run_apart(reader)
            return piece.asked.run(reader, piece.budget)
        finally:
            # Before its caller hears of it, who may have it run again, among the scans.
            self._running = None
            if self._for_long and self._company.has_others(owner.project):
                rests.append(min(_REST * (time.thread_time() - used), _LONGEST_REST))
            else:
                with self._lock:
                    self._turns.done(owner, time.monotonic() - began)
