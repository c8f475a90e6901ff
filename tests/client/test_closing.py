"""Closing a client: its writers store what they hold, and whoever waits for a call gets an error that says so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

import plaudit
from plaudit import v1
from plaudit._wire.channel import CALLS
from plaudit_server.testing import RunningServer

RECORD = {"ref": "urn:x", "feedback_type": "t"}


class Waiting:
    """A server whose calls never end by themselves; a watch and a stream say one thing before."""

    def __init__(self) -> None:
        self.come = threading.Semaphore(0)
        self.ended = threading.Event()

    def info(self, request: Any, context: grpc.ServicerContext) -> v1.GetServerInfoResponse:
        self._wait(context)
        return v1.GetServerInfoResponse()

    def watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[v1.WatchFeedbackResponse]:
        yield v1.WatchFeedbackResponse(revision=1)
        self._wait(context)

    def stream(self, request: Any, context: grpc.ServicerContext) -> Iterator[v1.StreamFeedbackResponse]:
        yield v1.StreamFeedbackResponse(feedback=[v1.Feedback(id="1")])
        self._wait(context)

    def ingest(self, requests: Any, context: grpc.ServicerContext) -> Iterator[v1.IngestFeedbackResponse]:
        self._wait(context)
        yield v1.IngestFeedbackResponse()

    def _wait(self, context: grpc.ServicerContext) -> None:
        gone = threading.Event()
        context.add_callback(gone.set)
        self.come.release()
        while not gone.wait(0.02) and not self.ended.is_set():
            pass


@pytest.fixture
def waiting() -> Iterator[tuple[Waiting, str]]:
    servicer = Waiting()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "GetServerInfo": grpc.unary_unary_rpc_method_handler(
            servicer.info, v1.GetServerInfoRequest.FromString, v1.GetServerInfoResponse.SerializeToString
        ),
        "WatchFeedback": grpc.unary_stream_rpc_method_handler(
            servicer.watch, v1.WatchFeedbackRequest.FromString, v1.WatchFeedbackResponse.SerializeToString
        ),
        "StreamFeedback": grpc.unary_stream_rpc_method_handler(
            servicer.stream, v1.StreamFeedbackRequest.FromString, v1.StreamFeedbackResponse.SerializeToString
        ),
        "IngestFeedback": grpc.stream_stream_rpc_method_handler(
            servicer.ingest, v1.IngestFeedbackRequest.FromString, v1.IngestFeedbackResponse.SerializeToString
        ),
    }
    server = grpc.server(ThreadPoolExecutor(CALLS + 60))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("plaudit.v1.FeedbackService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    servicer.ended.set()
    server.stop(None).wait()


def test_calls_of_threads_get_an_error_of_the_client(waiting: tuple[Waiting, str]) -> None:
    servicer, target = waiting
    client = plaudit.Client("a/b", target=target, timeout=60)
    watch, stream = client.watch(), client.stream()
    next(stream)
    operations: list[Any] = [client.server_info] * 5
    operations += [lambda: next(watch), lambda: next(stream), lambda: client.ingest([RECORD])]
    with ThreadPoolExecutor(len(operations)) as pool:
        calls = [pool.submit(operation) for operation in operations]
        for _ in operations:
            assert servicer.come.acquire(timeout=20)
        client.close()
        errors = [call.exception(20) for call in calls]

    assert [type(error) for error in errors] == [plaudit.ClientClosedError] * len(operations)
    with pytest.raises(plaudit.ClientClosedError):
        client.count()
    with pytest.raises(RuntimeError, match="closed"):
        client.watch()


def test_calls_of_tasks_get_an_error_of_the_client_too(waiting: tuple[Waiting, str]) -> None:
    servicer, target = waiting

    async def talk() -> list[Any]:
        client = plaudit.AsyncClient("a/b", target=target, timeout=60)
        watch, stream = await client.watch(), client.stream()
        await anext(stream)
        operations: list[Any] = [client.server_info() for _ in range(5)]
        operations += [anext(watch), anext(stream), client.ingest([RECORD])]
        calls = [asyncio.ensure_future(operation) for operation in operations]
        for _ in calls:
            assert await asyncio.to_thread(servicer.come.acquire, timeout=20)
        await client.close()
        outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)
        with pytest.raises(plaudit.ClientClosedError):
            await client.count()
        return outcomes

    assert [type(error) for error in asyncio.run(talk())] == [plaudit.ClientClosedError] * 8


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_calls_that_wait_for_a_place_get_it_too(kind: str, waiting: tuple[Waiting, str]) -> None:
    servicer, target = waiting

    async def talk() -> list[Any]:
        client = plaudit.AsyncClient("a/b", target=target, timeout=60)
        calls = [asyncio.create_task(client.server_info()) for _ in range(CALLS + 5)]
        assert await asyncio.to_thread(servicer.come.acquire, timeout=20)
        await client.close()
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)

    def threads() -> list[Any]:
        client = plaudit.Client("a/b", target=target, timeout=60)
        with ThreadPoolExecutor(CALLS + 5) as pool:
            calls = [pool.submit(client.server_info) for _ in range(CALLS + 5)]
            assert servicer.come.acquire(timeout=20)
            client.close()
            return [call.exception(20) for call in calls]

    errors = asyncio.run(talk()) if kind == "tasks" else threads()
    assert {type(error) for error in errors} == {plaudit.ClientClosedError}


def test_a_watch_in_a_task_group_does_not_end_silently(waiting: tuple[Waiting, str]) -> None:
    servicer, target = waiting

    async def talk() -> None:
        client = plaudit.AsyncClient("a/b", target=target)
        watch = await client.watch()

        async def follow() -> None:
            async for _ in watch:
                pass

        async with asyncio.TaskGroup() as group:
            group.create_task(follow())
            assert await asyncio.to_thread(servicer.come.acquire, timeout=20)
            await client.close()
            await asyncio.sleep(20)  # the group cancels this as soon as the watch has failed

    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(talk())
    assert [type(error) for error in raised.value.exceptions] == [plaudit.ClientClosedError]


def test_a_client_closes_its_writers(running: RunningServer) -> None:
    client = plaudit.Client("close/writers", target=running.target)
    writers = [client.buffered(linger=60) for _ in range(2)]
    for writer in writers:
        writer.add(RECORD)
    client.close()

    with plaudit.Client("close/writers", target=running.target) as other:
        assert other.count() == 2
    with pytest.raises(RuntimeError, match="closed"):
        writers[0].add(RECORD)


def test_an_async_client_closes_its_writers(running: RunningServer) -> None:
    async def talk() -> None:
        async with plaudit.AsyncClient("close/async", target=running.target) as client:
            writer = client.buffered(linger=60)
            await writer.add(RECORD)
        async with plaudit.AsyncClient("close/async", target=running.target) as other:
            assert await other.count() == 1

    asyncio.run(talk())


def test_a_writer_that_cannot_store_is_an_error_of_close(running: RunningServer) -> None:
    client = plaudit.Client("close/refused", target=running.target)
    client.buffered(linger=60).add({"ref": "no ref", "feedback_type": "t"})
    with pytest.raises(plaudit.NotStoredError, match="1 were refused"):
        client.close()
    client.close()

    def fail() -> None:
        with plaudit.Client("a/b", target=running.target) as block:
            block.buffered(linger=60).add({"ref": "no ref", "feedback_type": "t"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        fail()
    assert "1 were refused" in raised.value.__notes__[0]


def test_a_writer_that_was_closed_before_raises_its_error_once(running: RunningServer) -> None:
    client = plaudit.Client("close/once", target=running.target)
    with pytest.raises(plaudit.NotStoredError), client.buffered() as writer:
        writer.add({"ref": "no ref", "feedback_type": "t"})
    client.close()


def test_errors_are_those_of_python_too() -> None:
    assert issubclass(plaudit.NotFoundError, LookupError)
    assert issubclass(plaudit.DeadlineExceededError, TimeoutError)
    assert issubclass(plaudit.UnavailableError, ConnectionError)
    assert issubclass(plaudit.InvalidArgumentError, ValueError)
    assert issubclass(plaudit.ClientClosedError, RuntimeError)
    assert not issubclass(plaudit.ClientClosedError, plaudit.UnavailableError)
    for kind in (plaudit.UnavailableError, plaudit.DeadlineExceededError):
        error = kind("text", reason="R", request_id="r")
        assert (str(error), error.message, error.reason, error.request_id) == ("text", "text", "R", "r")
