"""n is accepted and n + 1 refused, for each limit, on every path for records; GetServerInfo reports each limit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from plaudit._contract import limits
from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import (
    BatchCreateFeedbackRequest,
    Comparison,
    ComparisonOp,
    CountFeedbackRequest,
    CreateFeedbackRequest,
    Expression,
    ExpressionList,
    Feedback,
    FeedbackServiceStub,
    GetFeedbackRequest,
    GetServerInfoRequest,
    ImportFeedbackRequest,
    IngestFeedbackRequest,
    Literal,
    Membership,
    OrderBy,
    PurgeFeedbackRequest,
    Query,
    QueryFeedbackRequest,
    ReplaceFeedbackRequest,
)
from tests.service.status import refusal

PROJECT = "acme/limits"
REF = "weave:///acme/limits/call/1"
OBJECT = "weave:///acme/limits/object/score:d"
SCORED = {"feedback_type": "wandb.runnable.score", "payload_json": '{"output": 1}', "runnable_ref": OBJECT}


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


def payload(size: int) -> str:
    return json.dumps({"a": "x" * (size - 9)})


# Fields of a record that reach a limit, by the limit's name: a function of how much of it there is.
FIELDS: dict[str, Callable[[int], dict[str, Any]]] = {
    "ref_bytes": lambda n: {"ref": "urn:" + "x" * (n - 4)},
    "feedback_type_bytes": lambda n: {"feedback_type": "é" * (n // 2) + "x" * (n % 2)},
    "creator_bytes": lambda n: {"creator": "é" * (n // 2) + "x" * (n % 2)},
    "queue_id_bytes": lambda n: {"queue_id": "x" * n},
    "span_text_bytes": lambda n: {"span_agent_name": "x" * n},
    "payload_bytes": lambda n: {"payload_json": payload(n)},
    "payload_depth": lambda n: {"payload_json": nested(n)},
    "note_characters": lambda n: {
        "feedback_type": "wandb.note.1",
        "payload_json": json.dumps({"note": "é" * n}, ensure_ascii=False),
    },
    "scorer_entries": lambda n: {**SCORED, "scorer_ratings": {f"k{i}": 0.5 for i in range(n)}},
    "scorer_key_bytes": lambda n: {**SCORED, "scorer_ratings": {"k" * n: 0.5}},
    "scorer_tag_bytes": lambda n: {**SCORED, "scorer_tags": ["t" * n]},
    "scorer_reason_characters": lambda n: {**SCORED, "scorer_rating_reasons": {"k": "é" * n}},
}


def limit(name: str) -> int:
    return limits.as_mapping()[name]


def feedback(**fields: Any) -> Feedback:
    return Feedback(**{"id": uuid7(), "ref": REF, "feedback_type": "custom", **fields})


def create(stub: FeedbackServiceStub, item: Feedback) -> None:
    stub.CreateFeedback(CreateFeedbackRequest(project=PROJECT, feedback=item))


def batch(stub: FeedbackServiceStub, item: Feedback) -> None:
    stub.BatchCreateFeedback(BatchCreateFeedbackRequest(project=PROJECT, feedback=[item]))


def replace(stub: FeedbackServiceStub, item: Feedback) -> None:
    create(stub, feedback(id=item.id))
    stub.ReplaceFeedback(ReplaceFeedbackRequest(project=PROJECT, feedback=item))


PATHS = {"create": create, "batch": batch, "replace": replace}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", FIELDS)
def test_a_field_at_its_limit_and_beyond(stub: FeedbackServiceStub, name: str, path: str) -> None:
    PATHS[path](stub, feedback(**FIELDS[name](limit(name))))
    refused = refusal(lambda: PATHS[path](stub, feedback(**FIELDS[name](limit(name) + 1))))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert len(refused.violations) == 1


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_at_its_limit_and_beyond_on_a_stream(stub: FeedbackServiceStub, name: str) -> None:
    items = [feedback(**FIELDS[name](limit(name) + beyond)) for beyond in (0, 1)]
    for item in items:
        item.created_at.FromSeconds(1_700_000_000)
    streams: list[tuple[Any, Any]] = [
        (IngestFeedbackRequest, stub.IngestFeedback),
        (ImportFeedbackRequest, stub.ImportFeedback),
    ]
    for request_type, call in streams:
        for item in items:
            item.id = uuid7()
        answers = list(call(iter([request_type(project=PROJECT, feedback=[item]) for item in items])))
        assert [(a.stored_count, [r.index for r in a.rejected]) for a in answers] == [(1, []), (0, [0])]


@pytest.mark.parametrize("part", ["{}/chat", "acme/{}"])
def test_a_project_part(stub: FeedbackServiceStub, part: str) -> None:
    def count(size: int) -> int:
        return stub.CountFeedback(CountFeedbackRequest(project=part.format("x" * size))).count

    assert count(limits.PROJECT_PART_BYTES) == 0
    assert "project" in refusal(lambda: count(limits.PROJECT_PART_BYTES + 1)).violations


def test_the_size_of_a_request(stub: FeedbackServiceStub) -> None:
    def sized(size: int) -> BatchCreateFeedbackRequest:
        request = BatchCreateFeedbackRequest(project=PROJECT)
        for _ in range(3):
            request.feedback.append(feedback(payload_json=payload(900_000)))
        request.feedback.append(feedback(payload_json=payload(400_000)))
        request.feedback[3].payload_json = payload(400_000 + size - request.ByteSize())
        assert request.ByteSize() == size
        return request

    assert len(stub.BatchCreateFeedback(sized(limits.REQUEST_BYTES)).results) == 4
    refused = refusal(lambda: stub.BatchCreateFeedback(sized(limits.REQUEST_BYTES + 1)))
    assert refused.reason == "MESSAGE_TOO_LARGE"
    assert refused.metadata == {"size": str(limits.REQUEST_BYTES + 1), "limit": str(limits.REQUEST_BYTES)}


def test_the_answer_to_the_largest_request_is_within_its_limit(stub: FeedbackServiceStub) -> None:
    size = (limits.REQUEST_BYTES - 200) // limits.BATCH_ITEMS - 130
    items = [feedback(payload_json=payload(size)) for _ in range(limits.BATCH_ITEMS)]
    request = BatchCreateFeedbackRequest(project=f"{'e' * 128}/{'p' * 128}", feedback=items)
    assert 0.97 * limits.REQUEST_BYTES < request.ByteSize() <= limits.REQUEST_BYTES
    assert stub.BatchCreateFeedback(request).ByteSize() < limits.RESPONSE_BYTES


def test_items_of_a_batch(stub: FeedbackServiceStub) -> None:
    def sized(count: int) -> Any:
        items = [feedback() for _ in range(count)]
        return stub.BatchCreateFeedback(BatchCreateFeedbackRequest(project="acme/batch", feedback=items)).results

    assert len(sized(limits.BATCH_ITEMS)) == limits.BATCH_ITEMS
    assert set(refusal(lambda: sized(limits.BATCH_ITEMS + 1)).violations) == {"feedback"}


def test_ids_of_a_purge(stub: FeedbackServiceStub) -> None:
    def purge(count: int) -> int:
        ids = [str(n) for n in range(count)]
        return stub.PurgeFeedback(PurgeFeedbackRequest(project=PROJECT, ids=ids)).purged_count

    assert purge(limits.PURGE_ROWS) == 0
    assert "ids" in refusal(lambda: purge(limits.PURGE_ROWS + 1)).violations


def test_rows_of_a_purge_by_query(stub: FeedbackServiceStub) -> None:
    project = "acme/purge-limit"
    for _ in range(limits.PURGE_ROWS // limits.BATCH_ITEMS):
        items = [feedback() for _ in range(limits.BATCH_ITEMS)]
        stub.BatchCreateFeedback(BatchCreateFeedbackRequest(project=project, feedback=items))

    def purge(**arguments: Any) -> tuple[int, bool]:
        query = Query(expr=equal(REF))
        answer = stub.PurgeFeedback(PurgeFeedbackRequest(project=project, query=query, **arguments))
        return answer.purged_count, answer.more

    assert purge(dry_run=True) == (limits.PURGE_ROWS, False)
    stub.CreateFeedback(CreateFeedbackRequest(project=project, feedback=feedback()))
    assert purge(dry_run=True) == (limits.PURGE_ROWS, True)
    assert purge() == (limits.PURGE_ROWS, True)
    assert purge() == (1, False)


def test_an_id_to_look_up(stub: FeedbackServiceStub) -> None:
    def get(size: int) -> Any:
        return refusal(lambda: stub.GetFeedback(GetFeedbackRequest(project=PROJECT, id="x" * size))).reason

    assert get(limits.LOOKUP_ID_BYTES) == "FEEDBACK_NOT_FOUND"
    assert get(limits.LOOKUP_ID_BYTES + 1) == "INVALID_FIELD"


def test_rows_of_a_page_are_lowered(stub: FeedbackServiceStub) -> None:
    for _ in range(2):
        items = [feedback() for _ in range(limits.BATCH_ITEMS)]
        stub.BatchCreateFeedback(BatchCreateFeedbackRequest(project="acme/pages", feedback=items))
    for size in (0, limits.PAGE_ROWS, limits.PAGE_ROWS + 1):
        page = stub.QueryFeedback(QueryFeedbackRequest(project="acme/pages", page_size=size))
        assert (len(page.feedback), bool(page.next_page_token)) == (limits.PAGE_ROWS, True)


def test_a_page_of_large_rows_is_cut(stub: FeedbackServiceStub) -> None:
    for _ in range(6):
        item = feedback(payload_json=payload(limits.PAYLOAD_BYTES))
        stub.CreateFeedback(CreateFeedbackRequest(project="acme/large-rows", feedback=item))
    request = QueryFeedbackRequest(project="acme/large-rows")
    seen = 0
    while True:
        page = stub.QueryFeedback(request)
        assert 1 <= len(page.feedback) <= 3
        assert page.ByteSize() < limits.RESPONSE_BYTES
        seen += len(page.feedback)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == 6


def equal(value: str = "x") -> Expression:
    sides = {"left": Expression(field="ref"), "right": Expression(literal=Literal(string_value=value))}
    return Expression(comparison=Comparison(op=ComparisonOp.COMPARISON_OP_EQ, **sides))


def of_depth(depth: int) -> Expression:
    """A comparison under negations; its operands add one level."""
    expression = equal()
    for _ in range(depth - 2):
        expression = Expression(negation=expression)
    return expression


def of_nodes(count: int) -> Expression:
    """A conjunction of comparisons of three nodes each, and negations for the remaining nodes."""
    comparisons, rest = divmod(count - 1, 3)
    expressions = [equal() for _ in range(comparisons)]
    for index in range(rest):
        expressions[index] = Expression(negation=expressions[index])
    return Expression(all_of=ExpressionList(expressions=expressions))


def of_members(count: int) -> Expression:
    members = [Expression(literal=Literal(string_value=str(n))) for n in range(count)]
    return Expression(membership=Membership(operand=Expression(field="ref"), members=members))


def of_members_together(count: int) -> Expression:
    """Full lists, and a last one with the rest."""
    sizes = [limits.QUERY_MEMBERS] * (count // limits.QUERY_MEMBERS) + [count % limits.QUERY_MEMBERS]
    return Expression(all_of=ExpressionList(expressions=[of_members(size) for size in sizes]))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("query_depth", of_depth),
        ("query_nodes", of_nodes),
        ("query_members", of_members),
        ("query_members_together", of_members_together),
    ],
)
def test_a_query_at_its_limit_and_beyond(
    stub: FeedbackServiceStub, name: str, make: Callable[[int], Expression]
) -> None:
    def count(size: int) -> int:
        query = Query(expr=make(size))
        return stub.CountFeedback(CountFeedbackRequest(project="acme/queries", query=query)).count

    assert count(limit(name)) == 0
    refused = refusal(lambda: count(limit(name) + 1))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_QUERY")


def test_keys_of_an_order(stub: FeedbackServiceStub) -> None:
    def query(count: int) -> Any:
        order_by = [OrderBy(field=f"payload.k{n}") for n in range(count)]
        return stub.QueryFeedback(QueryFeedbackRequest(project=PROJECT, order_by=order_by, page_size=1))

    assert query(limits.ORDER_BY_KEYS) is not None
    assert refusal(lambda: query(limits.ORDER_BY_KEYS + 1)).reason == "INVALID_QUERY"


def test_the_server_tells_every_limit(stub: FeedbackServiceStub) -> None:
    told = dict(stub.GetServerInfo(GetServerInfoRequest()).limits)
    assert told == limits.as_mapping()
    tested = {*FIELDS, "project_part_bytes", "request_bytes", "batch_items", "purge_rows", "lookup_id_bytes"}
    tested |= {"page_rows", "response_bytes", "query_depth", "query_nodes", "query_members", "order_by_keys"}
    tested |= {"query_members_together"}
    # The two of numbers and sorting are part of the language, and user_id of authentication; grpc enforces its own.
    # Elements are counted in bytes that no stub writes: tests/unit/test_outline.py, tests/attacks.
    elsewhere = {"numeric_text_characters", "sort_text_characters", "user_id_bytes", "grpc_receive_bytes"}
    elsewhere |= {"message_elements"}
    # tests/service/test_new_content.py
    elsewhere |= {"imported_version"}
    # Those of questions about many records are tested in tests/analytics.
    elsewhere |= {name for name in told if name.startswith(("aggregate_", "describe_", "summary_", "agreement_"))}
    assert set(told) == tested | elsewhere
