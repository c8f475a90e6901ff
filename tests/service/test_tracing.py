"""Spans as a collector receives them: a small collector of the tests, which speaks OTLP on a socket."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from plaudit.v1 import (
    CountFeedbackRequest,
    CreateFeedbackRequest,
    FeedbackServiceStub,
    IngestFeedbackRequest,
)
from plaudit_server import app
from plaudit_server.config import Config, Tracing
from plaudit_server.errors import StartError
from plaudit_server.testing import server
from tests.service.process import ServerProcess
from tests.service.test_logs import CANARY, PARENT, TRACE, calls_in, every_call, unknown
from tests.service.test_metrics import PROJECT, Unsteady, feedback
from tests.service.web import create as create_over_http
from tests.service.web import web_server

PARENT_SPAN = "00f067aa0ba902b7"
NOT_SAMPLED = PARENT.removesuffix("01") + "00"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans that it is sent."""

    def __init__(self) -> None:
        self.resources: list[dict[str, Any]] = []
        self.spans: list[Span] = []
        self.text = ""

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.text += str(request)
        for part in request.resource_spans:
            self.resources.append(attributes(part.resource))
            for scope in part.scope_spans:
                self.spans += scope.spans
        return trace_service_pb2.ExportTraceServiceResponse()

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


def attributes(span: Any) -> dict[str, Any]:
    return {
        pair.key: pair.value.string_value or pair.value.int_value or pair.value.double_value for pair in span.attributes
    }


@contextmanager
def collector() -> Iterator[tuple[Collector, str]]:
    """A running collector and its endpoint."""
    found = Collector()
    running = grpc.server(ThreadPoolExecutor(2))
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add(found, running)
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    try:
        yield found, f"http://127.0.0.1:{port}"
    finally:
        running.stop(None)


def create(channel: grpc.Channel, name: str, *metadata: tuple[str, str]) -> None:
    request = CreateFeedbackRequest(project=PROJECT, feedback=feedback(name))
    FeedbackServiceStub(channel).CreateFeedback(request, metadata=metadata)


def test_a_call_continues_the_trace_of_its_caller_and_its_commit_is_below_it() -> None:
    with collector() as (found, endpoint):
        with (
            server(config=Config(tracing=Tracing(endpoint))) as running,
            grpc.insecure_channel(running.target) as channel,
        ):
            create(channel, "a", ("traceparent", PARENT), ("tracestate", "vendor=1"), ("x-request-id", "the-id"))
        [call] = found.named("plaudit.v1.FeedbackService/CreateFeedback")
        [commit] = found.named("commit")
        assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, PARENT_SPAN)
        assert call.kind == Span.SPAN_KIND_SERVER
        assert call.trace_state == "vendor=1"
        assert attributes(call) == {
            "rpc.system.name": "grpc",
            "rpc.method": "plaudit.v1.FeedbackService/CreateFeedback",
            "rpc.response.status_code": "OK",
            "plaudit.request_id": "the-id",
        }
        assert call.status.code == Status.STATUS_CODE_UNSET
        assert (commit.trace_id, commit.parent_span_id) == (call.trace_id, call.span_id)
        assert attributes(commit) == {"plaudit.command": "create", "plaudit.rows": 1}
        assert call.start_time_unix_nano <= commit.start_time_unix_nano
        assert commit.end_time_unix_nano <= call.end_time_unix_nano
        assert found.resources[0]["service.name"] == "plaudit"


def test_a_call_over_http_is_traced_as_one_of_its_protocol() -> None:
    with collector() as (found, endpoint):
        with web_server(Config(tracing=Tracing(endpoint))) as running:
            assert create_over_http(running, traceparent=PARENT).status == 200
        [call] = found.named("plaudit.v1.FeedbackService/CreateFeedback")
        [commit] = found.named("commit")
        assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, PARENT_SPAN)
        assert commit.parent_span_id == call.span_id
        assert attributes(call)["rpc.system.name"] == "connectrpc"


