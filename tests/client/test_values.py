"""What people hold, at every door: foreign mappings and scalars, what is missing, refs of other libraries."""

from __future__ import annotations

import types
import uuid
from collections import OrderedDict, UserDict, UserList, deque
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import numpy
import pandas
import pytest

import plaudit
from plaudit import InvalidArgumentError, field, parse_ref
from plaudit._core.model import CLIENT_FIELDS, FIELDS
from plaudit._core.records import NotARecordError, canonical_id, id_of, to_message
from plaudit._core.values import is_missing
from plaudit_server.testing import RunningServer

CALL = "weave:///acme/chat/call/1"


def payload_of(payload: Any) -> str:
    return to_message({"ref": CALL, "feedback_type": "t", "payload": payload}).payload_json


def refusal(**given: Any) -> str:
    with pytest.raises(InvalidArgumentError) as raised:
        to_message({"ref": CALL, "feedback_type": "t", **given})
    return str(raised.value)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (types.MappingProxyType({"a": 1}), '{"a":1}'),
        (UserDict({"a": UserDict({"b": [UserDict()]})}), '{"a":{"b":[{}]}}'),
        ({"a": types.MappingProxyType({"b": None})}, '{"a":{"b":null}}'),
        (OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
        ({"a": UserList([1, (2, deque([3]))]), "r": range(3)}, '{"a":[1,[2,[3]]],"r":[0,1,2]}'),
        ({"i": numpy.int64(5), "u": numpy.uint8(7), "b": numpy.bool_(True)}, '{"i":5,"u":7,"b":true}'),
        ({"f": numpy.float64(0.1), "h": numpy.float32(0.5), "s": numpy.str_("x")}, '{"f":0.1,"h":0.5,"s":"x"}'),
        ({"deep": [{"n": numpy.int32(-1)}]}, '{"deep":[{"n":-1}]}'),
        ({"big": numpy.int64(2**63 - 1)}, '{"big":9223372036854775807}'),
    ],
)
def test_payloads_take_what_has_the_value_of_json(payload: Any, text: str) -> None:
    assert payload_of(payload) == text


def test_numpys_single_precision_is_its_own_value() -> None:
    assert payload_of({"f": numpy.float32(0.1)}) == '{"f":' + repr(numpy.float32(0.1).item()) + "}"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("nan"), "is NaN; write None for what is missing"),
        (numpy.float32("nan"), "is NaN; write None for what is missing"),
        (pandas.NA, "is NA; write None for what is missing"),
        (pandas.NaT, "is NaT; write None for what is missing"),
        (float("inf"), "is infinite, which no JSON number is"),
        (numpy.array([1]), "is of type ndarray, which JSON cannot hold: write .tolist()"),
        (pandas.Timestamp("2025-01-01"), "is of type Timestamp, which JSON cannot hold: write it as text"),
        (numpy.datetime64("2025-01-01"), "is of type datetime64, which JSON cannot hold: write it as text"),
        (b"x", "is of type bytes, which JSON cannot hold"),
        ({1}, "is of type set, which JSON cannot hold"),
    ],
)
def test_a_payload_says_what_to_write_instead(value: Any, problem: str) -> None:
    assert f"feedback.payload.a[0]: {problem}" in refusal(payload={"a": [value]})
    assert f"feedback.payload.a[0]: {problem}" in refusal(payload=UserDict({"a": [value]}))


def test_a_payload_in_itself_is_nested_too_deep() -> None:
    endless: dict[str, Any] = {}
    endless["a"] = endless
    assert "nested more than 32 levels deep" in refusal(payload=endless)
    assert "nested more than 32 levels deep" in refusal(payload=UserDict(endless))


MISSING = [None, float("nan"), numpy.float32("nan"), numpy.datetime64("NaT"), pandas.NA, pandas.NaT, Decimal("NaN")]


