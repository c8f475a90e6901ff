"""A load generator: `python -m tests.attacks.overload HOST:PORT CONNECTIONS STREAMS SECONDS RATE DEADLINE`.

With RATE 0 each stream is a user whose next call follows the last, or comes when a refusal said so, as our clients do
by themselves; they begin within the first second, which does not count. Otherwise calls begin at RATE a second, whether
or not others have ended, and none comes back; what finds no free stream waits for one, and its time counts from when it
was due. Each call creates a record with an id of its own. Prints a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter, deque
from typing import Any

from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import CreateFeedbackRequest, Feedback
from tests.attacks import bombs
from tests.attacks.frames import Connection, Outcome, block, envelope
from tests.bench import percentile

PROJECT = "acme/load"
_TICK = 0.002


class Load:
    """The calls of one run, counted."""

    def __init__(self, connections: list[Connection], streams: int, deadline: float) -> None:
        timeout = [("grpc-timeout", f"{round(deadline * 1000)}m")]
        self._headers = block(f"/{bombs.SERVICE}/CreateFeedback", timeout)
        self._connections = connections
        self._free = deque(connection for _ in range(streams) for connection in connections)
        self._waiting: deque[float] = deque()
        self._deadline = deadline
        self._closed_loop = False
        self._ended: float | None = None
        self.codes: Counter[int | None] = Counter()
        self.offered = 0
        self.late = 0
        self.good: list[float] = []
        self.refused: list[float] = []
        self.acknowledged: list[str] = []
        record = Feedback(id=uuid7(), ref="weave:///acme/load/call/1", feedback_type="t", payload_json='{"score":0.5}')
        request = CreateFeedbackRequest(project=PROJECT, feedback=record)
        self._before, self._behind = envelope(request.SerializeToString()).split(record.id.encode())

    async def closed(self, seconds: float) -> None:
        """Keep every stream busy."""
        self._closed_loop = True
        each = len(self._free) // 50 + 1
        for _ in range(50):
            for _ in range(min(each, len(self._free))):
                self._begin(self._free.popleft(), time.perf_counter())
            await asyncio.sleep(0.02)
        # (Refusals count from the beginning: most of those who are refused come back when there is room.)
        self.good.clear()
        await asyncio.sleep(seconds)
        self._closed_loop = False
        self._ended = time.perf_counter()
        await self._rest()

    async def open(self, seconds: float, rate: float) -> None:
        """Begin calls at this rate."""
        start = time.perf_counter()
        while (now := time.perf_counter()) < start + seconds:
            for _ in range(int((now - start) * rate) - self.offered):
                self.offered += 1
                self._waiting.append(now)
            self._start_waiting()
            await asyncio.sleep(_TICK)
        await self._rest()

    async def _rest(self) -> None:
        """Until the last call has ended, or its deadline is well over."""
        for _ in range(round(200 * self._deadline + 200)):
            if not any(connection.open for connection in self._connections):
                return
            await asyncio.sleep(0.01)

    def _start_waiting(self) -> None:
        now = time.perf_counter()
        while self._waiting and now - self._waiting[0] > self._deadline:
            self._waiting.popleft()
            self.late += 1
        while self._waiting and self._free:
            self._begin(self._free.popleft(), self._waiting.popleft())

    def _begin(self, connection: Connection, due: float) -> None:
        id = uuid7()
        sent = time.perf_counter()

        def done(outcome: Outcome) -> None:
            self._done(connection, due, sent, id, outcome)

        connection.call(self._headers, self._before + id.encode() + self._behind, done)

    def _done(self, connection: Connection, due: float, sent: float, id: str, outcome: Outcome) -> None:
        now = time.perf_counter()
        self.codes[outcome.code] += 1
        if outcome.code == bombs.OK:
            self.acknowledged.append(id)
            if self._ended is not None:
                pass
            elif now - due <= self._deadline:
                self.good.append(now - due)
            else:
                self.late += 1
        elif outcome.code == bombs.RESOURCE_EXHAUSTED:
            self.refused.append(now - sent)
        if connection.closed.done():
            return
        if not self._closed_loop:
            self._free.append(connection)
        elif outcome.pushback:
            asyncio.get_running_loop().call_later(outcome.pushback, self._again, connection)
        else:
            self._begin(connection, now)

    def _again(self, connection: Connection) -> None:
        if self._closed_loop:
            self._begin(connection, time.perf_counter())


async def run(
    target: str, connections: int, streams: int, seconds: float, rate: float, deadline: float
) -> dict[str, Any]:
    """Put load on a server; return the counts."""
    load = Load([await Connection.to(target) for _ in range(connections)], streams, deadline)
    began, cpu = time.perf_counter(), time.process_time()
    await (load.open(seconds, rate) if rate else load.closed(seconds))
    return {
        "acknowledged": load.acknowledged,
        "goodput": len(load.good) / seconds,
        "offered": load.offered / seconds,
        "late": load.late,
        "codes": {str(code): count for code, count in load.codes.items()},
        "ok_ms": _percentiles(load.good),
        "refused_ms": _percentiles(load.refused),
        "generator_cpu": round((time.process_time() - cpu) / (time.perf_counter() - began), 2),
    }


def _percentiles(taken: list[float]) -> list[float]:
    return [percentile(taken, share) for share in (0.5, 0.99)] if taken else []


if __name__ == "__main__":
    target, connections, streams, seconds, rate, deadline = sys.argv[1:]
    print(
        json.dumps(
            asyncio.run(run(target, int(connections), int(streams), float(seconds), float(rate), float(deadline)))
        )
    )
