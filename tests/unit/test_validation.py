"""From a request to violations, and to records."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from plaudit._contract import limits
from plaudit.v1 import Feedback, QueryFeedbackRequest, SpanStatusCode, StreamFeedbackRequest
from plaudit_server.errors import Violation
from plaudit_server.feedback import fields, rules
from plaudit_server.feedback.records import Record

REF = "weave:///acme/chat/call/1"
OBJECT = "weave:///acme/chat/object/score:d"
ID = "01a20a78-6ccd-7353-a0fc-dc26922eb138"


def message(**fields: Any) -> Feedback:
    return Feedback(**{"ref": REF, "feedback_type": "custom"} | fields)


def scored(**fields: Any) -> Feedback:
    """A record whose type allows the scorer's fields."""
    return message(feedback_type="wandb.runnable.score", payload_json='{"output":1}', runnable_ref=OBJECT, **fields)


def record(sent: Feedback, **options: Any) -> Record:
    out: list[Violation] = []
    made = rules.new_record(sent, "acme/chat", "alice", out, **options)
    assert out == []
    assert made is not None
    return made


def breaches(sent: Feedback, **options: Any) -> list[str]:
    """The fields in breach, without their prefix."""
    out: list[Violation] = []
    made = rules.new_record(sent, "acme/chat", "alice", out, **options)
    assert (made is None) == bool(out)
    assert all(v.field.startswith("feedback.") and v.description for v in out)
    return [v.field.removeprefix("feedback.") for v in out]


# --- what a record becomes


def test_a_plain_record_has_the_defaults_of_its_fields() -> None:
    made = record(message())
    assert uuid.UUID(made.id).version == 7
    assert made._asdict() == {
        "project": "acme/chat",
        "id": made.id,
        "user_id": "alice",
        "ref": REF,
        "feedback_type": "custom",
        "creator": None,
        "annotation_ref": None,
        "runnable_ref": None,
        "call_ref": None,
        "trigger_ref": None,
        "queue_id": None,
        "scorer_tags": "[]",
        "scorer_tag_reasons": "{}",
        "scorer_tag_confidences": "{}",
        "scorer_ratings": "{}",
        "scorer_rating_reasons": "{}",
        "scorer_rating_confidences": "{}",
        "span_agent_name": "",
        "span_agent_version": "",
        "span_status_code": "UNSET",
        "span_conversation_id": "",
        "span_trace_id": "",
        "scorer_trace_id": "",
        "payload": "{}",
        "body": made.body,
        "new_id": True,
        "created_at": None,
        "updated_at": None,
        "version": None,
    }


def full() -> Feedback:
    """A record in which every field is set."""
    sent = Feedback(
        id=ID,
        project="acme/chat",
        ref=REF,
        feedback_type="wandb.runnable.score",
        payload_json='{ "output": 5.00 }',
        creator="judge",
        user_id="mallory",
        version=3,
        revision=9,
        runnable_ref=OBJECT,
        call_ref="weave:///acme/chat/call/9",
        trigger_ref="weave:///acme/chat/op/t:v1",
        queue_id="q",
        scorer_tags=["b", "a", "b"],
        scorer_tag_reasons={"b": "x", "a": "é"},
        scorer_tag_confidences={"b": 1.0, "a": 1e-7},
        scorer_ratings={"z": 0.1, "a.b": 0.0},
        scorer_rating_reasons={"z": ""},
        scorer_rating_confidences={"z": 0.30000000000000004},
        span_agent_name="bot",
        span_agent_version="1",
        span_status_code=SpanStatusCode.SPAN_STATUS_CODE_ERROR,
        span_conversation_id="c",
        span_trace_id="t",
        scorer_trace_id="s",
    )
    sent.created_at.FromSeconds(1_700_000_000)
    sent.updated_at.FromSeconds(1_700_000_001)
    return sent


