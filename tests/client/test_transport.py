"""Deadlines, retries with the server's hint, one channel, and use after a fork."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2

import plaudit
from plaudit import v1
from plaudit._core.retry import Attempts, RetryPolicy
from plaudit._settings import Settings
from plaudit._wire.address import Address
from plaudit._wire.grpc import GrpcTransport
from plaudit._wire.methods import INGEST, QUERY, SERVER_INFO, Method
from tests.client.fakes import Time
from tests.client.test_errors import FailedCall, failed

REQUEST = v1.GetServerInfoRequest()
STREAM = Method("StreamFeedback", v1.StreamFeedbackRequest, v1.StreamFeedbackResponse)


class FakeChannel:
    """A channel whose calls fail as configured and then succeed; keeps the deadlines and metadata of the attempts."""

    def __init__(self, *failures: grpc.RpcError) -> None:
        self.failures = list(failures)
        self.timeouts: list[float] = []
        self.metadata: Any = None

    def unary_unary(self, path: str, **_: Any) -> Callable[..., Any]:
        def call(request: Any, timeout: float, metadata: Any) -> Any:
            self.timeouts.append(timeout)
            self.metadata = metadata
            if self.failures:
                raise self.failures.pop(0)
            return v1.GetServerInfoResponse(version=path)

        return call


def transport_over(channel: FakeChannel, **options: Any) -> tuple[GrpcTransport, Time]:
    clock = Time()
    settings = Settings(**options)
    return GrpcTransport(settings, channel=channel, sleep=clock.sleep, clock=clock), clock  # type: ignore[arg-type]


def hint(seconds: float, code: grpc.StatusCode = grpc.StatusCode.RESOURCE_EXHAUSTED) -> FailedCall:
    delay = duration_pb2.Duration()
    delay.FromNanoseconds(round(seconds * 1e9))
    return failed(code, error_details_pb2.RetryInfo(retry_delay=delay))


def unavailable() -> FailedCall:
    return FailedCall(grpc.StatusCode.UNAVAILABLE)


def test_unavailable_is_tried_again() -> None:
    channel = FakeChannel(unavailable(), unavailable())
    transport, clock = transport_over(channel)

    response = transport.unary(SERVER_INFO, REQUEST)

    assert response.version == "/plaudit.v1.FeedbackService/GetServerInfo"
    assert 0.025 <= clock.naps[0] <= 0.05 <= clock.naps[1] * 2 <= 0.2


def test_hint_of_the_server_is_honoured() -> None:
    transport, clock = transport_over(FakeChannel(hint(1.5), hint(0.7, grpc.StatusCode.UNAVAILABLE)))

    transport.unary(SERVER_INFO, REQUEST)

    assert 1.5 <= clock.naps[0] <= 1.6
    assert 0.7 <= clock.naps[1] <= 0.8


def test_exhausted_without_a_hint_is_final() -> None:
    transport, clock = transport_over(FakeChannel(FailedCall(grpc.StatusCode.RESOURCE_EXHAUSTED)))

    with pytest.raises(plaudit.ResourceExhaustedError):
        transport.unary(SERVER_INFO, REQUEST)
    assert clock.naps == []


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL]
)
def test_other_errors_are_final(code: grpc.StatusCode) -> None:
    call = FailedCall(code)
    channel = FakeChannel(call)
    transport, _ = transport_over(channel)

    with pytest.raises(plaudit.PlauditError) as raised:
        transport.unary(SERVER_INFO, REQUEST)
    assert len(channel.timeouts) == 1
    assert raised.value.__cause__ is call


def test_all_attempts_share_one_deadline() -> None:
    channel = FakeChannel(*(unavailable() for _ in range(100)))
    transport, clock = transport_over(channel, timeout=3.0)

    with pytest.raises(plaudit.UnavailableError):
        transport.unary(SERVER_INFO, REQUEST)

    assert clock.now < 103.0
    assert channel.timeouts[0] == 3.0
    assert channel.timeouts == sorted(channel.timeouts, reverse=True)
    assert 4 < len(channel.timeouts) < 12


def test_hint_beyond_the_deadline_is_told_at_once() -> None:
    transport, clock = transport_over(FakeChannel(hint(60.0)), timeout=10.0)

    with pytest.raises(plaudit.ResourceExhaustedError) as raised:
        transport.unary(SERVER_INFO, REQUEST)
    assert raised.value.retry_after == 60.0
    assert clock.naps == []


def test_deadline_is_ten_seconds_unless_told() -> None:
    channel = FakeChannel()
    transport, _ = transport_over(channel)
    transport.unary(SERVER_INFO, REQUEST)

    assert channel.timeouts == [10.0]


def test_backoff_doubles_to_its_limit_with_jitter_below() -> None:
    policy = RetryPolicy(initial_delay=1.0, max_delay=5.0, jitter=0.5)
    error = plaudit.UnavailableError("down")

    assert [policy.delay(error, attempt, 0.0) for attempt in (1, 2, 3, 4, 1000)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert [policy.delay(error, attempt, 1.0) for attempt in (1, 4)] == [0.5, 2.5]


def test_attempts_count_their_own_failures() -> None:
    attempts = Attempts(RetryPolicy(initial_delay=1.0, max_delay=8.0, jitter=0.0), deadline=10.0)
    error = plaudit.UnavailableError("down")

    assert [attempts.delay_after(error, now, 0.0) for now in (0.0, 1.0, 3.0, 7.0)] == [1.0, 2.0, 4.0, None]
    assert attempts.remaining(12.0) == 0.0


def test_api_key_is_sent_and_not_shown() -> None:
    channel = FakeChannel()
    transport, _ = transport_over(channel, api_key="secret")
    transport.unary(SERVER_INFO, REQUEST)

    assert channel.metadata == (("authorization", "Bearer secret"),)
    assert "secret" not in repr(plaudit.Client(api_key="secret"))


@pytest.mark.parametrize(
    ("text", "target", "secure"),
    [
        ("localhost:50051", "localhost:50051", False),
        ("http://host:1", "host:1", False),
        ("grpc://host:1/", "host:1", False),
        ("https://host:443", "host:443", True),
        ("grpcs://[::1]:9", "[::1]:9", True),
        ("unix:/run/x.sock", "unix:/run/x.sock", False),
        ("dns:///host:1", "dns:///host:1", False),
    ],
)
def test_address(text: str, target: str, secure: bool) -> None:
    assert Address.parse(text) == Address(target, secure)


@pytest.mark.parametrize("text", ["", "https://", "https://host/path", "http://host?x=1"])
def test_address_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"target|address"):
        Address.parse(text)


class Servicer:
    """Answers with a version; streams until the call is cancelled."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.metadata: dict[str, Any] = {}
        self.calls = 0

    def info(self, request: Any, context: grpc.ServicerContext) -> v1.GetServerInfoResponse:
        self.calls += 1
        self.metadata = dict(context.invocation_metadata())
        return v1.GetServerInfoResponse(version="real")

    def stream(self, request: Any, context: grpc.ServicerContext) -> Iterator[v1.StreamFeedbackResponse]:
        context.add_callback(self.cancelled.set)
        yield v1.StreamFeedbackResponse(feedback=[v1.Feedback(id="1")])
        if request.limit:
            context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        while context.is_active():
            time.sleep(0.01)
            yield v1.StreamFeedbackResponse()

    def echo(self, requests: Any, context: grpc.ServicerContext) -> Iterator[v1.IngestFeedbackResponse]:
        for request in requests:
            yield v1.IngestFeedbackResponse(sequence=request.sequence)

    def query(self, request: Any, context: grpc.ServicerContext) -> v1.QueryFeedbackResponse:
        return v1.QueryFeedbackResponse(feedback=[v1.Feedback(payload_json="x" * (4 * 1024 * 1024))])


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[Servicer, str]]:
    servicer = Servicer()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "GetServerInfo": grpc.unary_unary_rpc_method_handler(
            servicer.info, v1.GetServerInfoRequest.FromString, v1.GetServerInfoResponse.SerializeToString
        ),
        "StreamFeedback": grpc.unary_stream_rpc_method_handler(
            servicer.stream, v1.StreamFeedbackRequest.FromString, v1.StreamFeedbackResponse.SerializeToString
        ),
        "IngestFeedback": grpc.stream_stream_rpc_method_handler(
            servicer.echo, v1.IngestFeedbackRequest.FromString, v1.IngestFeedbackResponse.SerializeToString
        ),
        "QueryFeedback": grpc.unary_unary_rpc_method_handler(
            servicer.query, v1.QueryFeedbackRequest.FromString, v1.QueryFeedbackResponse.SerializeToString
        ),
    }
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("plaudit.v1.FeedbackService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_call_over_a_real_channel(service: tuple[Servicer, str]) -> None:
    servicer, target = service
    with plaudit.Client(target=target, api_key="k") as client:
        assert client.server_info().version == "real"
    assert servicer.metadata["authorization"] == "Bearer k"
    assert servicer.metadata["user-agent"].startswith("plaudit-python")


def test_response_of_over_4_mib_arrives(service: tuple[Servicer, str]) -> None:
    transport = GrpcTransport(Settings(service[1]))
    response = transport.unary(QUERY, v1.QueryFeedbackRequest())
    transport.close()

    assert len(response.feedback[0].payload_json) == 4 * 1024 * 1024


def test_stream_ends_with_its_iterator(service: tuple[Servicer, str]) -> None:
    servicer, target = service
    servicer.cancelled.clear()
    transport = GrpcTransport(Settings(target))
    answers = transport.stream(STREAM, v1.StreamFeedbackRequest())
    assert next(answers).feedback[0].id == "1"

    answers.cancel()

    assert servicer.cancelled.wait(5)
    transport.close()


def test_stream_is_cancelled_from_another_thread(service: tuple[Servicer, str]) -> None:
    transport = GrpcTransport(Settings(service[1]))
    answers = transport.both_streams(INGEST, iter(queue.SimpleQueue[v1.IngestFeedbackRequest]().get, None))
    threading.Timer(0.05, answers.cancel).start()

    with pytest.raises(plaudit.PlauditError) as raised:
        next(answers)
    assert raised.value.code is grpc.StatusCode.CANCELLED
    transport.close()


def test_both_streams_answer_each_request_as_it_comes(service: tuple[Servicer, str]) -> None:
    transport = GrpcTransport(Settings(service[1]))
    requests: queue.SimpleQueue[v1.IngestFeedbackRequest | None] = queue.SimpleQueue()
    answers = transport.both_streams(INGEST, iter(requests.get, None))
    for sequence in range(3):
        requests.put(v1.IngestFeedbackRequest(sequence=sequence))
        assert next(answers).sequence == sequence
    requests.put(None)

    assert list(answers) == []
    transport.close()


def test_retry_of_a_transport_has_its_policy_and_its_timeout() -> None:
    transport, clock = transport_over(FakeChannel(), timeout=3.0, retry=RetryPolicy(initial_delay=2.0, jitter=0.0))
    error = plaudit.UnavailableError("down")

    assert transport.retry().remaining() == 3.0
    assert transport.retry(7.0).remaining() == 7.0
    assert transport.retry().delay(error) == 1.0  # no longer than max_delay
    assert clock.naps == []


def test_call_that_is_not_to_be_retried_is_sent_once() -> None:
    channel = FakeChannel(unavailable())
    transport, clock = transport_over(channel)

    with pytest.raises(plaudit.UnavailableError):
        transport.unary(SERVER_INFO, REQUEST, retried=False)
    assert (channel.timeouts, clock.naps) == ([10.0], [])


def test_error_of_a_stream(service: tuple[Servicer, str]) -> None:
    transport = GrpcTransport(Settings(service[1]))
    with pytest.raises(plaudit.NotFoundError, match="gone"):
        list(transport.stream(STREAM, v1.StreamFeedbackRequest(limit=1)))
    transport.close()


def test_closed_client_says_so(service: tuple[Servicer, str]) -> None:
    client = plaudit.Client(target=service[1])
    client.server_info()
    client.close()
    client.close()

    with pytest.raises(RuntimeError, match="closed"):
        client.server_info()


def test_given_channel_is_left_open(service: tuple[Servicer, str]) -> None:
    with grpc.insecure_channel(service[1]) as channel:
        plaudit.Client(channel=channel).close()
        assert plaudit.Client(channel=channel).server_info().version == "real"


def test_server_that_is_not_there_is_unavailable() -> None:
    with plaudit.Client(target="127.0.0.1:1", timeout=0.3) as client:
        started = time.monotonic()
        with pytest.raises(plaudit.UnavailableError):
            client.server_info()
        assert time.monotonic() - started < 3


def test_threads_share_one_channel(service: tuple[Servicer, str], monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    insecure_channel = grpc.insecure_channel

    def opening(*arguments: Any) -> grpc.Channel:
        opened.append(insecure_channel(*arguments))
        return opened[-1]

    monkeypatch.setattr(grpc, "insecure_channel", opening)
    with plaudit.Client(target=service[1]) as client, ThreadPoolExecutor(8) as pool:
        assert opened == []
        versions = list(pool.map(lambda _: client.server_info().version, range(32)))
    assert versions == ["real"] * 32
    assert len(opened) == 1


FORK = """
import os, sys
import plaudit

from plaudit import v1
from plaudit._wire.methods import Method

STREAM = Method("StreamFeedback", v1.StreamFeedbackRequest, v1.StreamFeedbackResponse)
client = plaudit.Client(target=sys.argv[1])
assert client.server_info().version == "real"
answers = client.transport.stream(STREAM, v1.StreamFeedbackRequest())
assert next(answers).feedback[0].id == "1"
child = os.fork()
if child == 0:
    try:
        next(answers)
    except plaudit.UnavailableError as error:
        assert "ended by a fork" in str(error)
    answers.cancel()
    ok = client.server_info().version == "real"
    ok = ok and next(client.transport.stream(STREAM, v1.StreamFeedbackRequest())).feedback[0].id == "1"
    grandchild = os.fork()
    if grandchild == 0:
        os._exit(0 if client.server_info().version == "real" else 3)
    ok = ok and os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) == 0
    ok = ok and client.server_info().version == "real"
    client.close()
    sys.exit(0 if ok else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
try:
    next(answers)
except plaudit.UnavailableError as error:
    assert "ended by a fork" in str(error)
assert next(client.transport.stream(STREAM, v1.StreamFeedbackRequest())).feedback[0].id == "1"
assert client.server_info().version == "real"
client.close()
"""


def test_client_is_usable_in_a_forked_child_and_in_its_parent(service: tuple[Servicer, str]) -> None:
    import subprocess
    import sys

    # In a separate process: forking this one would copy the locks of the server's threads.
    subprocess.run([sys.executable, "-c", FORK, service[1]], check=True, timeout=30, env={**os.environ})
