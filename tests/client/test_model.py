"""The record in Python: every field of the message has its attribute and its way in; values, read-only."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

import plaudit
from plaudit import v1
from plaudit._core import model as _model
from plaudit._core.records import canonical_id, to_message
from tests.client.fakes import REF, feedback, message

FULL: dict[str, Any] = {
    "id": "0192aaaa-0000-7000-8000-000000000001",
    "project": "acme/chat",
    "ref": REF,
    "feedback_type": "wandb.agent_user_feedback",
    "payload": {"z": 1, "a": [2**53 + 1, "é", None]},
    "creator": "Jane",
    "annotation_ref": "weave:///acme/chat/object/o:d",
    "runnable_ref": "weave:///acme/chat/op/o:d",
    "call_ref": "weave:///acme/chat/call/2",
    "trigger_ref": "weave:///acme/chat/op/t:d",
    "queue_id": "q",
    "scorer_tags": ["b", "a", "b"],
    "scorer_tag_reasons": {"a": "because"},
    "scorer_tag_confidences": {"a": 0.25},
    "scorer_ratings": {"r": 1, "a.b": 0.5},
    "scorer_rating_reasons": {"r": "why"},
    "scorer_rating_confidences": {"r": 0.75},
    "span_agent_name": "agent",
    "span_agent_version": "2",
    "span_status_code": "ERROR",
    "span_conversation_id": "c",
    "span_trace_id": "t",
    "scorer_trace_id": "s",
}


def test_every_field_of_the_message_has_its_attribute_and_its_way_in() -> None:
    of_the_message = {field.name for field in v1.Feedback.DESCRIPTOR.fields}

    assert set(_model.FIELDS) == of_the_message - {"payload_json"} | {"payload"}
    assert set(_model.FIELDS) == _model.CLIENT_FIELDS | _model.SERVER_FIELDS
    assert set(FULL) == _model.CLIENT_FIELDS


def test_record_survives_the_message() -> None:
    read = plaudit.Feedback(to_message(FULL))

    assert {name: getattr(read, name) for name in FULL} == FULL
    assert list(read.payload) == ["z", "a"]
    assert read.payload_json == '{"z":1,"a":[9007199254740993,"é",null]}'


def test_unset_optionals_are_none_and_the_rest_has_defaults() -> None:
    read = plaudit.Feedback(v1.Feedback(id="x"))

    assert (read.creator, read.annotation_ref, read.call_ref, read.queue_id) == (None, None, None, None)
    assert (read.payload, read.payload_json, read.scorer_tags, read.scorer_ratings) == ({}, "{}", [], {})
    assert (read.span_status_code, read.span_agent_name) == ("UNSET", "")


def test_empty_creator_is_not_null() -> None:
    assert plaudit.Feedback(to_message({"creator": ""})).creator == ""


def test_none_is_the_same_as_left_out() -> None:
    record = dict.fromkeys(FULL)
    made = to_message(record)
    made.ClearField("id")

    assert made == v1.Feedback(payload_json="{}")


def test_times_are_aware_and_exact() -> None:
    made = message(1)
    made.created_at.nanos = 123_456_000

    assert plaudit.Feedback(made).created_at == datetime(2025, 3, 1, 10, 1, 0, 123_456, tzinfo=UTC)
    assert feedback(1).updated_at.tzinfo is UTC


@pytest.mark.parametrize(("code", "name"), [(0, "UNSET"), (1, "OK"), (2, "ERROR"), (77, "UNSET")])
def test_span_status_is_text(code: Any, name: str) -> None:
    assert plaudit.Feedback(v1.Feedback(span_status_code=code)).span_status_code == name


def test_aliases() -> None:
    read = feedback(1)
    assert (read.weave_ref, read.wb_user_id, read.project_id) == (read.ref, read.user_id, read.project)

    made = to_message({"weave_ref": REF, "project_id": "a/b", "wb_user_id": "ignored"})
    assert (made.ref, made.project, made.user_id) == (REF, "a/b", "")


def test_payload_is_decoded_once() -> None:
    read = feedback(1, payload_json='{"a":1}')

    assert read.payload is read.payload


@pytest.mark.parametrize("name", [*_model.FIELDS, "weave_ref", "new"])
def test_read_only(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(feedback(1), name, "x")


def test_equal_by_value() -> None:
    assert feedback(1) == feedback(1)
    assert feedback(1, payload_json='{"a": 1}') == feedback(1, payload_json='{"a":1}')
    assert feedback(1) != feedback(1, creator="x")
    assert feedback(1) != "x"
    assert len({feedback(1), feedback(1), feedback(2)}) == 2


def test_copies_and_pickles() -> None:
    read = feedback(1, payload_json='{"a":1}', creator="Jane")

    assert pickle.loads(pickle.dumps(read)) == read
    assert copy.deepcopy(read) == read
    assert plaudit.Feedback.from_proto(read.to_proto()) == read


def test_messages_given_and_taken_are_copies() -> None:
    made = message(1)
    read = plaudit.Feedback.from_proto(made)
    made.creator = "changed"
    read.to_proto().creator = "changed"

    assert read.creator is None


def test_to_dict_may_be_stored_again() -> None:
    read = plaudit.Feedback(message(1, payload_json='{"a":1}', creator="Jane"))

    again = to_message(read.to_dict())

    assert (again.id, again.payload_json, again.creator, again.version) == (read.id, '{"a":1}', "Jane", 0)
    assert list(read.to_dict()) == list(_model.FIELDS)


def test_import_keeps_all_but_the_revision() -> None:
    read = plaudit.Feedback(message(1, payload_json='{"a":5.00}', version=3))

    of_dict, of_record = to_message(read.to_dict(), imported=True), to_message(read, imported=True)

    expected = message(1, payload_json='{"a":5.00}', version=3, revision=0)
    assert of_record == expected
    assert of_dict.payload_json == '{"a":5.0}'
    of_dict.payload_json = expected.payload_json
    assert of_dict == expected


@pytest.mark.parametrize(
    "time",
    [
        datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        datetime(2020, 1, 2, 5, 4, 5, 6, tzinfo=timezone(timedelta(hours=2))),
        datetime(2020, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001
        "2020-01-02T03:04:05.000006Z",
        "2020-01-02 05:04:05.000006+02:00",
    ],
)
def test_times_of_an_import(time: Any) -> None:
    made = to_message({"created_at": time, "updated_at": None}, imported=True)

    assert plaudit.Feedback(made).created_at == datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert not made.HasField("updated_at")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("created_at", 5),
        ("created_at", "yesterday"),
        ("updated_at", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2)))),
        ("version", "1.0"),
        ("version", True),
        ("version", -1),
        ("version", 2**63),
        ("wb_user_id", 5),
    ],
)
def test_what_no_import_can_keep_is_refused(field: str, value: Any) -> None:
    with pytest.raises(plaudit.InvalidArgumentError) as raised:
        to_message({field: value}, imported=True)
    assert raised.value.violations[0].field == f"feedback.{field.removeprefix('wb_')}"


def test_record_read_is_no_record_to_create() -> None:
    with pytest.raises(TypeError, match="a mapping of its fields"):
        to_message(feedback(1))


def test_repr_is_one_line_and_short() -> None:
    shown = repr(feedback(1, payload_json='{"a":"' + "x" * 500 + '"}', ref="urn:\x1b[31m"))

    assert shown.startswith("Feedback(id='00000000-0000-7000-8000-000000000001'")
    assert shown.isprintable()
    assert len(shown) < 300


def test_new_ids_are_made_here() -> None:
    first, second = to_message({}).id, to_message({}).id

    assert first < second
    assert first[14] == "7"


@pytest.mark.parametrize(
    ("record", "path"),
    [
        ({"unknown": 1}, "feedback.unknown"),
        ({5: 1}, "feedback.5"),
        ({"ref": REF, "weave_ref": REF}, "feedback.weave_ref"),
        ({"ref": 5.5, "feedback_type": 5}, "feedback.feedback_type"),
        ({"creator": b"x"}, "feedback.creator"),
        ({"creator": "\ud800"}, "feedback.creator"),
        ({"payload": []}, "feedback.payload"),
        ({"payload": "text"}, "feedback.payload"),
        ({"payload": {"a": {"b": [float("nan")]}}}, "feedback.payload.a.b[0]"),
        ({"payload": {"a": 2**63}}, "feedback.payload.a"),
        ({"payload": {5: 1}}, "feedback.payload"),
        ({"payload": {"a": object()}}, "feedback.payload.a"),
        ({"scorer_tags": "abc"}, "feedback.scorer_tags"),
        ({"scorer_tags": ["a", 5]}, "feedback.scorer_tags[1]"),
        ({"scorer_tag_reasons": ["a"]}, "feedback.scorer_tag_reasons"),
        ({"scorer_tag_reasons": {"a": 5}}, "feedback.scorer_tag_reasons.a"),
        ({"scorer_ratings": {"a": "high"}}, "feedback.scorer_ratings.a"),
        ({"scorer_ratings": {"a": True}}, "feedback.scorer_ratings.a"),
        ({"scorer_ratings": {"a": 10**400}}, "feedback.scorer_ratings"),
        ({"scorer_ratings": {5: 1.0}}, "feedback.scorer_ratings (a key)"),
        ({"span_status_code": "FINE"}, "feedback.span_status_code"),
        ({"span_status_code": 1}, "feedback.span_status_code"),
    ],
)
def test_what_no_message_can_hold_is_refused_with_its_path(record: Any, path: str) -> None:
    with pytest.raises(plaudit.InvalidArgumentError) as raised:
        to_message(record)
    fields = [violation.field for violation in raised.value.violations]
    assert path in fields or (path == "feedback.payload" and fields[0].startswith(path))


def test_all_violations_are_told_together() -> None:
    with pytest.raises(plaudit.InvalidArgumentError) as raised:
        to_message({"x": 1, "creator": 5, "payload": {"a": float("inf"), "b": 2**64}})
    assert len(raised.value.violations) == 4
    assert raised.value.metadata == {"violation_count": "4"}


@pytest.mark.parametrize("record", [None, "x", [("ref", REF)], 5])
def test_record_that_is_no_mapping(record: Any) -> None:
    with pytest.raises(TypeError):
        to_message(record)


def test_ids_are_told_as_the_server_stores_them() -> None:
    assert canonical_id("0192AAAA-0000-7000-8000-000000000001") == FULL["id"]
    assert canonical_id("f2") == "f2"
    with pytest.raises(TypeError):
        canonical_id(5)  # type: ignore[arg-type]
