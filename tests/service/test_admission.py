"""Places by kind and principal, and answers that nobody reads: over bare frames where no honest client does that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import plaudit_server.testing
from plaudit.v1 import FeedbackServiceStub, IngestFeedbackRequest, QueryFeedbackRequest, StreamFeedbackRequest
from plaudit_server.config import Config
from plaudit_server.config.sections import Connections, Limits
from plaudit_server.errors import QuotaExceeded
from plaudit_server.rpc.admission import Answers, Places
from plaudit_server.testing import RunningServer
from tests.attacks.frames import Connection, Outcome, block, envelope
from tests.service.status import Refusal

PROJECT = "acme/chat"
QUERY = "/plaudit.v1.FeedbackService/QueryFeedback"
STREAM = "/plaudit.v1.FeedbackService/StreamFeedback"
MIB = 1024 * 1024


@contextmanager
def serving(limits: Limits, connections: Connections | None = None) -> Iterator[RunningServer]:
    config = Config(limits=limits)
    if connections is not None:
        config = replace(config, connections=connections)
    with plaudit_server.testing.server(config=config) as running:
        yield running


def refused(call: Any) -> str:
    """The limit that a call is refused for."""
    with pytest.raises(grpc.RpcError) as caught:
        list(call) if hasattr(call, "__next__") else call()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return str(caught.value.details())


def test_a_principal_holds_a_part_of_the_places_and_others_the_rest() -> None:
    places = Places("in_flight_calls", 40, share=0.5)
    for _ in range(20):
        places.enter(0.0)
        places.own("greedy", 0.0)
    places.enter(0.0)
    with pytest.raises(QuotaExceeded):
        places.own("greedy", 0.0)
    places.leave()
    places.enter(0.0)
    places.own("other", 0.0)
    assert places.held == {"greedy": 20, "other": 1}
    for _ in range(20):
        places.leave()
        places.disown("greedy")
    assert (places.running, places.held) == (1, {"other": 1})


def test_of_few_places_a_principal_may_have_all() -> None:
    assert Places("q", 2, share=0.5).most == 2
    assert Places("q", 1024, share=0.25).most == 256


def test_answers_that_wait_are_bounded_for_each_principal_and_one_always_goes() -> None:
    answers = Answers(10 * MIB, 0.5)
    answers.check("a", 6 * MIB)
    answers.take("a", 6 * MIB)
    assert not answers.has_room("a", 1)
    assert answers.has_room("b", 9 * MIB), "the first answer of a principal always goes"
    answers.release("a", 6 * MIB)
    answers.take("a", 2 * MIB)  # which the transport copies
    assert answers.has_room("a", MIB // 2)
    assert (answers.waiting, answers.has_room("a", MIB)) == (4 * MIB, False)


def test_health_watches_and_reflection_have_places_of_their_own_and_a_check_is_always_answered() -> None:
    limits = Limits(in_flight_health_watches=2, in_flight_reflection=1)
    with serving(limits) as running, grpc.insecure_channel(running.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        assert [next(watch).status for watch in watches] == [1, 1]
        assert "in_flight_health_watches" in refused(health.Watch(health_pb2.HealthCheckRequest()))
        with pytest.raises(grpc.RpcError) as caught:
            next(health.Watch(health_pb2.HealthCheckRequest()))
        assert Refusal(caught.value).retry_seconds
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo

        def ask() -> Iterator[reflection_pb2.ServerReflectionRequest]:
            yield reflection_pb2.ServerReflectionRequest(list_services="")
            time.sleep(0.5)

        first = reflect(ask())
        assert next(first).list_services_response.service
        assert "in_flight_reflection" in refused(reflect(ask()))
        assert health.Check(health_pb2.HealthCheckRequest()).status == 1
        assert running.client().ref("urn:x").add("t")
        watches[0].cancel()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            again = health.Watch(health_pb2.HealthCheckRequest())
            try:
                assert next(again).status == 1
                break
            except grpc.RpcError:
                time.sleep(0.05)
        else:
            pytest.fail("the place was not given back")


def fill(running: RunningServer, rows: int) -> None:
    client = running.client(PROJECT)
    records = [{"ref": "urn:x", "feedback_type": "t", "payload": {"x": "x" * 500_000}} for _ in range(rows)]
    client.create_batch(records)


def test_pages_that_nobody_reads_are_counted_refused_and_let_go_when_their_client_leaves() -> None:
    with serving(Limits(answer_bytes=8 * MIB)) as running:
        fill(running, 8)

        async def attack() -> list[Outcome]:
            connection = await Connection.to(running.target, reads=False)
            ended: list[Outcome] = []
            request = QueryFeedbackRequest(project=PROJECT).SerializeToString()
            for _ in range(20):
                connection.call(block(QUERY), envelope(request), ended.append)
            async with asyncio.timeout(20):
                while len(ended) < 18:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            waiting = running.server._admission.answers.waiting
            assert 0 < waiting <= 8 * MIB
            connection.close()
            await connection.closed
            return ended

        outcomes = asyncio.run(attack())
        assert {outcome.reason for outcome in outcomes if outcome.code == 8} == {"QUOTA_EXCEEDED"}
        deadline = time.monotonic() + 10
        while running.server._admission.answers.waiting and time.monotonic() < deadline:
            time.sleep(0.02)
        assert running.server._admission.answers.waiting == 0
        assert len(list(running.client(PROJECT).get_feedback())) == 8


def test_a_stream_of_answers_that_nobody_reads_is_ended() -> None:
    with serving(Limits(), Connections(stream_stall_seconds=0.5)) as running:
        fill(running, 8)

        streams = running.server._admission.read_streams

        async def attack() -> list[int]:
            connection = await Connection.to(running.target, reads=False)
            request = StreamFeedbackRequest(project=PROJECT).SerializeToString()
            connection.call(block(STREAM), envelope(request), lambda _: None)
            running_then = []
            async with asyncio.timeout(20):
                for expected in (1, 0):  # begun, and ended although its client still is there
                    while streams.running != expected:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                    running_then.append(streams.running)
                # Its place is free a moment before it is counted, by another thread than this one.
                while not running.server.metrics.refusals["stream_stall_seconds"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            connection.close()
            await connection.closed
            return running_then

        assert asyncio.run(attack()) == [1, 0]
        assert running.server._admission.answers.waiting == 0
        assert running.server.metrics.refusals["stream_stall_seconds"] == 1


def silence() -> Iterator[IngestFeedbackRequest]:
    time.sleep(5)
    yield from ()


def test_a_stream_of_requests_that_says_nothing_is_ended_and_the_client_goes_on() -> None:
    with serving(Limits(), Connections(ingest_idle_seconds=0.3)) as running:
        with grpc.insecure_channel(running.target) as channel:
            assert list(FeedbackServiceStub(channel).IngestFeedback(silence(), timeout=10)) == []

        def slow() -> Iterator[dict[str, Any]]:
            for number in range(3):
                time.sleep(0.6)
                yield {"ref": "urn:x", "feedback_type": "t", "payload": {"n": number}}

        report = running.client(PROJECT).ingest(slow())
        assert report.stored == 3
