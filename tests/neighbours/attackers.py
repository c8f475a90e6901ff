"""The attackers of a case, together in one process of low priority: `python -m tests.neighbours.attackers ORDERS`.

ORDERS is JSON, see `Orders`. The process takes turns (see tests/attacks/turns.py), and answers how its calls have ended
in the turns so far. Each attacker waits for its answers, is never told to come back, and leaves at the end of a turn.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import grpc

from tests.attacks.frames import Connection, Outcome, block, envelope
from tests.attacks.turns import Turns, take_turns
from tests.neighbours.catalogue import ATTACKS, CUT, OWN_DEADLINE, Calls, Streams
from tests.neighbours.connect import HttpConnection

NICENESS = 10
STREAMS_PER_CONNECTION = 100
"""Fewer than a server allows, so that it is the calls that are refused."""
SLACK_SECONDS = 1.0
"""How much longer than its limit a call may take, on a machine that is busy."""

_BEGINNING_SECONDS = 0.3
_LONGEST_BEGINNING_SECONDS = 3.0
_OPENED_PER_SECOND = 1000.0
_OPENED_AGAIN_PER_SECOND = 10.0
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Orders:
    """Whom to attack, and how: the name of an attack, and for each caller its key (or none) and its address."""

    attack: str
    target: str
    attackers: int
    deadline: float | None
    limit: float
    """The seconds within which the server ends a call by itself."""
    keys: Sequence[str]
    sources: Sequence[str]

    def process(self, target: str) -> Turns:
        """A process with these orders against a target; what it says are `answers` and `late`."""
        return Turns("tests.neighbours.attackers", json.dumps(asdict(self) | {"target": target}))


def outcome_text(outcome: Outcome) -> str:
    """How a call has ended: code and reason, and whether the caller is to come back."""
    if outcome.code is None:
        return CUT
    text = f"{_CODES.get(outcome.code, outcome.code)} {outcome.reason}".strip()
    return text + (", come back" if outcome.pushback else "")


class Attackers:
    """All callers of a case, in one event loop."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._attack = ATTACKS[orders.attack]
        self._tasks: list[asyncio.Task[None]] = []
        self._connections: list[Connection | HttpConnection] = []
        self._due: dict[tuple[int, str], float] = {}
        self._opened: list[asyncio.Event] = []
        self._leaving = False
        self.answers: Counter[str] = Counter()
        self.late = 0

    async def begin(self) -> dict[str, Any]:
        """Every attacker comes, and calls."""
        self._leaving, self._opened = False, []
        for number in range(self._orders.attackers):
            for sends in self._attack.sends:
                work: Awaitable[None]
                work = self._call(sends, number) if isinstance(sends, Calls) else self._hold(sends, number)
                self._tasks.append(asyncio.ensure_future(work))
        await asyncio.sleep(_BEGINNING_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_BEGINNING_SECONDS):
                await asyncio.gather(*(opened.wait() for opened in self._opened))
        return self._said()

    async def end(self) -> dict[str, Any]:
        """Every attacker leaves, whatever of its calls is open."""
        self._leaving = True
        now = time.monotonic()
        self.late += sum(now > due for due in self._due.values())
        self._due.clear()
        failures = [task.exception() for task in self._tasks if task.done()]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        for failure in failures:
            if failure is not None:
                raise failure
        return self._said()

    def _said(self) -> dict[str, Any]:
        return {"answers": self.answers, "late": self.late}

    async def _connect(self, number: int, *, reads: bool = True) -> Connection:
        sources = self._orders.sources
        while True:
            try:
                made = await Connection.to(self._orders.target, source=sources[number % len(sources)], reads=reads)
            except OSError:
                # It is overwhelmed, or stopping.
                await asyncio.sleep(0.1)
            else:
                self._connections.append(made)
                return made

    def _headers(self, path: str, number: int, *, credential: bool = True) -> bytes:
        keys, deadline = self._orders.keys, self._orders.deadline
        more = [("authorization", f"Bearer {keys[number % len(keys)]}")] if keys and credential else []
        if deadline is not None:
            more.append(("grpc-timeout", f"{round(deadline * 1000)}m"))
        return block(path, more)

    async def _call(self, calls: Calls, number: int) -> None:
        """One call after the other."""
        if self._attack.http:
            await self._call_http(calls, number)
            return
        headers = self._headers(calls.path, number)
        body = envelope(calls.request(number).SerializeToString())
        deadline, pause = self._orders.deadline, 1 / calls.per_second
        connection = await self._connect(number)
        place = (number, calls.path)
        while True:
            if connection.closed.done():
                connection = await self._connect(number)
            began = self._begin_call(calls, place)
            ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

            def end(outcome: Outcome, ended: asyncio.Future[Outcome] = ended) -> None:
                if not ended.done():
                    ended.set_result(outcome)

            stream = connection.call(headers, body, end)
            try:
                async with asyncio.timeout(deadline):
                    text = outcome_text(await ended)
            except TimeoutError:
                connection.reset(stream)
                text = OWN_DEADLINE
            self._end_call(place, began, text)
            await asyncio.sleep(max(0.0, began + pause - time.monotonic()))

    async def _call_http(self, calls: Calls, number: int) -> None:
        """One call after the other, over HTTP."""
        sources, keys, deadline = self._orders.sources, self._orders.keys, self._orders.deadline
        connection = HttpConnection(self._orders.target, sources[number % len(sources)])
        self._connections.append(connection)
        headers = {"authorization": f"Bearer {keys[number % len(keys)]}"} if keys else {}
        if deadline is not None:
            headers["connect-timeout-ms"] = str(round(deadline * 1000))
        body, place = calls.request(number).SerializeToString(), (number, calls.path)
        while True:
            began = self._begin_call(calls, place)
            try:
                async with asyncio.timeout(deadline):
                    text = await connection.call(calls.path, body, headers)
            except TimeoutError:
                text = OWN_DEADLINE
            except OSError:
                text = CUT
            self._end_call(place, began, text)
            await asyncio.sleep(max(0.0, began + 1 / calls.per_second - time.monotonic()))

    def _begin_call(self, calls: Calls, place: tuple[int, str]) -> float:
        began = time.monotonic()
        if calls.bounded:
            self._due[place] = began + (self._orders.deadline or self._orders.limit) + SLACK_SECONDS
        return began

    def _end_call(self, place: tuple[int, str], began: float, text: str) -> None:
        now, deadline = time.monotonic(), self._orders.deadline
        # The server's end of the same deadline may be a little earlier than ours.
        expired = deadline is not None and now - began > 0.9 * deadline and text != "OK"
        self.answers[OWN_DEADLINE if expired else text] += 1
        self.late += now > self._due.pop(place, now)

    async def _hold(self, streams: Streams, number: int) -> None:
        """As many open calls as there should be."""
        headers = self._headers(streams.path, number, credential=streams.credential)
        connections: list[Connection] = []
        held, opened = 0, 0
        all_opened = asyncio.Event()
        self._opened.append(all_opened)

        def end(outcome: Outcome) -> None:
            nonlocal held
            held -= 1
            if not self._leaving:
                self.answers[outcome_text(outcome)] += 1

        while True:
            connections = [connection for connection in connections if not connection.closed.done()]
            if held < streams.each:
                if not connections or len(connections[-1].open) >= STREAMS_PER_CONNECTION:
                    connections.append(await self._connect(number, reads=streams.reads))
                body = b""
                if streams.request is not None:
                    body = envelope(streams.request(number * streams.each + held).SerializeToString())
                held += 1
                opened += 1
                connections[-1].call(headers, body, end, end=streams.ends)
            if opened < streams.each:
                await asyncio.sleep(self._orders.attackers / _OPENED_PER_SECOND)
            else:
                all_opened.set()
                await asyncio.sleep(1 / _OPENED_AGAIN_PER_SECOND)


if __name__ == "__main__":
    os.nice(NICENESS)
    attackers = Attackers(Orders(**json.loads(sys.argv[1])))
    asyncio.run(take_turns(attackers.begin, attackers.end))
