"""Any number of calls at a time: few are on their way, and the deadline of the others does not run yet."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

import plaudit
from plaudit import v1
from plaudit._settings import Settings
from plaudit._wire.channel import CALLS, CALLS_OF_CHANNEL
from plaudit._wire.grpc import GrpcTransport
from plaudit._wire.methods import SERVER_INFO
from plaudit_server.testing import RunningServer
from tests.client.fakes import Time

# `make test` takes 2,000; docs and reports say what 20,000 gave.
CREATES = int(os.environ.get("PLAUDIT_TEST_FAN_OUT", "2000"))
THREADS = 300
RECORD = {"ref": "urn:x", "feedback_type": "t"}
STREAMS = CALLS_OF_CHANNEL + 5
PATIENCE = 60.0
"""Seconds that a test waits for what must come; more than any machine takes."""


class Gauge:
    """A server that notes how many calls it has at a time, by connection; watches never end."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now: dict[str, int] = {}
        self.most_of_connection = self.most = 0
        self.enough = threading.Event()
        self.go = threading.Event()

    def info(self, request: Any, context: grpc.ServicerContext) -> v1.GetServerInfoResponse:
        peer = context.peer()
        with self.lock:
            self.now[peer] = self.now.get(peer, 0) + 1
            self.most_of_connection = max(self.most_of_connection, self.now[peer])
            self.most = max(self.most, sum(self.now.values()))
            if sum(self.now.values()) >= CALLS:
                self.enough.set()
        self.go.wait(PATIENCE)
        with self.lock:
            self.now[peer] -= 1
        return v1.GetServerInfoResponse()

    def watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[v1.WatchFeedbackResponse]:
        ended = threading.Event()
        context.add_callback(ended.set)
        yield v1.WatchFeedbackResponse(revision=1)
        ended.wait(PATIENCE)


@pytest.fixture
def gauge() -> Iterator[tuple[Gauge, str]]:
    gauge = Gauge()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "GetServerInfo": grpc.unary_unary_rpc_method_handler(
            gauge.info, v1.GetServerInfoRequest.FromString, v1.GetServerInfoResponse.SerializeToString
        ),
        "WatchFeedback": grpc.unary_stream_rpc_method_handler(
            gauge.watch, v1.WatchFeedbackRequest.FromString, v1.WatchFeedbackResponse.SerializeToString
        ),
    }
    pool = ThreadPoolExecutor(CALLS + STREAMS + 50)
    server = grpc.server(pool, options=[("grpc.max_concurrent_streams", CALLS_OF_CHANNEL)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("plaudit.v1.FeedbackService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield gauge, f"127.0.0.1:{port}"
    gauge.go.set()
    server.stop(None).wait()
    pool.shutdown()


def test_calls_on_their_way_are_bounded_and_spread_over_connections(gauge: tuple[Gauge, str]) -> None:
    noted, target = gauge

    async def gathered() -> None:
        async with plaudit.AsyncClient("a/b", target=target, timeout=PATIENCE) as client:
            calls = asyncio.gather(*(client.server_info() for _ in range(CALLS + 50)))
            assert await asyncio.to_thread(noted.enough.wait, PATIENCE)
            await asyncio.sleep(0.2)  # a further one would come now
            noted.go.set()
            await calls

    asyncio.run(gathered())
    assert noted.most == CALLS
    assert noted.most_of_connection == CALLS_OF_CHANNEL
    assert len(noted.now) == CALLS // CALLS_OF_CHANNEL


def test_threads_alike(gauge: tuple[Gauge, str]) -> None:
    noted, target = gauge
    with plaudit.Client("a/b", target=target, timeout=PATIENCE) as client, ThreadPoolExecutor(CALLS + 50) as pool:
        calls = [pool.submit(client.server_info) for _ in range(CALLS + 50)]
        assert noted.enough.wait(PATIENCE)
        time.sleep(0.2)
        noted.go.set()
        for call in calls:
            call.result()

    assert noted.most == CALLS
    assert noted.most_of_connection == CALLS_OF_CHANNEL


def test_one_call_after_another_has_one_connection(gauge: tuple[Gauge, str]) -> None:
    noted, target = gauge
    noted.go.set()
    with plaudit.Client("a/b", target=target, timeout=PATIENCE) as client:
        for _ in range(20):
            client.server_info()
    assert len(noted.now) == 1


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_streams_that_never_end_leave_room_for_calls(kind: str, gauge: tuple[Gauge, str]) -> None:
    noted, target = gauge
    noted.go.set()

    async def awaited() -> None:
        async with plaudit.AsyncClient("a/b", target=target, timeout=PATIENCE) as client:
            watches = [await client.watch() for _ in range(STREAMS)]
            await client.server_info()
            for watch in watches:
                await watch.close()

    if kind == "asyncio":
        asyncio.run(awaited())
        return
    with plaudit.Client("a/b", target=target, timeout=PATIENCE) as client:
        watches = [client.watch() for _ in range(STREAMS)]
        client.server_info()
        for watch in watches:
            watch.close()


def test_gathered_creates_are_all_stored_though_they_take_longer_than_a_deadline(running: RunningServer) -> None:
    async def gathered() -> list[Any]:
        async with plaudit.AsyncClient("fan/aio", target=running.target, timeout=2) as client:
            calls = (client.create(RECORD) for _ in range(CREATES))
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert await client.count(timeout=30) == CREATES
            return outcomes

    failed = [outcome for outcome in asyncio.run(gathered()) if isinstance(outcome, BaseException)]
    assert failed == []


def test_creates_of_many_threads_are_all_stored(running: RunningServer) -> None:
    with plaudit.Client("fan/threads", target=running.target) as client:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda _: client.create(RECORD), range(CREATES)))
        assert client.count() == CREATES


class Held:
    """A channel whose calls wait; keeps their deadlines."""

    def __init__(self) -> None:
        self.deadlines: list[float] = []
        self.full = threading.Event()
        self.go = threading.Event()

    def unary_unary(self, path: str, **_: Any) -> Any:
        def call(request: Any, timeout: float, metadata: Any) -> v1.GetServerInfoResponse:
            self.deadlines.append(timeout)
            if len(self.deadlines) == CALLS:
                self.full.set()
            self.go.wait(PATIENCE)
            return v1.GetServerInfoResponse()

        return call


def test_the_deadline_of_a_call_that_waits_starts_when_it_is_sent() -> None:
    clock, channel = Time(), Held()
    transport = GrpcTransport(Settings(timeout=10), channel=channel, clock=clock)  # type: ignore[arg-type]
    with ThreadPoolExecutor(CALLS + 1) as pool:
        calls = [pool.submit(transport.unary, SERVER_INFO, v1.GetServerInfoRequest()) for _ in range(CALLS + 1)]
        assert channel.full.wait(PATIENCE)
        clock.now += 1000
        channel.go.set()
        for call in calls:
            call.result()

    assert channel.deadlines == [10] * (CALLS + 1)


def test_a_cancelled_task_gives_its_place_back(gauge: tuple[Gauge, str]) -> None:
    noted, target = gauge

    async def talk() -> None:
        async with plaudit.AsyncClient("a/b", target=target, timeout=PATIENCE) as client:
            calls = [asyncio.create_task(client.server_info()) for _ in range(CALLS + 10)]
            assert await asyncio.to_thread(noted.enough.wait, PATIENCE)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            noted.go.set()
            await asyncio.gather(*(client.server_info() for _ in range(CALLS + 10)))

    asyncio.run(talk())
