"""The ports for operators: pages over HTTP, health and channelz over gRPC; they show nothing of any record.

They are open before the store is, and until it is closed, so that a start and a drain can be watched.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

import grpc
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health_pb2_grpc
from prometheus_client import CONTENT_TYPE_LATEST

from plaudit_server.config import Admin
from plaudit_server.errors import StartError
from plaudit_server.ops.admin.http import Page, PageServer, line
from plaudit_server.ops.health import SERVING, StoreHealth
from plaudit_server.ops.metrics import Metrics

_GRPC_CALLS: Final = 64


class AdminPorts:
    """The ports that a configuration asks for; once they are open, `addresses` has each by the name of its setting."""

    def __init__(self, config: Admin, health: StoreHealth, metrics: Metrics) -> None:
        self.addresses: dict[str, str] = {}
        self._config = config
        self._health = health
        self._metrics = metrics
        self._pages = PageServer({"/metrics": self._text, "/livez": self._alive, "/readyz": self._ready})
        self._grpc: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Open the ports. Raises StartError."""
        config = self._config
        try:
            if config.listen:
                self.addresses["admin.listen"] = await self._pages.start(config.listen)
            if config.grpc_listen:
                self.addresses["admin.grpc_listen"] = await self._start_grpc(config.grpc_listen)
        except StartError as error:
            raise StartError(f"{error}; choose others with --admin-listen and --admin-grpc-listen") from error

    async def close(self) -> None:
        """Close the ports. Safe to call twice, and without `start`."""
        server, self._grpc = self._grpc, None
        if server is not None:
            await server.stop(0)
        await self._pages.close()

    async def _start_grpc(self, listen: str) -> str:
        # Sharing the port would not be noticed, and each server reports on itself only.
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)], maximum_concurrent_rpcs=_GRPC_CALLS)
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, server)
        channelz.add_channelz_servicer(server)
        try:
            port = server.add_insecure_port(listen)
        except RuntimeError as error:
            raise StartError(f"cannot listen on {listen}: the address is in use or not ours") from error
        await server.start()
        self._grpc = server
        return f"{listen.rpartition(':')[0]}:{port}"

    async def _text(self) -> Page:
        # It takes some milliseconds, during which the loop should serve calls.
        return Page(HTTPStatus.OK, await asyncio.to_thread(self._metrics.text), CONTENT_TYPE_LATEST)

    async def _alive(self) -> Page:
        return line("alive", good=True)

    async def _ready(self) -> Page:
        return line(self._health.state, good=self._health.state == SERVING)
