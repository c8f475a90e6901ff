"""The network between a client and its server, which fails on command: a TCP proxy in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Network:
    """Forwards to a server while it is up; `target` is the `host:port` for the client."""

    def __init__(self, server: str) -> None:
        host, _, port = server.rpartition(":")
        self._server = host, int(port)
        self._loop = asyncio.new_event_loop()
        self._links: set[asyncio.Task[None]] = set()
        self._is_up = True
        self.target = ""
        self.connections = 0

    def cut(self) -> None:
        """Break every open connection; new ones are accepted."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result()

    def go_down(self) -> None:
        """Break every connection, and refuse new ones."""
        self._is_up = False
        self.cut()

    def come_back(self) -> None:
        """Let connections through again."""
        self._is_up = True

    async def _cut(self) -> None:
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        there_writer: asyncio.StreamWriter | None = None
        with suppress(OSError, asyncio.CancelledError):
            if self._is_up:
                self.connections += 1
                there_reader, there_writer = await asyncio.open_connection(*self._server)
                await asyncio.gather(_forward(reader, there_writer), _forward(there_reader, writer))
        self._links.discard(task)
        for end in (writer, there_writer):
            if end is not None:
                end.transport.abort()

    async def _run(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._link, "127.0.0.1", 0)
        self.target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ended = asyncio.Event()
        ready.set()
        await self._ended.wait()
        server.close()
        await self._cut()

    @contextmanager
    def running(self) -> Iterator[Network]:
        ready = threading.Event()
        thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._run(ready)))
        thread.start()
        ready.wait()
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._ended.set)
            thread.join()
            self._loop.close()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    raise ConnectionResetError
