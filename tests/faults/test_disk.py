"""A disk that fails, fills up or refuses writes: no acknowledged write is lost, and none appears that was not sent."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import plaudit_server.testing
from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import (
    BatchCreateFeedbackRequest,
    CreateFeedbackRequest,
    Feedback,
    FeedbackServiceStub,
    PurgeFeedbackRequest,
    QueryFeedbackRequest,
    ReplaceFeedbackRequest,
)
from plaudit_server.ops.health import LIVENESS
from tests.faults.disk import Disk, faulty_disk
from tests.service.process import ServerProcess
from tests.service.status import Refusal

PROJECT = "acme/disk"
OPERATIONS = 50
# Every operation of the disk in the campaign, a spread of them in each `make test`.
EVERY = int(os.environ.get("PLAUDIT_TEST_DISK_EVERY", "60"))


@pytest.fixture
def disk() -> Iterator[Disk]:
    with faulty_disk() as disk:
        yield disk


class Script:
    """Fifty writes, one after another, and a ledger of what was acknowledged."""

    def __init__(self, target: str) -> None:
        self.channel = grpc.insecure_channel(target)
        self.stub = FeedbackServiceStub(self.channel)
        self.content: dict[str, str] = {}
        self.unclear: dict[str, set[str | None]] = {}
        self.refused: list[Refusal] = []

    def run(self, operations: int = OPERATIONS) -> None:
        for number in range(operations):
            own = [id for id in self.content if id not in self.unclear]
            if number % 10 == 9 and own:
                self.attempt(PurgeFeedbackRequest(project=PROJECT, ids=[own[0]]), {own[0]: None})
            elif number % 5 == 4 and own:
                new = feedback(own[-1], number)
                self.attempt(ReplaceFeedbackRequest(project=PROJECT, feedback=new), {new.id: new.payload_json})
            elif number % 7 == 6:
                items = [feedback(uuid7(), number) for _ in range(10)]
                batch = BatchCreateFeedbackRequest(project=PROJECT, feedback=items)
                self.attempt(batch, {item.id: item.payload_json for item in items})
            else:
                new = feedback(uuid7(), number)
                self.attempt(CreateFeedbackRequest(project=PROJECT, feedback=new), {new.id: new.payload_json})

    def attempt(self, request: object, contents: dict[str, str | None]) -> None:
        name = type(request).__name__.removesuffix("Request")
        try:
            getattr(self.stub, name)(request, timeout=30)
        except grpc.RpcError as error:
            self.refused.append(Refusal(error))
            for id, content in contents.items():
                self.unclear.setdefault(id, set()).add(content)
            return
        for id, content in contents.items():
            if content is None:
                del self.content[id]
            else:
                self.content[id] = content

    def check(self, target: str) -> None:
        """What is stored is what was acknowledged, except for writes that were answered with an error."""
        with grpc.insecure_channel(target) as channel:
            page = FeedbackServiceStub(channel).QueryFeedback(QueryFeedbackRequest(project=PROJECT), timeout=30)
        stored = {row.id: row.payload_json for row in page.feedback}
        assert len(stored) == len(page.feedback)
        assert stored.keys() <= self.content.keys() | self.unclear.keys()
        for id in self.content.keys() | self.unclear.keys():
            possible: set[str | None] = {self.content.get(id), *self.unclear.get(id, ())}
            assert stored.get(id) in possible, f"{id} is lost, or another than was told"


def feedback(id: str, number: int) -> Feedback:
    payload = json.dumps({"n": number, "text": "x" * 300})
    return Feedback(id=id, ref=f"weave:///{PROJECT}/call/1", feedback_type="disk", payload_json=payload)


def health_of(channel: grpc.Channel, service: str = "") -> int:
    return int(health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service)).status)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def operations_of_the_script(store: Path, disk: Disk) -> int:
    with plaudit_server.testing.server(store) as running:
        disk.reset()
        script = Script(running.target)
        script.run()
        assert not script.refused
        return disk.operations


@pytest.mark.timeout(900)
def test_the_nth_write_or_fsync_fails(tmp_path: Path, disk: Disk) -> None:
    total = operations_of_the_script(tmp_path / "whole.db", disk)
    assert total > OPERATIONS
    felt = 0
    for n in range(1, total + 1, EVERY):
        store = tmp_path / f"{n}.db"
        with plaudit_server.testing.server(store) as running:
            disk.reset(fail_at=n)
            script = Script(running.target)
            script.run()
            disk.reset()
            assert {refused.code for refused in script.refused} <= {grpc.StatusCode.UNAVAILABLE}
            assert len(script.refused) <= 2
            felt += len(script.refused)
            script.check(running.target)
        with plaudit_server.testing.server(store) as restarted:
            script.check(restarted.target)
        connection = apsw.Connection(str(store))
        assert connection.pragma("integrity_check") == "ok"
        connection.close()
    assert felt > 0


@pytest.mark.parametrize("error", [apsw.IOError, apsw.FullError, apsw.ReadOnlyError])
def test_health_follows_a_disk_that_takes_no_writes(tmp_path: Path, disk: Disk, error: type[apsw.Error]) -> None:
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    with plaudit_server.testing.server(tmp_path / "plaudit.db") as running:
        script = Script(running.target)
        script.run(5)
        assert health_of(script.channel) == serving
        disk.error, disk.fail_always = error, True
        script.run(5)
        assert {(r.code, r.reason) for r in script.refused} == {(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")}
        assert "as told" not in "".join(r.message for r in script.refused)
        until(lambda: health_of(script.channel) == not_serving)
        assert health_of(script.channel, LIVENESS) == serving
        script.check(running.target)  # reading goes on
        disk.fail_always = False
        until(lambda: health_of(script.channel) == serving)
        before = len(script.refused)
        script.run(5)
        assert len(script.refused) == before
        script.check(running.target)


def test_a_full_disk(tmp_path: Path) -> None:
    """A real limit of the operating system on the size of a file, in place of a disk without room."""
    store = tmp_path / "plaudit.db"
    limit = 400 * 1024
    code = (
        "import resource, signal, sys;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY));"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from plaudit_server.__main__ import main; sys.exit(main())"
    )
    process = ServerProcess(store, command=(sys.executable, "-c", code))
    script = Script(process.target)
    while len(script.refused) < 5:
        script.run(10)
        assert len(script.content) < 5000, "the disk never filled up"
    assert {(r.code, r.reason) for r in script.refused} == {(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")}
    until(lambda: health_of(script.channel) == health_pb2.HealthCheckResponse.NOT_SERVING)
    script.check(process.target)
    process.stop()
    roomy = ServerProcess(store)
    script.check(roomy.target)
    again = Script(roomy.target)
    again.run(10)
    assert not again.refused
    assert roomy.stop() == 0
