"""Bad input gets its status and its reason, costs nothing, and the server answers the next call as before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from plaudit._contract import limits
from plaudit.v1 import (
    BatchCreateFeedbackRequest,
    Comparison,
    ComparisonOp,
    CountFeedbackRequest,
    CreateFeedbackRequest,
    Expression,
    Feedback,
    FeedbackServiceStub,
    GetFeedbackRequest,
    Literal,
    PurgeFeedbackRequest,
    Query,
    QueryFeedbackRequest,
)

from .status import refusal

PROJECT = "acme/bad-input"
REF = "weave:///acme/bad-input/call/1"
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def create(**fields: object) -> CreateFeedbackRequest:
    given = {"ref": REF, "feedback_type": "custom", "payload_json": "{}", **fields}
    return CreateFeedbackRequest(project=PROJECT, feedback=Feedback(**given))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def serves_the_next_call_and_keeps_nothing(stub: FeedbackServiceStub) -> Iterator[None]:
    before = stub.CountFeedback(CountFeedbackRequest(project=PROJECT)).count
    yield
    assert stub.CountFeedback(CountFeedbackRequest(project=PROJECT)).count == before
    stub.CreateFeedback(create())
    assert stub.CountFeedback(CountFeedbackRequest(project=PROJECT)).count == before + 1


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        pytest.param({"ref": "call/1"}, "feedback.ref", id="a ref without a scheme"),
        pytest.param({"ref": "weave:///acme/chat/bogus/1"}, "feedback.ref", id="a ref of no kind"),
        pytest.param({"ref": ""}, "feedback.ref", id="no ref"),
        pytest.param({"ref": "urn:" + "x" * limits.REF_BYTES}, "feedback.ref", id="a ref too long"),
        pytest.param({"payload_json": "[1, 2]"}, "feedback.payload", id="a payload that is an array"),
        pytest.param({"payload_json": "1"}, "feedback.payload", id="a payload that is a number"),
        pytest.param({"payload_json": "{"}, "feedback.payload", id="a payload that is no JSON"),
        pytest.param({"payload_json": '{"a": NaN}'}, "feedback.payload.a", id="NaN"),
        pytest.param({"payload_json": '{"a": -Infinity}'}, "feedback.payload.a", id="Infinity"),
        pytest.param({"payload_json": '{"a": 9223372036854775808}'}, "feedback.payload.a", id="65 bits"),
        pytest.param({"payload_json": '{"a": 1e400}'}, "feedback.payload.a", id="beyond a double"),
        pytest.param({"payload_json": nested(33)}, "feedback.payload", id="33 levels"),
        pytest.param({"payload_json": nested(200_000)}, "feedback.payload", id="200,000 levels"),
        pytest.param(
            {"payload_json": json.dumps({"a": "x" * (limits.PAYLOAD_BYTES - 8)})},
            "feedback.payload",
            id="1 MiB and one byte",
        ),
        pytest.param({"payload_json": '{"a": 1, "a": 2}'}, "feedback.payload", id="a key twice"),
        pytest.param({"payload_json": '{"a": "\\u0000"}'}, "feedback.payload.a", id="a NUL"),
        pytest.param({"payload_json": '{"a": "\\ud800"}'}, "feedback.payload.a", id="half a surrogate pair"),
        pytest.param({"feedback_type": ""}, "feedback.feedback_type", id="no type"),
        pytest.param({"feedback_type": "a\nb"}, "feedback.feedback_type", id="a control character"),
        pytest.param({"id": "f1"}, "feedback.id", id="an id that is no UUID"),
        pytest.param({"project": "acme/other"}, "feedback.project", id="a record of another project"),
    ],
)
def test_a_bad_field_is_named(stub: FeedbackServiceStub, fields: dict[str, object], field: str) -> None:
    refused = refusal(lambda: stub.CreateFeedback(create(**fields)))
    assert (refused.code, refused.reason) == (INVALID, "INVALID_FIELD")
    assert any(name.startswith(field) for name in refused.violations), refused.violations
    assert refused.metadata["violation_count"] == str(len(refused.violations))


@pytest.mark.parametrize("project", ["acme", "", "/chat", "acme/", "a/b/c", "x" * 129 + "/chat", "acme/ch\0at"])
def test_a_bad_project_is_named(stub: FeedbackServiceStub, project: str) -> None:
    request = create()
    request.project = project
    refused = refusal(lambda: stub.CreateFeedback(request))
    assert (refused.code, refused.reason) == (INVALID, "INVALID_FIELD")
    assert "project" in refused.violations


def test_a_payload_of_one_mebibyte_is_stored(stub: FeedbackServiceStub) -> None:
    payload = json.dumps({"a": "x" * (limits.PAYLOAD_BYTES - 9)})
    assert len(payload) == limits.PAYLOAD_BYTES
    request = create(payload_json=payload)
    request.project = request.feedback.ref = "acme/large"
    request.feedback.ref = "weave:///acme/large/call/1"
    assert stub.CreateFeedback(request).feedback.payload_json == payload


def test_all_violations_are_reported_at_once(stub: FeedbackServiceStub) -> None:
    refused = refusal(lambda: stub.CreateFeedback(create(ref="x", feedback_type="", payload_json='{"a": NaN}')))
    assert set(refused.violations) >= {"feedback.ref", "feedback.feedback_type", "feedback.payload.a"}


def equals(field: str, value: str = "x") -> Query:
    sides = {"left": Expression(field=field), "right": Expression(literal=Literal(string_value=value))}
    return Query(expr=Expression(comparison=Comparison(op=ComparisonOp.COMPARISON_OP_EQ, **sides)))


@pytest.mark.parametrize("query", [equals("outputs.text"), Query(), Query(expr=Expression(comparison=Comparison()))])
def test_a_bad_query_is_refused(stub: FeedbackServiceStub, query: Query) -> None:
    refused = refusal(lambda: stub.QueryFeedback(QueryFeedbackRequest(project=PROJECT, query=query)))
    assert (refused.code, refused.reason) == (INVALID, "INVALID_QUERY")
    assert all(name.startswith("query") for name in refused.violations)


def test_an_unknown_field_says_so(stub: FeedbackServiceStub) -> None:
    request = QueryFeedbackRequest(project=PROJECT, query=equals("outputs.text"))
    assert "unknown field" in refusal(lambda: stub.QueryFeedback(request)).message


@pytest.mark.parametrize(
    "arguments", [{"page_size": -1}, {"offset": -1}, {"limit": -1}], ids=lambda arguments: str(*arguments)
)
def test_a_negative_number_is_refused(stub: FeedbackServiceStub, arguments: dict[str, int]) -> None:
    request = QueryFeedbackRequest(project=PROJECT, **arguments)  # type: ignore[arg-type]
    refused = refusal(lambda: stub.QueryFeedback(request))
    assert (refused.code, set(refused.violations)) == (INVALID, set(arguments))


def test_a_token_of_another_query_is_refused(stub: FeedbackServiceStub) -> None:
    stub.BatchCreateFeedback(
        BatchCreateFeedbackRequest(
            project="acme/tokens", feedback=[Feedback(ref=REF, feedback_type="t") for _ in range(3)]
        )
    )
    page = stub.QueryFeedback(QueryFeedbackRequest(project="acme/tokens", page_size=1))
    token = page.next_page_token
    assert token
    for request in (
        QueryFeedbackRequest(project="acme/tokens", page_token=token, query=equals("ref")),
        QueryFeedbackRequest(project="acme/tokens", page_token=token, limit=5),
        QueryFeedbackRequest(project=PROJECT, page_token=token),
        QueryFeedbackRequest(project="acme/tokens", page_token=token[:-2]),
        QueryFeedbackRequest(project="acme/tokens", page_token=token + "!"),
        QueryFeedbackRequest(project="acme/tokens", page_token="nonsense"),
        QueryFeedbackRequest(project="acme/tokens", page_token="ä"),
    ):
        refused = refusal(lambda request=request: stub.QueryFeedback(request))  # type: ignore[misc]
        assert (refused.code, refused.reason) == (INVALID, "INVALID_PAGE_TOKEN")
    assert stub.QueryFeedback(QueryFeedbackRequest(project="acme/tokens", page_token=token, page_size=2)).feedback


def test_bytes_that_are_no_message(channel: grpc.Channel) -> None:
    call: Any = channel.unary_unary("/plaudit.v1.FeedbackService/CreateFeedback")
    refused = refusal(lambda: call(b"\xff\xff\xff"))
    assert (refused.code, refused.reason) == (INVALID, "MALFORMED_MESSAGE")


def test_a_message_of_5_mb(stub: FeedbackServiceStub) -> None:
    refused = refusal(lambda: stub.CreateFeedback(create(payload_json="x" * 5_000_000)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")
    assert refused.retry_seconds is None
    assert refused.metadata["limit"] == str(limits.REQUEST_BYTES)


def test_a_message_of_9_mb_gets_the_bare_status_of_grpc(stub: FeedbackServiceStub) -> None:
    refused = refusal(lambda: stub.CreateFeedback(create(payload_json="x" * 9_000_000)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "")


def test_an_unknown_method_gets_the_bare_status_of_grpc(channel: grpc.Channel) -> None:
    call: Any = channel.unary_unary("/plaudit.v1.FeedbackService/Nonsense")
    refused = refusal(lambda: call(b""))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNIMPLEMENTED, "")


def test_a_batch_of_a_thousand_bad_items(stub: FeedbackServiceStub) -> None:
    items = [Feedback(ref="☃" * 200, feedback_type="") for _ in range(limits.BATCH_ITEMS)]
    request = BatchCreateFeedbackRequest(project=PROJECT, feedback=items)
    refused = refusal(lambda: stub.BatchCreateFeedback(request))
    assert (refused.code, refused.reason) == (INVALID, "INVALID_FIELD")
    assert int(refused.metadata["violation_count"]) >= 2 * limits.BATCH_ITEMS
    assert "feedback[0].ref" in refused.violations
    assert refused.details_bytes < 4096


def test_a_partial_batch_of_a_thousand_bad_items(stub: FeedbackServiceStub) -> None:
    items = [Feedback(ref="☃" * 200, feedback_type="") for _ in range(limits.BATCH_ITEMS)]
    request = BatchCreateFeedbackRequest(project=PROJECT, feedback=items, partial=True)
    response = stub.BatchCreateFeedback(request)
    assert [result.status.code for result in response.results] == [INVALID.value[0]] * limits.BATCH_ITEMS
    assert response.ByteSize() < limits.RESPONSE_BYTES


@pytest.mark.parametrize("count", [0, limits.BATCH_ITEMS + 1])
def test_a_batch_of_a_wrong_size(stub: FeedbackServiceStub, count: int) -> None:
    request = BatchCreateFeedbackRequest(project=PROJECT, feedback=[create().feedback] * count)
    refused = refusal(lambda: stub.BatchCreateFeedback(request))
    assert (refused.code, set(refused.violations)) == (INVALID, {"feedback"})


def test_one_bad_item_stores_nothing_of_an_atomic_batch(stub: FeedbackServiceStub) -> None:
    items = [create().feedback, Feedback(ref=REF, feedback_type="")]
    refused = refusal(lambda: stub.BatchCreateFeedback(BatchCreateFeedbackRequest(project=PROJECT, feedback=items)))
    assert set(refused.violations) == {"feedback[1].feedback_type"}


def test_a_purge_needs_exactly_one_of_ids_and_query(stub: FeedbackServiceStub) -> None:
    for request in (
        PurgeFeedbackRequest(project=PROJECT),
        PurgeFeedbackRequest(project=PROJECT, ids=["x"], query=equals("id")),
    ):
        refused = refusal(lambda request=request: stub.PurgeFeedback(request))  # type: ignore[misc]
        assert (refused.code, refused.reason) == (INVALID, "INVALID_FIELD")


def test_an_id_that_is_not_there(stub: FeedbackServiceStub) -> None:
    for id in ("0192f0c1-2345-7678-9abc-def012345678", "zzz"):
        request = GetFeedbackRequest(project=PROJECT, id=id)
        refused = refusal(lambda request=request: stub.GetFeedback(request))  # type: ignore[misc]
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "FEEDBACK_NOT_FOUND")
        assert refused.metadata == {"project": PROJECT, "id": id}
