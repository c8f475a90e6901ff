"""What a call costs the event loop, beside the store: large requests are read in turn, and the largest elsewhere.

The event loop reads requests and makes answers, and every call waits for that. Where one takes milliseconds, one is
done at a time, and afterwards, as long as others have calls in flight, the loop is theirs for a multiple of that time.
So large requests together take a part of the loop, whoever sends them. What takes longer is done in a thread, with
pauses too, since a thread shares the interpreter. Payloads of very many values are checked in a process, since nothing
interrupts the JSON decoder.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from plaudit_server.auth.permission import Right
from plaudit_server.background import Background, ProcessEnded
from plaudit_server.config import Limits
from plaudit_server.errors import Overloaded, QuotaExceeded
from plaudit_server.rpc.admission import Admission
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.declare import Kind

T = TypeVar("T")
Item = TypeVar("Item")

# Requests with fewer bytes are never looked at.
_LARGE_REQUEST_BYTES: Final = 32 * 1024
# Payloads with more values are checked in the process: 5,000 take about 2 ms.
_MANY_VALUES: Final = 5_000
_LOOK_CHARACTERS: Final = 64 * 1024
# What a request that reads is, is its query: one of 6.5 KB takes 3 ms to read on the loop, and 6 ms to make SQL of, on
# the loop or in a thread, which shares the interpreter with it. That is what is charged; with half of it the p99 of
# other callers was 50 to 75 ms beside 16 attackers (docs/attacks.md).
_LARGE_QUERY_BYTES: Final = 2 * 1024
_SECONDS_PER_QUERY_BYTE: Final = 1.5e-6
_LONGEST_QUERY_SECONDS: Final = 0.03

# While others have calls in flight, so many times what something took is left to them.
_REST: Final = 3.0
_LONGEST_REST: Final = 2.0
_REST_AFTER_REMOVAL: Final = 5.0
_PAGE_TURN_SECONDS: Final = 60.0
# After a watch was opened. Some rest is also for who is alone: grpc gives new calls to Python one by one, and somebody
# else's may come after hundreds of this one's, which take long to be given where the event loop is never free.
_REST_AFTER_OPENING: Final = 3.0
_OPENING_SECONDS: Final = 10.0  # for its turn, in which a watch costs nothing
# Of a request in its turn; those of a judge take a millisecond.
_FEW_ITEMS: Final = 32
# How much of one principal may wait in a line; more is refused.
_WAITING: Final = 32
_RETRY_SECONDS: Final = 0.2
_HELD_BYTES: Final = 16 * 1024 * 1024
_QUOTA: Final = "heavy_checks"
# In place of a principal; no principal's name begins so.
_PROJECT: Final = "\0project "
_READING: Final = frozenset((Kind.POINT, Kind.SCAN, Kind.STREAM_READ, Kind.WATCH))


def has_many_values(texts: Iterable[str]) -> bool:
    """Whether JSON texts may have many values together, by what separates values, which is looked for in texts too.

    It looks no farther than it has to.
    """
    values = 0
    for text in texts:
        for part in (text,) if len(text) <= _LOOK_CHARACTERS else _parts(text):  # most have one
            values += part.count(",") + part.count("[") + part.count("{")
            if values > _MANY_VALUES:
                return True
    return False


def _parts(text: str) -> Iterator[str]:
    return (text[start : start + _LOOK_CHARACTERS] for start in range(0, len(text), _LOOK_CHARACTERS))


class Turn:
    """The time that one has the loop, or another place, for himself."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._away = 0.0

    async def give_way(self) -> None:
        """Let the loop go on with what it has to do; that is no time of this turn."""
        left = time.monotonic()
        await asyncio.sleep(0)
        self._away += time.monotonic() - left

    @property
    def seconds(self) -> float:
        """How long it has taken until now."""
        return time.monotonic() - self._began - self._away


