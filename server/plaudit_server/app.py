"""The one place that assembles a server: store, writer, resources, the chain around calls, health and reflection."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import grpc
import uvloop

from plaudit_server.auth.authenticator import Authenticator
from plaudit_server.config import Config
from plaudit_server.errors import StartError, Unauthenticated
from plaudit_server.ops import workers
from plaudit_server.ops.admin.ports import AdminPorts
from plaudit_server.ops.health import StoreHealth
from plaudit_server.ops.logs import CallLog
from plaudit_server.ops.metrics import Metrics, Sources
from plaudit_server.resources import RESOURCES, commands, registry
from plaudit_server.rpc import port
from plaudit_server.rpc.access import Bearer
from plaudit_server.rpc.audit import AuditLog
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.chain import Chain
from plaudit_server.rpc.checks import Checks
from plaudit_server.rpc.deadlines import Deadlines
from plaudit_server.rpc.declare import Registry
from plaudit_server.rpc.draining import Draining
from plaudit_server.rpc.resource import Parts, Resource
from plaudit_server.rpc.security import security
from plaudit_server.store.base import Engine
from plaudit_server.store.url import open_store
from plaudit_server.store.writer import Writer

if TYPE_CHECKING:
    from plaudit_server.ops.tracing import CallTracer
    from plaudit_server.web.server import HttpServer

logger = logging.getLogger("plaudit_server")

_OPEN_FILES: Final = 65_536
# So many objects more than there were before garbage is looked for among them: a batch of 1,000 records makes as many,
# all of which go by themselves, and with Python's 700 a twentieth of its time went into looking.
_GARBAGE_OBJECTS: Final = 10_000
# A thread that computes gives the interpreter to the event loop after this time, not after 5 ms: a call changes between
# threads several times.
_SWITCH_SECONDS: Final = 0.0005


class Server:
    """An assembled server: `start` opens the store and the port, `stop` drains and closes both."""

    def __init__(self, config: Config, store: Engine, resources: Sequence[Resource] = RESOURCES) -> None:
        self.store = store
        self._config = config
        self._registry = registry(resources)
        self._health = StoreHealth(store, [service.name for service in self._registry.services])
        refusals = [name for resource in resources for name in resource.refusals]
        self.metrics = Metrics(version("plaudit"), store.name, self._registry, commands(resources), refusals)
        self._tracer = _call_tracer(config, self._registry)
        make_writer = Writer if self._tracer is None else self._tracer.writer
        self._writer = make_writer(
            store, on_commit=self._committed, on_failure=self._health.store_failed, meter=self.metrics
        )
        self._authenticator = Authenticator(config, store)
        around = security(config, self._authenticator, self._verify_token)
        self._admission = around.admission
        self._draining = Draining()
        self._checks = Checks(around.admission, config.limits)
        parts = Parts(
            store=store,
            writer=self._writer,
            version=version("plaudit"),
            acknowledged=self.metrics.acknowledged,
            deadlines=Deadlines(config.limits),
            config=config,
            checks=self._checks,
            hooks={hook: answer for resource in resources for hook, answer in resource.provides(store).items()},
        )
        self._running = [resource.start(parts) for resource in resources]
        self._on_commit = [running.committed for running in self._running if running.committed is not None]
        self._audit_log = AuditLog(config)
        self._call_log = None if config.log_calls == "off" else CallLog(config)
        numbers = [number for running in self._running for number in running.numbers]
        self.metrics.follow(Sources(around.admission, self._writer, numbers, self._health, store))
        tracers = [] if self._tracer is None else [self._tracer]
        logs = [] if self._call_log is None else [self._call_log]
        self._chain = Chain(
            gates=(self._draining.check, *around.gates),
            steps=(*around.steps, self._checks.admit),
            observers=(
                *around.observers,
                self.metrics.observe,
                *(log.observe for log in logs),
                *(tracer.end for tracer in tracers),
            ),
            beginnings=[tracer.begin for tracer in tracers],
            recheck=around.recheck,
            draining=self._draining,
            parsing=self._checks.parsing,
            answers=around.admission.answers,
        )
        self.admin = AdminPorts(config.admin, self._health, self.metrics)
        self._server: grpc.aio.Server | None = None
        self._http: HttpServer | None = None
        self.http_address = ""
        """Where the HTTP port listens, `host:port`, once started; empty without one."""

    async def start(self) -> str:
        """Open everything, and return the address that clients can call, `host:port`.

        Raises StoreError when the store cannot be used, StartError when the address cannot be listened on.
        """
        # Opened first and closed last, so that operators can watch the start and the stop.
        await self.admin.start()
        await self.store.open()
        self.store.claim()
        await self._authenticator.start()
        for running in self._running:
            if running.opened is not None:
                await running.opened()
        self._audit_log.open()
        self._writer.start()
        # Made here and not in the constructor: grpc.aio binds a server to the running loop.
        server = grpc.aio.server(
            options=port.options(self._config), maximum_concurrent_rpcs=port.most_calls(self._config)
        )
        self._register(server)
        number = port.bind(server, self._config)
        await server.start()
        if self._http is not None:
            self.http_address = await self._http.start(self._config.http.listen)
        await self._health.begin()
        self._health.start()
        self._server = server
        return f"{self._config.listen.rpartition(':')[0]}:{number}"

    async def stop(self, grace: float = 10.0, delay: float = 0.0) -> None:
        """Report NOT_SERVING, take calls for `delay` more seconds, let calls end within `grace` seconds, and close."""
        if self._server is not None:
            await self._health.drain()
            await asyncio.sleep(delay)
            for running in self._running:
                if running.drain is not None:
                    running.drain()
            await self._draining.begin()
            http = [] if self._http is None else [self._http.stop(grace)]
            with self._draining.grace(grace):
                await asyncio.gather(self._server.stop(grace), *http)
        elif self._http is not None:
            await self._http.stop(0)
        await self._checks.close()
        await self._writer.close()
        await self._authenticator.close()
        for running in self._running:
            if running.closed is not None:
                await running.closed()
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
        servicers: dict[str, Any] = {}
        for running in self._running:
            servicers |= running.servicers
        handlers = port.handlers(self._registry, servicers, self._chain, self._config)
        port.register(server, handlers)
        if self._config.http.listen:
            # Here and not above: those who need no HTTP port do not load what it is made of.
            from plaudit_server.web.port import http_port

            self._http = http_port(
                self._config,
                self._registry.services,
                handlers,
                [page for running in self._running for page in running.pages],
            )
        port.add_health(server, self._health.servicer, self._admission.health_watches)
        if self._config.reflection:
            port.add_reflection(server, list(servicers), self._admission.reflection)
        server.add_generic_rpc_handlers((self._chain.unknown(),))

    def _verify_token(self, call: Call, token: str, now: float) -> Bearer:
        for running in self._running:
            if running.verify_token is not None:
                return running.verify_token(call, token, now)
        raise Unauthenticated("this server accepts no feedback tokens")

    def _committed(self, revisions: Mapping[str, int]) -> None:
        for committed in self._on_commit:
            committed(revisions)


def _call_tracer(config: Config, registry: Registry) -> CallTracer | None:
    """The tracer of calls; None without an endpoint. Raises StartError when the packages for tracing are missing."""
    if not config.tracing.otlp_endpoint:
        return None
    try:
        from plaudit_server.ops.tracing import CallTracer
    except ImportError as error:
        raise StartError(
            f"tracing needs OpenTelemetry, which pip install 'plaudit[server,tracing]' brings ({error})"
        ) from error

    return CallTracer(config.tracing, version("plaudit"), registry)


def build_server(config: Config, store: Engine | None = None, resources: Sequence[Resource] = RESOURCES) -> Server:
    """A server for `config`, on the store that it names unless another is given."""
    return Server(config, store or open_store(config.store), resources)


def run(config: Config) -> int:
    """Serve until SIGINT or SIGTERM, and return the exit code. Raises StoreError, StartError and ConfigError."""
    _raise_open_files()
    sys.setswitchinterval(_SWITCH_SECONDS)
    workers.check(config)
    listen = workers.worker_listen(os.environ)
    if listen is not None:
        admin = config.admin.of_worker(workers.worker_number(os.environ))
        http = replace(config.http, listen=workers.worker_http_listen(os.environ))
        return uvloop.run(_serve(replace(config, listen=listen, admin=admin, http=http), as_worker=True))
    return uvloop.run(_serve(config)) if config.workers == 1 else workers.supervise(config)


def _raise_open_files() -> None:
    """Let the process have as many open files, which connections are, as it may: the usual soft limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _serve(config: Config, *, as_worker: bool = False) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    signalled = False

    def stop(number: int) -> None:
        nonlocal signalled
        # It counts whether a signal came, not whether the server stops: a worker also stops because its parent closed
        # the pipe, and its first signal may come after that.
        if signalled:
            logger.warning("a second signal: ending at once")
            os._exit(128 + number)  # what was acknowledged is on disk
        signalled = True
        stopping.set()

    loop.add_signal_handler(signal.SIGTERM, stop, signal.SIGTERM)
    # A terminal sends Ctrl-C to workers as well; they ignore it, and wait for the signal that their parent sends.
    loop.add_signal_handler(signal.SIGINT, *((lambda: None,) if as_worker else (stop, signal.SIGINT)))
    server = build_server(config)
    try:
        address = await server.start()
        # What is there now stays: looking for garbage in it again and again took a tenth of what calls cost.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GARBAGE_OBJECTS)
        for key, at in server.admin.addresses.items():
            logger.info("%s on %s", key, at)
        if server.http_address:
            logger.info("http.listen on %s", server.http_address)
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
