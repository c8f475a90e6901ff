"""The gRPC port: its settings, its handlers with everything around them, reflection and TLS."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from plaudit._contract import limits
from plaudit_server.config import Config
from plaudit_server.errors import QuotaExceeded, StartError
from plaudit_server.rpc.admission import Places
from plaudit_server.rpc.chain import Chain
from plaudit_server.rpc.deadlines import address_of
from plaudit_server.rpc.declare import Kind, Registry
from plaudit_server.rpc.errors import describe

# For calls whose request has not come yet, which no gate of ours has seen; each takes a few KiB.
_SPARE_CALLS: Final = 16_384
_PENDING_CALLS: Final = 10_000


Handlers = Mapping[str, Mapping[str, "grpc.RpcMethodHandler[bytes, bytes]"]]
"""By the full name of the service, then by the name of the method."""


def handlers(registry: Registry, servicers: Mapping[str, Any], chain: Chain, config: Config) -> Handlers:
    """A handler for each declared method; `servicers` are by the full name of their service."""
    connections = config.connections
    send_seconds = {
        Kind.STREAM_READ: connections.stream_stall_seconds,
        Kind.STREAM_WRITE: connections.stream_stall_seconds,
        Kind.WATCH: connections.watch_stall_seconds,
    }
    return {
        service.name: {
            rpc.method: chain.handler(
                rpc, method, getattr(servicers[service.name], rpc.method), send_seconds.get(rpc.kind)
            )
            for rpc, method in service.methods()
        }
        for service in registry.services
    }


def register(server: grpc.aio.Server, made: Handlers) -> None:
    """Add the handlers to a server."""
    for service, methods in made.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, dict(methods)),))


def options(config: Config) -> list[tuple[str, int]]:
    """The options of grpc. Each default prevents an attack that has harmed a server; see docs/attacks.md."""
    connections = config.connections
    return [
        # Only workers share a port on purpose; otherwise two servers could share one without being noticed.
        ("grpc.so_reuseport", int(config.workers > 1)),
        ("grpc.max_receive_message_length", limits.GRPC_RECEIVE_BYTES),
        ("grpc.max_send_message_length", 2 * limits.RESPONSE_BYTES),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_concurrent_streams", connections.max_concurrent_streams),
        # Above the first bound grpc cancels some calls by chance, above the second all, and no client can know that it
        # may retry. So they are high: plaudit bounds the calls that run, and refuses others with a reason.
        ("grpc.server.max_pending_requests", _PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", 2 * _PENDING_CALLS),
        ("grpc.server_handshake_timeout_ms", round(connections.handshake_timeout_seconds * 1000)),
        ("grpc.max_connection_idle_ms", round(connections.max_idle_seconds * 1000)),
        ("grpc.max_connection_age_ms", round(connections.max_age_seconds * 1000)),
        ("grpc.max_connection_age_grace_ms", round(connections.max_age_grace_seconds * 1000)),
        (
            "grpc.http2.min_recv_ping_interval_without_data_ms",
            round(connections.min_ping_interval_seconds * 1000),
        ),
    ]


def most_calls(config: Config) -> int:
    """grpc's own bound: above all of ours, which answer with a reason."""
    limits = config.limits
    ours = (
        limits.in_flight_calls,
        limits.in_flight_read_streams,
        limits.in_flight_write_streams,
        limits.in_flight_watches,
        limits.in_flight_health_watches,
        limits.in_flight_reflection,
    )
    return sum(ours) + _SPARE_CALLS


def bind(server: grpc.aio.Server, config: Config) -> int:
    """Open the port, and return its number. Raises StartError when the address cannot be listened on."""
    listen = config.listen
    try:
        if config.tls.certificate:
            from plaudit_server.auth.tls import server_credentials

            port = server.add_secure_port(listen, server_credentials(config.tls))
        else:
            port = server.add_insecure_port(listen)
    except RuntimeError:
        port = 0
    if port == 0:
        raise StartError(f"cannot listen on {listen}: the address is in use or not ours; choose another with --listen")
    return port


class _Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Health whose watches have places of their own; a check is answered whatever else happens."""

    def __init__(self, health: health_pb2_grpc.HealthServicer, places: Places) -> None:
        self._health = health
        self._places = places

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Answer from what is known."""
        return await self._health.Check(request, context)

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802
        """Send each change while there is a place for the caller's address."""
        try:
            with self._places.place(address_of(context.peer()), time.monotonic()):
                await self._health.Watch(request, context)
        except QuotaExceeded as error:
            await _refuse(context, error)


def add_health(server: grpc.aio.Server, health: health_pb2_grpc.HealthServicer, places: Places) -> None:
    """The health service; its watches need one of the places."""
    health_pb2_grpc.add_HealthServicer_to_server(_Health(health, places), server)


async def _refuse(context: Any, error: QuotaExceeded) -> None:
    problem = describe(error)
    await context.abort(problem.code, problem.short_message, problem.trailers(""))


def add_reflection(server: grpc.aio.Server, services: Sequence[str], places: Places) -> None:
    """Reflection under v1 and v1alpha: the messages are the same, grpcio-reflection ships the older name only."""
    health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    servicer = reflection.aio.ReflectionServicer((*services, health_name, reflection.SERVICE_NAME))

    async def reflect(requests: Any, context: Any) -> AsyncIterator[Any]:
        try:
            with places.place(address_of(context.peer()), time.monotonic()):
                async for response in servicer.ServerReflectionInfo(requests, context):
                    yield response
        except QuotaExceeded as error:
            await _refuse(context, error)

    info = grpc.stream_stream_rpc_method_handler(
        reflect,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    names = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": info}) for name in names)
    )
