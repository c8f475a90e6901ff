"""Elements are counted as protobuf would find them, and no further than needed to refuse them."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st

from plaudit._contract import limits
from plaudit.v1 import (
    BatchCreateFeedbackRequest,
    CreateFeedbackRequest,
    Expression,
    ExpressionList,
    Feedback,
    Literal,
    Membership,
    PurgeFeedbackRequest,
    Query,
    QueryFeedbackRequest,
)
from plaudit_server.errors import InvalidFields, InvalidQuery
from plaudit_server.feedback import resource
from plaudit_server.rpc import elements
from plaudit_server.rpc.wire import varint

BOUNDED = {method.input_type.full_name: rpc.bounded for rpc, method in resource.SERVICE.methods()}
MOST = limits.MESSAGE_ELEMENTS
PROJECT = b"\x0a\x03a/b"


def check(message_class: type[Message], raw: bytes) -> None:
    descriptor: Any = message_class.DESCRIPTOR
    elements.checker(descriptor, BOUNDED.get(descriptor.full_name, ()))(raw)


def refused(message_class: type[Message], raw: bytes) -> list[str]:
    with pytest.raises(InvalidFields) as caught:
        check(message_class, raw)
    return [violation.field for violation in caught.value.violations]


def inside(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


# A map entry, in every way to write its tag and length.
ENTRIES = [
    b"\xa2\x01\x00",
    b"\xa2\x81\x00\x00",
    b"\xa2\x01\x80\x00",
    b"\xa2\x01\x03\x0a\x01x",
    b"\xa2\x81\x80\x80\x00\x00",
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_entries_of_a_map_are_counted_however_they_are_written(entry: bytes) -> None:
    # As many bytes again, so that the request is large enough to be looked at.
    padding = inside(5, b"x" * 2 * MOST)
    check(CreateFeedbackRequest, PROJECT + inside(2, padding + entry * (MOST - 1)))
    raw = PROJECT + inside(2, padding + entry * MOST)
    assert refused(CreateFeedbackRequest, raw) == ["feedback.scorer_ratings"]
    assert CreateFeedbackRequest.FromString(raw).feedback.scorer_ratings


def test_the_outermost_list_is_counted() -> None:
    check(BatchCreateFeedbackRequest, PROJECT + b"\x12\x00" * (MOST - 2) + inside(15, b"x" * 5000))
    assert refused(BatchCreateFeedbackRequest, PROJECT + b"\x12\x00" * 1_500_000) == ["feedback"]


def test_ids_to_purge_have_room_of_their_own() -> None:
    check(PurgeFeedbackRequest, PurgeFeedbackRequest(project="a/b", ids=["x"] * limits.PURGE_ROWS).SerializeToString())
    assert refused(PurgeFeedbackRequest, b"\x12\x00" * (limits.PURGE_ROWS + MOST + 1)) == ["ids"]


def test_lists_of_a_query_are_counted_at_any_depth() -> None:
    def nested(count: int) -> bytes:
        expression = Expression(any_of=ExpressionList(expressions=[Expression()] * count))
        for _ in range(30):
            expression = Expression(negation=expression)
        query = Query(expr=expression)
        return QueryFeedbackRequest(project="a/b", query=query, page_token="x" * 5000).SerializeToString()

    check(QueryFeedbackRequest, nested(MOST))
    with pytest.raises(InvalidQuery) as caught:
        check(QueryFeedbackRequest, nested(MOST + 1))
    assert caught.value.violations[0].field == "query.expr" + ".negation" * 30 + ".any_of.expressions"


def test_all_lists_of_a_query_together_have_a_bound_too() -> None:
    def lists(count: int) -> bytes:
        members = [Expression(literal=Literal(string_value="x"))] * limits.QUERY_MEMBERS
        one = Expression(membership=Membership(operand=Expression(field="ref"), members=members))
        query = Query(expr=Expression(any_of=ExpressionList(expressions=[one] * count)))
        return QueryFeedbackRequest(project="a/b", query=query).SerializeToString()

    check(QueryFeedbackRequest, lists(limits.QUERY_MEMBERS_TOGETHER // limits.QUERY_MEMBERS))
    with pytest.raises(InvalidQuery):
        check(QueryFeedbackRequest, lists(170))


def test_unknown_fields_and_groups_are_elements_too() -> None:
    assert refused(CreateFeedbackRequest, b"\xf2\x07\x00" * 3000) == ["126"]
    assert refused(CreateFeedbackRequest, b"\xf3\x07\xf4\x07" * 2000) == ["126"]
    assert refused(CreateFeedbackRequest, (b"\xf1\x07" + bytes(8) + b"\xf5\x07" + bytes(4)) * 1500) == ["126"]


@pytest.mark.parametrize(
    "raw", [b"\xff" * 100_000, b"\x0a\xff" * 5000, b"\x12", b"\x0f" * 5000, b"\x08" + b"\x80" * 9000]
)
def test_bytes_that_are_no_message_are_left_to_the_parser(raw: bytes) -> None:
    check(CreateFeedbackRequest, raw)
    with pytest.raises(DecodeError):
        CreateFeedbackRequest.FromString(raw)


def test_a_full_batch_passes() -> None:
    record = Feedback(
        ref="weave:///a/b/call/1",
        feedback_type="t",
        payload_json='{"a":"' + "x" * 2000 + '"}',
        scorer_tags=["t"] * 100,
        scorer_ratings={str(n): 0.5 for n in range(100)},
    )
    check(BatchCreateFeedbackRequest, BatchCreateFeedbackRequest(feedback=[record] * 1000).SerializeToString())


def test_looking_has_an_end() -> None:
    """However the elements are spread, a fixed number is counted and no more; the parser handles those after them."""
    record = inside(2, b"\xa2\x01\x00" * MOST)
    assert refused(BatchCreateFeedbackRequest, record * 9 + inside(2, b"\xa2\x01\x00" * (MOST + 1)))
    check(BatchCreateFeedbackRequest, record * 10 + inside(2, b"\xa2\x01\x00" * (MOST + 1)))


def most_elements(message: Message) -> int:
    """The elements of the largest message in this one, by what protobuf has read."""
    here, inner = 0, [0]
    for field, value in message.ListFields():
        many = field.default_value == []
        here += len(value) if many else 1
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            inner += [most_elements(item) for item in (value if many else [value])]
    return max(here, *inner)


_fields = st.builds(
    Feedback,
    ref=st.text(max_size=3),
    creator=st.none() | st.text(max_size=3),
    scorer_tags=st.lists(st.text(max_size=3), max_size=4),
    scorer_ratings=st.dictionaries(st.text(max_size=2), st.floats(0, 1), max_size=4),
)


@given(records=st.lists(_fields, max_size=5))
def test_the_count_is_what_protobuf_reads(records: list[Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "MESSAGE_ELEMENTS", 4)
        request = BatchCreateFeedbackRequest(project="a/b", feedback=records)
        too_many = most_elements(request) > 4
        try:
            check(BatchCreateFeedbackRequest, request.SerializeToString())
        except InvalidFields:
            assert too_many
        else:
            assert not too_many
