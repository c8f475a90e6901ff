"""A server that stops: calls in flight end as they should, calls that come too late are told when to come back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import grpc
import pytest

import plaudit_server.testing
from plaudit.v1 import CreateFeedbackRequest, Feedback, FeedbackServiceStub, GetServerInfoRequest
from plaudit_server.errors import Unauthenticated
from plaudit_server.feedback.resource import SERVICE
from plaudit_server.rpc import draining
from plaudit_server.rpc.admission import Places
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.chain import Chain
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


def test_what_waits_inside_grpc_is_refused_before_grpc_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst that a stopping server has received: all of it gets OK or UNAVAILABLE, nothing a bare CANCELLED."""
    # On a busy machine the next call of the burst may take longer than a moment.
    monkeypatch.setattr(draining, "_QUIET_SECONDS", 0.5)
    monkeypatch.setattr(draining, "_LONGEST_SECONDS", 30.0)
    codes: list[grpc.StatusCode] = []
    ended, sent = threading.Semaphore(0), threading.Event()

    def note(done: Any) -> None:
        codes.append(done.code())
        ended.release()

    with plaudit_server.testing.server() as running, grpc.insecure_channel(running.target) as channel:
        stub: Any = FeedbackServiceStub(channel)
        stub.GetServerInfo(GetServerInfoRequest())
        running._loop.call_soon_threadsafe(sent.wait, 30)  # the calls come while the server looks at nothing
        stopping = asyncio.run_coroutine_threadsafe(running.server.stop(grace=5), running._loop)
        calls = [stub.GetServerInfo.future(GetServerInfoRequest()) for _ in range(150)]
        for call in calls:
            call.add_done_callback(note)
        sent.set()
        for _ in calls:
            assert ended.acquire(timeout=60)
        stopping.result(60)

    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert grpc.StatusCode.UNAVAILABLE in codes


def test_messages_of_a_stream_that_has_begun_pass() -> None:
    async def refuse() -> None:
        draining = Draining()
        await draining.begin()
        draining.check(Call("IngestFeedback", None, place=Places("calls", 1)))  # type: ignore[arg-type]
        assert draining.refused == 0

    asyncio.run(refuse())


def test_a_call_that_outlasts_the_grace_may_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The call is ended 0.4 s after the stop, and its status has the rest of the grace to arrive, on any machine.
    monkeypatch.setattr(draining, "_ENDING_SECONDS", 29.6)
    monkeypatch.setattr(draining, "_ENDING_SHARE", 1.0)
    path = tmp_path / "plaudit.db"
    with plaudit_server.testing.server(path) as running, grpc.insecure_channel(running.target) as channel:
        stub: Any = FeedbackServiceStub(channel)
        with closing(apsw.Connection(str(path))) as other:
            other.execute("BEGIN IMMEDIATE")
            record = Feedback(ref="weave:///acme/chat/call/1", feedback_type="t")
            create = stub.CreateFeedback.future(CreateFeedbackRequest(project="acme/chat", feedback=record))
            while not running.server._writer.pending_commands:
                time.sleep(0.01)
            stopping = asyncio.run_coroutine_threadsafe(running.server.stop(grace=30), running._loop)
            ended = refusal(create.result)
            other.execute("ROLLBACK")
        stopping.result(60)

    assert (ended.code, ended.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STOPPING")
    assert ended.retry_seconds == RETRY_SECONDS


class _LeavingContext:
    """The context of a call whose client leaves as soon as something is sent to it."""

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def set_trailing_metadata(self, _: object) -> None:
        pass

    async def write(self, *_: object) -> None:
        raise grpc.aio.InternalError("Failed grpc_call_start_batch")

    abort = write


@pytest.mark.parametrize("fails", [False, True])
def test_a_client_that_leaves_while_its_answer_is_sent_is_no_failure(
    fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ends: list[grpc.StatusCode] = []
    rpc, method = next(both for both in SERVICE.methods() if both[0].method == "StreamFeedback")

    async def answers(*_: object) -> AsyncGenerator[bytes, None]:
        if fails:
            raise Unauthenticated("no")
        yield b""

    handler: Any = Chain(observers=[lambda _, code: ends.append(code)]).handler(rpc, method, answers)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(handler.unary_stream(b"", _LeavingContext()))
    assert ends == [grpc.StatusCode.UNAUTHENTICATED if fails else grpc.StatusCode.CANCELLED]
    assert not caplog.records
