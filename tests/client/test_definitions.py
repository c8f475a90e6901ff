"""Definitions in Python: values and their messages, and both clients against a real server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import plaudit
from plaudit import (
    AsyncClient,
    Boolean,
    Categories,
    Category,
    Check,
    CheckResult,
    Definition,
    JsonSchema,
    Numeric,
    Ranking,
    Spans,
    Text,
)
from plaudit_server.testing import RunningServer

LONG_AGO = Check(lambda: CheckResult(0, 0, 0, (), 0))

DEFINITIONS = [
    Definition("a"),
    Definition("b", Numeric(0, 1, step=0.1), direction="higher", description="d", title="t"),
    Definition("b", Numeric(max=5, integer=True), direction="lower", allow_null=True, reason_required=True),
    Definition("c", Categories("x", Category("y", "Y", "why", 0.0, retired=True), max_choices=2, ordered=True)),
    Definition("d", Boolean("yes", "no"), closed=True, advisory=True, refuse_other_keys=True),
    Definition("e", Text(1, 3), value_path="a.b", writers=("judge-*", "root")),
    Definition("f", Ranking(2, 3, ties=True), unique="rater", on_repeat="replace"),
    Definition("g", Spans("PER", "ORG", max_spans=3, overlap=True), unique=("rater", "value")),
    Definition("h", JsonSchema({"type": "object"}), value_path="", unique="ref"),
    Definition("wandb.annotation.tone", Boolean(), annotation_ref="weave:///acme/chat/object/tone:d1"),
]


@pytest.mark.parametrize("definition", DEFINITIONS, ids=repr)
def test_a_definition_survives_its_message(definition: Definition) -> None:
    assert Definition.from_proto(definition.to_proto()) == definition


@pytest.mark.parametrize(
    "options", [{"direction": "up"}, {"on_repeat": "ignore"}, {"unique": "user"}, {"unique": ("rater", "user")}]
)
def test_words_that_are_not_known_are_refused_before_anything_is_sent(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not"):
        Definition("t", **options)


@pytest.mark.parametrize(
    ("schema", "rule"),
    [
        ({"type": "number", "title": "Score"}, Numeric()),
        ({"type": "integer", "minimum": 1, "maximum": 5}, Numeric(1, 5, integer=True)),
        ({"type": "number", "exclusiveMinimum": 0}, None),
        ({"type": "boolean", "default": True}, Boolean()),
        ({"enum": ["a", "b"], "type": "string"}, Categories("a", "b")),
        ({"enum": ["a", 1]}, None),
        ({"type": "string", "maxLength": 10}, Text(0, 10)),
        ({"type": "string"}, None),
        ({"type": "object", "properties": {"discriminator": {"type": "string"}}}, None),
    ],
)
def test_schemas_of_one_value_become_typed_kinds(schema: dict[str, Any], rule: Any) -> None:
    made = Definition.from_schema("t", schema)

    assert made.rule == (rule or JsonSchema(schema))
    assert made.title == schema.get("title", "")


def test_what_is_no_json_schema_is_left_out_but_not_a_property_of_that_name() -> None:
    pet = {"discriminator": {"propertyName": "kind"}, "oneOf": [{"const": {"discriminator": 1}}]}
    made = Definition.from_schema("t", {"properties": {"discriminator": pet}})

    assert made.rule == JsonSchema({"properties": {"discriminator": {"oneOf": [{"const": {"discriminator": 1}}]}}})


@pytest.mark.parametrize(
    ("path", "value", "reason", "payload"),
    [
        (None, 1, None, {"value": 1}),
        ("a.b", 1, "why", {"a": {"b": 1}, "reason": "why"}),
        (r"a\.b", 1, None, {"a.b": 1}),
        ("", {"x": 1}, "why", {"x": 1, "reason": "why"}),
    ],
)
def test_the_value_goes_where_the_definition_says(path: str | None, value: Any, reason: Any, payload: Any) -> None:
    assert Definition("t", value_path=path).payload(value, reason) == payload


def test_define_check_and_rate(running: RunningServer) -> None:
    client = running.client("acme/rating")
    fb = client.ref("weave:///acme/rating/call/c1")
    fb.add("correctness", {"value": 7})
    definition = Definition("correctness", Numeric(0, 1, step=0.1), direction="higher")

    found = client.check(definition)
    assert repr(found) == "Check(...)"
    assert (found.checked, found.breaking, len(found.examples)) == (1, 1, 1)
    assert found.breakages[0].path == "payload.value"
    refusals = []
    for checked in (LONG_AGO, found):  # the server finds the record, and the client has
        with pytest.raises(plaudit.PlauditError) as refused:
            client.define(definition, checked=checked)
        refusals.append((refused.value.code, refused.value.reason, refused.value.metadata))
    assert refusals[0] == refusals[1]
    assert refusals[0][1] == "DEFINITION_BREAKS_STORED"
    stored = client.define(definition)
    assert (stored.version, stored.content) == (1, definition)
    assert client.check("correctness").breaking == 1

    id = fb.rate("correctness", 0.9, reason="good")
    assert client.get(id).payload == {"value": 0.9, "reason": "good"}
    with pytest.raises(plaudit.InvalidArgumentError) as bad:
        fb.rate("correctness", 0.95)
    assert bad.value.metadata["definition_version"] == "1"
    client.define(Definition("correctness", Numeric(0, 1), value_path="score"))
    other = running.client("acme/rating").ref(fb.ref)
    other.rate("correctness", 0.5)
    client.define(Definition("correctness", Numeric(0, 1), value_path="points"))
    again = other.rate("correctness", 0.25)
    assert client.get(again).payload == {"points": 0.25}, "read again, since the server named another version"
    assert client.get(fb.rate("undefined", "x")).payload == {"value": "x"}

    assert [definition.version for definition in client.definition("correctness").history()] == [1, 2, 3]
    assert client.definition("correctness").current == client.definitions()["correctness"]
    assert client.definition("none").current is None
    with pytest.raises(plaudit.AbortedError):
        client.define(Definition("correctness", Boolean()), expected_version=1)


def test_a_vote_is_changed_and_a_preference_holds_refs(running: RunningServer) -> None:
    client = running.client("acme/votes")
    fb = client.ref("weave:///acme/votes/call/c1")
    client.define(Definition("tone", Categories("polite", "rude"), unique="rater", on_repeat="replace"))
    client.define(Definition("preference", Ranking()))

    first = fb.rate("tone", "polite")
    assert fb.rate("tone", "rude") == first
    assert [row.payload["value"] for row in client.history(first)] == ["polite", "rude"]
    a, b = (plaudit.parse_ref(f"weave:///acme/votes/call/{name}") for name in "ab")
    ranked = client.get(fb.rate("preference", [[b], [a]]))
    assert ranked.payload == {"value": [[str(b)], [str(a)]]}


def test_a_put_that_comes_too_late_is_checked_again(running: RunningServer) -> None:
    client = running.client("acme/late")
    definition = Definition("t", Numeric(0, 1))
    found = client.check(definition)
    assert found.checked == 0
    client.create_batch({"ref": "urn:x", "feedback_type": "t", "payload": {"value": 1}} for _ in range(600))
    assert client.define(definition, checked=found).version == 1

    found = client.check(definition)
    assert found.revision == 600
    bad = Definition("t", Boolean())
    with pytest.raises(plaudit.PlauditError, match="600 stored records") as refused:
        client.define(bad, checked=LONG_AGO)  # too much to look at for the put, so the client checks again
    assert refused.value.reason == "DEFINITION_BREAKS_STORED"


def test_the_asyncio_client(running: RunningServer) -> None:
    async def scenario() -> None:
        async with AsyncClient("acme/async", target=running.target) as client:
            definition = Definition("t", Numeric(0, 1), unique="rater", on_repeat="replace")
            found = await client.check(definition)
            stored = await client.define(definition, checked=found)
            assert list(await client.definitions()) == [stored]
            assert (await client.definition("t")).current == stored
            fb = client.ref("weave:///acme/async/call/c1")
            first = await fb.rate("t", 0.5)
            assert await fb.rate("t", 0.75) == first

    asyncio.run(scenario())


def test_a_table_of_groups_says_which_way_is_better(running: RunningServer) -> None:
    client = running.client("acme/better")
    client.define(Definition("latency", Numeric(0), direction="lower", value_path="ms"))
    client.ref("urn:x").rate("latency", 5)

    def headings(groups: plaudit.Groups) -> list[str]:
        return [column.heading for column in groups._grid().columns]

    def measured(query: plaudit.FeedbackQuery) -> plaudit.Groups:
        groups: plaudit.Groups = query.agg(
            ms=("payload.ms", "mean"), other=("payload.x", "mean"), n=("payload.ms", "count")
        )
        return groups

    asked = client.get_feedback({"$expr": {"$eq": [{"$getField": "feedback_type"}, {"$literal": "latency"}]}})
    assert headings(measured(asked)) == ["ms (lower is better)", "other", "n", "row_count", ""]
    assert headings(measured(client.get_feedback())) == ["ms", "other", "n", "row_count", ""]
    other = running.client("acme/better")
    both = other.get_feedback((plaudit.field("feedback_type") == "latency") & (plaudit.field("payload.ms") > 1))
    assert headings(measured(both))[0] == "ms (lower is better)"

    async def scenario() -> list[str]:
        async with AsyncClient("acme/better", target=running.target) as async_client:
            groups = async_client.get_feedback(plaudit.field("feedback_type") == "latency").agg(
                ms=("payload.ms", "mean")
            )
            await groups.execute()
            before = groups._grid().columns[0].heading
            await async_client.ref("urn:x").rate("latency", 6)  # which reads the definitions
            return [before, groups._grid().columns[0].heading]

    assert asyncio.run(scenario()) == ["ms", "ms (lower is better)"]


def test_collections_read_once(running: RunningServer) -> None:
    client = running.client("acme/once")
    client.define(Definition("a", Text()))
    definitions = client.definitions()
    assert repr(definitions) == "Definitions(...)"
    before = running.server.calls
    assert len(definitions) == len(list(definitions)) == len(definitions[:]) == 1
    assert definitions[0] is definitions["a"]
    assert repr(definitions) == "Definitions(a v1)"
    with pytest.raises(KeyError):
        definitions["b"]
    assert running.server.calls == before + 1
    assert json.loads(JsonSchema({"ä": 1}).text) == {"ä": 1}
