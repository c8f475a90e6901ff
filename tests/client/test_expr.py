"""Expressions, their dict form and their message form: the same tree, however it was made."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from google.protobuf import struct_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

import plaudit
from plaudit import Query, field, v1
from plaudit._core.expr import Expr, as_query

SCORE = field("payload.score")
A = {"$getField": "a"}
B = {"$getField": "b"}


def tree(expr: Expr) -> Any:
    return Query(expr).to_dict()["$expr"]


def lit(value: object) -> dict[str, object]:
    return {"$literal": value}


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (field("a") == 5, {"$eq": [A, lit(5)]}),
        (field("a") != "x", {"$ne": [A, lit("x")]}),
        (field("a") > 0.5, {"$gt": [A, lit(0.5)]}),
        (field("a") >= True, {"$gte": [A, lit(True)]}),
        (field("a") < field("b"), {"$lt": [A, B]}),
        (field("a") <= -(2**63), {"$lte": [A, lit(-(2**63))]}),
        (0.5 < field("a"), {"$gt": [A, lit(0.5)]}),  # noqa: SIM300
        (field("a").in_([1, "x", field("b")]), {"$in": [A, [lit(1), lit("x"), B]]}),
        (field("a").type_of() == "text", {"$eq": [{"$type": A}, lit("text")]}),
        (field("a").is_type("number"), {"$eq": [{"$type": A}, lit("number")]}),
        (field("payload.v").is_null(), {"$eq": [{"$type": {"$getField": "payload.v"}}, lit("null")]}),
        (field("creator").is_null(), {"$not": [tree(field("creator").exists())]}),
        (field("a").startswith("x"), {"$startsWith": {"input": A, "prefix": lit("x")}}),
        (field("a").startswith(field("b")), {"$startsWith": {"input": A, "prefix": B}}),
        (field("a").in_([]), {"$in": [A, []]}),
        (field("a").contains("x"), {"$contains": {"input": A, "substr": lit("x")}}),
        (
            field("a").contains(field("b"), case_insensitive=True),
            {"$contains": {"input": A, "substr": B, "case_insensitive": True}},
        ),
        (field("a").exists(), {"$convert": {"input": A, "to": "exists"}}),
        (field("a").as_bool(), {"$convert": {"input": A, "to": "bool"}}),
        (field("a").as_int() == 5, {"$eq": [{"$convert": {"input": A, "to": "int"}}, lit(5)]}),
        (field("a").as_double() == 5, {"$eq": [{"$convert": {"input": A, "to": "double"}}, lit(5)]}),
        (field("a").as_string() == "5", {"$eq": [{"$convert": {"input": A, "to": "string"}}, lit("5")]}),
        (~(field("a") == 1), {"$not": [{"$eq": [A, lit(1)]}]}),
        ((field("a") == 1) & (field("b") == 2), {"$and": [{"$eq": [A, lit(1)]}, {"$eq": [B, lit(2)]}]}),
        ((field("a") == 1) | field("b").exists(), {"$or": [{"$eq": [A, lit(1)]}, tree(field("b").exists())]}),
        ((field("a") == field("b")) == True, {"$eq": [{"$eq": [A, B]}, lit(True)]}),  # noqa: E712
    ],
)
def test_expressions_build_the_tree(expr: Expr, expected: Any) -> None:
    query = Query(expr)

    assert query.to_dict() == {"$expr": expected}
    assert Query.from_dict({"$expr": expected}) == query
    assert Query.from_proto(query.to_proto()) == query


def test_chains_of_one_operator_are_one_list() -> None:
    a, b, c = field("a") == 1, field("a") == 2, field("a") == 3

    assert tree(a & b & c) == {"$and": [tree(a), tree(b), tree(c)]}
    assert tree(a | (b | c)) == {"$or": [tree(a), tree(b), tree(c)]}
    assert tree(a & (b | c)) == {"$and": [tree(a), {"$or": [tree(b), tree(c)]}]}


def test_long_chains_do_not_nest() -> None:
    chain = field("a") == 0
    for number in range(1, 300):
        chain = chain | (field("a") == number)

    assert len(tree(chain)["$or"]) == 300


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2025, 3, 1, 10, 1, 2, 5, tzinfo=UTC), "2025-03-01T10:01:02.000005Z"),
        (datetime(2025, 3, 1, 10, 1, tzinfo=timezone(timedelta(hours=2))), "2025-03-01T08:01:00Z"),
        (datetime(2025, 3, 1, 10, 1), "2025-03-01T10:01:00Z"),  # noqa: DTZ001
        (date(2025, 3, 1), "2025-03-01"),
    ],
)
def test_times_become_text(value: date, text: str) -> None:
    assert tree(field("created_at") >= value) == {"$gte": [{"$getField": "created_at"}, lit(text)]}


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: bool(SCORE > 1),
        lambda: 0 < SCORE < 1,
        lambda: (SCORE > 1) and (SCORE < 2),
        lambda: not SCORE,
        lambda: SCORE & (SCORE > 1),
        lambda: (SCORE > 1) | SCORE,
        lambda: ~SCORE,
        lambda: (SCORE > 1) & True,  # type: ignore[operator]
        lambda: Query(SCORE),
        lambda: Query(SCORE.as_int()),
        lambda: Query({"$expr": {}}),  # type: ignore[arg-type]
        lambda: SCORE.as_int().exists(),
        lambda: SCORE.in_("abc"),
        lambda: SCORE.contains(5),  # type: ignore[arg-type]
        lambda: SCORE.startswith(5),  # type: ignore[arg-type]
        lambda: SCORE.startswith(None),  # type: ignore[arg-type]
        lambda: SCORE.is_type(float),  # type: ignore[arg-type]
        lambda: SCORE.as_int().type_of(),
        lambda: SCORE.as_int().is_null(),
        lambda: Query(SCORE.type_of()),
        lambda: field(5),  # type: ignore[arg-type]
        lambda: {SCORE: 1},
        lambda: as_query("id"),  # type: ignore[arg-type]
    ],
)
def test_misuse_is_a_type_error(misuse: Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        misuse()


def test_truth_says_what_to_write_instead() -> None:
    with pytest.raises(TypeError, match=r"&, \| and ~"):
        bool(SCORE > 1)


@pytest.mark.parametrize(
    ("expr", "shown"),
    [
        (SCORE > 0.5, "field('payload.score') > 0.5"),
        ((field("a") == 1) & ~field("b").exists(), "(field('a') == 1) & ~field('b').exists()"),
        (~((field("a") == 1) | (field("a") == 2)), "~((field('a') == 1) | (field('a') == 2))"),
        (field("a").as_int().in_([1, "x"]), "field('a').as_int().in_([1, 'x'])"),
        (
            field("a").contains("x", case_insensitive=True),
            "field('a').contains('x', case_insensitive=True)",
        ),
        ((field("a") > 1).as_bool(), "(field('a') > 1).as_bool()"),
        (field("a").type_of() == "text", "field('a').type_of() == 'text'"),
        (field("a").startswith("x"), "field('a').startswith('x')"),
        (~field("a").startswith(field("b")), "~field('a').startswith(field('b'))"),
    ],
)
def test_repr_is_the_python_that_builds_it(expr: Expr, shown: str) -> None:
    assert repr(expr) == shown
    assert repr(Query(expr)) == f"Query({shown})"
    assert Query(eval(shown)) == Query(expr)


def test_repr_of_many_members_is_cut() -> None:
    assert "… 980 more" in repr(field("a").in_(range(1000)))


# Each with the path of what is wrong.
BAD_DICTS: list[tuple[Any, str]] = [
    ({}, "query"),
    ({"$expr": {"$and": [{"$eq": [A, B]}]}, "x": 1}, "query"),
    ({"$expr": []}, "query.$expr"),
    ({"$expr": None}, "query.$expr"),
    ({"$expr": {}}, "query.$expr"),
    ({"$expr": {"$eq": [A, B], "$ne": [A, B]}}, "query.$expr"),
    ({"$expr": {"$regex": [A, B]}}, "query.$expr"),
    ({"$expr": {5: [A, B]}}, "query.$expr"),
    ({"$expr": A}, "query.$expr"),
    ({"$expr": lit(True)}, "query.$expr"),
    ({"$expr": {"$convert": {"input": A, "to": "int"}}}, "query.$expr"),
    ({"$expr": {"$and": []}}, "query.$expr.$and"),
    ({"$expr": {"$or": {}}}, "query.$expr.$or"),
    ({"$expr": {"$and": [{"$eq": [A, B]}, A]}}, "query.$expr.$and[1]"),
    ({"$expr": {"$not": {"$eq": [A, B]}}}, "query.$expr.$not"),
    ({"$expr": {"$not": [{"$eq": [A, B]}, {"$eq": [A, B]}]}}, "query.$expr.$not"),
    ({"$expr": {"$not": [lit(True)]}}, "query.$expr.$not[0]"),
    ({"$expr": {"$eq": [A]}}, "query.$expr.$eq"),
    ({"$expr": {"$eq": [A, B, A]}}, "query.$expr.$eq"),
    ({"$expr": {"$eq": [A, 5]}}, "query.$expr.$eq[1]"),
    ({"$expr": {"$in": [A, lit("x")]}}, "query.$expr.$in[1]"),
    ({"$expr": {"$in": [A]}}, "query.$expr.$in"),
    ({"$expr": {"$in": [A, [lit(1), 2]]}}, "query.$expr.$in[1][1]"),
    ({"$expr": {"$contains": [A, B]}}, "query.$expr.$contains"),
    ({"$expr": {"$type": A}}, "query.$expr"),
    ({"$expr": {"$eq": [{"$type": "a"}, B]}}, "query.$expr.$eq[0].$type"),
    ({"$expr": {"$startsWith": [A, B]}}, "query.$expr.$startsWith"),
    ({"$expr": {"$startsWith": {"input": A}}}, "query.$expr.$startsWith"),
    ({"$expr": {"$startsWith": {"input": A, "prefix": B, "x": 1}}}, "query.$expr.$startsWith"),
    ({"$expr": {"$startsWith": {"input": A, "prefix": "x"}}}, "query.$expr.$startsWith.prefix"),
    ({"$expr": {"$contains": {"input": A}}}, "query.$expr.$contains"),
    ({"$expr": {"$contains": {"input": A, "substr": B, "x": 1}}}, "query.$expr.$contains"),
    ({"$expr": {"$contains": {"input": A, "substr": "x"}}}, "query.$expr.$contains.substr"),
    (
        {"$expr": {"$contains": {"input": A, "substr": B, "case_insensitive": 1}}},
        "query.$expr.$contains.case_insensitive",
    ),
    ({"$expr": {"$convert": {"input": A, "to": "uuid"}}}, "query.$expr.$convert.to"),
    ({"$expr": {"$convert": {"input": A, "to": []}}}, "query.$expr.$convert.to"),
    ({"$expr": {"$convert": {"to": "bool"}}}, "query.$expr.$convert"),
    (
        {"$expr": {"$convert": {"input": {"$convert": {"input": A, "to": "int"}}, "to": "bool"}}},
        "query.$expr.$convert.input",
    ),
    ({"$expr": {"$eq": [{"$getField": 5}, B]}}, "query.$expr.$eq[0].$getField"),
    ({"$expr": {"$eq": [{"$getField": "\ud800"}, B]}}, "query.$expr.$eq[0].$getField"),
    ({"$expr": {"$eq": [A, lit({"a": 1})]}}, "query.$expr.$eq[1].$literal"),
    ({"$expr": {"$eq": [A, lit([1])]}}, "query.$expr.$eq[1].$literal"),
    ({"$expr": {"$eq": [A, lit(float("nan"))]}}, "query.$expr.$eq[1].$literal"),
    ({"$expr": {"$eq": [A, lit(float("-inf"))]}}, "query.$expr.$eq[1].$literal"),
    ({"$expr": {"$eq": [A, lit(2**63)]}}, "query.$expr.$eq[1].$literal"),
    ({"$expr": {"$eq": [A, lit(-(2**63) - 1)]}}, "query.$expr.$eq[1].$literal"),
    ({"$expr": {"$eq": [A, lit("\udfff")]}}, "query.$expr.$eq[1].$literal"),
]


@pytest.mark.parametrize(("query", "path"), BAD_DICTS)
def test_malformed_dict_is_refused_with_its_path(query: Any, path: str) -> None:
    with pytest.raises(plaudit.InvalidArgumentError) as raised:
        Query.from_dict(query)
    assert [violation.field for violation in raised.value.violations] == [path]
    assert path in str(raised.value)


@pytest.mark.parametrize("query", [None, "x", 5, [{"$expr": A}]])
def test_query_that_is_no_dict(query: Any) -> None:
    with pytest.raises(TypeError):
        Query.from_dict(query)


EQ = v1.Comparison(op=v1.ComparisonOp.COMPARISON_OP_EQ, left=v1.Expression(field="a"), right=v1.Expression(field="b"))


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (v1.Query(), "query.expr"),
        (v1.Query(expr=v1.Expression()), "query.expr"),
        (v1.Query(expr=v1.Expression(negation=v1.Expression())), "query.expr.negation"),
        (v1.Query(expr=v1.Expression(all_of=v1.ExpressionList())), "query.$expr.$and"),
        (
            v1.Query(expr=v1.Expression(comparison=v1.Comparison(left=EQ.left, right=EQ.right))),
            "query.expr.comparison.op",
        ),
        (
            v1.Query(expr=v1.Expression(comparison=v1.Comparison(op=99, left=EQ.left, right=EQ.right))),  # type: ignore[arg-type]
            "query.expr.comparison.op",
        ),
        (
            v1.Query(
                expr=v1.Expression(
                    comparison=v1.Comparison(op=EQ.op, left=EQ.left, right=v1.Expression(literal=v1.Literal()))
                )
            ),
            "query.expr.comparison.right.literal",
        ),
        (v1.Query(expr=v1.Expression(convert=v1.Convert(input=EQ.left))), "query.expr.convert.to"),
    ],
)
def test_malformed_message_is_refused_with_its_path(message: v1.Query, path: str) -> None:
    with pytest.raises(plaudit.InvalidArgumentError) as raised:
        Query.from_proto(message)
    assert [violation.field for violation in raised.value.violations] == [path]


@pytest.mark.parametrize(
    "compared",
    [
        lambda: field("payload.v") == None,  # noqa: E711
        lambda: field("payload.v") != None,  # noqa: E711
        lambda: field("payload.v") > None,
        lambda: field("payload.v").as_int() == None,  # noqa: E711
        lambda: field("payload.v").in_([1, None]),
        lambda: field("payload.v").in_([None]),
    ],
)
def test_a_comparison_with_none_says_what_to_write_instead(compared: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"is_null\(\).*~field\('payload.v'\).*exists\(\)"):
        compared()


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'string' is not a kind of value: write one of number, text, bool, null"):
        field("payload.v").is_type("string")


def test_case_insensitive_null_is_false_in_a_dict() -> None:
    contains = {"input": A, "substr": B}
    given = Query.from_dict({"$expr": {"$contains": contains | {"case_insensitive": None}}})
    assert given == Query.from_dict({"$expr": {"$contains": contains}})


def test_null_is_a_null_value() -> None:
    literal = Query.from_dict({"$expr": {"$eq": [A, lit(None)]}}).to_proto().expr.comparison.right.literal

    assert literal.WhichOneof("value") == "null_value"
    assert literal.null_value == struct_pb2.NULL_VALUE


def test_what_is_nested_far_too_deep_is_refused_here() -> None:
    nested: Any = {"$eq": [A, B]}
    for _ in range(1000):
        nested = {"$not": [nested]}
    inverted = field("a").exists()
    for _ in range(50):
        inverted = ~inverted

    with pytest.raises(plaudit.InvalidArgumentError, match="nested deeper"):
        Query.from_dict({"$expr": nested})
    with pytest.raises(plaudit.InvalidArgumentError, match="nested deeper"):
        Query(inverted)


def test_depth_of_the_limit_passes() -> None:
    nested: Any = {"$eq": [A, B]}
    for _ in range(32):
        nested = {"$not": [nested]}

    # As many message levels as the parsers of all languages accept.
    assert Query.from_proto(v1.Query.FromString(Query.from_dict({"$expr": nested}).to_proto().SerializeToString()))


def test_queries_are_values() -> None:
    query = Query(SCORE > 0.5)

    assert query == Query.from_dict(query.to_dict())
    assert len({query, Query.from_dict(query.to_dict()), Query(SCORE > 0.6)}) == 2
    assert query != "x"
    assert pickle.loads(pickle.dumps(query)) == query
    assert Query(query.expr) == query


def test_whole_number_stays_distinct_from_double() -> None:
    assert Query(field("a") == 5) != Query(field("a") == 5.0)
    assert [type(tree(field("a") == value)["$eq"][1]["$literal"]) for value in (5, 5.0)] == [int, float]


texts = st.text(st.characters(codec="utf-8"), max_size=5)
literals = st.builds(
    lit,
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | texts
    | st.floats(allow_nan=False, allow_infinity=False),
)
leaves = literals | st.builds(lambda path: {"$getField": path}, texts)
comparison = st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"])
converted = st.builds(
    lambda source, to: {"$convert": {"input": source, "to": to}}, leaves, st.sampled_from(["int", "double", "string"])
)
simple_operands = leaves | converted
first_operations = st.builds(lambda op, left, right: {op: [left, right]}, comparison, simple_operands, simple_operands)


def wider(operations: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    operands = simple_operands | operations
    not_converted = leaves | operations.filter(lambda operation: "$convert" not in operation)
    return st.one_of(
        st.builds(lambda op, left, right: {op: [left, right]}, comparison, operands, operands),
        st.builds(
            lambda op, parts: {op: parts},
            st.sampled_from(["$and", "$or"]),
            st.lists(operations, min_size=1, max_size=3),
        ),
        st.builds(lambda operation: {"$not": [operation]}, operations),
        st.builds(lambda operand, members: {"$in": [operand, members]}, operands, st.lists(operands, max_size=3)),
        st.builds(
            lambda source, substr, extra: {"$contains": {"input": source, "substr": substr, **extra}},
            operands,
            operands,
            st.sampled_from([{}, {"case_insensitive": True}]),
        ),
        st.builds(lambda source, prefix: {"$startsWith": {"input": source, "prefix": prefix}}, operands, operands),
        st.builds(lambda source, kind: {"$eq": [{"$type": source}, lit(kind)]}, operands, texts),
        st.builds(
            lambda source, to: {"$convert": {"input": source, "to": to}},
            not_converted,
            st.sampled_from(["bool", "exists"]),
        ),
    )


@settings(max_examples=150, deadline=None)
@given(st.recursive(first_operations, wider, max_leaves=8))
def test_dict_and_message_map_one_to_one(operation: Any) -> None:
    given_dict = {"$expr": operation}

    query = Query.from_dict(given_dict)

    assert repr(query.to_dict()) == repr(given_dict)
    again = Query.from_proto(v1.Query.FromString(query.to_proto().SerializeToString()))
    assert again == query
    assert repr(again.to_dict()) == repr(given_dict)
    assert repr(query)
