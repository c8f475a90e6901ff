"""Attackers, each a process of its own: `python -m tests.attacks.attackers NAME HOST:PORT SECONDS`.

They send at a rate, whether or not answers come, so they cost as much beside a listener that does nothing. Prints
"ready" when the attack has begun, then a line of JSON: how often each code came, None for a call that was cut.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

from tests.attacks import bombs, garbage
from tests.attacks.frames import (
    HEADERS,
    Connection,
    Outcome,
    block,
    envelope,
    frame,
    opening,
)

IDLE = 400
SLOW = 100
RESETS_PER_SECOND = 1000
STRINGS_PER_SECOND = 200

_TICK = 0.01
_MOST_OPEN = 100

Codes = Counter[int | None]


async def every(per_second: float, act: Callable[[], object]) -> None:
    """Do something so often, in bursts of what was due in each hundredth of a second."""
    start = asyncio.get_running_loop().time()
    for number in itertools.count():
        due = start + number / per_second
        now = asyncio.get_running_loop().time()
        if now < due:
            await asyncio.sleep(max(_TICK, due - now))
        act()


async def throw(target: str, codes: Codes, bomb: bombs.Bomb) -> None:
    """The same bomb again and again."""
    connection = await Connection.to(target)
    headers = block(f"/{bombs.SERVICE}/{bomb.rpc}", bomb.metadata)

    def done(outcome: Outcome) -> None:
        codes[outcome.code] += 1

    def act() -> None:
        if len(connection.open) < _MOST_OPEN:
            connection.call(headers, bomb.body, done)

    await every(bomb.per_second, act)


async def reset_rapidly(target: str, codes: Codes) -> None:
    """Calls that are taken back at once; whoever is sent away comes again."""
    connection = await Connection.to(target)
    body = envelope(bombs.inside(1, bombs.PROJECT.encode()))
    headers = block(f"/{bombs.SERVICE}/CountFeedback")

    def done(outcome: Outcome) -> None:
        codes[outcome.code] += 1

    def act() -> None:
        connection.reset(connection.call(headers, body, done))

    while True:
        attack = asyncio.create_task(every(RESETS_PER_SECOND, act))
        await connection.closed
        attack.cancel()
        codes["connections"] += 1  # type: ignore[index]
        connection = await Connection.to(target)


async def stay_idle(target: str, codes: Codes) -> None:
    """Many connections that do nothing."""
    connections = [await Connection.to(target) for _ in range(IDLE)]
    await asyncio.gather(*(connection.closed for connection in connections))


async def drip(target: str, codes: Codes) -> None:
    """Connections whose beginnings, or whose headers, come byte by byte and have no end."""
    host, _, port = target.rpartition(":")

    async def one(number: int) -> None:
        while True:
            reader, writer = await asyncio.open_connection(host, int(port))
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
                    codes[None] += 1
                    break
            writer.close()

    await asyncio.gather(*(one(number) for number in range(SLOW)))


async def babble(target: str, codes: Codes) -> None:
    """Random byte strings, to each method in turn."""
    connection = await Connection.to(target)
    methods = sorted(garbage.SERVICE.methods_by_name)
    headers = [block(f"/{bombs.SERVICE}/{method}") for method in methods]
    strings = [itertools.cycle([*garbage.strings(method, 500, 1)]) for method in methods]
    turn = itertools.cycle(range(len(methods)))

    def done(outcome: Outcome) -> None:
        codes[outcome.code] += 1

    def act() -> None:
        number = next(turn)
        if methods[number] != "WatchFeedback" and len(connection.open) < _MOST_OPEN:
            connection.call(headers[number], envelope(next(strings[number])), done)

    await every(STRINGS_PER_SECOND, act)


ATTACKS: dict[str, Callable[[str, Codes], Awaitable[None]]] = {
    "rapid reset": reset_rapidly,
    "400 idle connections": stay_idle,
    "slow headers": drip,
    "random byte strings": babble,
}


async def attack(name: str, target: str, seconds: float) -> Codes:
    """Attack for so long."""
    codes: Codes = Counter()
    begun = ATTACKS[name](target, codes) if name in ATTACKS else throw(target, codes, bombs.bombs()[name])
    task = asyncio.ensure_future(begun)
    await asyncio.sleep(0.3)
    print("ready", flush=True)
    await asyncio.wait([task], timeout=seconds)
    if task.done():
        task.result()
    task.cancel()
    return codes


if __name__ == "__main__":
    # The attacker's own work must not stand in the way of what is measured on the same two cores.
    os.nice(19)
    outcomes = asyncio.run(attack(sys.argv[1], sys.argv[2], float(sys.argv[3])))
    print(json.dumps({str(code): count for code, count in outcomes.items()}))
