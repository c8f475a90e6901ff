"""JSON as the HTTP port writes and reads it: the same values as json_format, and a bound on what a text may become."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.v1 import (
    Change,
    ChangeKind,
    Feedback,
    Query,
    QueryFeedbackRequest,
    QueryFeedbackResponse,
    SpanStatusCode,
    Tombstone,
    WatchFeedbackResponse,
    feedback_service_pb2,
)
from plaudit_server.web.codecs import JSON_PAGE_ROWS, JsonCodec, compact_json
from plaudit_server.web.faults import BadRequest
from plaudit_server.web.json_columns import FEW
from plaudit_server.web.json_writer import JsonWriter

METHODS: Any = feedback_service_pb2.DESCRIPTOR.services_by_name["FeedbackService"].methods_by_name

texts = st.text(st.characters(codec="utf-8"), max_size=20)
scores = st.floats(allow_nan=True, allow_infinity=True)


def codec(method: str) -> JsonCodec:
    return JsonCodec(METHODS[method].input_type, METHODS[method].output_type)


def same(message: Any) -> None:
    """Both writers' texts hold the same values, and the form in bytes is the form in text."""
    writer = JsonWriter()
    expected = json.loads(json_format.MessageToJson(message))
    assert json.loads(writer.text(message)) == expected
    assert json.loads(writer.encoded(message.DESCRIPTOR, message.SerializeToString())) == expected


@st.composite
def feedbacks(draw: st.DrawFn) -> Feedback:
    feedback = Feedback(
        id=draw(texts),
        ref=draw(texts),
        payload_json=draw(texts),
        version=draw(st.integers(0, 2**63 - 1)),
        revision=draw(st.integers(-(2**63), 2**63 - 1)),
        scorer_tags=draw(st.lists(texts, max_size=3)),
        scorer_ratings=draw(st.dictionaries(texts, scores, max_size=3)),
        scorer_rating_reasons=draw(st.dictionaries(texts, texts, max_size=3)),
        span_status_code=draw(st.sampled_from(SpanStatusCode.values())),
    )
    if draw(st.booleans()):
        feedback.creator = draw(texts)  # an empty one is there all the same
    if draw(st.booleans()):
        feedback.created_at.FromNanoseconds(draw(st.integers(-62_135_596_800, 253_402_300_799)) * 10**9)
        feedback.created_at.nanos = draw(st.sampled_from([0, 1, 1_000, 120_000, 5_000_000, 999_999_999]))
    return feedback


