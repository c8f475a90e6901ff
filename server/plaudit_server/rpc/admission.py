"""Bounds on what runs at a time: places for each kind of call, a share for each principal, and the bytes of answers.

No call waits for a place: without a free one it is refused, with a delay after which it may be tried again. So the
places bound what a server does at once, and no principal can hold all of them.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import grpc

from plaudit_server.config import Limits
from plaudit_server.errors import QuotaExceeded
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.deadlines import principal_of
from plaudit_server.rpc.declare import Kind

_LONGEST_DELAY: Final = 5.0

# A principal may hold this many places even when there are few: half of two would be one.
_LEAST_SHARE: Final = 8

# The transport takes smaller answers at once, and counting them would cost more than they do.
COUNTED_ANSWER_BYTES: Final = 16 * 1024

LARGE_ANSWER_BYTES: Final = 1024 * 1024
"""As much as a message of a stream has, or less."""

_COPIES: Final = 2

STREAM_STALL: Final = "stream_stall_seconds"
"""The limit that ends a stream of answers whose client does not read."""

_ANSWER_BYTES: Final = "answer_bytes"
_ROOM_SECONDS: Final = 0.1  # until whoever waits for room looks again, or whoever was refused may try again


@dataclass(slots=True)
class Places:
    """How many calls run now, and how many may, of all and of one principal; `name` is that of the limit.

    If all refused callers returned after the same time, refusing them again and again would cost more than the calls
    that run. So their delays are `retry_spacing` seconds apart, from `retry_delay` to `_LONGEST_DELAY`.
    """

    name: str
    limit: int
    share: float = 1.0
    retry_delay: float = 0.1
    retry_spacing: float = 0.004
    running: int = field(default=0, init=False)
    held: dict[str, int] = field(default_factory=dict, init=False)
    """The number of places that each principal holds; without those who hold none."""
    most: int = field(init=False)
    """How many places one principal may hold."""
    _last: float = field(default=0.0, init=False)
    """When the caller that was refused last may try again."""

    def __post_init__(self) -> None:
        self.most = max(math.ceil(self.limit * self.share), min(self.limit, _LEAST_SHARE))

    def enter(self, now: float) -> None:
        """Count a call that begins, at `now` in monotonic seconds.

        Raises QuotaExceeded when too many run; then nothing is counted.
        """
        if self.running >= self.limit:
            raise self._refusal(now)
        self.running += 1

    def own(self, principal: str, now: float) -> None:
        """Count a call that has entered for its principal as well.

        Raises QuotaExceeded when the principal already holds its share; the call is still counted, until it leaves.
        """
        count = self.held.get(principal, 0)
        if count >= self.most:
            raise self._refusal(now)
        self.held[principal] = count + 1

    def leave(self) -> None:
        """Count a call that has ended."""
        self.running -= 1

    def disown(self, principal: str) -> None:
        """Count a call of the principal that has ended."""
        count = self.held[principal] - 1
        if count:
            self.held[principal] = count
        else:
            del self.held[principal]

    @contextmanager
    def place(self, principal: str, now: float) -> Iterator[None]:
        """A place until the block ends. Raises QuotaExceeded when there is none for this principal."""
        self.enter(now)
        try:
            self.own(principal, now)
            try:
                yield
            finally:
                self.disown(principal)
        finally:
            self.leave()

    def _refusal(self, now: float) -> QuotaExceeded:
        self._last = min(max(self._last + self.retry_spacing, now + self.retry_delay), now + _LONGEST_DELAY)
        return QuotaExceeded(self.name, math.ceil((self._last - now) * 100) / 100)


class Answers:
    """The bytes of answers that the transport has not taken yet, in all and by principal.

    An answer waits in memory until its client reads it, and so does the transport's copy of it. Without a bound,
    clients that read nothing would take as much memory as they like.
    """

    def __init__(self, limit: int, share: float) -> None:
        """`limit` in bytes. A principal's answers may take `share` of it; one answer may always be sent."""
        self.limit = limit
        self.waiting = 0
        self._most = math.ceil(limit * share)
        self._of: dict[str, int] = {}

    def has_room(self, principal: str, size: int) -> bool:
        """Whether an answer of this size may be handed to the transport now."""
        mine, size = self._of.get(principal, 0), _COPIES * size
        return not mine or (mine + size <= self._most and self.waiting + size <= self.limit)

    def check(self, principal: str, size: int) -> None:
        """Raises QuotaExceeded when there is no room for an answer of this size."""
        if not self.has_room(principal, size):
            raise QuotaExceeded(_ANSWER_BYTES, _ROOM_SECONDS)

    async def room(self, principal: str, size: int) -> None:
        """Wait until there is room for a message of this size."""
        while not self.has_room(principal, size):  # noqa: ASYNC110  # who waits here has slow readers; there is no hurry
            await asyncio.sleep(_ROOM_SECONDS)

    def take(self, principal: str, size: int) -> None:
        """Count an answer that is handed to the transport, or will be."""
        size *= _COPIES
        self.waiting += size
        self._of[principal] = self._of.get(principal, 0) + size

    def release(self, principal: str, size: int) -> None:
        """Count an answer that the transport has taken, or whose call has ended."""
        size *= _COPIES
        self.waiting -= size
        left = self._of[principal] - size
        if left:
            self._of[principal] = left
        else:
            del self._of[principal]


