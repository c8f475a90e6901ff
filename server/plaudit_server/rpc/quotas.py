"""Quotas: token buckets for each project, and the step that charges each request to them."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.message import Message

from plaudit._contract import limits
from plaudit_server.config import Limits
from plaudit_server.errors import QuotaExceeded
from plaudit_server.rpc.call import Call

# Each takes about 200 bytes. A project whose bucket is forgotten starts again with a full one.
_BUCKETS: Final = 10_000

# A project whose name breaks the rules is refused by validation, later; until then it must not fill the table.
_PROJECT_CHARACTERS: Final = 2 * limits.PROJECT_PART_BYTES + 1


@dataclass(slots=True)
class Bucket:
    """A bucket that gets `rate` tokens a second, up to `capacity`; it held `tokens` at the time `at`."""

    rate: float
    capacity: float
    tokens: float
    at: float

    def delay(self, cost: float, now: float) -> float:
        """Seconds until `cost` can be taken; 0 means now. A cost above the capacity waits for a full bucket."""
        self.tokens = min(self.capacity, self.tokens + (now - self.at) * self.rate)
        self.at = now
        missing = min(cost, self.capacity) - self.tokens
        if missing <= 0.0:
            return 0.0
        # Rounded up to the whole milliseconds of RetryInfo: a caller that returns then must find enough tokens.
        return math.ceil(round(missing / self.rate * 1000, 6)) / 1000

    def take(self, cost: float) -> None:
        """Take tokens. The bucket may go below zero; later calls then wait until it has filled again."""
        self.tokens -= cost


class Quota:
    """One bucket for each project; when there are too many, those unused for longest are forgotten."""

    def __init__(self, name: str, rate: float, burst_seconds: float, buckets: int = _BUCKETS) -> None:
        """`rate` a second for each project; the bucket holds `burst_seconds` of it, and at least one token."""
        self.name = name
        self._rate = rate
        self._capacity = max(1.0, rate * burst_seconds)
        self._limit = buckets
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def delay(self, project: str, cost: float, now: float) -> float:
        """Seconds until the project may use `cost`, 0 for now; nothing is taken yet."""
        return self._bucket(project, now).delay(cost, now)

    def take(self, project: str, cost: float, now: float) -> None:
        """Use `cost` of the project's quota."""
        self._bucket(project, now).take(cost)

    def _bucket(self, project: str, now: float) -> Bucket:
        key = project if len(project) <= _PROJECT_CHARACTERS else ""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self._rate, self._capacity, self._capacity, now)
            if len(self._buckets) > self._limit:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        return bucket


class ProjectQuotas:
    """The quotas of every project: calls, rows and bytes of requests a second; a rate of 0 is no quota."""

    def __init__(
        self,
        calls_per_second: float,
        rows_per_second: float,
        burst_seconds: float,
        buckets: int = _BUCKETS,
        *,
        bytes_per_second: float = 0.0,
    ) -> None:
        """Rates for each project."""
        self._calls = Quota("calls_per_second", calls_per_second, burst_seconds, buckets) if calls_per_second else None
        self._rows = Quota("rows_per_second", rows_per_second, burst_seconds, buckets) if rows_per_second else None
        self._bytes = Quota("bytes_per_second", bytes_per_second, burst_seconds, buckets) if bytes_per_second else None
        self.are_off = not (calls_per_second or rows_per_second or bytes_per_second)
        """Whether every call passes."""

    def admit(self, project: str, rows: int, now: float, size: int = 0) -> None:
        """Charge a call of `size` bytes that writes `rows` rows, at `now` in monotonic seconds, to all quotas or none.

        Raises QuotaExceeded with the exact delay after which the call would be admitted.
        """
        charges = [
            (quota, cost)
            for quota, cost in ((self._calls, 1), (self._rows, rows), (self._bytes, size))
            if quota is not None and cost
        ]
        delays = [(quota.delay(project, cost, now), quota.name) for quota, cost in charges]
        delay, name = max(delays, default=(0.0, ""))
        if delay > 0.0:
            raise QuotaExceeded(name, delay)
        for quota, cost in charges:
            quota.take(project, cost, now)

    def owe(self, project: str, rows: int, now: float) -> None:
        """Charge rows that were written already: the project's next calls wait for them."""
        if self._rows is not None:
            self._rows.take(project, rows, now)


class Accounting:
    """A step that charges each request to its project's quotas, and records project and rows for the audit log."""

    def __init__(self, limits: Limits) -> None:
        self._quotas = ProjectQuotas(
            limits.calls_per_second,
            limits.rows_per_second,
            limits.burst_seconds,
            bytes_per_second=limits.bytes_per_second,
        )

    def __call__(self, call: Call, request: Message) -> None:
        """Let the request pass. Raises QuotaExceeded."""
        rpc = call.rpc
        assert rpc is not None
        project, rows = call.project_of(request), rpc.rows(request)
        call.rows[project] = call.rows.get(project, 0) + rows
        if not self._quotas.are_off:
            self._quotas.admit(project, rows, time.monotonic(), call.size)

    def settle(self, call: Call, code: grpc.StatusCode) -> None:
        """Charge what a call wrote beyond what its requests declared, at its end, however it ends."""
        for project, rows in call.debts.items():
            self._quotas.owe(project, rows, time.monotonic())
