"""A network between a store and its database that fails on command: a TCP proxy that recognises commits."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Literal

Fate = Literal["pass", "cut before", "cut after", "error before", "error after"]
"""What happens to a commit: it is done; it is lost; it is done, and its answer is lost.

With an error it is rolled back, or done, and the answer is an internal error: Citus gives one while shards move.
"""

_ROLLBACK = b"Q\0\0\0\x0dROLLBACK\0"
_READY = b"Z\0\0\0\x05I"
"""The end of an answer, after which no transaction is open."""


def _internal_error() -> bytes:
    fields = b"SERROR\0VERROR\0CXX000\0Mthe commit was told to fail\0\0"
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields + _READY


class Proxy:
    """Forwards to a server; `fate` is asked for each commit."""

    def __init__(self, host: str, port: int) -> None:
        self.fate: Callable[[], Fate] = lambda: "pass"
        self.faults = 0
        self.trips = 0
        """How often something was asked, with all that was sent together counted once."""
        self.delay = 0.0
        """How many seconds each takes on its way to the server."""
        self._address = host, port
        self._links: set[asyncio.Task[None]] = set()
        self.port = 0

    def url(self, url: str) -> str:
        """A database's URL through this proxy."""
        return re.sub(r"@[^/]+", f"@127.0.0.1:{self.port}", url, count=1)

    def cut_all(self) -> None:
        """Break every open connection."""
        for link in self._links:
            link.cancel()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        task.add_done_callback(self._links.discard)
        with suppress(OSError, asyncio.CancelledError):
            there_reader, there_writer = await asyncio.open_connection(*self._address)
            try:
                answers: list[bytes] = []
                back = asyncio.create_task(self._forward(there_reader, writer, answers))
                await self._commands(reader, there_writer, back, answers)
            finally:
                back.cancel()
                there_writer.transport.abort()
        writer.transport.abort()

    async def _commands(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.Task[None],
        answers: list[bytes],
    ) -> None:
        while data := await reader.read(65_536):
            self.trips += 1
            if self.delay:
                await asyncio.sleep(self.delay)
            if b"COMMIT\0" in data and (fate := self.fate()) != "pass":
                self.faults += 1
                if fate in ("error before", "error after"):
                    answers.append(_internal_error())
                    writer.write(data if fate == "error after" else _ROLLBACK)
                    await writer.drain()
                    continue
                if fate == "cut after":
                    back.cancel()
                    writer.write(data)
                    await writer.drain()
                    await asyncio.sleep(0.02)
                return
            writer.write(data)
            await writer.drain()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: list[bytes]) -> None:
        """What comes back; what is in `answers` instead of the server's own next answer."""
        with suppress(OSError):
            while data := await reader.read(65_536):
                if answers:
                    while not data.endswith(_READY):
                        data += await reader.readexactly(1)
                    data = answers.pop()
                writer.write(data)
                await writer.drain()
            writer.transport.abort()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        server = await asyncio.start_server(self._link, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut_all()
            await asyncio.gather(*self._links, return_exceptions=True)