class _Line:
    """Who waits for one place: one of a principal is in line at a time, so principals take turns."""

    def __init__(self, admission: Admission, rest: float, waiting: int = _WAITING, alone: float = 0.0) -> None:
        """`rest`: how many times as long as something took the place is free while others have calls in flight, and
        `alone` is that for a principal who is alone; `waiting`: how many of a principal may wait for it.
        """
        self._admission = admission
        self._rest = rest
        self._alone = alone
        self._waiting = waiting
        self._turn = asyncio.Lock()
        self._of: dict[str, tuple[asyncio.Lock, int]] = {}
        self._free = 0.0
        """When the rest after the last one is over, in monotonic seconds."""
        self._free_alone = 0.0

    @asynccontextmanager
    async def place(self, principal: str, within: float, seconds: float = 0.0) -> AsyncIterator[Turn]:
        """The place, until the block ends; what the block takes, or `seconds` if that is more, is followed by a rest.

        Raises QuotaExceeded when too much of the principal waits, or its turn does not come `within` seconds.
        """
        lock, waiting = self._of.get(principal, (asyncio.Lock(), 0))
        if waiting >= self._waiting:
            raise QuotaExceeded(_QUOTA, _RETRY_SECONDS)
        self._of[principal] = lock, waiting + 1
        try:
            try:
                async with asyncio.timeout(within):
                    await lock.acquire()
                    try:
                        await self._turn_of(principal)
                    except BaseException:
                        lock.release()
                        raise
            except TimeoutError:
                raise QuotaExceeded(_QUOTA, _RETRY_SECONDS) from None
            turn = Turn()
            try:
                yield turn
            finally:
                now = time.monotonic()
                took = max(turn.seconds, seconds)
                self._free = now + min(self._rest * took, _LONGEST_REST)
                self._free_alone = now + min(self._alone * took, _LONGEST_REST)
                self._turn.release()
                lock.release()
        finally:
            lock, waiting = self._of[principal]
            if waiting > 1:
                self._of[principal] = lock, waiting - 1
            else:
                del self._of[principal]

    async def _turn_of(self, principal: str) -> None:
        await self._turn.acquire()
        try:
            pause = (self._free if self.has_others(principal) else self._free_alone) - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
        except BaseException:
            self._turn.release()
            raise

    def has_others(self, principal: str) -> bool:
        """Whether others than this principal have calls in flight."""
        if principal.startswith(_PROJECT):
            return self._admission.has_several
        return self._admission.has_others(principal)


class _Held:
    """The bytes of requests that wait to be checked in the process: each is in memory several times until then."""

    def __init__(self, share: float) -> None:
        """One principal may hold `share` of them."""
        self._most = _HELD_BYTES * share
        self._of: Counter[str] = Counter()

    @contextmanager
    def room(self, call: Call) -> Iterator[None]:
        """Hold a request until the block ends. Raises QuotaExceeded when too much is held; one alone never is."""
        principal, size = _principal(call), call.size
        mine, all = self._of[principal], self._of.total()
        if (mine and mine + size > self._most) or (all and all + size > _HELD_BYTES):
            raise QuotaExceeded(_QUOTA, _RETRY_SECONDS)
        self._of[principal] += size
        try:
            yield
        finally:
            self._of[principal] -= size
            if not self._of[principal]:
                del self._of[principal]


