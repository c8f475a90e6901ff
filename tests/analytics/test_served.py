"""The worked cases of analytics through a real server on SQLite, and what only a server has: pages and statuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

import plaudit
import plaudit_server.testing
from plaudit.v1 import (
    AggregateFeedbackRequest,
    AggregateOrder,
    AnalyticsServiceStub,
    Expression,
    Grouping,
    SummarizeRefsRequest,
)
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


def test_pages_of_groups_are_cut_by_the_engine(channel: grpc.Channel) -> None:
    project = "acme/paged"
    client = plaudit.Client(project, channel=channel)
    for number in range(7):
        for _ in range(1 + number % 3):
            client.create({"ref": f"urn:{number}", "feedback_type": "note", "payload": {"n": number}})
    groups = client.get_feedback().group_by("ref").agg(n=plaudit.field("payload.n").percentile(50)).sort("-row_count")
    expected = [("urn:2", 3, 2.0), ("urn:5", 3, 5.0), ("urn:1", 2, 1.0), ("urn:4", 2, 4.0)]

    request = AggregateFeedbackRequest(
        project=project,
        group_by=[Grouping(value=Expression(field="ref"))],
        order_by=[AggregateOrder(name="row_count", descending=True)],
        having=plaudit.Query(plaudit.field("row_count") > 1).to_proto(),
        page_size=3,
        limit=4,
        include_group_count=True,
    )
    stub = AnalyticsServiceStub(channel)
    first = stub.AggregateFeedback(request)
    request.page_token = first.next_page_token
    second = stub.AggregateFeedback(request)

    assert [(row["ref"], row.row_count, row["n"]) for row in groups][:4] == expected
    keys = [group.keys[0].string_value for page in (first, second) for group in page.groups]
    assert keys == [ref for ref, _, _ in expected]
    assert (first.group_count, second.group_count, second.next_page_token) == (4, 4, "")
