"""A server that stops: calls in flight end as they should, calls that come too late are told when to come back."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import grpc

import plaudit_server.testing
from plaudit.v1 import FeedbackServiceStub, GetServerInfoRequest
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.draining import RETRY_SECONDS, Draining
from tests.service.status import refusal


def test_a_call_that_comes_too_late_is_unavailable_and_told_when_to_come_back() -> None:
    with plaudit_server.testing.server() as running, grpc.insecure_channel(running.target) as channel:
        stub = FeedbackServiceStub(channel)
        stub.GetServerInfo(GetServerInfoRequest())
        running.run(running.server._draining.begin())
        refused = refusal(lambda: stub.GetServerInfo(GetServerInfoRequest()))

    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STOPPING")
    assert refused.retry_seconds == RETRY_SECONDS
    assert refused.metadata == {"retry_delay_ms": "500"}


def test_what_waits_inside_grpc_is_refused_before_grpc_is_stopped() -> None:
    """A burst that a stopping server has received: all of it gets OK or UNAVAILABLE, nothing a bare CANCELLED."""
    codes: list[grpc.StatusCode] = []
    sent = threading.Semaphore(0)

    def note(done: Any) -> None:
        codes.append(done.code())
        sent.release()

    with plaudit_server.testing.server() as running, grpc.insecure_channel(running.target) as channel:
        stub: Any = FeedbackServiceStub(channel)
        stub.GetServerInfo(GetServerInfoRequest())
        stopping = asyncio.run_coroutine_threadsafe(running.server.stop(grace=5), running._loop)
        calls = [stub.GetServerInfo.future(GetServerInfoRequest()) for _ in range(150)]
        for call in calls:
            call.add_done_callback(note)
        for _ in calls:
            assert sent.acquire(timeout=10)
        stopping.result(10)

    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert grpc.StatusCode.UNAVAILABLE in codes


def test_messages_of_a_stream_that_has_begun_pass() -> None:
    async def refuse() -> None:
        draining = Draining()
        await draining.begin()
        draining.check(Call("IngestFeedback", None, admitted=True))  # type: ignore[arg-type]
        assert draining.refused == 0

    asyncio.run(refuse())
