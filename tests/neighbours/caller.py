"""The well-behaved caller, in a process of its own: `python -m tests.neighbours.caller TARGET [KEY]`.

It takes turns (see tests/attacks/turns.py), and answers what each of its calls took in the last one. Each kind of call
goes at its own steady rate, and no call waits for the one before it, as those of many users do not: so a slow one does
not spare the server the next, and what is measured is the server, not a line in front of it. Where the process itself
is late, a call's time counts from when it was due.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import (
    CreateFeedbackRequest,
    Feedback,
    FeedbackServiceStub,
    GetFeedbackRequest,
    IngestFeedbackRequest,
    OrderBy,
    QueryFeedbackRequest,
    WatchFeedbackRequest,
)
from tests.attacks.neighbour import PROJECT
from tests.attacks.turns import Turns, take_turns

PER_SECOND = 50.0
PAGE_ROWS = 100
DEADLINE_SECONDS = 5.0
"""A call that takes longer has failed."""
HEALTH_SECONDS = 0.1

_PATIENCE_SECONDS = 0.5  # for grpc to report that a deadline has passed

_SEEDS = 2 * PAGE_ROWS
_OWN_CONNECTION = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]


def caller(target: str, key: str) -> Turns:
    """The caller's process; what it says are the `taken`, `failed` and `health` of its last turn."""
    return Turns("tests.neighbours.caller", target, key)