@settings(deadline=None)
@given(st.lists(feedbacks(), max_size=3), texts, st.integers(0, 2**63 - 1))
def test_pages_are_written_as_json_format_writes_them(rows: list[Feedback], token: str, revision: int) -> None:
    page = QueryFeedbackResponse(feedback=rows, next_page_token=token, revision=revision)
    same(page)
    if rows:
        page.total_count = 0  # set, though it is the default
        same(page)
        change = Change(feedback=rows[0], kind=ChangeKind.CHANGE_KIND_CREATED)
        same(WatchFeedbackResponse(changes=[change]))
        # Many are written field by field: with fields that some have, and a subject of one form or of the other.
        same(QueryFeedbackResponse(feedback=[*rows, *[Feedback()] * (revision % 2 * FEW), rows[0], *rows * 2]))
        same(WatchFeedbackResponse(changes=[change, Change(tombstone=Tombstone(id="x"))] * (FEW // 2)))


def test_many_empty_rows() -> None:
    same(QueryFeedbackResponse(feedback=[Feedback()] * FEW))


def test_what_the_writer_makes_is_read_back_as_the_same_message() -> None:
    feedback = Feedback(id='é👍\u2028\x00"\\', version=2**53 + 1, scorer_ratings={"a": 1e-300, "b": 5.0})
    page = QueryFeedbackResponse(feedback=[feedback])
    assert json_format.Parse(JsonWriter().text(page), QueryFeedbackResponse()) == page


@given(st.recursive(st.booleans(), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=8))
def test_a_type_that_holds_itself(shape: Any) -> None:
    def fill(node: Any, shape: Any) -> None:
        if isinstance(shape, bool):
            node.literal.bool_value = shape
        for inner in shape if isinstance(shape, list) else ():
            fill(node.all_of.expressions.add(), inner)

    query = Query()
    fill(query.expr, shape)
    same(query)


def test_types_of_protobuf_and_details_of_errors() -> None:
    status = status_pb2.Status(code=3, message="no")
    for detail in (
        error_details_pb2.ErrorInfo(reason="INVALID_FIELD", metadata={"a": "b"}),
        error_details_pb2.RetryInfo(),
        error_details_pb2.BadRequest(field_violations=[{"field": "x"}]),
    ):
        status.details.add().Pack(detail)
    same(status)
    same(wrappers_pb2.Int64Value(value=5))
    same(struct_pb2.Struct(fields={"a": struct_pb2.Value(number_value=1)}))


def test_an_any_of_an_unknown_type_is_a_type_error() -> None:
    status = status_pb2.Status()
    status.details.add(type_url="type.googleapis.com/nobody.Knows", value=b"x")
    with pytest.raises(TypeError):
        JsonWriter().text(status)


def test_every_kind_of_field() -> None:
    kinds = {
        "d": FieldDescriptorProto.TYPE_DOUBLE,
        "f": FieldDescriptorProto.TYPE_FLOAT,
        "i32": FieldDescriptorProto.TYPE_INT32,
        "u64": FieldDescriptorProto.TYPE_UINT64,
        "b": FieldDescriptorProto.TYPE_BOOL,
        "by": FieldDescriptorProto.TYPE_BYTES,
        "class": FieldDescriptorProto.TYPE_STRING,  # a word of Python
    }
    file = FileDescriptorProto(name="every.proto", package="every", syntax="proto3")
    inner = file.message_type.add(name="Kinds")
    for number, (name, kind) in enumerate(kinds.items(), 1):
        inner.field.add(name=name, number=number, type=kind, label=FieldDescriptorProto.LABEL_OPTIONAL)
        inner.field.add(name=f"{name}_list", number=20 + number, type=kind, label=FieldDescriptorProto.LABEL_REPEATED)
    entry = inner.nested_type.add(name="ByBoolEntry")
    entry.options.map_entry = True
    for number, name in ((1, "key"), (2, "value")):
        entry.field.add(name=name, number=number, type=FieldDescriptorProto.TYPE_BOOL, label=1)
    inner.field.add(name="by_bool", number=50, type=11, type_name=".every.Kinds.ByBoolEntry", label=3)
    page = file.message_type.add(name="Page")
    page.field.add(name="kinds", number=7, type=11, type_name=".every.Kinds", label=3)
    pool = DescriptorPool()
    pool.Add(file)
    page_class: Any = GetMessageClass(pool.FindMessageTypeByName("every.Page"))
    kinds_class: Any = GetMessageClass(pool.FindMessageTypeByName("every.Kinds"))
    values: dict[str, list[Any]] = {"d": [-0.0, math.inf, 0.1], "f": [-0.0, math.nan, 0.5], "i32": [-1], "b": [True]}
    values |= {"u64": [2**64 - 1], "by": [b"\x00\xff"], "class": ["x"]}
    made = [kinds_class()]
    for name, several in values.items():
        for value in several:
            message = kinds_class()
            setattr(message, name, value)
            getattr(message, f"{name}_list").extend([value, value])
            message.by_bool[True] = False
            made.append(message)
    for message in made:
        same(message)
        same(page_class(kinds=[message] * FEW))
    assert len(made) >= FEW
    same(page_class(kinds=made))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b'{"nonsense": 1}', "nonsense"),
        (b'{"feedback": {"nonsense": 1}}', "nonsense"),
        (b'{"project": 5}', "project"),
        (b'{"project": "a", "project": "b"}', "project"),
        (b"{", "CreateFeedbackRequest"),
        (b"[]", "CreateFeedbackRequest"),
        (b'"text"', "CreateFeedbackRequest"),
        (b"5", "CreateFeedbackRequest"),
        (b"null", "CreateFeedbackRequest"),
        (b"\xff\xfe", "CreateFeedbackRequest"),
        (b'{"feedback": {"version": 1e400}}', "CreateFeedbackRequest"),
        (b'{"feedback": {"version": 9223372036854775808}}', "version"),
        (b'{"feedback": {"createdAt": "yesterday"}}', "CreateFeedbackRequest"),
        (b'{"feedback": {"id": "\\ud800"}}', "CreateFeedbackRequest"),
        (b'{"feedback":' * 5_000, "CreateFeedbackRequest"),
        (b"[" * 30_000, "CreateFeedbackRequest"),
        (b'{"feedback": {"version": ' + b"9" * 10_000 + b"}}", "CreateFeedbackRequest"),
        (b'{"feedback": {"scorerRatings": {"a": NaN}}, "x\nx": 1}', "CreateFeedbackRequest"),
    ],
)
def test_json_that_is_no_request_is_refused_on_one_line(text: bytes, why: str) -> None:
    with pytest.raises(BadRequest) as refused:
        codec("CreateFeedback").request(text)
    assert why in refused.value.message
    assert len(refused.value.message) < 400
    assert refused.value.message.isprintable()


def test_names_in_both_cases_and_an_empty_body_are_read() -> None:
    assert codec("CreateFeedback").request(b"") == b""
    snake = codec("CreateFeedback").request(b'{"feedback": {"feedback_type": "a"}}')
    assert snake == codec("CreateFeedback").request(b'{"feedback": {"feedbackType": "a"}}')


def test_a_page_that_asks_for_no_size_is_smaller_than_one_in_protobuf() -> None:
    read = QueryFeedbackRequest.FromString
    assert read(codec("QueryFeedback").request(b"{}")).page_size == JSON_PAGE_ROWS
    assert read(codec("QueryFeedback").request(b'{"pageSize": 7}')).page_size == 7
    assert read(codec("QueryFeedback").request(b'{"pageSize": -7}')).page_size == -7


def test_very_many_elements_are_refused_before_any_is_made() -> None:
    many = b'{"feedback": [' + b",".join([b"{}"] * 30_000) + b"]}"
    with pytest.raises(BadRequest, match="elements"):
        codec("BatchCreateFeedback").request(many)


@pytest.mark.parametrize("tail", [b'"}}', b"", b"\\"])
def test_what_is_written_in_texts_counts_as_no_element(tail: bytes) -> None:
    text = b'{"feedback": {"id": "' + b'{[,\\"' * 100_000 + tail
    if tail == b'"}}':
        assert len(codec("CreateFeedback").request(text)) > 400_000
    else:
        with pytest.raises(BadRequest):  # and in no time, though it never ends
            codec("CreateFeedback").request(text)


def test_compact_json_keeps_characters() -> None:
    assert compact_json({"a": ["é", 1]}) == '{"a":["é",1]}'.encode()