def test_every_field_finds_its_column() -> None:
    made = record(full())
    expected = {
        "id": ID,
        "user_id": "alice",
        "creator": "judge",
        "runnable_ref": OBJECT,
        "call_ref": "weave:///acme/chat/call/9",
        "trigger_ref": "weave:///acme/chat/op/t:v1",
        "queue_id": "q",
        "scorer_tags": '["b","a","b"]',
        "scorer_tag_reasons": '{"a":"é","b":"x"}',
        "scorer_tag_confidences": '{"a":1e-07,"b":1.0}',
        "scorer_ratings": '{"a.b":0.0,"z":0.1}',
        "scorer_rating_reasons": '{"z":""}',
        "scorer_rating_confidences": '{"z":0.30000000000000004}',
        "span_agent_name": "bot",
        "span_agent_version": "1",
        "span_status_code": "ERROR",
        "span_conversation_id": "c",
        "span_trace_id": "t",
        "scorer_trace_id": "s",
        "payload": '{ "output": 5.00 }',
        "created_at": None,
        "updated_at": None,
        "version": None,
    }
    assert {name: getattr(made, name) for name in expected} == expected


def test_no_field_of_the_message_is_without_a_reader_and_a_column() -> None:
    names = {field.name for field in Feedback.DESCRIPTOR.fields}
    assert set(fields.READERS) == set(fields.DEFAULTS) == names
    # revision is the store's alone; the payload's text is a column under another name.
    columns = set(Record._fields)
    assert names - {"revision", "payload_json", "owner"} == columns - {"body", "payload", "new_id"}


def test_the_full_record_of_these_tests_has_every_field_but_the_annotation() -> None:
    names = {field.name for field in Feedback.DESCRIPTOR.fields}
    assert {field.name for field, _ in full().ListFields()} == names - {"annotation_ref", "owner"}


def test_the_body_is_the_clean_message_without_payload_and_stamps() -> None:
    made = record(full())
    expected = full()
    for name in ("payload_json", "created_at", "updated_at", "version", "revision"):
        expected.ClearField(name)
    expected.user_id = "alice"
    assert Feedback.FromString(made.body) == expected


def test_the_order_in_which_maps_were_filled_does_not_show() -> None:
    entries = [(f"k{n}", n / 100) for n in range(100)]
    one, other = (record(scored(id=ID, scorer_ratings=dict(order))) for order in (entries, entries[::-1]))
    assert one == other


def test_fields_that_the_contract_does_not_know_are_dropped() -> None:
    unknown = b"\xfa\x3f\x03abc"  # field 1023
    stamp = b"\x42" + bytes([len(unknown)]) + unknown  # within created_at
    sent = Feedback.FromString(message(id=ID).SerializeToString() + unknown + stamp)
    assert record(sent).body == record(message(id=ID)).body


def test_empty_refs_and_queue_mean_null_and_an_empty_creator_stays() -> None:
    made = record(
        message(creator="", queue_id="", annotation_ref="", runnable_ref="", call_ref="", trigger_ref="", id=ID)
    )
    assert (made.creator, made.queue_id, made.annotation_ref) == ("", None, None)
    assert (made.runnable_ref, made.call_ref, made.trigger_ref) == (None, None, None)
    assert made.body == record(message(creator="", id=ID)).body
    assert Feedback.FromString(made.body).HasField("creator")


def test_a_reaction_is_spliced_into_the_text_that_was_sent() -> None:
    sent = message(feedback_type="wandb.reaction.1", payload_json='{ "n": 1E5, "alias": 7, "emoji": "\\ud83d\\udc4d" }')
    assert record(sent).payload == (
        '{ "n": 1E5, "alias": ":thumbs_up:", "emoji": "\\ud83d\\udc4d","detoned":"👍","detoned_alias":":thumbs_up:" }'
    )


