"""Attacks on the HTTP port, each a coroutine that goes on until it is cancelled; see attackers.py, which runs them."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

SERVICE: Final = "/plaudit.v1.FeedbackService/"
IDLE: Final = 4096
SLOW: Final = 100
WATCHES: Final = 20

_CALLS_PER_SECOND: Final = 200
_BOMBS_PER_SECOND: Final = 1
_PIPELINED: Final = 200
_TOGETHER: Final = 64
_STATUS: Final = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")


class Counting(Protocol):
    """What an attack writes down: its target, and how often each status came, None for a connection that was cut."""

    target: str
    codes: Any


@asynccontextmanager
async def connection(attack: Counting) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection, which is closed in the end without waiting."""
    host, _, port = attack.target.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def request(path: str, body: bytes = b"{}", *lines: str) -> bytes:
    """A POST of JSON."""
    head = [f"POST {path} HTTP/1.1", "host: localhost", "content-type: application/json", *lines]
    return "\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode() + body


async def answers(reader: asyncio.StreamReader, attack: Counting) -> None:
    """Count statuses until the connection ends."""
    try:
        while line := await reader.readline():
            # The body before may have no end of line.
            attack.codes.update(map(int, _STATUS.findall(line)))
    except ConnectionError:
        pass
    attack.codes[None] += 1


async def stay_idle(attack: Counting) -> None:
    """As many connections as there may be, which say nothing."""

    async def one() -> None:
        async with connection(attack) as (reader, _):
            await answers(reader, attack)

    idle: list[asyncio.Task[None]] = []
    try:
        while True:
            idle = [task for task in idle if not task.done()]
            idle += [asyncio.create_task(one()) for _ in range(min(_TOGETHER, IDLE - len(idle)))]
            await asyncio.sleep(0.01)
    finally:
        for task in idle:
            task.cancel()


async def drip(attack: Counting, begin: bytes, pieces: Callable[[], Iterator[bytes]]) -> None:
    """Connections that go on piece by piece and have no end."""

    async def one() -> None:
        while True:
            async with connection(attack) as (reader, writer):
                writer.write(begin)
                counted = asyncio.create_task(answers(reader, attack))
                try:
                    for piece in pieces():
                        writer.write(piece)
                        await asyncio.sleep(0.2)
                        if counted.done():
                            break
                finally:
                    counted.cancel()

    async with asyncio.TaskGroup() as group:
        for _ in range(SLOW):
            group.create_task(one())


async def repeat(attack: Counting, sent: Iterator[bytes], per_second: float) -> None:
    """Whole requests at a rate, whether or not answers come; a new connection when the server closes the old one."""
    while True:
        async with connection(attack) as (reader, writer):
            counted = asyncio.create_task(answers(reader, attack))
            try:
                while not counted.done():
                    writer.write(next(sent))
                    await asyncio.sleep(1 / per_second)
            finally:
                counted.cancel()


async def pipeline(attack: Counting) -> None:
    """Many requests ahead of their turn, again and again."""
    await repeat(attack, itertools.repeat(request(f"{SERVICE}GetServerInfo") * _PIPELINED), 20)


async def read_nothing(attack: Counting) -> None:
    """Watches whose caller takes nothing of what the neighbour writes, and that begin again each second."""
    body = json.dumps({"project": "acme/neighbour"}).encode()
    envelope = struct.pack("!BI", 0, len(body)) + body
    sent = request(f"{SERVICE}WatchFeedback", envelope).replace(b"application/json", b"application/connect+json")

    async def one() -> None:
        while True:
            async with connection(attack) as (reader, writer):
                writer.write(sent)
                reader._transport.pause_reading()  # type: ignore[attr-defined]
                await asyncio.sleep(1)

    async with asyncio.TaskGroup() as group:
        for _ in range(WATCHES):
            group.create_task(one())


def _refused() -> Iterator[bytes]:
    create = f"{SERVICE}CreateFeedback"
    return itertools.cycle(
        (
            request(create, b'{"nonsense": 1}'),
            request(create, b"{}", "origin: https://evil.example"),
            request(create, b"{}").replace(b"host: localhost", b"host: evil.example"),
            request("/plaudit.v1.SubmitService/SubmitFeedback", b"{}", "authorization: Bearer plk_none"),
            request(create, b"{" * 30_000),
        )
    )


def zeros(mebibytes: int) -> bytes:
    """The given size of zeros as gzip, made in no time; its checksum, which stands at the end, is wrong."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    first, again = (compressor.compress(bytes(2**20)) + compressor.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + again * (mebibytes - 1) + compressor.flush()


def _bomb() -> bytes:
    return request(f"{SERVICE}CreateFeedback", zeros(200), "content-encoding: gzip")


_BODY: Final = request(f"{SERVICE}CreateFeedback").replace(b"content-length: 2", b"content-length: 3000000")

ATTACKS: Final[dict[str, Callable[[Counting], Coroutine[Any, Any, None]]]] = {
    "HTTP, 4,096 idle connections": stay_idle,
    "HTTP, slow heads": lambda attack: drip(attack, b"POST / HTTP/1.1\r\nx: ", lambda: itertools.repeat(b"y")),
    "HTTP, bodies without an end": lambda attack: drip(attack, _BODY, lambda: itertools.repeat(b" ")),
    "HTTP, gzip, 200 MiB of zeros": lambda attack: repeat(attack, itertools.repeat(_bomb()), _BOMBS_PER_SECOND),
    "HTTP, pipelines of 200": pipeline,
    "HTTP, watches that take nothing": read_nothing,
    "HTTP, what is refused": lambda attack: repeat(attack, _refused(), _CALLS_PER_SECOND),
}