class Admission:
    """Counts the calls in flight by what they are; a stream, however long, is one call."""

    def __init__(self, limits: Limits) -> None:
        share = limits.principal_share
        self.calls = Places("in_flight_calls", limits.in_flight_calls, share)
        self.read_streams = Places("in_flight_read_streams", limits.in_flight_read_streams, share)
        self.write_streams = Places("in_flight_write_streams", limits.in_flight_write_streams, share)
        self.watches = Places("in_flight_watches", limits.in_flight_watches, share, retry_delay=1.0)
        self.health_watches = Places("in_flight_health_watches", limits.in_flight_health_watches, share, 1.0)
        self.reflection = Places("in_flight_reflection", limits.in_flight_reflection, share, 1.0)
        self.answers = Answers(limits.answer_bytes, share)
        self._of_kind = {
            Kind.STREAM_READ: self.read_streams,
            Kind.STREAM_WRITE: self.write_streams,
            Kind.WATCH: self.watches,
        }

    @property
    def limits(self) -> tuple[str, ...]:
        """The names of the limits for which calls are refused or ended here."""
        return (*(places.name for places in self.places.values()), _ANSWER_BYTES, STREAM_STALL)

    @property
    def places(self) -> dict[str, Places]:
        """All places, by the kind that metrics show."""
        return {
            "calls": self.calls,
            "read_streams": self.read_streams,
            "write_streams": self.write_streams,
            "watches": self.watches,
            "health_watches": self.health_watches,
            "reflection": self.reflection,
        }

    def has_others(self, principal: str) -> bool:
        """Whether another principal has a call in flight."""
        return any(held.keys() - {principal} for held in (places.held for places in self.places.values()))

    @property
    def has_several(self) -> bool:
        """Whether calls of more than one principal are in flight."""
        return len({principal for places in self.places.values() for principal in places.held}) > 1

    def enter(self, call: Call) -> None:
        """Let the call in: the first gate, before anything is known of the caller. Raises QuotaExceeded."""
        if call.place is None:
            places = self.calls if call.rpc is None else self._of_kind.get(call.rpc.kind, self.calls)
            places.enter(call.started)
            call.place = places

    def own(self, call: Call) -> None:
        """Count the call for its principal: a gate after authentication. Raises QuotaExceeded."""
        if call.owner_name is None and call.place is not None:
            principal = principal_of(call)
            call.place.own(principal, call.started)
            call.owner_name = principal

    def leave(self, call: Call, code: grpc.StatusCode) -> None:
        """The call has ended."""
        places, call.place = call.place, None
        if places is not None:
            places.leave()
            if call.owner_name is not None:
                places.disown(call.owner_name)