def test_a_derived_id_is_in_the_column_and_in_the_body() -> None:
    for kind, field in (("agent_turn", "span_trace_id"), ("agent_conversation", "span_conversation_id")):
        made = record(
            message(
                ref=f"weave:///acme/chat/{kind}/x%2Fy",
                feedback_type="wandb.agent_user_feedback",
                scorer_tags=["👍"],
            )
        )
        assert getattr(made, field) == ("x%2Fy" if kind == "agent_turn" else "x/y")
        assert getattr(Feedback.FromString(made.body), field) == getattr(made, field)


def test_the_project_of_a_record_is_empty_or_the_requests() -> None:
    assert Feedback.FromString(record(message(project="acme/chat")).body).project == "acme/chat"
    assert Feedback.FromString(record(message()).body).project == "acme/chat"
    assert breaches(message(project="acme/other")) == ["project"]


# --- ids


def test_an_id_is_any_uuid_in_lower_case() -> None:
    assert record(message(id=ID.upper())).id == ID
    assert f"{ID}".encode() in record(message(id=ID.upper())).body
    assert record(message(id="00000000-0000-0000-0000-000000000000")).id


@pytest.mark.parametrize(
    "id",
    [
        "f1",
        ID[:-1],
        ID + "0",
        ID.replace("-", ""),
        f"{{{ID}}}",
        f"urn:uuid:{ID}",
        f"{ID}\n",
        f" {ID}",
        "g" + ID[1:],
        "٣" + ID[1:],
    ],
)
def test_an_id_that_is_no_uuid_is_refused(id: str) -> None:
    assert breaches(message(id=id)) == ["id"]


def test_ids_may_be_asked_for() -> None:
    assert breaches(message(), id_required=True) == ["id"]
    assert record(message(id=ID), id_required=True).id == ID


def test_the_id_of_a_replace_may_be_any_text_because_it_is_only_looked_up() -> None:
    assert record(message(id="ZZZ"), id_lookup=True).id == "zzz"
    assert breaches(message(), id_lookup=True) == ["id"]
    assert breaches(message(id="x" * 129), id_lookup=True) == ["id"]


# --- what is refused


def test_everything_that_is_wrong_is_told_at_once_under_the_records_place() -> None:
    out: list[Violation] = []
    sent = Feedback(
        id="x",
        project="z/z",
        ref="weave:/x",
        payload_json='{"a":1e999,"b":[NaN]}',
        creator="\0" * 300,
        runnable_ref="nonsense",
        queue_id="q" * 129,
        scorer_tags=["", "t"],
        scorer_ratings={"a.b": 3.0},
        span_status_code=7,  # type: ignore[arg-type]
        feedback_type="custom",
    )
    assert rules.new_record(sent, "acme/chat", "alice", out, "feedback[3]") is None
    assert [v.field for v in out] == [
        f"feedback[3].{name}"
        for name in (
            "ref",
            "payload.a",
            "payload.b[0]",
            "creator",
            "creator",
            "runnable_ref",
            "queue_id",
            "scorer_tags[0]",
            "scorer_ratings.a.b",
            "span_status_code",
            "id",
            "project",
            "runnable_ref",
            "scorer_tags",
            "scorer_ratings",
        )
    ]


def test_ref_and_type_are_required() -> None:
    assert breaches(Feedback()) == ["ref", "feedback_type"]
    assert breaches(message(ref="")) == ["ref"]


def test_violations_of_other_records_do_not_refuse_this_one() -> None:
    out = [Violation("project", "is bad")]
    assert rules.new_record(message(), "acme/chat", "alice", out) is not None
    assert len(out) == 1


LIMITS: list[tuple[str, int]] = [
    ("feedback_type", limits.FEEDBACK_TYPE_BYTES),
    ("creator", limits.CREATOR_BYTES),
    ("queue_id", limits.QUEUE_ID_BYTES),
    ("span_agent_name", limits.SPAN_TEXT_BYTES),
    ("span_agent_version", limits.SPAN_TEXT_BYTES),
    ("span_conversation_id", limits.SPAN_TEXT_BYTES),
    ("span_trace_id", limits.SPAN_TEXT_BYTES),
    ("scorer_trace_id", limits.SPAN_TEXT_BYTES),
]


