"""ListRefs over the wire: what is lacking, beginnings, orders, pages of one ref, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

import plaudit_server.testing
from plaudit import Query, field
from plaudit.v1 import FeedbackServiceStub, ListRefsRequest, RefOrder
from tests.service.status import refusal

PROJECT = "acme/refs"
COUNT, LAST = RefOrder.REF_ORDER_COUNT, RefOrder.REF_ORDER_LAST_CHANGE


@pytest.fixture(scope="module")
def stub() -> Iterator[FeedbackServiceStub]:
    with plaudit_server.testing.server() as running, grpc.insecure_channel(running.target) as channel:
        client = running.client(PROJECT)
        for ref, type in (("urn:b", "answer"), ("urn:a", "answer"), ("urn:b", "judgement"), ("other:c", "answer")):
            client.create({"ref": ref, "feedback_type": type})
        yield FeedbackServiceStub(channel)


def listed(stub: FeedbackServiceStub, **asked: Any) -> list[str]:
    """The refs, a page for each."""
    request = ListRefsRequest(project=PROJECT, page_size=1, **asked)
    refs = []
    while True:
        response = stub.ListRefs(request)
        refs += [each.ref.uri for each in response.refs]
        if not response.next_page_token:
            return refs
        request.page_token = response.next_page_token


def test_refs_that_lack_something_in_every_order(stub: FeedbackServiceStub) -> None:
    judged = Query(field("feedback_type") == "judgement").to_proto()

    assert listed(stub) == ["other:c", "urn:a", "urn:b"]
    assert listed(stub, order=COUNT) == ["urn:b", "other:c", "urn:a"]
    assert listed(stub, order=LAST) == ["other:c", "urn:b", "urn:a"]
    assert listed(stub, without=judged) == ["other:c", "urn:a"]
    assert listed(stub, without=judged, ref_prefix="urn:", order=COUNT) == ["urn:a"]
    assert listed(stub, ref_prefix="nothing") == []


@pytest.mark.parametrize(
    ("asked", "at", "reason"),
    [
        ({"order": 9}, "order", "INVALID_FIELD"),
        ({"ref_prefix": "x" * 2049}, "ref_prefix", "INVALID_FIELD"),
        ({"ref_prefix": "\0"}, "ref_prefix", "INVALID_FIELD"),
        (
            {"without": Query(field("nope") == 1).to_proto()},
            "without.expr.comparison.left.field",
            "INVALID_QUERY",
        ),
    ],
)
def test_what_is_refused(stub: FeedbackServiceStub, asked: dict[str, Any], at: str, reason: str) -> None:
    refused = refusal(lambda: stub.ListRefs(ListRefsRequest(project=PROJECT, **asked)))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert list(refused.violations) == [at]


def test_a_token_is_of_one_order(stub: FeedbackServiceStub) -> None:
    token = stub.ListRefs(ListRefsRequest(project=PROJECT, page_size=1)).next_page_token

    other = ListRefsRequest(project=PROJECT, page_size=1, page_token=token, order=COUNT)
    assert refusal(lambda: stub.ListRefs(other)).reason == "INVALID_PAGE_TOKEN"
