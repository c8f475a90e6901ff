"""Older and newer clients: old bytes keep their meaning, and unknown fields and values cause no failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.unknown_fields import UnknownFieldSet

from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import (
    Comparison,
    Convert,
    CreateFeedbackRequest,
    Expression,
    Feedback,
    FeedbackServiceStub,
    GetFeedbackRequest,
    Literal,
    Query,
    QueryFeedbackRequest,
    feedback_service_pb2,
)

from .status import refusal

# Written by version 0.1.0, once: `X.binpb` and what it means, `X.json`. Never written again; a release may add more.
WIRE = Path(__file__).with_name("wire")
PROJECT = "acme/wire"
REF = "weave:///acme/wire/call/1"
# Field 1000, a text: what a newer client might send.
NEWER_FIELD = b"\xc2\x3e\x05newer"
NEWER_ENUM = 99


@pytest.mark.parametrize("kept", sorted(WIRE.glob("*.binpb")), ids=lambda path: path.stem)
def test_kept_bytes_mean_what_they_meant(kept: Path) -> None:
    message: Any = getattr(feedback_service_pb2, kept.stem).FromString(kept.read_bytes())

    assert json_format.MessageToDict(message) == json.loads(kept.with_suffix(".json").read_text("utf-8"))
    assert message.SerializeToString(deterministic=True) == kept.read_bytes()


def call(channel: grpc.Channel, method: str, request: bytes) -> bytes:
    """A call with raw bytes, which may contain what the stubs could not write."""
    multicallable: Any = channel.unary_unary(f"/plaudit.v1.FeedbackService/{method}")
    return bytes(multicallable(request, timeout=10))


def test_requests_of_the_first_release_are_answered(channel: grpc.Channel) -> None:
    created = call(channel, "CreateFeedback", (WIRE / "CreateFeedbackRequest.binpb").read_bytes())
    feedback = feedback_service_pb2.CreateFeedbackResponse.FromString(created).feedback
    assert (feedback.payload_json, feedback.version) == ('{"output": 9007199254740993}', 1)
    queried = call(channel, "QueryFeedback", (WIRE / "QueryFeedbackRequest.binpb").read_bytes())
    page = feedback_service_pb2.QueryFeedbackResponse.FromString(queried)
    assert (list(page.feedback), page.HasField("total_count")) == ([], True)


def test_fields_of_a_newer_client_are_ignored_and_not_stored(channel: grpc.Channel, stub: FeedbackServiceStub) -> None:
    record = Feedback(id=uuid7(), ref=REF, feedback_type="t").SerializeToString() + NEWER_FIELD
    request = CreateFeedbackRequest(project=PROJECT, feedback=Feedback.FromString(record)).SerializeToString()
    assert NEWER_FIELD in request
    created = call(channel, "CreateFeedback", request + NEWER_FIELD)
    assert b"newer" not in created
    id = feedback_service_pb2.CreateFeedbackResponse.FromString(created).feedback.id
    read = stub.GetFeedback(GetFeedbackRequest(project=PROJECT, id=id))
    assert len(UnknownFieldSet(read.feedback)) == 0


def test_a_newer_number_of_a_status_is_refused_by_its_field(stub: FeedbackServiceStub) -> None:
    record = Feedback(id=uuid7(), ref=REF, feedback_type="t", span_status_code=NEWER_ENUM)  # type: ignore[arg-type]
    refused = refusal(lambda: stub.CreateFeedback(CreateFeedbackRequest(project=PROJECT, feedback=record)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert set(refused.violations) == {"feedback.span_status_code"}


@pytest.mark.parametrize(
    ("node", "field"),
    [
        pytest.param(
            Expression(
                comparison=Comparison(
                    op=NEWER_ENUM,  # type: ignore[arg-type]
                    left=Expression(field="ref"),
                    right=Expression(literal=Literal(string_value="x")),
                )
            ),
            "query.expr.comparison.op",
            id="a newer operator",
        ),
        pytest.param(
            Expression(convert=Convert(input=Expression(field="ref"), to=NEWER_ENUM)),  # type: ignore[arg-type]
            "query.expr.convert.to",
            id="a newer target",
        ),
        pytest.param(Expression.FromString(NEWER_FIELD), "query.expr", id="a newer kind of node"),
    ],
)
def test_a_newer_part_of_a_query_is_refused_by_its_node(
    stub: FeedbackServiceStub, node: Expression, field: str
) -> None:
    request = QueryFeedbackRequest(project=PROJECT, query=Query(expr=node))
    refused = refusal(lambda: stub.QueryFeedback(request))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_QUERY")
    assert set(refused.violations) == {field}
