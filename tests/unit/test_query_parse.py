"""Messages to trees: what each becomes, and every rule of the language that refuses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from plaudit._contract import limits
from plaudit.v1 import (
    Comparison,
    ComparisonOp,
    Contains,
    Convert,
    ConvertTarget,
    Expression,
    ExpressionList,
    Literal,
    Membership,
    OrderBy,
    Query,
    StartsWith,
    TypeOf,
)
from plaudit_server.errors import InvalidQuery
from plaudit_server.query import tree as nodes
from plaudit_server.query.fields import COLUMNS, Column, MapKey, PayloadPath, UnknownField, resolve
from plaudit_server.query.parse import parse_order, parse_query
from plaudit_server.query.times import time_micros
from plaudit_server.query.tree import SortKey
from tests.strategies import parsed

EQ = ComparisonOp.COMPARISON_OP_EQ


def field(path: str) -> Expression:
    return Expression(field=path)


def literal(value: str | int | float | bool | None) -> Expression:
    match value:
        case None:
            return Expression(literal=Literal(null_value=0))  # type: ignore[arg-type]
        case bool():
            return Expression(literal=Literal(bool_value=value))
        case int():
            return Expression(literal=Literal(int_value=value))
        case float():
            return Expression(literal=Literal(double_value=value))
        case str():
            return Expression(literal=Literal(string_value=value))


def eq(left: Expression, right: Expression) -> Expression:
    return Expression(comparison=Comparison(op=EQ, left=left, right=right))


def convert(input: Expression, to: int) -> Expression:
    return Expression(convert=Convert(input=input, to=to))  # type: ignore[arg-type]


def is_in(operand: Expression, members: Sequence[Expression]) -> Expression:
    return Expression(membership=Membership(operand=operand, members=members))


def contains(input: Expression, needle: Expression) -> Expression:
    return Expression(contains=Contains(input=input, substring=needle))


def violations(expression: Expression) -> list[tuple[str, str]]:
    with pytest.raises(InvalidQuery) as caught:
        parse_query(Query(expr=expression))
    return [(violation.field, violation.description) for violation in caught.value.violations]


def places(expression: Expression) -> list[str]:
    return [place for place, _ in violations(expression)]


GOOD = eq(field("id"), literal("x"))


# Fields ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("payload.a", ("a",)),
        ("payload.a.b.0", ("a", "b", "0")),
        ("payload.a\\.b.c", ("a.b", "c")),
        ("payload.a\\b", ("a\\b",)),
        ("payload.a\\\\.b", ("a\\.b",)),
        ("payload.\\.", (".",)),
        ("payload.payload", ("payload",)),
        ('payload.$."x" %', ("$", '"x" %')),
        ("payload. a", (" a",)),
    ],
)
def test_a_payload_path_is_cut_at_dots_that_are_not_escaped(path: str, segments: tuple[str, ...]) -> None:
    assert resolve(path) == PayloadPath(segments)


def test_all_behind_the_name_of_a_map_is_one_key() -> None:
    assert resolve("scorer_ratings.a.b\\.c.") == MapKey("scorer_ratings", "a.b\\.c.", "number")
    assert resolve("scorer_tag_reasons.top-pick") == MapKey("scorer_tag_reasons", "top-pick", "text")


def test_the_names_of_weave_are_names_of_the_same_columns() -> None:
    assert [resolve(name) for name in ("weave_ref", "wb_user_id", "project_id")] == [
        COLUMNS["ref"],
        COLUMNS["user_id"],
        COLUMNS["project"],
    ]


def test_each_column_is_found_by_its_name() -> None:
    assert {resolve(name) for name in COLUMNS} == set(COLUMNS.values())
    assert resolve("scorer_tags") == Column("scorer_tags", "array")


@pytest.mark.parametrize(
    "path",
    [
        *("", " id", "id ", "Id", "outputs.text", "payload", "payload.", "payload..a", "payload.a.", "payload.a..b"),
        *("payloads.a", "payload\\.a", "creator.x", "scorer_tags.0", "scorer_ratings.", ".", "payload.a\0", "f.id"),
    ],
)
def test_no_other_path_is_a_field(path: str) -> None:
    with pytest.raises(UnknownField):
        resolve(path)


def test_an_unknown_field_is_named_in_full() -> None:
    assert violations(eq(field("outputs.text"), literal("x"))) == [
        ("query.expr.comparison.left.field", "unknown field 'outputs.text'")
    ]


# Shape -------------------------------------------------------------------------------------------------------


def test_violations_are_reported_together_each_at_its_node() -> None:
    bad = Expression(
        all_of=ExpressionList(
            expressions=[
                eq(field("nope"), literal(1)),
                Expression(negation=Expression(any_of=ExpressionList())),
                contains(literal(5), literal(None)),
                Expression(negation=Expression()),
            ]
        )
    )
    assert places(bad) == [
        "query.expr.all_of[0].comparison.left.field",
        "query.expr.all_of[1].negation.any_of",
        "query.expr.all_of[2].contains.input",
        "query.expr.all_of[2].contains.substring",
        "query.expr.all_of[3].negation",
    ]


def test_the_place_of_the_query_is_the_callers() -> None:
    with pytest.raises(InvalidQuery) as caught:
        parse_query(Query(), at="filter")
    assert [violation.field for violation in caught.value.violations] == ["filter.expr"]


@pytest.mark.parametrize(
    ("expression", "place"),
    [
        (Expression(), "query.expr"),
        (field("id"), "query.expr"),
        (literal(True), "query.expr"),
        (convert(field("id"), ConvertTarget.CONVERT_TARGET_STRING), "query.expr"),
        (Expression(all_of=ExpressionList()), "query.expr.all_of"),
        (Expression(all_of=ExpressionList(expressions=[field("id")])), "query.expr.all_of[0]"),
        (Expression(negation=literal(None)), "query.expr.negation"),
        (Expression(comparison=Comparison(left=field("id"), right=literal("x"))), "query.expr.comparison.op"),
        (Expression(comparison=Comparison(op=7, left=field("id"), right=literal("x"))), "query.expr.comparison.op"),  # type: ignore[arg-type]
        (Expression(comparison=Comparison(op=EQ, left=field("id"))), "query.expr.comparison.right"),
        (Expression(membership=Membership()), "query.expr.membership.operand"),
        (contains(Expression(), literal("x")), "query.expr.contains.input"),
        (convert(field("id"), 0), "query.expr.convert.to"),
        (convert(field("id"), 99), "query.expr.convert.to"),
        (convert(convert(field("id"), 3), 4), "query.expr.convert.input"),
        (eq(field("id"), Expression(literal=Literal())), "query.expr.comparison.right.literal"),
        (eq(field("id"), Expression(literal=Literal(null_value=1))), "query.expr.comparison.right.literal.null_value"),  # type: ignore[arg-type]
        (eq(field("id"), literal("a\0")), "query.expr.comparison.right.literal.string_value"),
        (eq(field("version"), literal(float("nan"))), "query.expr.comparison.right.literal.double_value"),
        (eq(field("version"), literal(float("inf"))), "query.expr.comparison.right.literal.double_value"),
    ],
)
def test_what_is_no_query_is_refused_at_its_place(expression: Expression, place: str) -> None:
    assert places(expression) == [place]


def test_and_and_or_are_flattened() -> None:
    tree = parsed({"$and": [{"$and": [_exists("a"), _exists("b")]}, {"$or": [{"$or": [_exists("c")]}]}]})
    names = [nodes.Convert(nodes.Field(PayloadPath((key,))), "exists") for key in "abc"]
    assert tree == nodes.And((names[0], names[1], nodes.Or((names[2],))))


def _exists(key: str) -> dict[str, Any]:
    return {"$convert": {"input": {"$getField": f"payload.{key}"}, "to": "exists"}}


# Limits ------------------------------------------------------------------------------------------------------


def nested(levels: int) -> Expression:
    """A comparison under negations, so that the tree has the given number of levels."""
    expression = GOOD
    for _ in range(levels - 2):
        expression = Expression(negation=expression)
    return expression


def test_a_query_has_as_many_levels_as_allowed_and_not_one_more() -> None:
    parse_query(Query(expr=nested(limits.QUERY_DEPTH)))
    assert "deeper than 32" in violations(nested(limits.QUERY_DEPTH + 1))[0][1]


def test_a_query_has_as_many_nodes_as_allowed_and_not_one_more() -> None:
    two_nodes = convert(field("id"), ConvertTarget.CONVERT_TARGET_EXISTS)
    three_nodes = GOOD
    full = Expression(all_of=ExpressionList(expressions=[*[three_nodes] * 169, two_nodes, two_nodes]))
    assert limits.QUERY_NODES == 1 + 169 * 3 + 2 * 2
    parse_query(Query(expr=full))
    full.all_of.expressions[-1].CopyFrom(three_nodes)
    assert places(full) == ["query.expr.all_of[170].comparison.right"]


def test_members_are_limited_and_are_no_nodes() -> None:
    full = is_in(field("id"), [literal("x")] * limits.QUERY_MEMBERS)
    parse_query(Query(expr=full))
    parse_query(Query(expr=Expression(all_of=ExpressionList(expressions=[full] * 3))))
    full.membership.members.append(literal("x"))
    assert places(full) == ["query.expr.membership.members"]


def test_members_are_limited_over_all_lists() -> None:
    full = is_in(field("id"), [literal("x")] * limits.QUERY_MEMBERS)
    lists = Expression(all_of=ExpressionList(expressions=[full] * (limits.QUERY_MEMBERS_TOGETHER // 1000)))
    parse_query(Query(expr=lists))
    lists.all_of.expressions.append(is_in(field("id"), [literal("x")]))
    assert places(lists) == ["query.expr.all_of[4].membership.members"]


def test_members_that_are_no_literals_are_limited_over_all_lists() -> None:
    half = is_in(field("id"), [field("payload.a")] * (limits.QUERY_MEMBERS // 2))
    both = Expression(all_of=ExpressionList(expressions=[half, half]))
    parse_query(Query(expr=both))
    both.all_of.expressions[1].membership.members.append(field("payload.b"))
    assert places(both) == ["query.expr.all_of[1].membership.members"]


def test_positions_in_paths_are_limited_over_the_query() -> None:
    path = "payload.a" + ".0" * 20
    members = [field(path)] * 100
    parse_query(Query(expr=is_in(literal("x"), members)))
    assert places(is_in(field("payload.a.0"), members)) == ["query.expr.membership.members[99].field"]


def test_a_hostile_query_is_not_read_to_its_end() -> None:
    bad = is_in(field("id"), [Expression()] * limits.QUERY_MEMBERS)
    assert len(violations(Expression(any_of=ExpressionList(expressions=[bad] * 100)))) == 1000


# Kinds -------------------------------------------------------------------------------------------------------

TEXTS = [literal("x"), field("creator"), field("scorer_tag_reasons.a"), convert(field("version"), 3)]
NUMBERS = [literal(1), literal(0.5), field("version"), field("scorer_ratings.a"), convert(field("id"), 1)]
BOOLS = [literal(False), GOOD, convert(field("id"), 4), convert(field("payload.a"), 5)]
PAYLOAD = field("payload.a")
NULL = literal(None)


@pytest.mark.parametrize("kind", [TEXTS, NUMBERS, BOOLS])
def test_a_kind_compares_with_itself_a_payload_value_and_null(kind: list[Expression]) -> None:
    for one in kind:
        for other in (*kind, PAYLOAD, NULL):
            parse_query(Query(expr=eq(one, other)))
            parse_query(Query(expr=is_in(other, [one])))


@pytest.mark.parametrize(("kind", "others"), [(TEXTS, NUMBERS), (NUMBERS, BOOLS), (BOOLS, TEXTS)])
def test_two_kinds_do_not_compare(kind: list[Expression], others: list[Expression]) -> None:
    for one in kind:
        for other in others:
            assert places(eq(one, other)) == ["query.expr.comparison.right"]
            assert places(is_in(one, [NULL, other])) == ["query.expr.membership.members[1]"]


def test_the_kinds_of_a_mismatch_are_named() -> None:
    assert violations(eq(field("feedback_type"), literal(5))) == [
        ("query.expr.comparison.right", "is a number, and is compared with text")
    ]


def test_payload_values_and_nulls_compare_with_each_other() -> None:
    for expression in (eq(PAYLOAD, PAYLOAD), eq(NULL, NULL), eq(PAYLOAD, NULL), is_in(PAYLOAD, [*TEXTS, *NUMBERS])):
        parse_query(Query(expr=expression))


@pytest.mark.parametrize("name", ["scorer_tags", "scorer_ratings"])
def test_whole_arrays_and_maps_do_not_compare(name: str) -> None:
    assert places(eq(field(name), NULL)) == ["query.expr.comparison.left"]
    assert places(eq(literal("x"), field(name))) == ["query.expr.comparison.right"]
    assert places(is_in(field(name), [])) == ["query.expr.membership.operand"]
    assert places(is_in(field(name), [literal("x"), literal("y")])) == ["query.expr.membership.operand"]
    assert places(is_in(literal("x"), [field(name)])) == ["query.expr.membership.members[0]"]
    assert places(eq(convert(field(name), 3), literal("x"))) == ["query.expr.comparison.left.convert.input"]
    parse_query(Query(expr=convert(field(name), ConvertTarget.CONVERT_TARGET_EXISTS)))


def test_contains_takes_text_payload_values_and_tags() -> None:
    for input in (*TEXTS, PAYLOAD, field("scorer_tags")):
        for needle in (*TEXTS, PAYLOAD):
            parse_query(Query(expr=contains(input, needle)))
    for input in (*NUMBERS, *BOOLS, NULL, field("created_at"), field("scorer_ratings")):
        assert places(contains(input, literal("x"))) == ["query.expr.contains.input"]
    for needle in (*NUMBERS, *BOOLS, NULL, field("created_at"), field("scorer_tags")):
        assert places(contains(PAYLOAD, needle)) == ["query.expr.contains.substring"]


def test_starts_with_takes_text_and_payload_values() -> None:
    def starts_with(input: Expression, prefix: Expression) -> Expression:
        return Expression(starts_with=StartsWith(input=input, prefix=prefix))

    for input in (*TEXTS, PAYLOAD):
        for prefix in (*TEXTS, PAYLOAD):
            parse_query(Query(expr=starts_with(input, prefix)))
    for bad in (*NUMBERS, *BOOLS, NULL, field("created_at"), field("scorer_ratings"), field("scorer_tags")):
        assert places(starts_with(bad, literal("x"))) == ["query.expr.starts_with.input"]
        assert places(starts_with(PAYLOAD, bad)) == ["query.expr.starts_with.prefix"]


def test_the_type_of_a_field_alone_can_be_asked_for_and_is_a_text() -> None:
    def type_of(input: Expression) -> Expression:
        return Expression(type_of=TypeOf(input=input))

    for each in (PAYLOAD, field("ref"), field("created_at"), field("scorer_tags"), field("scorer_ratings")):
        parse_query(Query(expr=eq(type_of(each), literal("text"))))
        assert places(eq(type_of(each), literal(5))) == ["query.expr.comparison.right"]
        assert places(type_of(each)) == ["query.expr"]
    for bad in (literal("x"), NULL, eq(literal(1), literal(1)), type_of(PAYLOAD), convert(PAYLOAD, 3)):
        assert places(eq(type_of(bad), literal("text"))) == ["query.expr.comparison.left.type_of.input"]
    assert places(eq(type_of(Expression()), literal("text"))) == ["query.expr.comparison.left.type_of.input"]
    assert places(eq(type_of(field("nope")), literal("text"))) == ["query.expr.comparison.left.type_of.input.field"]


# Times -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00", 0),
        ("1970-01-01t00:00:01z", 1_000_000),
        ("1970-01-01 00:00:01Z", 1_000_000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:30:00-00:30", 0),
        ("1970-01-01T00:00:00.5Z", 500_000),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T00:00:00.1234567899Z", 123_456),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
        ("2024-02-29", 1_709_164_800_000_000),
        ("0001-01-01", -62_135_596_800_000_000),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
        (0, 0),
        (-1, -1_000_000),
        (1_740_823_320, 1_740_823_320_000_000),
        (1_740_823_320.5, 1_740_823_320_500_000),
        (1_740_823_320.123456, 1_740_823_320_123_456),
        (-0.000001, -1),
        (253_402_300_799, 253_402_300_799_000_000),
    ],
)
def test_a_time_literal_is_read_to_the_microsecond(value: str | int | float, micros: int) -> None:
    assert time_micros(value) == micros


@pytest.mark.parametrize(
    "value",
    [
        *("", "not a date", "2025", "2025-3-1", "2025-02-29", "2025-13-01", "2025-03-01T", "2025-03-01T10:00Z"),
        *("2025-03-01T24:00:00Z", "2025-03-01T10:00:00+25:00", "2025-03-01T10:00:00+01:60", "2025-03-01T10:00:00+0100"),
        *("2025-03-01T10:00:61Z", "2025-03-01T10:00:00.Z", "2025-03-01Z", " 2025-03-01", "2025-03-01\n", "٢٠٢٥-03-01"),
        *("0000-01-01", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:60Z", "9999-12-31T23:59:59-00:01"),
        *(253_402_300_800, -62_135_596_801, 2**63 - 1, 1e300, -1e300),
    ],
)
def test_what_is_no_time_of_the_calendar_is_refused(value: str | int | float) -> None:
    with pytest.raises(ValueError, match=r"^is no"):
        time_micros(value)


def test_a_time_literal_that_is_none_is_refused_at_its_place() -> None:
    assert places(eq(field("created_at"), literal("not a date"))) == ["query.expr.comparison.right.literal"]
    assert places(is_in(field("updated_at"), [literal(0), literal("x")])) == [
        "query.expr.membership.members[1].literal"
    ]


def test_times_compare_with_times_and_literals_only() -> None:
    for good in (field("updated_at"), literal("2025-03-01"), literal(5), literal(5.5), NULL):
        parse_query(Query(expr=eq(field("created_at"), good)))
        parse_query(Query(expr=is_in(good, [field("created_at")])))
    for bad in (literal(True), PAYLOAD, field("version"), field("creator"), convert(field("creator"), 3), GOOD):
        assert places(eq(field("created_at"), bad)) == ["query.expr.comparison.right"]
        assert places(eq(bad, field("created_at"))) == ["query.expr.comparison.left"]
    for target in (1, 2, 3, 4):
        assert places(eq(convert(field("created_at"), target), NULL)) == ["query.expr.comparison.left.convert.input"]
    parse_query(Query(expr=convert(field("created_at"), ConvertTarget.CONVERT_TARGET_EXISTS)))


def test_a_literal_may_be_a_time_beside_one_member_and_text_beside_the_next() -> None:
    tree = parse_query(Query(expr=is_in(literal("1970-01-01"), [field("created_at"), field("creator")])))
    assert tree == nodes.Or(
        (
            nodes.Compare("eq", nodes.Literal(0), nodes.Field(COLUMNS["created_at"])),
            nodes.Compare("eq", nodes.Literal("1970-01-01"), nodes.Field(COLUMNS["creator"])),
        )
    )


# Orders ------------------------------------------------------------------------------------------------------


def order(*keys: str) -> tuple[SortKey, ...]:
    """The order of keys such as `-created_at`."""
    return parse_order(OrderBy(field=key.removeprefix("-"), descending=key.startswith("-")) for key in keys)


def test_every_order_ends_with_the_id() -> None:
    id, created_at = COLUMNS["id"], COLUMNS["created_at"]
    assert order() == (SortKey(created_at), SortKey(id))
    assert order("-created_at") == (SortKey(created_at, True), SortKey(id))
    assert order("payload.a.0", "weave_ref") == (
        SortKey(PayloadPath(("a", "0"))),
        SortKey(COLUMNS["ref"]),
        SortKey(id),
    )


def test_keys_that_decide_nothing_are_dropped() -> None:
    assert order("-id", "creator") == (SortKey(COLUMNS["id"], True),)
    assert order("ref", "-weave_ref", "id", "-id") == (SortKey(COLUMNS["ref"]), SortKey(COLUMNS["id"]))


def test_an_order_has_as_many_keys_as_allowed_and_not_one_more() -> None:
    keys = [f"payload.k{index}" for index in range(limits.ORDER_BY_KEYS)]
    assert len(order(*keys)) == limits.ORDER_BY_KEYS + 1
    with pytest.raises(InvalidQuery) as caught:
        order(*keys, "id")
    assert [violation.field for violation in caught.value.violations] == ["order_by"]


def test_what_has_no_order_is_refused_at_its_place() -> None:
    with pytest.raises(InvalidQuery) as caught:
        order("id", "scorer_tags", "scorer_ratings", "payload", "nope", "")
    assert [violation.field for violation in caught.value.violations] == [
        f"order_by[{index}].field" for index in range(1, 6)
    ]