def test_what_the_server_fails_at_is_an_error_and_what_the_caller_does_wrong_is_none() -> None:
    store = Unsteady()
    with collector() as (found, endpoint):
        with (
            server(store, config=Config(tracing=Tracing(endpoint))) as running,
            grpc.insecure_channel(running.target) as channel,
        ):
            with suppress(grpc.RpcError):
                FeedbackServiceStub(channel).CountFeedback(CountFeedbackRequest(project="?"))
            with suppress(grpc.RpcError):
                unknown(channel, f"/no.Such/{CANARY}" + "x" * 500)(b"")
            store.fails = True
            with suppress(grpc.RpcError):
                create(channel, "a")
        [count] = found.named("plaudit.v1.FeedbackService/CountFeedback")
        assert count.status.code == Status.STATUS_CODE_UNSET
        assert attributes(count)["rpc.response.status_code"] == "INVALID_ARGUMENT"
        assert "error.type" not in attributes(count)
        [other] = found.named("grpc")
        assert attributes(other)["rpc.method"] == "_OTHER"
        assert attributes(other)["rpc.method_original"] == (f"no.Such/{CANARY}" + "x" * 500)[:200]
        [failed] = found.named("plaudit.v1.FeedbackService/CreateFeedback")
        [commit] = found.named("commit")
        for span in (failed, other, commit):
            assert span.status.code == Status.STATUS_CODE_ERROR
        assert attributes(failed)["error.type"] == attributes(failed)["rpc.response.status_code"] == "UNAVAILABLE"
        assert attributes(commit)["error.type"] == "StoreUnavailable"


def test_a_stream_has_one_span_and_a_commit_for_each_batch() -> None:
    with collector() as (found, endpoint):
        with (
            server(config=Config(tracing=Tracing(endpoint))) as running,
            grpc.insecure_channel(running.target) as channel,
        ):
            requests = [IngestFeedbackRequest(project=PROJECT, feedback=[feedback(f"{n}")]) for n in range(3)]
            assert len(list(FeedbackServiceStub(channel).IngestFeedback(iter(requests)))) == 3
        [stream] = found.named("plaudit.v1.FeedbackService/IngestFeedback")
        assert [span.parent_span_id for span in found.named("commit")] == [stream.span_id] * 3


def test_calls_side_by_side_do_not_share_a_span() -> None:
    with collector() as (found, endpoint):
        with (
            server(config=Config(tracing=Tracing(endpoint))) as running,
            grpc.insecure_channel(running.target) as channel,
            ThreadPoolExecutor(8) as pool,
        ):
            list(pool.map(lambda number: create(channel, f"{number}"), range(40)))
        calls = found.named("plaudit.v1.FeedbackService/CreateFeedback")
        assert len({span.trace_id for span in calls}) == 40
        assert {span.parent_span_id for span in found.named("commit")} == {span.span_id for span in calls}


def test_the_caller_decides_and_the_ratio_where_it_has_not() -> None:
    with collector() as (found, endpoint):
        with (
            server(config=Config(tracing=Tracing(endpoint, sample_ratio=0.0))) as running,
            grpc.insecure_channel(running.target) as channel,
        ):
            create(channel, "a")
            create(channel, "b", ("traceparent", NOT_SAMPLED))
            create(channel, "c", ("traceparent", PARENT))
            create(channel, "d", ("traceparent", "nonsense"))
        assert len(found.named("plaudit.v1.FeedbackService/CreateFeedback")) == len(found.named("commit")) == 1
        assert {span.trace_id.hex() for span in found.spans} == {TRACE}


def test_nothing_of_what_callers_store_is_in_a_span() -> None:
    with collector() as (found, endpoint):
        with (
            server(config=Config(tracing=Tracing(endpoint))) as running,
            grpc.insecure_channel(running.target) as channel,
        ):
            every_call(channel, "plk_0123456789abcdef_" + CANARY * 4)
        methods = {str(attributes(span).get("rpc.method_original", "")) for span in found.spans} - {""}
        assert methods == {f"{CANARY}/{CANARY}"}
        assert len(found.spans) > 40
        assert CANARY not in found.text.replace(f"{CANARY}/{CANARY}", "")


def test_a_collector_that_is_away_costs_no_call_and_does_not_keep_the_server_from_stopping(tmp_path: Path) -> None:
    flags = ("--tracing-otlp-endpoint=http://127.0.0.1:9", "--log-calls=all")
    process = ServerProcess(tmp_path / "plaudit.db", "127.0.0.1:0", *flags)
    with grpc.insecure_channel(process.target) as channel:
        create(channel, "a", ("traceparent", PARENT))
        create(channel, "b")
    assert process.stop(signal.SIGTERM, timeout=30) == 0
    first, second = (line["trace_id"] for line in calls_in("".join(process.log)))
    assert first == TRACE
    assert len(second) == 32
    assert second != TRACE


def test_without_the_packages_the_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plaudit_server.ops.tracing", None)
    with pytest.raises(StartError, match=r"pip install 'plaudit\[server,tracing\]'"):
        app.build_server(Config(tracing=Tracing("http://127.0.0.1:4317")), Unsteady())
    app.build_server(Config(), Unsteady())
