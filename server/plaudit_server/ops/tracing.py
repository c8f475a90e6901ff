"""OpenTelemetry spans of calls and of their commits, sent over OTLP; only this module imports OpenTelemetry.

Names and attributes are those of OpenTelemetry's stable conventions for RPC. Nothing of a payload, ref or record is in
a span, and of what the caller sends only its request id, its trace context, and the path of a method that is not there.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Final

import grpc
from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from plaudit_server.config import Tracing
from plaudit_server.ops.metrics import SERVER_FAULTS
from plaudit_server.rpc.call import TRACE_PARENT_METADATA, Call
from plaudit_server.rpc.declare import OTHER, Registry
from plaudit_server.store.base import Command, Outcome
from plaudit_server.store.writer import Writer

_FLUSH_SECONDS: Final = 5.0
_PATH_CHARACTERS: Final = 200
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class CallTracer:
    """A beginning and an observer of calls: each call is a span, a child of the one whose context came with it."""

    def __init__(self, config: Tracing, version: str, registry: Registry) -> None:
        """Spans go to the `otlp_endpoint` of the configuration, from a thread of their own; too many are dropped."""
        self._rpcs = registry
        exporter = OTLPSpanExporter(config.otlp_endpoint, insecure=not config.otlp_endpoint.startswith("https://"))
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(config.sample_ratio)),
            resource=Resource.create({"service.name": "plaudit", "service.version": version}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer: Tracer = self._provider.get_tracer("plaudit_server", version)

    def writer(self, *args: Any, **options: Any) -> Writer:
        """A Writer whose commits are traced; the arguments are those of Writer."""
        return TracedWriter(self.tracer, *args, **options)

    def begin(self, call: Call) -> None:
        """A call has come in; what it does from now on is inside its span."""
        attributes = {"rpc.system.name": call.protocol, "rpc.method": OTHER}
        name = call.protocol
        if call.method == OTHER:
            attributes["rpc.method_original"] = call.original.removeprefix("/")[:_PATH_CHARACTERS]
        else:
            attributes["rpc.method"] = name = f"{self._rpcs.service_of[call.method]}/{call.method}"
        carrier = {key: str(call.metadatum(key)) for key in (TRACE_PARENT_METADATA, "tracestate")}
        parent = _PROPAGATOR.extract({key: value for key, value in carrier.items() if value}, Context())
        call.span = self.tracer.start_span(name, parent, SpanKind.SERVER, attributes)
        # Never detached: each call runs in a task of its own, and the context ends with it.
        contexts.attach(set_span_in_context(call.span))

    def end(self, call: Call, code: grpc.StatusCode) -> None:
        """A call has ended."""
        span = call.span
        span.set_attribute("rpc.response.status_code", code.name)
        span.set_attribute("plaudit.request_id", call.request_id)
        if code in SERVER_FAULTS:
            span.set_attribute("error.type", code.name)
            span.set_status(StatusCode.ERROR)
        span.end()

    async def close(self) -> None:
        """Send what is left, for a few seconds at most: a collector that is away does not keep the server running."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            loop.call_soon_threadsafe(done.set)

        # Not in the loop's pool, which would wait for it at the end.
        threading.Thread(target=shut_down, name="plaudit-spans", daemon=True).start()
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                await done.wait()
        except TimeoutError:
            pass


class TracedWriter(Writer):
    """A writer whose commands are spans inside their calls': from when they are in line until they are durable."""

    def __init__(self, tracer: Tracer, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._tracer = tracer

    def enqueue(self, command: Command[Any]) -> asyncio.Future[Outcome]:
        """Put a command in line, as Writer does, and begin its span."""
        outcome = super().enqueue(command)
        span = self._tracer.start_span("commit")
        if span.is_recording():
            span.set_attribute("plaudit.command", command.kind)
            if command.adds:
                span.set_attribute("plaudit.rows", command.rows)

            def end(done: asyncio.Future[Outcome]) -> None:
                if not done.cancelled() and (error := done.exception()) is not None:
                    span.set_attribute("error.type", type(error).__name__)
                    span.set_status(StatusCode.ERROR)
                span.end()

            outcome.add_done_callback(end)
        return outcome
