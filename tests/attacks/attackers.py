"""Attackers, each a process of its own: `python -m tests.attacks.attackers NAME HOST:PORT`.

They send at a rate, whether or not answers come, so they cost as much beside a listener that does nothing. They take
turns (see turns.py), and answer how often each code came so far, None for a call that was cut.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from tests.attacks import bombs, garbage, web_attackers
from tests.attacks.frames import (
    HEADERS,
    Connection,
    Outcome,
    block,
    envelope,
    frame,
    opening,
)
from tests.attacks.turns import take_turns

IDLE = 400
SLOW = 100
RESETS_PER_SECOND = 1000
STRINGS_PER_SECOND = 200

_TICK = 0.01
_MOST_OPEN = 100
_BEGINNING_SECONDS = 0.15


@dataclass(slots=True)
class Attack:
    """The target, the codes received so far, and what must be closed at the end."""

    target: str
    codes: Counter[int | None] = field(default_factory=Counter)
    opened: list[Connection | asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self) -> Connection:
        """A new connection."""
        connection = await Connection.to(self.target)
        self.opened.append(connection)
        return connection

    def done(self, outcome: Outcome) -> None:
        """A call has ended."""
        self.codes[outcome.code] += 1

    def counted(self) -> dict[str, int]:
        """How often each code came, by its text."""
        return {str(code): count for code, count in self.codes.items()}

    def close(self) -> None:
        """Close all that was opened."""
        for connection in self.opened:
            connection.close()
        self.opened.clear()


async def every(per_second: float, act: Callable[[], object]) -> None:
    """Do something at a rate, in a burst for each hundredth of a second."""
    start = asyncio.get_running_loop().time()
    for number in itertools.count():
        due = start + number / per_second
        now = asyncio.get_running_loop().time()
        if now < due:
            await asyncio.sleep(max(_TICK, due - now))
        act()


def send(attack: Attack, connection: Connection, headers: bytes, body: bytes) -> None:
    """Make one more call; cancel the oldest when too many have no answer."""
    if len(connection.open) >= _MOST_OPEN:
        connection.reset(next(iter(connection.open)))
    connection.call(headers, body, attack.done)


async def throw(attack: Attack, bomb: bombs.Bomb) -> None:
    """Send the same bomb repeatedly."""
    connection = await attack.connect()
    headers = block(f"/{bombs.SERVICE}/{bomb.rpc}", bomb.metadata)
    await every(bomb.per_second, lambda: send(attack, connection, headers, bomb.body))


async def reset_rapidly(attack: Attack) -> None:
    """Calls that are cancelled at once; reconnects when the server closes the connection."""
    connection = await attack.connect()
    body = envelope(bombs.inside(1, bombs.PROJECT.encode()))
    headers = block(f"/{bombs.SERVICE}/CountFeedback")

    def act() -> None:
        connection.reset(connection.call(headers, body, attack.done))

    while True:
        resets = asyncio.create_task(every(RESETS_PER_SECOND, act))
        try:
            await asyncio.wait([connection.closed])
        finally:
            resets.cancel()
        connection = await attack.connect()


async def stay_idle(attack: Attack) -> None:
    """Many idle connections."""
    connections = [await attack.connect() for _ in range(IDLE)]
    await asyncio.wait([connection.closed for connection in connections])


async def drip(attack: Attack) -> None:
    """Connections whose beginnings, or whose headers, come byte by byte and have no end."""
    host, _, port = attack.target.rpartition(":")

    async def one(number: int) -> None:
        while True:
            reader, writer = await asyncio.open_connection(host, int(port))
            attack.opened.append(writer)
            if number % 2:
                first = opening() + frame(HEADERS, 0, 1, block(f"/{bombs.SERVICE}/GetServerInfo"))
                writer.write(first)
                rest = (frame(9, 0, 1, b"\x00") for _ in itertools.count())
            else:
                rest = (opening()[at : at + 1] for at in range(20))
            for piece in rest:
                writer.write(piece)
                await asyncio.sleep(0.2)
                if reader.at_eof() or writer.is_closing():
                    attack.codes[None] += 1
                    break
            writer.close()

    await asyncio.gather(*(one(number) for number in range(SLOW)))


async def babble(attack: Attack) -> None:
    """Random byte strings, to each method in turn; except to watch, which would not end."""
    connection = await attack.connect()
    methods = sorted({*garbage.SERVICE.methods_by_name} - {"WatchFeedback"})
    calls = [
        (block(f"/{bombs.SERVICE}/{method}"), itertools.cycle(envelope(raw) for raw in garbage.strings(method, 500, 1)))
        for method in methods
    ]
    turn = itertools.cycle(calls)

    def act() -> None:
        headers, bodies = next(turn)
        send(attack, connection, headers, next(bodies))

    await every(STRINGS_PER_SECOND, act)


ON_GRPC: dict[str, Callable[[Attack], Coroutine[Any, Any, None]]] = {
    "rapid reset": reset_rapidly,
    "400 idle connections": stay_idle,
    "slow headers": drip,
    "random byte strings": babble,
}
ATTACKS = ON_GRPC | web_attackers.ATTACKS


async def obey(name: str, target: str) -> None:
    """Begin and end the attack as standard input says."""
    attack = Attack(target)
    bomb = None if name in ATTACKS else bombs.bombs()[name]
    tasks: list[asyncio.Task[None]] = []

    async def begin() -> dict[str, int]:
        tasks.append(asyncio.create_task(throw(attack, bomb) if bomb else ATTACKS[name](attack)))
        await asyncio.sleep(_BEGINNING_SECONDS)
        return attack.counted()

    async def end() -> dict[str, int]:
        task = tasks.pop()
        if task.done():
            task.result()
        task.cancel()
        attack.close()
        return attack.counted()

    await take_turns(begin, end)


if __name__ == "__main__":
    # The attacker's own work must not disturb what is measured on the same two cores.
    os.nice(19)
    asyncio.run(obey(sys.argv[1], sys.argv[2]))
