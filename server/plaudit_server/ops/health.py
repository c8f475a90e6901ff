"""Health that follows the store, NOT_SERVING from a failed write until one works again; and asking for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from plaudit_server.errors import StartError, StoreUnavailable
from plaudit_server.store.base import Engine

logger = logging.getLogger("plaudit_server")

LIVENESS: Final = "liveness"
"""Not a service: SERVING while the process answers, whatever the store does. A restart repairs no database."""

SERVING: Final = "serving"
DRAINING: Final = "draining"

_PROBE_SECONDS: Final = 0.5
_PATROL_SECONDS: Final = 1.0


class StoreHealth:
    """Reports to `grpc.health.v1` whether each service, and the server as a whole (the empty name), can do its work."""

    def __init__(self, store: Engine, services: Sequence[str]) -> None:
        """`services` are the full names of those that need the store."""
        self.servicer = health.aio.HealthServicer()
        self.state = "starting"
        """In a word or two, for people: `serving`, or why the service cannot do its work."""
        self.failed_checks = 0
        self._store = store
        self._unexpected = ""
        self._services = (*services, "")
        self._probe: asyncio.Task[None] | None = None
        self._patrol: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Probe a store on another machine even while nobody calls; an embedded one is seen to fail by its writes."""
        if self._store.poll_seconds is not None:
            self._patrol = asyncio.create_task(self._look_after())

    async def begin(self) -> None:
        """Say whether the store can be written to, found out by a first probe."""
        if await self._is_writable():
            await self.serving()
        else:
            await self.servicer.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
            self.store_failed()

    async def serving(self) -> None:
        """Report that the store works."""
        self._tell(SERVING)
        await self.servicer.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self._set(health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Report NOT_SERVING until the end: the server is about to stop."""
        for task in (self._patrol, self._probe):
            if task is not None:
                task.cancel()
        self.state = DRAINING
        await self.servicer.enter_graceful_shutdown()

    def store_failed(self) -> None:
        """A write failed because of the store: report that, and probe until writing works again.

        Where projects are written each by itself, a probe says first whether it is more than the one that failed.
        """
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._until_writable())

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(_PATROL_SECONDS)
            if not await self._is_writable():
                self.store_failed()

    async def _until_writable(self) -> None:
        if self._store.side_by_side and await self._is_writable():
            return  # it was about one project: others are elsewhere, and can be written to
        self._tell("store unavailable")
        await self._set(health_pb2.HealthCheckResponse.NOT_SERVING)
        while True:
            await asyncio.sleep(_PROBE_SECONDS)
            if await self._is_writable():
                break
        logger.warning("the store can be written to again")
        await self.serving()

    async def _is_writable(self) -> bool:
        """Whether a probe of the store succeeds. Every exception means no, since the tasks that ask must continue."""
        try:
            await self._store.check()
        except StoreUnavailable:  # the store has logged why
            self.failed_checks += 1
            return False
        except Exception as error:
            self.failed_checks += 1
            if (unexpected := f"{type(error).__name__}: {error}") != self._unexpected:  # once, not at each probe
                self._unexpected = unexpected
                logger.exception("a probe of the store failed in a way that the store does not foresee")
            return False
        self._unexpected = ""
        return True

    def _tell(self, state: str) -> None:
        if self.state != DRAINING:
            self.state = state

    async def _set(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for service in self._services:
            await self.servicer.set(service, status)


def ask(target: str, service: str, timeout: float, ca: str | None = None) -> str:
    """What a server reports of a service within `timeout` seconds: SERVING, NOT_SERVING, SERVICE_UNKNOWN, no answer.

    `ca` is the path of the certificates to trust, for TLS. Raises StartError when it cannot be read.
    """
    if ca is None:
        channel = grpc.insecure_channel(target)
    else:
        try:
            credentials = grpc.ssl_channel_credentials(Path(ca).read_bytes())
        except OSError as error:
            raise StartError(f"cannot read {ca}: {error.strerror}") from error
        channel = grpc.secure_channel(target, credentials)
    with channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        try:
            response = check(health_pb2.HealthCheckRequest(service=service), timeout=timeout, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return "SERVICE_UNKNOWN"
            return f"no answer ({error.code().name})"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))
