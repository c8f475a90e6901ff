"""What is checked in an attacked server: its memory, its health, its log, and that everything stored can be read."""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from plaudit.v1 import (
    CountFeedbackRequest,
    Feedback,
    FeedbackServiceStub,
    GetFeedbackRequest,
    ListFeedbackVersionsRequest,
    QueryFeedbackRequest,
    StreamFeedbackRequest,
    WatchFeedbackRequest,
)
from tests.service.process import ServerProcess


def _memory(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"{name}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def mebibytes(pid: int) -> float:
    """The memory of a process."""
    return _memory(pid, "VmRSS")


def peak_mebibytes(pid: int) -> float:
    """The most that a process had in memory since it began."""
    return _memory(pid, "VmHWM")


def assert_well(server: ServerProcess) -> None:
    """The process runs, reports SERVING, and has logged no defect."""
    assert server.process.poll() is None
    with grpc.insecure_channel(server.target) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert "Traceback" not in "".join(server.log)


def projects(store: Path) -> list[str]:
    """The projects in a store."""
    return [project for (project,) in apsw.Connection(str(store)).execute("select project from project order by 1")]


def read_back(target: str, project: str) -> int:
    """Read a project's records in every way that exists; all must give the same. Returns their number."""
    with grpc.insecure_channel(target) as channel:
        stub = FeedbackServiceStub(channel)
        queried: dict[str, Feedback] = {}
        request = QueryFeedbackRequest(project=project)
        while True:
            page = stub.QueryFeedback(request, timeout=60)
            queried.update((record.id, record) for record in page.feedback)
            request.page_token = page.next_page_token
            if not request.page_token:
                break
        streamed: dict[str, Feedback] = {}
        for response in stub.StreamFeedback(StreamFeedbackRequest(project=project), timeout=60):
            streamed.update((record.id, record) for record in response.feedback)
        assert streamed == queried
        assert stub.CountFeedback(CountFeedbackRequest(project=project), timeout=60).count == len(queried)
        _assert_watch_shows(stub, project, queried)
        for id, record in queried.items():
            assert stub.GetFeedback(GetFeedbackRequest(project=project, id=id), timeout=60).feedback == record
            versions = stub.ListFeedbackVersions(ListFeedbackVersionsRequest(project=project, id=id), timeout=60)
            assert record in versions.versions
    return len(queried)


def _assert_watch_shows(stub: FeedbackServiceStub, project: str, queried: dict[str, Feedback]) -> None:
    watched: dict[str, Feedback] = {}
    stream = stub.WatchFeedback(WatchFeedbackRequest(project=project, after_revision=0), timeout=60)
    revision = max((record.revision for record in queried.values()), default=0)
    for response in stream:
        for change in response.changes:
            if change.HasField("feedback"):
                watched[change.feedback.id] = change.feedback
            else:
                watched.pop(change.tombstone.id, None)
        if response.revision >= revision:
            break
    stream.cancel()
    assert watched == queried
