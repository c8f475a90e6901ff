"""The worked cases of analytics through a real server on SQLite, and what only a server has: pages and statuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

import plaudit
import plaudit_server.testing
from plaudit.v1 import AnalyticsServiceStub, SummarizeRefsRequest
from plaudit_server.testing import RunningServer
from tests.analytics import cases
from tests.analytics.serving import Served
from tests.service.status import refusal
from tests.shared import as_parameters

AREAS = ("aggregate", "describe", "summarize_refs", "measure_agreement", "set_reaction")


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with plaudit_server.testing.server() as running:
        yield running


@pytest.fixture(scope="module")
def channel(running: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(running.target) as channel:
        yield channel


def check_case(case: dict[str, Any], running: RunningServer, channel: grpc.Channel) -> None:
    served = Served(case, running, channel)
    served.store()
    if "error" in case["expect"]:
        assert refusal(served.ask).code is grpc.StatusCode.INVALID_ARGUMENT
    else:
        assert cases.differences(case["expect"], served.ask()) == []


@pytest.mark.parametrize("case", as_parameters(cases.analytics_cases(*AREAS)))
def test_case(case: dict[str, Any], running: RunningServer, channel: grpc.Channel) -> None:
    check_case(case, running, channel)


def test_the_newest_records_of_refs_end_where_an_answer_is_full(channel: grpc.Channel) -> None:
    project, refs = "acme/newest", [f"weave:///acme/newest/call/{number}" for number in range(8)]
    client = plaudit.Client(project, channel=channel)
    for size in (1, 900_000):
        for ref in refs[:7]:
            client.create({"ref": ref, "feedback_type": "note", "payload": {"text": "x" * size}})

    request = SummarizeRefsRequest(project=project, refs=refs, include_newest=True)
    response = AnalyticsServiceStub(channel).SummarizeRefs(request)

    assert [overview.row_count for overview in response.refs] == [2] * 7 + [0]
    newest = [len(overview.newest.payload_json) > 900_000 for overview in response.refs]
    assert newest == [True] * 4 + [False] * 4
    assert all(overview.newest_id for overview in response.refs[:7])
    assert response.refs[0].newest.id == response.refs[0].newest_id
