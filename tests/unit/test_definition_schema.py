"""JSON Schema as a rule: what is refused when it is defined, what it says of values, and what that may cost."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import Any

import pytest

from plaudit_server.definitions import schema as schemas
from plaudit_server.definitions.patterns import pattern_checks
from plaudit_server.definitions.schema import BadSchema, JsonSchema


def made(schema: Any) -> JsonSchema:
    return JsonSchema(json.dumps(schema))


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels - 1):
        schema = {"items": schema}
    return schema


def doubling(times: int) -> dict[str, Any]:
    """A schema of few bytes in which each definition refers to the next one twice."""
    names = [f"d{number}" for number in range(times)]
    defs: dict[str, Any] = {name: {"allOf": [{"$ref": f"#/$defs/{after}"}] * 2} for name, after in pairwise(names)}
    defs[names[-1]] = {"type": "string"}
    return {"$ref": "#/$defs/d0", "$defs": defs}


REFUSED: list[tuple[Any, str]] = [
    ({"$ref": "#"}, "leads back to itself"),
    ({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, "leads back to itself"),
    (
        {"$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"not": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
        "leads back to itself",
    ),
    ({"$ref": "https://example.org/s.json"}, "leads out"),
    ({"$ref": "file:///etc/passwd"}, "leads out"),
    ({"$ref": "other.json#/a"}, "leads out"),
    ({"$ref": 7}, "leads out"),
    ({"$ref": "#anchor"}, "JSON pointer"),
    ({"$ref": "#/$defs/none"}, "must point to a schema"),
    ({"$ref": "#/const", "const": {"type": "string"}}, "must point to a schema"),
    ({"pattern": r"(a)\1"}, "regular expression"),
    ({"pattern": "a(?=b)"}, "regular expression"),
    ({"pattern": "("}, "regular expression"),
    ({"pattern": "(a{1000}){1000}"}, "checks"),
    ({"pattern": r"\p{L}*a\p{L}{9}1"}, "regular expression"),
    ({"patternProperties": {"(a)\\1": True}}, "regular expression"),
    ({"pattern": "a" * 501}, "characters"),
    ({"pattern": 5}, "text"),
    ({"minumum": 1}, "no keyword"),
    ({"properties": {"a": {"unevaluatedProperties": False}}}, "no keyword"),
    ({"$id": "https://example.org/"}, "no keyword"),
    ({"$anchor": "x"}, "no keyword"),
    ({"$dynamicRef": "#x"}, "no keyword"),
    ({"definitions": {}}, "no keyword"),
    ({"$schema": "http://json-schema.org/draft-07/schema#"}, "must be"),
    ({"type": "nubmer"}, "2020-12"),
    ({"minLength": -1}, "2020-12"),
    ({"required": "a"}, "2020-12"),
    ({"properties": []}, "2020-12"),
    ({"anyOf": []}, "2020-12"),
    ({"items": 5}, "must be an object"),
    ({"multipleOf": 1e-300}, "from 1e-9"),
    ({"multipleOf": 0}, "from 1e-9"),
    ({"multipleOf": True}, "from 1e-9"),
    (nested(33), "levels"),
    ({"anyOf": [True] * 2_001}, "parts"),
    (doubling(14), "checks"),
    (doubling(500), "levels"),
    ({"enum": [str(number) for number in range(9_000)], "title": "x" * 1_000}, "bytes"),
    ({"allOf": [{"enum": list("abcdefgh")}] * 1_150}, "checks"),
]


@pytest.mark.parametrize(("schema", "why"), REFUSED)
def test_refused_when_defined(schema: Any, why: str) -> None:
    with pytest.raises(BadSchema, match=why):
        made(schema)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[]", "must be a JSON object"),
        ("true", "must be a JSON object"),
        ('{"const": NaN}', "no JSON"),
        ('{"const": 1e400}', "range of a double"),
        ('{"const": 9223372036854775808}', "64 bits"),
        ('{"const": ' + "9" * 5_000 + "}", "64 bits"),
        ('{"type": "string", "type": "string"}', "twice"),
        ('{"const": ' + "[" * 30_000 + "]" * 30_000 + "}", "levels"),
        ('{"const": ' + "[" * 200 + "]" * 200 + "}", "levels"),
        ('{"title": "' + "ä" * 32_768 + '"}', "bytes"),
    ],
)
def test_text_that_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadSchema, match=why):
        JsonSchema(text)


def test_refusals_name_the_place() -> None:
    with pytest.raises(BadSchema) as refused:
        made({"properties": {"a/b": {"items": {"pattern": "(a)\\1"}}}})

    assert refused.value.pointer == "/properties/a~1b/items/pattern"


FIVE = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["kind"],
    "properties": {
        "kind": {"enum": ["a", "b"]},
        "n": {"type": "integer", "minimum": 0, "description": "how many"},
        "t": {"type": "string", "maxLength": 3, "format": "date"},
        "l": {"type": "array", "items": {"$ref": "#/$defs/word"}, "uniqueItems": True},
        "s": {"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.1},
    },
    "additionalProperties": False,
    "$defs": {"word": {"type": "string", "pattern": "^[a-z]+$"}},
}


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"kind": "a"}, None),
        ({"kind": "a", "n": 1, "t": "x", "l": ["a", "b"], "s": 0.3}, None),
        ({"kind": "a", "n": 5.0, "t": "not"}, None),
        ({}, "v"),
        ({"kind": "c"}, "v.kind"),
        ({"kind": "a", "n": -1}, "v.n"),
        ({"kind": "a", "n": 0.5}, "v.n"),
        ({"kind": "a", "t": "äöüß"}, "v.t"),
        ({"kind": "a", "l": ["a", "B"]}, "v.l[1]"),
        ({"kind": "a", "l": ["a", "a"]}, "v.l"),
        ({"kind": "a", "s": 0.35}, "v.s"),
        ({"kind": "a", "x.y": 1}, "v"),
        (7, "v"),
    ],
)
def test_the_first_breach_and_its_path(value: Any, path: str | None) -> None:
    schema = made(FIVE)

    assert schema.takes(value) == (path is None)
    if path is not None:
        assert schema.first_breach(value, "v").path == path


@pytest.mark.parametrize(
    ("schema", "value", "path", "description"),
    [
        ({"minimum": 5}, 4, "v", "breaks the schema's minimum: 5"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 4, "v", "is valid for no branch of the schema's anyOf"),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, 4, "v", "is valid for no branch of the schema's oneOf"),
        (
            {"properties": {"a": {"oneOf": [{"type": "integer"}, {"minimum": 0}]}}},
            {"a": 4},
            "v",
            "is valid for more than one branch of a oneOf of the schema",
        ),
        ({"not": {"type": "integer"}}, 4, "v", "breaks the schema's not"),
        ({"items": {"anyOf": [{"const": "a"}]}}, ["a", "b"], "v[1]", "is valid for no branch of the schema's anyOf"),
        (
            {"allOf": [{"anyOf": [{"const": "a"}]}], "anyOf": [True]},
            "b",
            "v",
            "is valid for no branch of the schema's anyOf",
        ),
        (
            {"$ref": "#/properties/a", "properties": {"a": {"type": "string"}}},
            4,
            "v",
            'breaks the schema\'s type: "string"',
        ),
        ({"properties": {"secret": False}}, {"secret": "s3cret"}, "v.secret", "breaks the schema's properties"),
        ({"if": True, "then": {"maxLength": 1}}, "abc", "v", "breaks the schema's maxLength: 1"),
        ({"enum": ["x" * 200]}, "s3cret", "v", "breaks the schema's enum: "),
        ({"propertyNames": {"maxLength": 1}}, {"s3cret": 1}, "v", "breaks the schema's maxLength: 1"),
    ],
)
def test_what_is_wrong_in_words_without_text_of_the_value(schema: Any, value: Any, path: str, description: str) -> None:
    rule = made(schema)

    assert not rule.takes(value)
    breach = rule.first_breach(value, "v")
    assert breach.path == path
    assert breach.description.startswith(description)
    assert "s3cret" not in breach.description
    assert len(breach.description) < 150


MANY = {"anyOf": [{"const": f"v{number}"} for number in range(900)]}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": MANY}, ["x"] * 500),
        ({"anyOf": [{"items": MANY}, {"type": "string"}]}, ["x"] * 500),
        ({"oneOf": [{"items": MANY}, {"type": "string"}]}, ["x"] * 500),
        ({"items": MANY}, [["x"] * 500]),
        ({"propertyNames": MANY}, {f"k{number}": 0 for number in range(300)}),
    ],
)
def test_a_value_that_breaks_every_element_is_reported_once(schema: Any, value: Any) -> None:
    # Collecting every error of these takes 4 to 19 s: no machine is so fast, or so slow, as to hide that.
    rule = made(schema)
    assert rule.fits(json.dumps(value))

    started = time.thread_time()
    assert not rule.takes(value)
    breach = rule.first_breach(value, "v")
    assert time.thread_time() - started < 1
    assert breach.path in ("v", "v[0]")


def test_a_value_is_looked_at_up_to_bytes_times_checks() -> None:
    rule = made({"items": MANY})
    most = schemas.VALUE_COST // rule.checks

    assert rule.fits("x" * most)
    assert not rule.fits("x" * (most + 1))
    assert rule.cost(None, "x" * most) == most * rule.checks
    assert rule.cost(None, "x" * (most + 1)) == 0
    assert not rule.fits("ä" * (most // 2 + 1))


def test_comparing_numbers_costs_more_than_a_check() -> None:
    """jsonschema-rs compares 5 with 5.5 as fractions: a microsecond."""
    plain, numbers = made({"enum": ["a", "b"]}), made({"enum": [1, 2]})

    assert numbers.cost(None, "[1,2,3]") > 100 * plain.cost(None, "[1,2,3]")
    multiple = made({"multipleOf": 0.1})
    assert multiple.cost(None, "[1e-300]") > 10 * multiple.cost(None, "[1.5]")


@pytest.mark.parametrize(
    ("pattern", "least", "most"),
    [
        (r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$", 1, 1),
        ("^https?://", 1, 10),
        ("^.+$", 1, 10),
        ("[ab]*a[ab]{100}c", 1_000, 4_000),
        ("^[ab]{1,100}c", 1_000, 4_000),
        ("(([ab]{10}){10}){10}", 10_000, 40_000),
        ("^a|[ab]{50}", 500, 2_000),
        ("^(a|[ab]{50})", 500, 2_000),
        ("a{99999999999}", 10_000, 10**9),
        ("[^]]{3}", 1, 20),
        (r"\[{3}", 1, 20),
        (")(", 1, 20),
    ],
)
def test_what_a_pattern_counts_for(pattern: str, least: int, most: int) -> None:
    assert least <= pattern_checks(pattern) <= most


def test_without_the_library_a_schema_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jsonschema_rs", None)

    with pytest.raises(schemas.SchemaSupportMissing):
        made({"type": "string"})
