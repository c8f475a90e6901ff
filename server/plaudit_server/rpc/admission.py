"""How many calls run at a time: places by kind, and a refusal with a delay when there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import grpc

from plaudit_server.config import Limits
from plaudit_server.errors import QuotaExceeded
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.declare import Kind

_LONGEST_DELAY: Final = 5.0


@dataclass(slots=True)
class InFlight:
    """How many calls run now, and how many may; those refused are told different times to come back.

    If all came back after the same while, refusing them again and again would cost more than the calls that run. So
    they are told to come `retry_spacing` seconds after one another, the first after `retry_delay`, the last after
    `_LONGEST_DELAY`.
    """

    name: str
    limit: int
    retry_delay: float = 0.1
    retry_spacing: float = 0.004
    running: int = field(default=0, init=False)
    _last: float = field(default=0.0, init=False)
    """When the caller that was refused last may come back."""

    def enter(self, now: float) -> None:
        """Count a call that begins, at `now` in monotonic seconds.

        Raises QuotaExceeded when too many run; then nothing is counted.
        """
        if self.running >= self.limit:
            self._last = min(max(self._last + self.retry_spacing, now + self.retry_delay), now + _LONGEST_DELAY)
            raise QuotaExceeded(self.name, math.ceil((self._last - now) * 100) / 100)
        self.running += 1

    def leave(self) -> None:
        """Count a call that has ended."""
        self.running -= 1


class Admission:
    """Counts the calls in flight; a stream of requests is one call."""

    def __init__(self, limits: Limits) -> None:
        self.calls = InFlight("in_flight_calls", limits.in_flight_calls)
        self.watches = InFlight("in_flight_watches", limits.in_flight_watches, retry_delay=1.0)

    def enter(self, call: Call) -> None:
        """Let the call in, or raise QuotaExceeded."""
        if not call.admitted:
            self._of(call).enter(call.started)
            call.admitted = True

    def leave(self, call: Call, code: grpc.StatusCode) -> None:
        """The call has ended."""
        if call.admitted:
            call.admitted = False
            self._of(call).leave()

    def _of(self, call: Call) -> InFlight:
        return self.watches if call.rpc is not None and call.rpc.kind is Kind.WATCH else self.calls
