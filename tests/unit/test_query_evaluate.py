"""The language by example, rule by rule; the oracle and SQL give the answer that is written here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plaudit.v1 import OrderBy
from plaudit_server.query.evaluate import matches, sort_key
from plaudit_server.query.parse import parse_order
from plaudit_server.query.tree import Not
from tests.strategies import Expr, parsed
from tests.unit.querytable import Table
from tests.unit.test_query_cases import full_row

GIVEN = {
    "id": "f0",
    "project": "acme/chat",
    "ref": "weave:///acme/chat/call/1",
    "feedback_type": "t",
    "created_at": "2025-03-01T10:00:00Z",
    "payload": {},
    "creator": "5",
    "version": 1,
    "revision": 7,
    "scorer_tags": ["rude", "RUDE", "Größe"],
    "scorer_ratings": {"_rating_": 0.9, "a.b": 1.0, "tiny": 1e-05, "zero": 0.0},
    "scorer_tag_reasons": {"a.b": "neat layout", "": "empty"},
    "span_status_code": "OK",
}

PAYLOAD = """{
  "int": 5, "double": 5.0, "more": 5.00, "half": 5.5, "text": "5", "big": 1e+20, "thousand": 1E3, "zero": -0.0,
  "word": "Apple pie", "empty": "", "yes": true, "no": false, "one": 1, "nil": null, "true": "true",
  "list": ["ab", "CD", 5, null, ["x"]], "object": {"a": {"b": 7}, "0": "zero"}, "a.b": "dotted",
  "nine": "9", "ten": "10"
}"""

T, F, U = True, False, None


def p(name: str) -> Expr:
    return {"$getField": f"payload.{name}"}


def c(name: str) -> Expr:
    return {"$getField": name}


def lit(value: Any) -> Expr:
    return {"$literal": value}


def to(target: str, value: Expr) -> Expr:
    return {"$convert": {"input": value, "to": target}}


def has(haystack: Expr, needle: Any, fold: bool = False) -> Expr:
    substr = needle if isinstance(needle, dict) else lit(needle)
    return {"$contains": {"input": haystack, "substr": substr, "case_insensitive": fold}}


def eq(left: Expr, right: Any) -> Expr:
    return {"$eq": [left, right if isinstance(right, dict) else lit(right)]}


YES, NO, UNKNOWN = eq(lit(1), 1), eq(lit(1), 2), eq(lit(1), None)

LOGIC: list[tuple[Expr, bool | None]] = [
    (YES, T),
    (NO, F),
    (UNKNOWN, U),
    ({"$not": [UNKNOWN]}, U),
    ({"$and": [YES, UNKNOWN]}, U),
    ({"$and": [NO, UNKNOWN]}, F),
    ({"$or": [YES, UNKNOWN]}, T),
    ({"$or": [NO, UNKNOWN]}, U),
    (eq(YES, True), T),
    (eq(UNKNOWN, True), U),
    ({"$gt": [YES, NO]}, T),
    (eq(YES, p("yes")), T),
    (to("exists", UNKNOWN), F),
    (to("exists", NO), T),
]

MISSING: list[tuple[Expr, bool | None]] = [
    (eq(p("nope"), 1), U),
    (eq(p("nil"), "null"), U),
    (eq(p("list.9"), "ab"), U),
    (eq(p("list.-1"), "ab"), U),
    (eq(p("int.deeper"), 5), U),
    (eq(c("queue_id"), "x"), U),
    (eq(c("scorer_ratings.nope"), 0), U),
    ({"$ne": [p("nope"), lit(1)]}, U),
    (has(p("nil"), "nul"), U),
    (to("exists", p("nope")), F),
    (to("exists", p("nil")), T),
    (to("exists", p("object.a")), T),
    (to("exists", p("list.3")), T),
    (to("exists", c("queue_id")), F),
    (to("exists", c("creator")), T),
    (to("exists", c("scorer_ratings.zero")), T),
    (to("exists", c("scorer_ratings.nope")), F),
    (to("exists", c("scorer_tags")), T),
    (to("exists", c("created_at")), T),
    (to("exists", lit(None)), F),
]

KINDS: list[tuple[Expr, bool | None]] = [
    *((eq(p(name), number), T) for name in ("int", "double", "more", "text") for number in (5, 5.0)),
    (eq(p("half"), 5), F),
    ({"$gt": [p("half"), lit(5)]}, T),
    (eq(p("thousand"), 1000), T),
    (eq(p("zero"), 0), T),
    (eq(p("yes"), 1), U),
    (eq(p("word"), 5), U),
    (eq(p("empty"), 0), U),
    *((eq(p(name), "5"), T) for name in ("int", "double", "more", "text")),
    (eq(p("half"), "5.5"), T),
    (eq(p("big"), "1e+20"), T),
    (eq(p("thousand"), "1E3"), T),
    (eq(p("zero"), "-0"), T),
    (eq(p("yes"), "true"), T),
    ({"$gt": [p("nine"), p("ten")]}, T),
    ({"$gt": [p("nine"), lit("10")]}, T),
    ({"$lt": [p("nine"), lit(10)]}, T),
    (eq(p("yes"), True), T),
    (eq(p("true"), True), T),
    (eq(p("one"), True), T),
    (eq(p("zero"), False), T),
    (eq(p("int"), True), U),
    (eq(p("text"), True), U),
    (eq(p("object"), '{"a": {"b": 7}, "0": "zero"}'), U),
    (eq(p("list"), "ab"), U),
    (eq(p("int"), p("double")), T),
    (eq(p("int"), p("text")), T),
    (eq(p("thousand"), p("int")), F),
    (eq(p("yes"), p("true")), T),
    (eq(p("yes"), p("one")), F),
    (eq(p("object"), p("object")), U),
    (eq(c("version"), p("one")), T),
    (eq(c("creator"), p("double")), T),
    (eq(c("span_status_code"), "OK"), T),
    (eq(c("scorer_ratings.a.b"), p("one")), T),
]

PATHS: list[tuple[Expr, bool | None]] = [
    (eq(p("object.a.b"), 7), T),
    (eq(p("a\\.b"), "dotted"), T),
    (eq(p("object.0"), "zero"), T),
    (eq(p("list.0"), "ab"), T),
    (eq(p("list.00"), "ab"), U),
    (eq(p("list.4.0"), "x"), T),
    (eq(p("LIST.0"), "ab"), U),
]

MEMBERSHIP: list[tuple[Expr, bool | None]] = [
    ({"$in": [p("nope"), []]}, F),
    ({"$in": [p("int"), [lit("x"), lit(5), lit(True)]]}, T),
    ({"$in": [p("int"), [lit("5")]]}, T),
    ({"$in": [p("int"), [lit("x"), lit(6)]]}, F),
    ({"$in": [p("int"), [lit(6), lit(None)]]}, U),
    ({"$in": [p("int"), [lit(5), lit(None)]]}, T),
    ({"$in": [p("word"), [lit(5)]]}, U),
    ({"$in": [p("nope"), [lit(5)]]}, U),
    ({"$in": [lit(None), [lit(5)]]}, U),
    ({"$in": [lit(5), [p("nope"), p("text")]]}, T),
    ({"$in": [p("double"), [p("nope"), p("text"), p("word")]]}, T),
    ({"$in": [YES, [NO, p("true")]]}, T),
    ({"$in": [c("created_at"), [lit("2025-03-01T10:00:00Z"), lit(5)]]}, T),
    ({"$in": [c("version"), [lit(1.0)]]}, T),
]

CONVERSIONS: list[tuple[Expr, bool | None]] = [
    (eq(to("double", c("creator")), 5), T),
    (eq(to("int", p("double")), 5), T),
    (eq(to("int", p("half")), 5), U),
    (eq(to("int", p("big")), 1e20), U),
    (eq(to("double", p("big")), 1e20), T),
    (eq(to("double", p("word")), 0.0), U),
    (eq(to("double", p("yes")), 1), U),
    (eq(to("double", YES), 1), U),
    (eq(to("string", p("more")), "5"), T),
    (eq(to("string", c("version")), "1"), T),
    (eq(to("string", c("scorer_ratings.a.b")), "1"), T),
    (eq(to("string", c("scorer_ratings.tiny")), "1e-05"), T),
    (eq(to("string", lit(5.0)), "5"), T),
    (eq(to("string", lit(1e20)), "1e+20"), T),
    (eq(to("string", NO), "false"), T),
    (eq(to("string", p("nil")), "null"), U),
    (to("bool", p("true")), T),
    (to("bool", c("version")), T),
    (to("bool", c("revision")), U),
    (to("bool", lit("false")), F),
    (to("bool", p("word")), U),
    (to("bool", lit(None)), U),
]

CONTAINS: list[tuple[Expr, bool | None]] = [
    (has(p("word"), "pie"), T),
    (has(p("word"), "PIE"), F),
    (has(p("word"), "PIE", True), T),
    (has(p("word"), ""), T),
    (has(p("empty"), ""), T),
    (has(p("more"), "5."), F),
    (has(p("yes"), "ru"), T),
    (has(p("list"), "ab"), T),
    (has(p("list"), "a"), F),
    (has(p("list"), "cd", True), T),
    (has(p("list"), "5"), F),
    (has(p("list"), p("nope")), U),
    (has(p("object"), "zero"), U),
    (has(p("word"), p("list")), U),
    (has(p("word"), p("empty")), T),
    (has(lit("banana 5"), p("more")), T),
    (has(c("scorer_tags"), "ru"), F),
    (has(c("scorer_tags"), "rude"), T),
    (has(c("scorer_tags"), "GRÖSSE", True), F),
    (has(c("scorer_tags"), "GRÖßE", True), T),
    (has(c("scorer_tag_reasons.a.b"), "layout"), T),
    (has(c("creator"), p("text")), T),
    (has(c("queue_id"), "x"), U),
]


def kind(value: Expr) -> Expr:
    return {"$type": value}


def starts(value: Expr, prefix: Any) -> Expr:
    return {"$startsWith": {"input": value, "prefix": prefix if isinstance(prefix, dict) else lit(prefix)}}


TYPES: list[tuple[Expr, bool | None]] = [
    (eq(kind(p("int")), "number"), T),
    (eq(kind(p("half")), "number"), T),
    (eq(kind(p("big")), "number"), T),
    (eq(kind(p("text")), "text"), T),
    (eq(kind(p("empty")), "text"), T),
    (eq(kind(p("true")), "bool"), F),
    (eq(kind(p("yes")), "bool"), T),
    (eq(kind(p("no")), "bool"), T),
    (eq(kind(p("nil")), "null"), T),
    (eq(kind(p("int")), "null"), F),
    (eq(kind(p("list")), "array"), T),
    (eq(kind(p("list.0")), "text"), T),
    (eq(kind(p("list.3")), "null"), T),
    (eq(kind(p("object")), "object"), T),
    (eq(kind(p("object.a.b")), "number"), T),
    (eq(kind(p("nope")), "null"), U),
    (eq(kind(p("list.9")), "null"), U),
    (eq(kind(p("int.deeper")), "null"), U),
    (eq(kind(c("creator")), "text"), T),
    (eq(kind(c("version")), "number"), T),
    (eq(kind(c("created_at")), "time"), T),
    (eq(kind(c("scorer_tags")), "array"), T),
    (eq(kind(c("scorer_ratings")), "object"), T),
    (eq(kind(c("scorer_ratings.tiny")), "number"), T),
    (eq(kind(c("scorer_tag_reasons.a.b")), "text"), T),
    (eq(kind(c("scorer_ratings.nope")), "number"), U),
    (eq(kind(c("queue_id")), "text"), U),
    (eq(kind(p("int")), kind(p("half"))), T),
    (eq(kind(p("int")), kind(p("nope"))), U),
    ({"$ne": [kind(p("int")), lit("text")]}, T),
    ({"$in": [kind(p("nil")), [lit("text"), lit("null")]]}, T),
    ({"$in": [kind(p("nope")), [lit("text"), lit("null")]]}, U),
    (to("exists", kind(p("nil"))), T),
    (to("exists", kind(p("nope"))), F),
    (has(kind(p("int")), "umb"), T),
    (starts(kind(p("int")), "num"), T),
]

STARTS: list[tuple[Expr, bool | None]] = [
    (starts(p("word"), "Apple"), T),
    (starts(p("word"), "apple"), F),
    (starts(p("word"), "pie"), F),
    (starts(p("word"), "Apple pie and more"), F),
    (starts(p("word"), ""), T),
    (starts(p("empty"), ""), T),
    (starts(p("half"), "5."), T),
    (starts(p("more"), "5."), F),
    (starts(p("yes"), "tr"), T),
    (starts(p("list"), "ab"), U),
    (starts(p("object"), ""), U),
    (starts(p("nil"), "nul"), U),
    (starts(p("nope"), ""), U),
    (starts(p("word"), p("nope")), U),
    (starts(p("word"), p("list")), U),
    (starts(lit("55"), p("int")), T),
    (starts(p("word"), p("empty")), T),
    (starts(c("ref"), "weave:///acme/chat/call/"), T),
    (starts(c("ref"), "weave:///acme/chat/calm"), F),
    (starts(c("ref"), "weave:///acme/chat/call/1\U0010ffff"), F),
    (starts(c("ref"), ""), T),
    (starts(c("creator"), p("text")), T),
    (starts(c("creator"), "\U0010ffff"), F),
    (starts(c("queue_id"), "x"), U),
    (starts(c("queue_id"), ""), U),
    (starts(c("scorer_tag_reasons.a.b"), "neat"), T),
    (starts(c("scorer_tag_reasons.nope"), "neat"), U),
    (starts(to("string", c("version")), "1"), T),
]


@pytest.mark.parametrize(
    ("expr", "truth"),
    [*LOGIC, *MISSING, *KINDS, *PATHS, *MEMBERSHIP, *CONVERSIONS, *CONTAINS, *TYPES, *STARTS],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
def test_an_expression_has_the_truth_that_the_page_says(expr: Expr, truth: bool | None) -> None:
    operation = parsed(expr)
    row = full_row(GIVEN) | {"payload": PAYLOAD}
    assert matches(operation, row) is truth
    table = Table([row])
    assert bool(table.ids(operation)) is (truth is True)
    assert bool(table.ids(Not(operation))) is (truth is False)


@pytest.mark.parametrize(
    ("key", "in_order"),
    [
        ("payload.v", ["-1.5", '"2"', "2.0", "10", '"b"', "true", '"x"', "null", "{}", "[1]", ""]),
        ("-payload.v", ["10", '"2"', "2.0", "-1.5", '"x"', "true", '"b"', "null", "{}", "[1]", ""]),
    ],
)
def test_payload_values_sort_numbers_first_and_missing_last(key: str, in_order: list[str]) -> None:
    order = parse_order([OrderBy(field=key.removeprefix("-"), descending=key.startswith("-"))])
    rows = [
        full_row(GIVEN) | {"id": f"f{number:02}", "payload": f'{{"v": {value}}}' if value else "{}"}
        for number, value in enumerate(in_order)
    ]
    shuffled = rows[::2] + rows[1::2]
    ids = [row["id"] for row in rows]
    assert [row["id"] for row in sorted(shuffled, key=lambda row: sort_key(order, row))] == ids
    assert Table(shuffled).ids(order=order) == ids


@pytest.mark.parametrize(("key", "in_order"), [("creator", ["", "Jane", "bob", None]), ("-creator", ["b", "a", None])])
def test_columns_sort_null_last_in_both_directions(key: str, in_order: list[str | None]) -> None:
    order = parse_order([OrderBy(field=key.removeprefix("-"), descending=key.startswith("-"))])
    rows = [full_row(GIVEN) | {"id": f"f{number}", "creator": value} for number, value in enumerate(in_order)]
    shuffled = rows[1::2] + rows[::2]
    assert [row["creator"] for row in sorted(shuffled, key=lambda row: sort_key(order, row))] == in_order
    assert Table(shuffled).ids(order=order) == [row["id"] for row in rows]