@pytest.mark.parametrize(("name", "limit"), LIMITS)
def test_a_text_may_have_as_many_bytes_as_its_limit(name: str, limit: int) -> None:
    for text in ("x" * limit, "é" * (limit // 2)):
        assert getattr(record(message(**{name: text})), name) == text
    for text in ("x" * (limit + 1), "é" * (limit // 2) + "x"):
        assert breaches(message(**{name: text})) == [name]


@pytest.mark.parametrize("name", [name for name, _ in LIMITS])
def test_no_text_holds_a_nul(name: str) -> None:
    assert breaches(message(**{name: "a\0b"})) == [name]


@pytest.mark.parametrize("character", ["\n", "\t", "\x1f", "\x7f", "\x85"])
def test_names_are_without_control_characters_and_an_import_keeps_those_of_texts(character: str) -> None:
    text = f"a{character}b"
    assert breaches(message(feedback_type=text)) == ["feedback_type"]
    for field in ("creator", "queue_id", "span_agent_name", "span_trace_id"):
        assert breaches(message(**{field: text})) == [field]
        assert breaches(imported(**{field: text}), imported=True) == []
    assert record(message(payload_json=json.dumps({"text": text}), feedback_type="a b")).payload


MAPS: dict[str, Any] = {
    "scorer_tag_reasons": "why",
    "scorer_tag_confidences": 0.5,
    "scorer_ratings": 0.5,
    "scorer_rating_reasons": "why",
    "scorer_rating_confidences": 0.5,
}


@pytest.mark.parametrize(("name", "value"), MAPS.items())
def test_maps_have_limits_for_entries_and_keys(name: str, value: Any) -> None:
    entries = {f"k{n}": value for n in range(limits.SCORER_ENTRIES)}
    assert json.loads(getattr(record(scored(**{name: entries})), name)) == entries
    assert breaches(scored(**{name: entries | {"one more": value}})) == [name]
    longest = "k" * limits.SCORER_KEY_BYTES
    assert json.loads(getattr(record(scored(**{name: {longest: value}})), name)) == {longest: value}
    for key in ("", longest + "k", "é" * (limits.SCORER_KEY_BYTES // 2) + "k", "a\0"):
        assert breaches(scored(**{name: {key: value}})) == [f"{name}.{key}"]


def test_tags_have_limits_too() -> None:
    tags = ["t"] * limits.SCORER_ENTRIES
    assert json.loads(record(scored(scorer_tags=tags)).scorer_tags) == tags
    assert breaches(scored(scorer_tags=[*tags, "t"])) == ["scorer_tags"]
    assert record(scored(scorer_tags=["t" * limits.SCORER_TAG_BYTES]))
    long = "t" * (limits.SCORER_TAG_BYTES + 1)
    assert breaches(scored(scorer_tags=["t", "", "a\0", long])) == [f"scorer_tags[{n}]" for n in (1, 2, 3)]


@pytest.mark.parametrize("name", ["scorer_tag_reasons", "scorer_rating_reasons"])
def test_reasons_are_limited_in_characters(name: str) -> None:
    assert record(scored(**{name: {"k": "é" * limits.SCORER_REASON_CHARACTERS}}))
    assert breaches(scored(**{name: {"k": "x" * (limits.SCORER_REASON_CHARACTERS + 1)}})) == [f"{name}.k"]
    assert breaches(scored(**{name: {"k": "a\0"}})) == [f"{name}.k"]


@pytest.mark.parametrize("name", [name for name, value in MAPS.items() if isinstance(value, float)])
def test_confidences_and_ratings_are_from_0_to_1(name: str) -> None:
    assert record(scored(**{name: {"a": 0.0, "b": 1.0, "c": 5e-324}}))
    for value in (-5e-324, 1.0000000000000002, float("nan"), float("inf"), float("-inf")):
        assert breaches(scored(**{name: {"k": value}})) == [f"{name}.k"]


@pytest.mark.parametrize("number", [3, -1, 2**31 - 1])
def test_a_status_that_the_enum_does_not_know_is_refused(number: int) -> None:
    assert breaches(message(span_status_code=number)) == ["span_status_code"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1]", ["payload"]),
        (" ", ["payload"]),
        ('{"a":{"b":[1e400]}}', ["payload.a.b[0]"]),
        ('{"a":1,"a":2,"b":NaN}', ["payload.a", "payload.b"]),
        ('{"a":"' + "x" * limits.PAYLOAD_BYTES + '"}', ["payload"]),
    ],
)
def test_the_payloads_breaches_have_its_paths(text: str, expected: list[str]) -> None:
    assert breaches(message(payload_json=text)) == expected


def test_a_payload_stays_within_its_limit_with_what_is_added() -> None:
    def reaction(size: int) -> Feedback:
        start = '{"emoji":"👍","x":"'
        text = start + "x" * (size - len(start.encode()) - 2) + '"}'
        assert len(text.encode()) == size
        return message(feedback_type="wandb.reaction.1", payload_json=text)

    added = len(record(reaction(100)).payload.encode()) - 100
    assert len(record(reaction(limits.PAYLOAD_BYTES - added)).payload.encode()) == limits.PAYLOAD_BYTES
    assert breaches(reaction(limits.PAYLOAD_BYTES - added + 1)) == ["payload"]


def test_the_length_of_notes_is_configured() -> None:
    sent = message(feedback_type="wandb.note.1", payload_json='{"note":"four"}')
    assert breaches(sent, note_characters=3) == ["payload.note"]


# --- imports


def imported(**fields: Any) -> Feedback:
    return message(**{"created_at": Timestamp(seconds=5, nanos=1000)} | fields)


def test_an_import_keeps_what_only_the_server_sets() -> None:
    sent = imported(user_id="bob", version=4, revision=9, updated_at=Timestamp(seconds=6))
    made = record(sent, imported=True)
    assert (made.user_id, made.created_at, made.updated_at, made.version) == ("bob", 5_000_001, 6_000_000, 4)
    body = Feedback.FromString(made.body)
    assert body.user_id == "bob"
    assert not body.HasField("created_at")
    assert (body.version, body.revision) == (0, 0)


def test_an_import_has_defaults_for_all_but_its_time() -> None:
    made = record(imported(), imported=True)
    assert (made.user_id, made.created_at, made.updated_at, made.version) == ("alice", 5_000_001, 5_000_001, 1)
    assert breaches(message(), imported=True) == ["created_at"]


@pytest.mark.parametrize(
    ("seconds", "nanos", "micros"),
    [
        (-62_135_596_800, 0, -62_135_596_800_000_000),
        (253_402_300_799, 999_999_000, 253_402_300_799_999_999),
        (-1, 999_999_000, -1),
        (0, 0, 0),
    ],
)
def test_an_import_takes_times_of_the_years_1_to_9999(seconds: int, nanos: int, micros: int) -> None:
    assert record(imported(created_at=Timestamp(seconds=seconds, nanos=nanos)), imported=True).created_at == micros


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(-62_135_596_801, 0), (253_402_300_800, 0), (0, 1), (0, 999), (0, -1000), (0, 1_000_000_000), (2**63 - 1, 0)],
)
def test_an_import_takes_no_other_time(seconds: int, nanos: int) -> None:
    bad = Timestamp(seconds=seconds, nanos=nanos)
    assert "created_at" in breaches(imported(created_at=bad), imported=True)
    assert "updated_at" in breaches(imported(updated_at=bad), imported=True)


def test_what_an_import_sets_is_checked_too() -> None:
    assert breaches(imported(updated_at=Timestamp(seconds=5)), imported=True) == ["updated_at"]
    assert breaches(imported(version=-1), imported=True) == ["version"]
    assert breaches(imported(user_id="é" * 129), imported=True) == ["user_id"]
    assert breaches(imported(user_id="a\0"), imported=True) == ["user_id"]
    assert record(imported(user_id="é" * 128), imported=True)


def test_what_only_the_server_sets_is_not_even_read_from_clients() -> None:
    made = record(message(user_id="\0" * 999, version=-5, created_at=Timestamp(seconds=2**62), id=ID))
    assert made.body == record(message(id=ID)).body


# --- requests


@pytest.mark.parametrize("project", ["a/b", "é/ü", " / ", f"{'x' * 128}/{'é' * 64}"])
def test_a_project_has_two_parts(project: str) -> None:
    out: list[Violation] = []
    rules.check_project(project, out)
    assert out == []


@pytest.mark.parametrize(
    "project", ["", "a", "/", "a/", "/b", "a/b/", "a/b/c", "a//b", f"{'x' * 129}/b", f"a/{'é' * 64}x", "a/b\0", "\0/b"]
)
def test_any_other_project_is_refused(project: str) -> None:
    out: list[Violation] = []
    rules.check_project(project, out, "feedback.project")
    assert [v.field for v in out] == ["feedback.project"]


@pytest.mark.parametrize(
    ("size", "rows"), [(0, 1000), (1, 1), (999, 999), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)]
)
def test_a_page_size_of_0_or_too_many_means_the_most(size: int, rows: int) -> None:
    out: list[Violation] = []
    assert rules.check_page_size(size, out) == rows
    assert out == []


def test_negative_numbers_are_refused() -> None:
    out: list[Violation] = []
    rules.check_page_size(-1, out)
    rules.check_offset_limit(QueryFeedbackRequest(offset=-1, limit=-1), out)
    rules.check_offset_limit(StreamFeedbackRequest(offset=0, limit=0), out)
    rules.check_version(-1, out)
    rules.check_version(0, out, "expected_version")
    assert [v.field for v in out] == ["page_size", "offset", "limit", "version"]


@pytest.mark.parametrize(("count", "good"), [(0, False), (1, True), (1000, True), (1001, False)])
def test_a_batch_has_1_to_1000_records(count: int, good: bool) -> None:
    out: list[Violation] = []
    rules.check_batch(count, out)
    assert [v.field for v in out] == ([] if good else ["feedback"])


def test_an_id_to_look_up_is_any_short_text() -> None:
    out: list[Violation] = []
    assert rules.check_id_lookup("ZZZ", out) == "zzz"
    assert rules.check_id_lookup("x" * 128, out)
    assert out == []
    for id in ("", "x" * 129, "é" * 65, "a\0"):
        rules.check_id_lookup(id, out)
    assert [v.field for v in out] == ["id"] * 4


def test_ids_to_purge_are_looked_up_once_each() -> None:
    out: list[Violation] = []
    assert rules.check_ids(["A", "b", "a"], out) == ["a", "b"]
    assert len(rules.check_ids([str(n) for n in range(10_000)], out)) == 10_000
    assert out == []
    rules.check_ids(["a", "", "b\0"], out)
    rules.check_ids(["a"] * 10_001, out)
    assert [v.field for v in out] == ["ids[1]", "ids[2]", "ids"]


def test_the_limits_of_these_fields_are_those_of_the_contract() -> None:
    text = {f.name for f in Feedback.DESCRIPTOR.fields if f.type == FieldDescriptor.TYPE_STRING}
    checked_elsewhere = {"id", "project", "ref", "payload_json", "user_id", "owner"}
    refs = {"annotation_ref", "runnable_ref", "call_ref", "trigger_ref"}
    assert text - checked_elsewhere - refs - {"scorer_tags"} == {name for name, _ in LIMITS}
