"""A small HTTP server of a few pages for operators, on the event loop of the server that it reports on.

Each connection gets one answer within a deadline, and their number is bounded: slow or many clients disturb no other
calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

from plaudit_server.config import split_address
from plaudit_server.errors import StartError

logger = logging.getLogger("plaudit_server")

CONNECTIONS: Final = 32
SECONDS: Final = 10.0
_HEAD_BYTES: Final = 8 * 1024


class Page(NamedTuple):
    """The response of a path."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Pages = Mapping[str, Callable[[], Awaitable[Page]]]
"""The page of each path, made when it is asked for."""


class PageServer:
    """Answers GET and HEAD of its pages, over plain HTTP, to everybody who reaches the address."""

    def __init__(self, pages: Pages, connections: int = CONNECTIONS, seconds: float = SECONDS) -> None:
        """At most `connections` are open at a time, and each ends within `seconds`, whatever its client does."""
        self._pages = pages
        self._connections = connections
        self._seconds = seconds
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, listen: str) -> str:
        """Listen on `HOST:PORT`, and return that address with the port in use. Raises StartError."""
        host, port = split_address(listen)
        try:
            self._server = await asyncio.start_server(self._connected, host, port, limit=_HEAD_BYTES)
        except OSError as error:
            raise StartError(f"cannot listen on {listen}: {error.strerror or error}") from error
        return f"{listen.rpartition(':')[0]}:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Take no more connections, and end those that are open. Safe to call twice, and without `start`."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= self._connections:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                method, page = await self._answer(reader)
                writer.write(_head(page) + (b"" if method == "HEAD" else page.body))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # too slow, or gone
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[str, Page]:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return "GET", _plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        method, _, rest = head.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")
        path, _, version = rest.rpartition(" ")
        if not version.startswith("HTTP/1."):
            return "GET", _plain(HTTPStatus.BAD_REQUEST)
        make = self._pages.get(path.partition("?")[0])
        if make is None:
            return method, _plain(HTTPStatus.NOT_FOUND)
        if method not in ("GET", "HEAD"):
            return method, _plain(HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            return method, await make()
        except Exception:
            logger.exception("a page failed")
            return method, _plain(HTTPStatus.INTERNAL_SERVER_ERROR)


def line(text: str, *, good: bool) -> Page:
    """A line of text, with 200 when it is good, else 503."""
    return Page(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, f"{text}\n".encode())


def _plain(status: HTTPStatus) -> Page:
    return Page(status, f"{status.phrase}\n".encode())


def _head(page: Page) -> bytes:
    lines = (
        f"HTTP/1.1 {page.status.value} {page.status.phrase}",
        f"Content-Type: {page.content_type}",
        f"Content-Length: {len(page.body)}",
        "Cache-Control: no-store",
        "Connection: close",
        *(["Allow: GET, HEAD"] if page.status is HTTPStatus.METHOD_NOT_ALLOWED else []),
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