def _see(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()


def seconds_of_query(call: Call) -> float:
    """About what it takes to make SQL of the query of a request, if it is a large one."""
    return min(call.size * _SECONDS_PER_QUERY_BYTE, _LONGEST_QUERY_SECONDS)


def _principal(call: Call) -> str:
    return call.owner_name or ""


class Checks:
    """The lines: for the event loop, for a thread, for a process."""

    def __init__(self, admission: Admission, limits: Limits) -> None:
        """The time of a read or a write is how long it may wait in a line."""
        self._limits = limits
        self._loop = _Line(admission, _REST)
        self._apart = _Line(admission, _REST)
        self._aside = _Line(admission, 0.0)
        self._pages = _Line(admission, _REST, limits.in_flight_watches + limits.in_flight_read_streams)
        self._removals = _Line(admission, _REST_AFTER_REMOVAL)
        self._openings = _Line(admission, _REST_AFTER_OPENING, limits.in_flight_watches, alone=1.0)
        self._threads = ThreadPoolExecutor(1, "plaudit-checker")
        self._process = Background()
        # It waits for the process.
        self._waiter = ThreadPoolExecutor(1, "plaudit-checks")
        self._held = _Held(limits.principal_share)
        self._is_closed = False
        self.limit = _QUOTA

    def admit(self, call: Call, request: Message) -> Awaitable[None] | None:
        """A step of each call: what reads by a large query waits for its turn on the loop."""
        rpc = call.rpc
        if call.size >= _LARGE_QUERY_BYTES and rpc and (rpc.kind in _READING or rpc.right is Right.PURGE):
            return self._turn(call)
        return None

    async def _turn(self, call: Call) -> None:
        """Wait for the turn of a large query. Raises QuotaExceeded."""
        async with self._loop.place(_principal(call), self._limits.read_seconds, seconds_of_query(call)):
            return

    def are_small(self, call: Call) -> bool:
        """Whether the payloads of a request are so small that they are checked at once."""
        return call.size < _LARGE_REQUEST_BYTES

    async def run(self, call: Call, payloads: Iterable[str], work: Callable[..., T], *arguments: Any) -> T:
        """What `work` returns, which checks these payloads: at once, in turn, or with very many values in the process.

        `work` is a function of a module; its arguments and what it returns can be pickled, and what it changes in an
        argument is lost. Raises what `work` raises, QuotaExceeded when too much of the caller waits already, and
        Overloaded.
        """
        if self.are_small(call):
            return work(*arguments)
        if has_many_values(payloads):
            return await self._in_process(call, work, *arguments)
        async with self._loop.place(_principal(call), self._limits.write_seconds):
            return work(*arguments)

    async def run_each(
        self, call: Call, payloads: Iterable[str], items: Sequence[Item], work: Callable[[Sequence[Item], T | None], T]
    ) -> T:
        """What `work` comes to with the items of a request, as `run` does: in its turn the loop goes on after each few.

        It is called with some of them, and with what it has returned for those before, if there are any.
        """
        if self.are_small(call):
            return work(items, None)
        if has_many_values(payloads):
            return await self._in_process(call, work, items, None)
        async with self._loop.place(_principal(call), self._limits.write_seconds) as turn:
            found = work(items[:_FEW_ITEMS], None)
            for first in range(_FEW_ITEMS, len(items), _FEW_ITEMS):
                await turn.give_way()
                found = work(items[first : first + _FEW_ITEMS], found)
            return found

    async def _in_process(self, call: Call, work: Callable[..., T], *arguments: Any) -> T:
        with self._held.room(call):
            async with self._aside.place(_principal(call), self._limits.write_seconds):
                try:
                    checked: T = await self._on(self._waiter, self._process.call, work, *arguments)
                except ProcessEnded:
                    raise Overloaded(_RETRY_SECONDS, "checks") from None
        if call.asked and time.monotonic() - call.asked >= self._limits.write_seconds:
            raise QuotaExceeded(_QUOTA, _RETRY_SECONDS)  # no time is left to write it
        return checked

    def in_turn(self, call: Call, seconds: float) -> AbstractAsyncContextManager[Turn]:
        """A turn on the loop to make the answer of a read, all of which takes about `seconds`. Raises QuotaExceeded."""
        return self._loop.place(_principal(call), self._limits.read_seconds, seconds)

    def opening(self, call: Call) -> AbstractAsyncContextManager[Turn]:
        """A turn to open a watch, which takes some milliseconds of the interpreter, most of them in steps that are too
        short for a turn each. Raises QuotaExceeded.
        """
        return self._openings.place(_principal(call), _OPENING_SECONDS)

    def removal(self, call: Call) -> AbstractAsyncContextManager[Turn]:
        """A turn to remove many rows: the writer does nothing else meanwhile. Raises QuotaExceeded."""
        return self._removals.place(_principal(call), self._limits.write_seconds)

    async def page(self, call: Call, seconds: float) -> None:
        """Wait for a turn to send a large page, or to go on with a stream after one, that takes about `seconds`.

        Raises QuotaExceeded.
        """
        principal = _principal(call)
        if not self._pages.has_others(principal):
            return
        is_stream = call.rpc is not None and call.rpc.kind in (Kind.STREAM_READ, Kind.WATCH)
        within = _PAGE_TURN_SECONDS if is_stream else self._limits.read_seconds
        async with self._pages.place(principal, within, seconds):
            return

    def parsing(self, call: Call) -> AbstractAsyncContextManager[Turn]:
        """A turn on the loop to read a large request from its bytes. Raises QuotaExceeded."""
        return self._loop.place(_principal(call), self._limits.write_seconds)

    async def apart(self, call: Call, work: Callable[[], T]) -> T:
        """What `work` returns, in a thread. Raises what it raises, and QuotaExceeded."""
        async with self._apart.place(_principal(call), self._limits.read_seconds):
            return await self._on(self._threads, work)

    async def apart_for(self, project: str, work: Callable[[], T]) -> T:
        """As `apart`, where it is only known for which project: its callers are in line together."""
        async with self._apart.place(f"{_PROJECT}{project}", self._limits.write_seconds):
            return await self._on(self._threads, work)

    async def _on(self, threads: ThreadPoolExecutor, work: Callable[..., T], *arguments: Any) -> T:
        """Wait for the end of the work, whoever leaves meanwhile, since the place is taken until then.

        Raises Overloaded when the server stops before it has begun.
        """
        if self._is_closed:
            raise Overloaded(_RETRY_SECONDS, "checks")
        done = asyncio.get_running_loop().run_in_executor(threads, work, *arguments)
        done.add_done_callback(_see)  # whoever waits for it may be cancelled twice
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            if done.cancelled():
                raise Overloaded(_RETRY_SECONDS, "checks") from None
            await asyncio.wait([done])
            raise

    async def close(self) -> None:
        """End the threads and the process after what they do now."""
        self._is_closed = True
        for threads in (self._threads, self._waiter):
            threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.get_running_loop().run_in_executor(None, self._process.close)
