"""One connection of the HTTP port: uvicorn's protocol over httptools, with the bounds that it does not have."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from plaudit_server.web.bridge import CONNECTION

logger = logging.getLogger("plaudit_server")

HEAD_BYTES: Final = 16 * 1024
_LINGER_BYTES: Final = 16 * 1024 * 1024
_LINGER_SECONDS: Final = 10.0
_PIPELINED: Final = 16
# For the rest of what was refused to arrive, before the connection is closed.
_REFUSED_SECONDS: Final = 1.0

AuthContext = Mapping[str, Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one server's connections may do; times in seconds."""

    connections: int = 4096
    idle_seconds: float = 75.0
    head_seconds: float = 10.0


class _Joined:
    """A connection's transport, as one answer sees it: its head goes out in one piece with the first bytes of its body.

    This saves a system call, and a caller whose deadline passes meanwhile is not left with only a head.
    """

    def __init__(self, cycle: RequestResponseCycle, transport: asyncio.Transport) -> None:
        self._cycle = cycle
        self._transport = transport
        self._has_head = False
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._cycle.response_started and not self._has_head:
            self._has_head = True
            self._head = data
            return
        head, self._head = self._head, b""
        self._transport.write(head + data if head else data)

    def flush(self) -> None:
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class Connection(HttpToolsProtocol):
    """A connection and its requests, one after the other.

    Beyond uvicorn's: bounds on connections, on the size of a head and its time, and on requests that are sent before
    the one ahead of them is answered. The handler is cancelled when its caller goes. Bytes that are no request end the
    connection after the answer in progress, never within it. What remains of a refused request is read before the
    connection is closed, else the kernel would throw the answer away.
    """

    def __init__(
        self,
        config: Config,
        state: ServerState,
        bounds: Bounds,
        auth_context: Callable[[asyncio.Transport], AuthContext],
    ) -> None:
        super().__init__(config, state, {})
        self.logger = logger
        self.access_log = False
        self._bounds = bounds
        self._auth_context = auth_context
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = False
        self._in_body = False
        self._lingering = 0
        self._broken = False
        self._running: asyncio.Task[None] | None = None
        self._joined: _Joined | None = None
        self._current: RequestResponseCycle | None = None
        self._full = False
        self._waiting: list[Callable[[], None]] = []

    # What the bridge asks for.

    def auth_context(self) -> AuthContext:
        """What the caller's certificate says."""
        return self._auth_context(self.transport)

    def let_write(self) -> None:
        """Take the next writes into the connection's buffer, although the caller reads nothing."""
        self.flow.resume_writing()

    def when_taken(self, callback: Callable[[], None]) -> None:
        """Call a function once the connection's buffer has room again, or the connection has ended."""
        if self._full:
            self._waiting.append(callback)
        else:
            callback()

    def _taken(self) -> None:
        self._full = False
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()

    def is_whole(self) -> bool:
        """Whether the request that is being answered has arrived completely."""
        return self._current is not None and not self._current.more_body

    # What the transport says.

    def pause_writing(self) -> None:
        """The connection's buffer is full."""
        self._full = True
        super().pause_writing()

    def resume_writing(self) -> None:
        """The connection's buffer has room again."""
        super().resume_writing()
        self._taken()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > self._bounds.connections:
            transport.abort()
            return
        self._wait(self._bounds.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the call that nobody waits for any more."""
        self._unwait()
        self.pipeline.clear()
        running, self._running = self._running, None
        super().connection_lost(exc)
        self._taken()
        if running is not None:
            running.cancel()

    def data_received(self, data: bytes) -> None:
        """Read on in the current request, or begin with the next one."""
        if self._lingering:
            self._linger(len(data))
            return
        if self._broken:
            return
        self._unset_keepalive_if_required()
        if not self._in_head and not self._in_body:
            self._begin_head()
        if self._in_head:
            self._head_bytes += len(data)
        elif self.cycle is not None and self.cycle.response_complete:
            # The rest of a request that has been answered.
            self._head_bytes += len(data)
            if self._head_bytes > _LINGER_BYTES:
                self.transport.abort()
                return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # An offer of another protocol, which we do not take up; the parser reads no more of this connection.
            self._stop_after_answer()
            return
        except httptools.HttpParserError:
            self._refuse(400)
            return
        if self._in_head and self._head_bytes > HEAD_BYTES:
            self._refuse(431)

    # What the parser says.

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope[CONNECTION] = self  # type: ignore[typeddict-unknown-key]
        if not self._in_head:
            self._begin_head()  # the next one of several in one piece

    def on_headers_complete(self) -> None:
        """The head of a request has arrived."""
        self._unwait()
        self._in_head = False
        self._in_body = True
        if len(self.pipeline) >= _PIPELINED:
            raise httptools.HttpParserError("too many requests ahead of their turn")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request has arrived completely."""
        super().on_message_complete()
        self._in_body = False
        self._unwait()
        self._head_bytes = 0
        if self.cycle.response_complete:
            # It was answered before it had arrived completely: from now on the connection is idle.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    # What the requests say.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._current = cycle
        self._joined = _Joined(cycle, self.transport)
        cycle.transport = self._joined  # type: ignore[assignment]
        task = self.loop.create_task(cycle.run_asgi(self._quiet(cycle, app)))
        self._running = task
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _quiet(self, cycle: RequestResponseCycle, app: Any) -> Any:
        async def run(scope: Any, receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            except asyncio.CancelledError:
                # The caller has gone, or the server ends: no failure, and nobody to answer.
                cycle.disconnected = True
                if not self._lingering:
                    self.transport.abort()

        return run

    def on_response_complete(self) -> None:
        """A request has been answered."""
        self._running = None
        if self._joined is not None:
            self._joined.flush()
        if self._in_body:
            # Answered before it had arrived completely: for a while the rest is read and thrown away.
            self._wait(_LINGER_SECONDS)
            self._head_bytes = 0
        if self._broken and not self.transport.is_closing():
            self.transport.close()
        super().on_response_complete()

    # Ends.

    def _begin_head(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        self._wait(self._bounds.head_seconds)

    def _stop_after_answer(self) -> None:
        self._broken = True
        self._unwait()
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def _refuse(self, status: int) -> None:
        """Answer what is no request, unless another is being answered, and read nothing more of the connection."""
        self._unwait()
        self._broken = True
        running, cycle = self._running, self.cycle
        if running is not None:
            if self.pipeline or not self._in_body:
                # What came before is complete, and gets its answer.
                self.pipeline.clear()
                cycle.keep_alive = False
                return
            # These bytes belong to the request that is being answered, which will never be complete.
            running.cancel()
            cycle.disconnected = True
            if cycle.response_started:
                self.transport.abort()
                return
        reason = b"Bad Request" if status == 400 else b"Request Header Fields Too Large"
        self.transport.write(b"HTTP/1.1 %d %s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % (status, reason))
        if self.transport.can_write_eof():
            self.transport.write_eof()  # the caller sees the end at once
        self._lingering = 1
        self.loop.call_later(_REFUSED_SECONDS, self._close)

    def _linger(self, size: int) -> None:
        self._lingering += size
        if self._lingering > _LINGER_BYTES:
            self.transport.abort()

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _wait(self, seconds: float) -> None:
        self._unwait()
        self._timer = self.loop.call_later(seconds, self._abort)

    def _unwait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _abort(self) -> None:
        self._timer = None
        self.transport.abort()
