"""The one place that assembles a server: store, writer, service, chain, health and reflection on one port."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from plaudit._contract import limits
from plaudit.v1 import feedback_service_pb2
from plaudit_server.auth.authenticator import Authenticator
from plaudit_server.config import Config, without_password
from plaudit_server.errors import StartError
from plaudit_server.feedback.servicer import FeedbackService
from plaudit_server.feedback.watch import Watches
from plaudit_server.ops import workers
from plaudit_server.ops.admin.ports import AdminPorts
from plaudit_server.ops.health import StoreHealth
from plaudit_server.ops.logs import CallLog
from plaudit_server.ops.metrics import Metrics, Sources
from plaudit_server.rpc.chain import Chain
from plaudit_server.rpc.security import AuditLog, security
from plaudit_server.store.base import Store
from plaudit_server.store.writer import Writer

if TYPE_CHECKING:
    from plaudit_server.ops.tracing import CallTracer

logger = logging.getLogger("plaudit_server")

_SERVICE: Final = feedback_service_pb2.DESCRIPTOR.services_by_name["FeedbackService"]
_SPARE_CALLS: Final = 1024
_PENDING_CALLS: Final = 10_000


class Server:
    """An assembled server: `start` opens the store and the port, `stop` drains and closes both."""

    def __init__(self, config: Config, store: Store) -> None:
        self.store = store
        self._config = config
        self._health = StoreHealth(store)
        self._watches = Watches(store, poll=store.poll_seconds)
        self.metrics = Metrics(version("plaudit"), store.name)
        self._tracer = _call_tracer(config)
        make_writer = Writer if self._tracer is None else self._tracer.writer
        self._writer = make_writer(
            store,
            on_commit=self._watches.committed,
            on_failure=self._health.store_failed,
            meter=self.metrics,
        )
        self._service = FeedbackService(
            store, self._writer, self._watches, version("plaudit"), self.metrics.acknowledged
        )
        self._authenticator = Authenticator(config)
        self._audit_log = AuditLog(config)
        self._call_log = None if config.log_calls == "off" else CallLog(config)
        around = security(config, self._authenticator)
        self.metrics.follow(Sources(around.admission, self._writer, self._watches, self._health))
        tracers = [] if self._tracer is None else [self._tracer]
        logs = [] if self._call_log is None else [self._call_log]
        self._chain = Chain(
            gates=around.gates,
            steps=around.steps,
            observers=(
                *around.observers,
                self.metrics.observe,
                *(log.observe for log in logs),
                *(tracer.end for tracer in tracers),
            ),
            beginnings=[tracer.begin for tracer in tracers],
        )
        self.admin = AdminPorts(config.admin, self._health, self.metrics)
        self._server: grpc.aio.Server | None = None

    async def start(self) -> str:
        """Open everything and answer the address that clients can call, `host:port`.

        Raises StoreError when the store can not be used, StartError when the address can not be listened on.
        """
        # First of all, and closed last of all: how it starts and stops can be seen.
        await self.admin.start()
        await self.store.open()
        await self._authenticator.start()
        self._audit_log.open()
        self._writer.start()
        # Made here and not in the constructor: grpc.aio binds a server to the running loop.
        server = grpc.aio.server(options=_options(self._config), maximum_concurrent_rpcs=_most_calls(self._config))
        self._register(server)
        port = _bind(server, self._config)
        await server.start()
        await self._health.serving()
        self._health.start()
        self._server = server
        return f"{self._config.listen.rpartition(':')[0]}:{port}"

    async def stop(self, grace: float = 10.0, delay: float = 0.0) -> None:
        """Say that we leave, take calls for `delay` seconds more, finish what is in flight within `grace` seconds, then
        close the store.
        """
        if self._server is not None:
            await self._health.drain()
            await asyncio.sleep(delay)
            self._watches.close()
            self._service.drain()
            await self._server.stop(grace)
        await self._writer.close()
        await self._authenticator.close()
        self._audit_log.close()
        if self._call_log is not None:
            self._call_log.close()
        await self.store.close()
        if self._tracer is not None:
            await self._tracer.close()
        await self.admin.close()

    @property
    def calls(self) -> int:
        """How many calls have ended."""
        return self.metrics.calls

    def _register(self, server: grpc.aio.Server) -> None:
        # Only a watcher holds a place that others could use; a reader of StreamFeedback takes the time it needs.
        send_seconds = {"WatchFeedback": self._config.connections.watch_stall_seconds}
        handlers = {
            method.name: self._chain.handler(method, getattr(self._service, method.name), send_seconds.get(method.name))
            for method in _SERVICE.methods
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE.full_name, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, server)
        if self._config.reflection:
            _add_reflection(server)
        server.add_generic_rpc_handlers((self._chain.unknown(),))


def _call_tracer(config: Config) -> CallTracer | None:
    """Raises StartError when the packages for tracing are not there."""
    if not config.tracing.otlp_endpoint:
        return None
    try:
        from plaudit_server.ops.tracing import CallTracer
    except ImportError as error:
        raise StartError(
            f"tracing needs OpenTelemetry, which pip install 'plaudit[server,tracing]' brings ({error})"
        ) from error

    return CallTracer(config.tracing, version("plaudit"))


def build_server(config: Config, store: Store | None = None) -> Server:
    """A server for `config`, on the store that it names unless another is given."""
    return Server(config, store or open_store(config.store))


def open_store(url: str) -> Store:
    """The store that a `--store` URL names, not yet opened. Raises StartError for a URL of no store."""
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite" and rest:
        from plaudit_server.store.engines.sqlite.store import SqliteStore

        return SqliteStore(Path(rest))
    if scheme in ("postgresql", "postgres") and rest.startswith("//"):
        try:
            from plaudit_server.store.engines.postgres.store import PostgresStore
        except ImportError as error:
            raise StartError(
                "a PostgreSQL store needs its driver, psycopg, which pip install 'plaudit[server,postgres]' brings"
                f" ({error})"
            ) from error

        return PostgresStore(url)
    raise StartError(f"unknown store {without_password(url)!r}; use sqlite:PATH or postgresql://HOST/DATABASE")


async def prepare_store(url: str) -> None:
    """Make or migrate the store that a `--store` URL names. Raises StoreError and StartError."""
    store = open_store(url)
    await store.open()
    await store.close()


def run(config: Config) -> int:
    """Serve until SIGINT or SIGTERM; the exit code. Raises StoreError, StartError and ConfigError."""
    workers.check(config)
    listen = workers.worker_listen(os.environ)
    if listen is not None:
        admin = config.admin.of_worker(workers.worker_number(os.environ))
        return uvloop.run(_serve(replace(config, listen=listen, admin=admin), as_worker=True))
    return uvloop.run(_serve(config)) if config.workers == 1 else workers.supervise(config)


async def _serve(config: Config, *, as_worker: bool = False) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    signalled = False

    def stop(number: int) -> None:
        nonlocal signalled
        # Not whether we are stopping: a worker may be, because its parent has closed the pipe behind its first signal.
        if signalled:
            logger.warning("a second signal: ending at once")
            os._exit(128 + number)  # what was acknowledged is on disk
        signalled = True
        stopping.set()

    loop.add_signal_handler(signal.SIGTERM, stop, signal.SIGTERM)
    # A terminal's Ctrl-C goes to workers as well: theirs is the signal that their parent sends.
    loop.add_signal_handler(signal.SIGINT, *((lambda: None,) if as_worker else (stop, signal.SIGINT)))
    server = build_server(config)
    try:
        address = await server.start()
        for key, at in server.admin.addresses.items():
            logger.info("%s on %s", key, at)
        if as_worker:
            loop.add_reader(sys.stdin, stopping.set)
            workers.tell_ready()
        else:
            print(
                f"plaudit {version('plaudit')} ready on {address}, store {config.shown_store}",
                file=sys.stderr,
                flush=True,
            )
        await stopping.wait()
        logger.info("stopping")
    finally:
        delay = config.connections.drain_delay_seconds if stopping.is_set() else 0.0
        await server.stop(config.connections.shutdown_grace_seconds, delay)
    return 0


def _options(config: Config) -> list[tuple[str, int]]:
    """The options of grpc; each default answers an attack or a failure, see docs/settings.md."""
    connections = config.connections
    return [
        # Only for workers, who mean to: else two servers would share a port unnoticed.
        ("grpc.so_reuseport", int(config.workers > 1)),
        ("grpc.max_receive_message_length", limits.GRPC_RECEIVE_BYTES),
        ("grpc.max_send_message_length", 2 * limits.RESPONSE_BYTES),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_concurrent_streams", connections.max_concurrent_streams),
        # Beyond these grpc ends calls with CANCELLED, by chance and then all, which tells no client to come back: ours
        # are bounded by what runs, and refused with a reason.
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


def _most_calls(config: Config) -> int:
    """grpc's own bound: above ours, which answers with a reason, and with room for health and reflection."""
    return config.limits.in_flight_calls + config.limits.in_flight_watches + _SPARE_CALLS


def _bind(server: grpc.aio.Server, config: Config) -> int:
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
        raise StartError(f"can not listen on {listen}: the address is in use or not ours; choose another with --listen")
    return port


def _add_reflection(server: grpc.aio.Server) -> None:
    """Reflection under v1 and v1alpha: the messages are the same, grpcio-reflection ships the older name only."""
    health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    servicer = reflection.aio.ReflectionServicer((_SERVICE.full_name, health_name, reflection.SERVICE_NAME))
    info = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    names = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": info}) for name in names)
    )
