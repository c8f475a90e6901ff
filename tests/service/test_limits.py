"""Quotas and calls in flight over the wire, and the service config that makes clients honour them."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from plaudit._contract import limits
from plaudit_server.config import Config, Limits
from plaudit_server.resources import RESOURCES
from tests.service.process import server_process
from tests.service.secured import SERVICE, call, secured
from tests.service.status import refusal

SERVICE_CONFIG = Path(__file__).parents[2] / "proto/plaudit/v1/feedback_grpc_service_config.json"


def test_calls_above_the_quota_are_told_when_to_come_back() -> None:
    config = Config(limits=Limits(calls_per_second=5, burst_seconds=0.4))
    with secured(config) as running, grpc.insecure_channel(running.target) as channel:
        call(channel, "CountFeedback", project="acme/chat")
        call(channel, "CountFeedback", project="acme/chat")
        refused = refusal(lambda: call(channel, "CountFeedback", project="acme/chat"))
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
        assert refused.retry_seconds is not None
        assert refused.metadata == {
            "quota": "calls_per_second",
            "retry_delay_ms": str(round(refused.retry_seconds * 1000)),
        }
        call(channel, "CountFeedback", project="acme/other")
        time.sleep(refused.retry_seconds)
        call(channel, "CountFeedback", project="acme/chat")


@pytest.mark.parametrize("rpc", ["BatchCreateFeedback", "IngestFeedback", "ImportFeedback"])
def test_rows_above_the_quota_are_refused_on_every_way_in(rpc: str) -> None:
    config = Config(limits=Limits(rows_per_second=10, burst_seconds=1))
    with secured(config) as running, grpc.insecure_channel(running.target) as channel:
        call(channel, rpc, project="acme/chat", feedback=[{}] * 10)
        refused = refusal(lambda: call(channel, rpc, project="acme/chat", feedback=[{}] * 5))
        assert refused.metadata["quota"] == "rows_per_second"
        call(channel, "CountFeedback", project="acme/chat")


@pytest.mark.parametrize(
    ("rpc", "other", "bounds"),
    [
        ("CountFeedback", "WatchFeedback", Limits(in_flight_calls=2)),
        ("WatchFeedback", "CountFeedback", Limits(in_flight_watches=2)),
    ],
)
def test_calls_in_flight_are_bounded_and_counted_out_again(rpc: str, other: str, bounds: Limits) -> None:
    with (
        secured(Config(limits=bounds)) as running,
        grpc.insecure_channel(running.target) as channel,
        ThreadPoolExecutor(2) as pool,
    ):
        for _ in range(2):
            running.seen.clear()
            running.hold.clear()
            held = [pool.submit(call, channel, rpc, project="acme/chat") for _ in range(2)]
            deadline = time.monotonic() + 5
            while len(running.seen) < 2 and time.monotonic() < deadline:
                time.sleep(0.005)
            refused = refusal(lambda: call(channel, rpc, project="acme/chat"))
            assert refused.reason == "QUOTA_EXCEEDED"
            assert refused.retry_seconds is not None
            running.hold.set()
            assert all(future.result(5) for future in held)
        assert call(channel, other, project="acme/chat")


def test_a_call_that_its_client_gives_up_is_counted_out() -> None:
    with (
        secured(Config(limits=Limits(in_flight_calls=1))) as running,
        grpc.insecure_channel(running.target) as channel,
    ):
        for rpc in ("CountFeedback", "StreamFeedback", "IngestFeedback"):
            running.hold.clear()
            given_up = refusal(partial(call, channel, rpc, project="acme/chat", timeout=0.1))
            assert given_up.code is grpc.StatusCode.DEADLINE_EXCEEDED
            running.hold.set()
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                try:
                    call(channel, "CountFeedback", project="acme/chat")
                    break
                except grpc.RpcError:
                    time.sleep(0.01)
            else:
                pytest.fail(f"{rpc} still counts as in flight")


def test_an_idle_stream_of_requests_holds_a_place_of_its_kind_alone() -> None:
    ended = threading.Event()
    with (
        secured(Config(limits=Limits(in_flight_write_streams=1))) as running,
        grpc.insecure_channel(running.target) as channel,
    ):

        def nothing() -> Iterator[bytes]:
            ended.wait(10)
            yield from ()

        method: Any = channel.stream_stream(f"/{SERVICE.full_name}/IngestFeedback")
        stream = method(nothing(), timeout=10)
        deadline = time.monotonic() + 5
        refused = None
        while refused is None and time.monotonic() < deadline:
            if stream.done():
                stream = method(nothing(), timeout=10)  # a call below had come first, and had the one place
            try:
                call(channel, "IngestFeedback", project="acme/chat")
            except grpc.RpcError as error:
                refused = error
        call(channel, "CountFeedback", project="acme/chat")
        ended.set()
        assert list(stream) == []
        assert refused is not None


def test_with_the_service_config_any_grpc_client_comes_back_when_it_was_told() -> None:
    config = Config(limits=Limits(calls_per_second=2, burst_seconds=0.5))
    options = [("grpc.service_config", SERVICE_CONFIG.read_text("utf-8"))]
    with secured(config) as running, grpc.insecure_channel(running.target, options) as channel:
        call(channel, "CountFeedback", project="acme/chat")
        call(channel, "CountFeedback", project="acme/chat")
    # One refusal: with backoff alone, the retry would have come too early, several times.
    assert running.codes == ["OK", "RESOURCE_EXHAUSTED", "OK"]


def test_a_service_config_that_grpc_does_not_take_would_be_noticed() -> None:
    broken = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 1}}]})
    with secured(Config()) as running:
        with grpc.insecure_channel(running.target, [("grpc.service_config", broken)]) as channel:
            assert refusal(lambda: call(channel, "GetServerInfo")).code is not grpc.StatusCode.OK
        text = SERVICE_CONFIG.read_text("utf-8")
        with grpc.insecure_channel(running.target, [("grpc.service_config", text)]) as channel:
            call(channel, "GetServerInfo")


def test_the_service_config_has_the_limits_of_the_server() -> None:
    for entry in json.loads(SERVICE_CONFIG.read_text("utf-8"))["methodConfig"]:
        assert int(entry["maxRequestMessageBytes"]) == limits.REQUEST_BYTES
        assert int(entry["maxResponseMessageBytes"]) == limits.RESPONSE_BYTES


def test_the_service_config_names_each_method_once() -> None:
    named = [name for entry in json.loads(SERVICE_CONFIG.read_text("utf-8"))["methodConfig"] for name in entry["name"]]
    services = [service.descriptor for resource in RESOURCES for service in resource.services]
    methods = [(service.full_name, name) for service in services for name in service.methods_by_name]
    assert sorted((name["service"], name["method"]) for name in named) == sorted(methods)


def test_a_client_with_a_hundred_calls_in_flight_is_not_refused(tmp_path: Path) -> None:
    async def calls(target: str) -> int:
        async with grpc.aio.insecure_channel(target) as channel:
            ask: Any = channel.unary_unary(f"/{SERVICE.full_name}/GetServerInfo")
            waiting = iter(range(3000))

            async def one_after_another() -> int:
                return sum([1 for _ in waiting if await ask(b"")])

            return sum(await asyncio.gather(*(one_after_another() for _ in range(100))))

    with server_process(tmp_path / "plaudit.db") as running:
        # No retry in between: with 100 streams a connection grpc itself refused calls here, see ADR 0011.
        assert asyncio.run(calls(running.target)) == 3000
