"""Group commit: commands that arrive while one group commits are the next group; each is answered after its commit.

A commit costs about the same whether it holds one row or twenty, so the next group also waits, a few milliseconds at
most, for most of the callers that the last one answered: those that write in a loop will ask again. A lone writer
never waits.

A project that another writer holds is no reason for others to wait: its commands are put aside, and tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from plaudit_server.errors import DomainError, Overloaded, QueryTooExpensive, StoreUnavailable
from plaudit_server.store.aside import Aside
from plaudit_server.store.base import Command, Engine, Outcome, WriteFailed, Written
from plaudit_server.store.clocks import ClockAhead

logger = logging.getLogger("plaudit_server")

T = TypeVar("T")

_RETRY_SECONDS: Final = (0.05, 5.0)  # the shortest and the longest delay that Overloaded asks for
_PROJECTS_REMEMBERED: Final = 10_000  # many more than a group has
_WRITE_SECONDS: Final = 10.0  # how long a command without a deadline waits at most
# What a project that is held may have of a group that tries it again, and of what may wait.
_RETRIED_ROWS: Final = 64
_ASIDE_SHARE: Final = 0.25
_LATE_RETRY_SECONDS: Final = 1.0
_CLOSING_SECONDS: Final = 0.01
_COMMAND_BYTES: Final = 512  # the cost of a command without its texts

# A group waits for this share of the callers of the last one, rounded down: if callers do not return, each group waits
# for fewer. It waits this many seconds for each of them, counted from their answers, a few times what a call takes; not
# longer than this in all; and for no more than this many rows: 64 cost the store little less than 1,000. ADR 0018 has
# the results of other numbers.
_GATHER_SHARE: Final = 0.8
_GATHER_SECONDS: Final = 0.0005
_GATHER_LONGEST: Final = 0.01
_GATHER_ROWS: Final = 64


class _Waiting(NamedTuple):
    """A command in the queue; `rows` and `size` (bytes) bound the group that takes it."""

    command: Command[Any]
    outcome: asyncio.Future[Outcome]
    rows: int
    size: int
    deadline: float
    """When it is too late to begin, in seconds of the monotonic clock."""


Acknowledged = Callable[[str, int], None]
"""Called with the kind of a command, and how many of its rows are in the answer that goes to the caller now."""


class Meter(Protocol):
    """Counts what passes through a writer; its methods are fast and do not fail."""

    def accepted(self, command: Command[Any]) -> None:
        """A command is in line."""

    def committed(self, commands: Sequence[Command[Any]], written: Written, seconds: float) -> None:
        """A group is durable, except the commands whose outcomes are failures."""

    def failed(self, commands: Sequence[Command[Any]], seconds: float) -> None:
        """The store failed, and nothing of a group was stored."""


class Writer:
    """The one way to write to a store: a bounded queue, and a task that commits what is in it, group by group.

    Commands commit in the order of `submit`. `on_commit` gets the revisions of the projects that a commit
    has touched, before those who wait for it are woken; `on_failure` is called when the store failed.
    `meter` counts for metrics.
    """

    def __init__(
        self,
        store: Engine,
        *,
        max_pending_commands: int = 8_192,
        max_pending_bytes: int = 64 * 1024 * 1024,
        max_group_rows: int = 1_024,
        max_group_bytes: int = 8 * 1024 * 1024,
        on_commit: Callable[[dict[str, int]], None] | None = None,
        on_failure: Callable[[], None] | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._store = store
        self._max_pending_commands = max_pending_commands
        self._max_pending_bytes = max_pending_bytes
        self._max_group_rows = max_group_rows
        self._max_group_bytes = max_group_bytes
        self._on_commit = on_commit
        self._on_failure = on_failure
        self._meter = meter
        self._queue: deque[_Waiting] = deque()
        self._queued_rows = 0
        self._aside: Aside[_Waiting] = Aside()
        self._lanes: set[asyncio.Task[None]] = set()
        self._is_retrying = False
        self._task: asyncio.Task[None] | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._awaited = 0
        self._closing = False
        self.pending_commands = 0
        self.pending_rows = 0
        self.pending_bytes = 0
        self.groups = 0
        self.commands = 0
        self.failed_groups = 0
        self.refused_commands = 0
        self.last_commit_seconds = 0.0
        self.clock = ClockAhead()
        self._revisions: OrderedDict[str, int] = OrderedDict()

    def revision_after(self, project: str) -> int | None:
        """A revision of the project after its last command that was answered; None if that is not remembered."""
        return self._revisions.get(project)

    def start(self) -> None:
        """Begin to commit; on the event loop that submits."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="plaudit-writer")

    async def close(self) -> None:
        """Accept no more commands, commit those that wait, and end. Safe to call twice, or without a start."""
        self._closing = True
        self._go_on()
        task, self._task = self._task, None
        if task is not None:
            await task

    async def submit(self, command: Command[T]) -> T | DomainError:
        """Apply a command, durably; what the store's rules refuse is the outcome, not an exception.

        Raises Overloaded when too much is waiting, and StoreUnavailable when the store failed or the writer is
        closed: then nothing of the command was stored. When the caller is cancelled, it may yet be stored.
        """
        outcome: T | DomainError = await self.enqueue(command)
        return outcome

    def enqueue(self, command: Command[Any]) -> asyncio.Future[Outcome]:
        """Put a command in line, and return the future of its outcome; raises as `submit` does."""
        if self._closing or self._task is None:
            raise StoreUnavailable(self._store.name, _RETRY_SECONDS[0])
        rows, size = command.rows, _COMMAND_BYTES + command.size
        pending = self.pending_commands
        if pending and (pending >= self._max_pending_commands or self.pending_bytes + size > self._max_pending_bytes):
            self.refused_commands += 1
            raise Overloaded(self._delay())
        aside = self._aside
        if aside.projects and aside.commands_of(command.project) >= self._max_pending_commands * _ASIDE_SHARE:
            self.refused_commands += 1  # others need the places
            raise Overloaded(_RETRY_SECONDS[1])
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        deadline = command.work.deadline
        if deadline is None:
            deadline = time.monotonic() + _WRITE_SECONDS
        waiting = _Waiting(command, outcome, rows, size, deadline)
        if not aside.projects or not aside.takes(waiting):
            self._queue.append(waiting)
            self._queued_rows += rows
        self.pending_commands = pending + 1
        self.pending_rows += rows
        self.pending_bytes += size
        if self._meter is not None:
            self._meter.accepted(command)
        if self._enough():
            self._go_on()
        return outcome

    def _enough(self) -> bool:
        """Whether as many commands or rows wait as the next group needs."""
        return len(self._queue) >= self._awaited or self._queued_rows >= _GATHER_ROWS or self._closing

    def _go_on(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _delay(self) -> float:
        """About how long the queue takes to empty, in seconds."""
        groups = 1 + self.pending_bytes / self._max_group_bytes + self.pending_commands / self._max_group_rows
        shortest, longest = _RETRY_SECONDS
        return min(max(self.last_commit_seconds * groups, shortest), longest)

    async def _run(self) -> None:
        callers, until = 0, 0.0
        while True:
            await self._arrived(1, self._seconds_to_retry() if self._aside.projects else None)
            if self._queue:
                await self._arrived(int(callers * _GATHER_SHARE), max(until - time.monotonic(), 0.0))
            if self._aside.projects and not self._store.side_by_side:
                self._retry()
            group = self._take()
            if group:
                callers = len(group)
                if self._store.side_by_side:
                    self._begin_lanes(group)
                else:
                    await self._commit(group)
                callers += len(self._queue)
                until = time.monotonic() + min(callers * _GATHER_SECONDS, _GATHER_LONGEST)
            elif self._closing:
                if not self._aside.projects and not self._lanes:
                    return
                await asyncio.sleep(_CLOSING_SECONDS)

    def _seconds_to_retry(self) -> float | None:
        """How long it takes until something that was put aside is due; None while nothing is, or a retry runs."""
        return None if self._is_retrying else self._aside.seconds(time.monotonic())

    def _retry(self) -> None:
        """Write what was put aside and is due, beside other groups: it waits for whoever holds it, and they do not."""
        group: list[_Waiting] = []
        if not self._is_retrying:
            self._take_aside(group, time.monotonic(), self._max_group_rows, self._max_group_bytes)
        if group:
            self._is_retrying = True
            for project in {waiting.command.project for waiting in group}:
                self._aside.hold(project)
            self._begin(self._commit(group)).add_done_callback(self._retried)

    def _retried(self, _: asyncio.Task[None]) -> None:
        self._is_retrying = False
        self._go_on()

    def _begin_lanes(self, group: list[_Waiting]) -> None:
        """Commit each project's part of a group by itself; what comes for it meanwhile waits for that alone."""
        by_project: dict[str, list[_Waiting]] = {}
        for waiting in group:
            by_project.setdefault(waiting.command.project, []).append(waiting)
        for project, part in by_project.items():
            self._aside.hold(project)
            self._begin(self._commit(part))
        self._sort_out()

    def _begin(self, commit: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Commit beside other groups."""
        lane = asyncio.get_running_loop().create_task(commit, name="plaudit-writer-lane")
        self._lanes.add(lane)
        lane.add_done_callback(self._lanes.discard)
        return lane

    def _sort_out(self) -> None:
        """Put aside what is in the queue for projects that are, so that nothing overtakes it."""
        rest = deque(waiting for waiting in self._queue if not self._aside.takes(waiting))
        if len(rest) < len(self._queue):
            self._queue = rest
            self._queued_rows = sum(waiting.rows for waiting in rest)

    async def _arrived(self, commands: int, seconds: float | None = None) -> None:
        """Wait until the given number of commands is in the queue, or enough rows, or until the seconds are over."""
        self._awaited = commands
        if self._enough() or seconds == 0:
            return
        loop = asyncio.get_running_loop()
        self._arrival = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, self._go_on)
        await self._arrival
        if timer is not None:
            timer.cancel()

    def _take(self) -> list[_Waiting]:
        """The next group: the commands that wait, within its bounds, without those that are late or were cancelled."""
        group: list[_Waiting] = []
        rows, size = self._max_group_rows, self._max_group_bytes
        now = time.monotonic()
        if self._aside.projects and self._store.side_by_side:
            rows, size = self._take_aside(group, now, rows, size)
        queue = self._queue
        while queue:
            waiting = queue[0]
            if self._is_over(waiting, now):
                self._queued_rows -= queue.popleft().rows
                continue
            rows -= waiting.rows
            size -= waiting.size
            if group and (rows < 0 or size < 0):
                break
            group.append(queue.popleft())
            self._queued_rows -= waiting.rows
        return group

    def _take_aside(self, group: list[_Waiting], now: float, rows: int, size: int) -> tuple[int, int]:
        """Some commands of each project that is due, at most half of a group; and what is left of its bounds."""
        for project, line in self._aside.due(now):
            taken = 0
            while line and taken < _RETRIED_ROWS and rows > self._max_group_rows // 2:
                waiting = line[0]
                if group and size - waiting.size < self._max_group_bytes // 2:
                    break
                line.popleft()
                if not self._is_over(waiting, now):
                    group.append(waiting)
                    taken += waiting.rows
                    rows -= waiting.rows
                    size -= waiting.size
            if not line and not taken:
                self._aside.release(project)
        return rows, size

    def _is_over(self, waiting: _Waiting, now: float) -> bool:
        """Whether a command is not to be begun: nobody waits for it, or its time is up; then it is forgotten."""
        if waiting.outcome.done():
            self._forget(waiting)
            return True
        if waiting.deadline < now:
            self._forget(waiting)
            _raise_in(waiting.outcome, StoreUnavailable(self._store.name, _LATE_RETRY_SECONDS))
            return True
        return False

    def _forget(self, waiting: _Waiting) -> None:
        self.pending_commands -= 1
        self.pending_rows -= waiting.rows
        self.pending_bytes -= waiting.size

    async def _commit(self, group: list[_Waiting]) -> None:
        """Write a group, and answer those who wait for it; whatever fails afterwards, what is stored is stored."""
        started = time.perf_counter()
        failure: Exception | None = None
        written = Written([])
        commands = [waiting.command for waiting in group]
        try:
            written = await self._store.write(commands)
        except StoreUnavailable as error:
            failure = error
        except Exception as error:
            logger.exception("a group of %d commands failed", len(group))
            failure = error
        self.last_commit_seconds = time.perf_counter() - started
        self.groups += 1
        if written.ahead:
            self.clock.note(written.ahead)
        if written.skipped:
            group, written = self._put_back(group, written)
            commands = [waiting.command for waiting in group]
        if self._aside.projects:
            self._release(commands)
        self.commands += len(group)
        for waiting in group:
            self._forget(waiting)
        if failure is not None:
            self.failed_groups += 1
            if self._meter is not None:
                self._tell(self._meter.failed, commands, self.last_commit_seconds)
            self._tell(self._on_failure)
            for waiting in group:
                _raise_in(waiting.outcome, self._answer(failure))
            return
        if self._meter is not None and group:
            self._tell(self._meter.committed, commands, written, self.last_commit_seconds)
        self._remember(written.revisions)
        if written.revisions:
            self._tell(self._on_commit, written.revisions)
        for waiting, outcome in zip(group, written.outcomes, strict=True):
            if isinstance(outcome, WriteFailed | StoreUnavailable | QueryTooExpensive):
                _raise_in(waiting.outcome, outcome)
            elif not waiting.outcome.done():
                waiting.outcome.set_result(outcome)

    def _remember(self, revisions: Mapping[str, int]) -> None:
        """Keep the revisions of the projects that were written to last."""
        known = self._revisions
        for project, revision in revisions.items():
            known[project] = max(revision, known.pop(project, 0))
        while len(known) > _PROJECTS_REMEMBERED:
            known.popitem(last=False)

    def _put_back(self, group: list[_Waiting], written: Written) -> tuple[list[_Waiting], Written]:
        """Put aside what the store could not take now, and return the others with what became of them."""
        skipped = set(written.skipped)
        held: dict[str, list[_Waiting]] = {}
        for index in sorted(skipped):
            held.setdefault(group[index].command.project, []).append(group[index])
        now = time.monotonic()
        for project, part in held.items():
            self._aside.put_back(project, part, now)
        self._sort_out()
        outcomes = [outcome for index, outcome in enumerate(written.outcomes) if index not in skipped]
        rest = [waiting for index, waiting in enumerate(group) if index not in skipped]
        return rest, replace(written, outcomes=outcomes, skipped=())

    def _release(self, commands: Sequence[Command[Any]]) -> None:
        """Let go on what waited behind commands that have been written; it came before all that is in the queue."""
        for project in {command.project for command in commands}:
            line = self._aside.release(project)
            self._queue.extendleft(reversed(list(line)))
            self._queued_rows += sum(waiting.rows for waiting in line)
        self._go_on()

    def _answer(self, failure: Exception) -> Exception:
        """A new exception for each waiter: one object that is raised in many tasks would chain their tracebacks."""
        if isinstance(failure, StoreUnavailable):
            return StoreUnavailable(failure.store, failure.retry_delay)
        return WriteFailed(str(failure))

    def _tell(self, listener: Callable[..., None] | None, *args: object) -> None:
        """Call a listener; its failure is logged and changes nothing else."""
        if listener is not None:
            try:
                listener(*args)
            except Exception:
                logger.exception("a listener of the writer failed")


def _raise_in(outcome: asyncio.Future[Outcome], error: Exception) -> None:
    if not outcome.done():
        outcome.set_exception(error)
        outcome.exception()  # marks it as seen, in case nobody waits any more