@pytest.mark.parametrize("missing", MISSING, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", sorted(CLIENT_FIELDS - {"ref", "feedback_type", "id"}))
def test_what_is_missing_is_left_out_of_every_field(name: str, missing: Any) -> None:
    given = {"id": "0192d1f0-0000-7000-8000-000000000001", "ref": CALL, "feedback_type": "t"}
    assert to_message({**given, name: missing}) == to_message(given)


@pytest.mark.parametrize("value", [0, 0.0, "", "nan", False, [], {}, numpy.array([1, 2]), Decimal(1)])
def test_nothing_else_is_missing(value: Any) -> None:
    assert not is_missing(value)


def test_maps_of_numbers_take_numpys_and_refuse_what_is_missing() -> None:
    ratings = {"a": numpy.float32(0.5), "b": numpy.int64(1)}
    message = to_message({"ref": CALL, "feedback_type": "t", "scorer_ratings": UserDict(ratings)})
    assert dict(message.scorer_ratings) == {"a": 0.5, "b": 1.0}
    for missing, name in ((float("nan"), "NaN"), (pandas.NA, "NA"), (pandas.NaT, "NaT")):
        problem = f"feedback.scorer_ratings.a: is {name}; leave the key out for what is missing"
        assert problem in refusal(scorer_ratings={"a": missing})
    assert "feedback.scorer_ratings.a: must be a number, not a bool" in refusal(scorer_ratings={"a": numpy.bool_(True)})


class WeaveRef:
    """What Weave's refs look like: a class of that name in its package, with the URI as a property."""

    def __init__(self, uri: str) -> None:
        self.uri = uri


WeaveRef.__module__, WeaveRef.__name__ = "weave.trace.refs", "Ref"


class WeaveCallRef(WeaveRef):
    """One of its subclasses."""


REFS = [name for name in FIELDS if name.endswith("ref")]


@pytest.mark.parametrize("name", REFS)
def test_a_ref_is_text_a_ref_or_weaves(name: str) -> None:
    for ref in (CALL, parse_ref(CALL), WeaveRef(CALL), WeaveCallRef(CALL), numpy.str_(CALL)):
        message = to_message({"ref": "urn:x:1", "feedback_type": "t", name: ref})
        assert getattr(message, name) == CALL
    for other in (5, b"urn:x:1", ["urn:x:1"], object(), types.SimpleNamespace(uri=CALL), True):
        problem = f"feedback.{name}: must be a text or a Ref, not a {type(other).__name__}"
        assert problem in refusal(**{name: other})


def test_the_fields_that_end_in_ref_are_five() -> None:
    assert REFS == ["ref", "annotation_ref", "runnable_ref", "call_ref", "trigger_ref"]


def test_literals_take_numpys_scalars_and_refs() -> None:
    assert plaudit.Query(field("a") == numpy.int64(5)) == plaudit.Query(field("a") == 5)
    assert plaudit.Query(field("a") > numpy.float32(0.5)) == plaudit.Query(field("a") > 0.5)  # type: ignore[arg-type]
    scalars: dict[str, Any] = {"yes": numpy.bool_(True)}
    assert plaudit.Query(field("a") == scalars["yes"]) == plaudit.Query(field("a") == True)  # noqa: E712
    assert plaudit.Query(field("ref") == parse_ref(CALL)) == plaudit.Query(field("ref") == CALL)  # type: ignore[arg-type]
    for missing in MISSING[1:]:
        with pytest.raises(InvalidArgumentError, match=r"with which no comparison is true.*is_null"):
            field("a") == missing  # noqa: B015


class Broken(Mapping[str, Any]):
    """A mapping whose own code fails."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("broken")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("broken")

    def __len__(self) -> int:
        return 1


GOOD = {"ref": "urn:x:1", "feedback_type": "t", "payload": {"n": 1}}
BAD: list[Any] = [
    5,
    None,
    "text",
    [("ref", "urn:x:1")],
    object(),
    Broken(),
    {**GOOD, "payload": Broken()},
    {**GOOD, "payload": {"a": object()}},
    {**GOOD, "payload": [1]},
    {**GOOD, "scorer_ratings": Broken()},
    {**GOOD, "scorer_tags": 5},
    {**GOOD, "creator": b"x"},
    {**GOOD, 5: "x"},
    {**GOOD, ("a",): "x"},
    {**GOOD, "ref": object()},
    {**GOOD, "id": 5},
    {**GOOD, "nope": 1},
]


@pytest.mark.parametrize("bad", BAD, ids=lambda value: type(value).__name__)
def test_a_bad_record_is_an_invalid_argument(bad: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"feedback"):
        to_message(bad)


def test_what_is_no_mapping_is_a_type_error_too() -> None:
    with pytest.raises(TypeError, match="feedback: is a int, not a mapping of its fields") as raised:
        to_message(5)  # type: ignore[arg-type]
    assert isinstance(raised.value, NotARecordError)


def test_with_partial_no_bad_record_stops_the_good_ones(running: RunningServer) -> None:
    records = [each for bad in BAD for each in (GOOD, bad)] + [GOOD]
    with plaudit.Client("acme/partial", target=running.target) as client:
        result = client.create_batch(records, partial=True)
        assert result.stored == client.count(None) == len(BAD) + 1
        assert [one.position for one in result.refused] == list(range(1, 2 * len(BAD), 2))
        assert client.ingest([GOOD, *BAD, GOOD], partial=True).stored == 2


def test_a_frame_comes_back_unchanged(running: RunningServer) -> None:
    with plaudit.Client("acme/frame", target=running.target) as client:
        client.create({**GOOD, "creator": "ana"})
        client.create({**GOOD, "payload": {"n": None}})
        before = list(client.get_feedback())
        records = client.get_feedback().to_pandas().to_dict("records")
        assert list(client.create_batch(records)) == before
        rows = pandas.DataFrame({"ref": ["urn:x:2"] * 2, "feedback_type": "t", "creator": ["ana", None], "n": [1, 2]})
        for row in rows.to_dict("records"):
            client.create({**{k: row[k] for k in ("ref", "feedback_type", "creator")}, "payload": {"n": row["n"]}})
        assert [each.creator for each in client.get_feedback(field("ref") == "urn:x:2")] == ["ana", None]


def test_the_type_of_a_record_has_every_field_with_its_meaning() -> None:
    assert set(plaudit.FeedbackRecord.__annotations__) == set(FIELDS)
    assert plaudit.FeedbackRecord.__required_keys__ == {"ref", "feedback_type"}
    assert plaudit.FeedbackRecord.__doc__ is not None
    assert [name for name in FIELDS if f"`{name}`" not in plaudit.FeedbackRecord.__doc__] == []


def test_an_id_is_text_or_a_uuid() -> None:
    id = uuid.UUID("0192D1F0-0000-7000-8000-000000000001")
    assert to_message({**GOOD, "id": id}).id == canonical_id(id) == str(id)
    assert id_of({"id": id}) == str(id)


def test_the_id_of_add_is_the_records_id(running: RunningServer) -> None:
    with plaudit.Client("acme/ids", target=running.target) as client:
        own = uuid.UUID("0192d1f0-0000-7000-8000-000000000001")
        for id in (own, str(own)):
            assert client.ref("urn:x:1").add("t", {"n": 1}, id=id) == str(own)
        assert [(each.id, each.payload) for each in client.get_feedback()] == [(str(own), {"n": 1})]