class Caller:
    """Creates, gets, reads the newest page, ingests and watches in one project; asks for health beside it."""

    def __init__(self, channel: grpc.aio.Channel, health: grpc.aio.Channel, key: str) -> None:
        self._stub: Any = FeedbackServiceStub(channel)
        self._check: Any = health_pb2_grpc.HealthStub(health).Check
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self._with = {"metadata": self._metadata, "timeout": DEADLINE_SECONDS}
        self._ids: deque[str] = deque(maxlen=_SEEDS)
        self._tasks: list[asyncio.Task[None]] = []
        self._ending, self._moved = asyncio.Event(), asyncio.Event()
        self._start()

    def _start(self) -> None:
        self.taken: dict[str, list[float]] = {kind: [] for kind in ("create", "get", "page", "ingest", "watch")}
        self.failed: Counter[str] = Counter()
        self.health: Counter[str] = Counter()
        self._written: dict[str, tuple[float, float]] = {}
        self._shown: dict[str, float] = {}
        self._ending.clear()

    async def seed(self) -> None:
        """Store what the first gets and pages read."""
        for _ in range(_SEEDS):
            await self._create()

    async def begin(self) -> dict[str, Any]:
        """Start calling."""
        self._start()
        kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "create": self._create,
            "get": self._get,
            "page": self._page,
        }
        work = [self._paced(kind, call) for kind, call in kinds.items()]
        work += [self._ingest(), self._watch(), self._ask_health()]
        self._tasks = [asyncio.create_task(one) for one in work]
        return {}

    async def end(self) -> dict[str, Any]:
        """Finish what is open; the times of all calls of this turn."""
        self._ending.set()
        await asyncio.gather(*self._tasks)
        return {"taken": self.taken, "failed": self.failed, "health": self.health}

    async def _paced(self, kind: str, call: Callable[[], Awaitable[None]]) -> None:
        """Call at the steady rate, until the end of the turn; then until all calls are done."""
        due = time.monotonic()
        async with asyncio.TaskGroup() as calls:
            while not self._ending.is_set():
                calls.create_task(self._timed(kind, call, due))
                due += 1 / PER_SECOND
                await _wait(self._ending, due - time.monotonic())

    async def _timed(self, kind: str, call: Callable[[], Awaitable[None]], due: float) -> None:
        """One call that was due at a time."""
        try:
            async with asyncio.timeout(DEADLINE_SECONDS + _PATIENCE_SECONDS):
                await call()
        except grpc.aio.AioRpcError as error:
            self.failed[f"{kind} {error.code().name}"] += 1
        except TimeoutError:
            self.failed[f"{kind} DEADLINE_EXCEEDED"] += 1
        except asyncio.InvalidStateError:
            self.failed[f"{kind} ended"] += 1
        self.taken[kind].append(time.monotonic() - due)

    async def _create(self) -> None:
        began, record = time.monotonic(), _feedback()
        await self._stub.CreateFeedback(CreateFeedbackRequest(project=PROJECT, feedback=record), **self._with)
        self._ids.append(record.id)
        self._written[record.id] = began, time.monotonic()

    async def _get(self) -> None:
        await self._stub.GetFeedback(GetFeedbackRequest(project=PROJECT, id=self._ids[0]), **self._with)

    async def _page(self) -> None:
        newest = [OrderBy(field="created_at", descending=True)]
        request = QueryFeedbackRequest(project=PROJECT, order_by=newest, page_size=PAGE_ROWS)
        answer = await self._stub.QueryFeedback(request, **self._with)
        assert len(answer.feedback) == PAGE_ROWS

    async def _ingest(self) -> None:
        """A stream that is opened for the turn, and again whenever it has failed; its answers come in order."""
        streams: list[_Stream] = []

        async def one_batch() -> None:
            if not streams or streams[0].failed:
                streams[:] = [_Stream(self._stub.IngestFeedback(metadata=self._metadata))]
            began, stream, record = time.monotonic(), streams[0], _feedback()
            try:
                await stream.say(IngestFeedbackRequest(project=PROJECT, feedback=[record]))
            except BaseException:
                stream.failed = True
                stream.call.cancel()
                raise
            self._written[record.id] = began, time.monotonic()

        await self._paced("ingest", one_batch)
        if streams:
            await streams[0].call.done_writing()
            streams[0].call.cancel()

    async def _watch(self) -> None:
        """From the answer of a write until the watch shows it; what it never shows has failed."""
        async with self._watching() as first:
            await self._ending.wait()
            # What was written while the watch was being opened may be from before it.
            awaited = {id: end for id, (begin, end) in self._written.items() if first and begin > first[0]}
            until = time.monotonic() + DEADLINE_SECONDS
            while not self._shown.keys() >= awaited.keys() and (left := until - time.monotonic()) > 0:
                self._moved.clear()
                await _wait(self._moved, left)
        for id, answered in awaited.items():
            shown = self._shown.get(id)
            if shown is None:
                self.failed["watch never showed a write"] += 1
            self.taken["watch"].append(DEADLINE_SECONDS if shown is None else max(0.0, shown - answered))

    @asynccontextmanager
    async def _watching(self) -> AsyncGenerator[list[float], None]:
        """Watch the project; the time of the first answer, once there is one."""
        first: list[float] = []

        async def take() -> None:
            while not self._ending.is_set():
                stream = self._stub.WatchFeedback(WatchFeedbackRequest(project=PROJECT), metadata=self._metadata)
                try:
                    async with asyncio.timeout(DEADLINE_SECONDS):
                        await stream.read()
                    first.append(time.monotonic())
                    while (response := await stream.read()) is not grpc.aio.EOF:
                        now = time.monotonic()
                        self._shown.update((change.feedback.id, now) for change in response.changes)
                        self._moved.set()
                except grpc.aio.AioRpcError as error:
                    self.failed[f"watch {error.code().name}"] += 1
                except TimeoutError:
                    self.failed["watch DEADLINE_EXCEEDED"] += 1
                finally:
                    stream.cancel()
                await asyncio.sleep(1 / PER_SECOND)

        watching = asyncio.create_task(take())
        try:
            yield first
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _ask_health(self) -> None:
        while not self._ending.is_set():
            try:
                answer = await self._check(health_pb2.HealthCheckRequest(), timeout=DEADLINE_SECONDS)
                self.health[health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)] += 1
            except grpc.aio.AioRpcError as error:
                self.health[error.code().name] += 1
            await _wait(self._ending, HEALTH_SECONDS)


class _Stream:
    """An ingest stream on which a batch does not wait for the answer of the one before."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.failed = False
        self._writing, self._reading = asyncio.Lock(), asyncio.Lock()

    async def say(self, request: IngestFeedbackRequest) -> None:
        """Send a batch, and take its answer. Locks are taken in the order in which they are asked for."""
        async with self._writing:
            await self.call.write(request)
        async with self._reading:
            if await self.call.read() is grpc.aio.EOF:
                raise asyncio.InvalidStateError


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until the event, or for the given time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()


def _feedback() -> Feedback:
    return Feedback(id=uuid7(), ref=f"weave:///{PROJECT}/call/1", feedback_type="t", payload_json='{"a":1}')


async def main(target: str, key: str) -> None:
    """Connect, store what there should be, take turns."""
    async with (
        grpc.aio.insecure_channel(target, _OWN_CONNECTION) as channel,
        grpc.aio.insecure_channel(target, _OWN_CONNECTION) as health,
    ):
        caller = Caller(channel, health, key)
        await caller.seed()
        await take_turns(caller.begin, caller.end)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
