"""The HTTP port's listening socket: opened, shared between workers, its TLS files followed, drained; no protocol."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.server import ServerState

from plaudit_server.config import split_address
from plaudit_server.errors import StartError
from plaudit_server.web.connection import AuthContext, Bounds, Connection

logger = logging.getLogger("plaudit_server")

_BACKLOG: Final = 512
_TLS_SECONDS: Final = 10.0
_FILES_SECONDS: Final = 2.0
# How much may wait in the kernel beyond what is on its way: a caller that reads nothing is noticed sooner.
_NOT_SENT_BYTES: Final = 128 * 1024

TlsContext = Callable[[], ssl.SSLContext | None]
"""The context of the files as they are now, if they have changed since it was last asked; else None."""


class HttpServer:
    """Serves an ASGI application on one address."""

    def __init__(
        self,
        app: Any,
        bounds: Bounds,
        *,
        user_timeout_seconds: float = 30.0,
        reuse_port: bool = False,
        tls: TlsContext | None = None,
        auth_context: Callable[[asyncio.Transport], AuthContext] = lambda _: {},
    ) -> None:
        """With `user_timeout_seconds`, a connection ends when its peer has acknowledged nothing for this time."""
        self._config = Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=max(1, round(bounds.idle_seconds)),
        )
        self._config.load()
        self._bounds = bounds
        self._user_timeout = user_timeout_seconds
        self._reuse_port = reuse_port
        self._tls = tls
        self._auth_context = auth_context
        self._state = ServerState()
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._following: asyncio.Task[None] | None = None
        self.scheme = "http" if tls is None else "https"

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._state.connections)

    async def start(self, listen: str) -> str:
        """Listen on `HOST:PORT`, and return that address with its port. Raises StartError."""
        host, port = split_address(listen)
        try:
            self._socket = self._bound(host, port)
        except OSError as error:
            raise StartError(
                f"cannot listen on {listen}: {error.strerror or error}; choose another http.listen"
            ) from error
        context = None if self._tls is None else self._tls()
        self._server = await self._serve(context)
        if self._tls is not None:
            self._following = asyncio.create_task(self._follow(self._tls))
        return f"{listen.rpartition(':')[0]}:{self._socket.getsockname()[1]}"

    async def stop(self, grace: float) -> None:
        """Take no more connections, let those that are open finish within `grace` seconds, then end them.

        Safe to call twice, and without `start`.
        """
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
            self._following = None
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for connection in list(self._state.connections):
            connection.shutdown()
        running = list(self._state.tasks)
        if running:
            await asyncio.wait(running, timeout=grace)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for connection in list(self._state.connections):
            connection.transport.close()

    def _bound(self, host: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_UNSPEC
        found = socket.getaddrinfo(host or None, port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._reuse_port:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            # Accepted sockets inherit these. Not every platform has them.
            for name, value in (
                ("TCP_USER_TIMEOUT", round(self._user_timeout * 1000)),
                ("TCP_NOTSENT_LOWAT", _NOT_SENT_BYTES),
            ):
                if hasattr(socket, name):
                    listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            listening.bind(address)
            listening.listen(_BACKLOG)
            listening.setblocking(False)
        except OSError:
            listening.close()
            raise
        return listening

    async def _serve(self, context: ssl.SSLContext | None) -> asyncio.Server:
        assert self._socket is not None
        return await asyncio.get_running_loop().create_server(
            lambda: Connection(self._config, self._state, self._bounds, self._auth_context),
            sock=self._socket.dup(),
            ssl=context,
            ssl_handshake_timeout=None if context is None else _TLS_SECONDS,
            backlog=_BACKLOG,
        )

    async def _follow(self, tls: TlsContext) -> None:
        """Serve new connections with the TLS files as they are now: a server keeps the context that it began with."""
        while True:
            await asyncio.sleep(_FILES_SECONDS)
            context = await asyncio.to_thread(tls)
            if context is not None:
                before, self._server = self._server, await self._serve(context)
                if before is not None:
                    before.close()
