"""What may be declared, which comparisons a declared index serves, and the SQL of both."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plaudit._contract import limits
from plaudit_server.query.compile.dialect import Dialect
from plaudit_server.query.compile.filters import compile_filter, compile_indexed
from plaudit_server.query.compile.functions import FUNCTIONS
from plaudit_server.query.compile.indexed import expression
from plaudit_server.query.fields import MAPS
from plaudit_server.query.indexes.conditions import Indexes
from plaudit_server.query.indexes.declared import PATH_BYTES, DeclaredIndex, NotIndexable, declare
from plaudit_server.query.tree import Not
from plaudit_server.store.declared import create, declaration
from plaudit_server.store.engines.postgres.dialect import postgres
from plaudit_server.store.engines.sqlite.dialect import SQLITE
from tests.store.declared import HOSTILE, path_of
from tests.strategies import Expr, nasty_comparisons, nasty_values, parsed
from tests.unit.querytable import Table, by_oracle
from tests.unit.test_query_compile import get, lit, row

POSTGRES = postgres("und-x-icu")
SCORE, NAME, FLAG = declare("payload.score", "number"), declare("payload.name", "text"), declare("payload.flag", "bool")
QUALITY = declare("scorer_ratings.q")
DECLARED = (SCORE, NAME, FLAG, QUALITY)


def conditions(expr: Expr, dialect: Dialect = SQLITE, declared: tuple[DeclaredIndex, ...] = DECLARED) -> list[Any]:
    """The conditions on indexes in a filter, each as its text without the expression, and its values."""
    compiled = compile_indexed(parsed(expr), dialect, "f", Indexes(declared))
    found = []
    for condition, _ in compiled.conditions:
        text = condition.text
        for index in declared:
            text = text.replace(expression(dialect.indexed, index, "f").text, index.path.rpartition(".")[2])
        found.append((text, *condition.params))
        assert condition.text in compiled.sql.text
    return found


def converted(path: str, to: str) -> Expr:
    return {"$convert": {"input": get(path), "to": to}}


# Declaring ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind", "told"),
    [
        ("score", "number", "unknown field"),
        ("", "number", "unknown field"),
        ("payload", "text", "the payload is no value by itself"),
        ("payload.", "text", "no empty segment"),
        ("payload.a\0b", "text", "no NUL"),
        ("payload.\udc80", "text", "not valid UTF-8"),
        ("created_at", "number", "created_at is a column"),
        ("scorer_tags", "text", "scorer_tags is a column"),
        ("scorer_ratings", "number", "scorer_ratings is a column"),
        ("scorer_ratings.", "number", "needs a key"),
        ("scorer_ratings.q", "text", "are read as number, not as text"),
        ("scorer_tag_reasons.q", "number", "are read as text, not as number"),
        ("payload.score", None, "no kind of its own"),
        ("payload.score", "double", "'double' is no kind"),
        ("payload." + "a" * PATH_BYTES, "text", f"an index takes {PATH_BYTES} at most"),
        ("payload" + ".a" * (limits.PAYLOAD_DEPTH + 1), "text", "no payload is as deep"),
        ("scorer_ratings." + "a" * (limits.SCORER_KEY_BYTES + 1), None, "no key of a map is as long"),
        ("payload.a.0.1.2", "number", "more than 2 segments of digits"),
    ],
)
def test_what_can_not_be_indexed_is_refused_with_the_reason(path: str, kind: str | None, told: str) -> None:
    with pytest.raises(NotIndexable, match=told):
        declare(path, kind)


def test_the_key_of_a_map_has_its_kind() -> None:
    assert {name: declare(f"{name}.k").kind for name in MAPS} == MAPS


def test_digits_are_a_position_or_a_key_but_at_the_top() -> None:
    assert declare("payload.a.0.b.12", "text").ways == [
        ["a", 0, "b", 12],
        ["a", 0, "b", "12"],
        ["a", "0", "b", 12],
        ["a", "0", "b", "12"],
    ]
    assert declare("payload.0.01.-1.1234567890", "text").ways == [["0", "01", "-1", "1234567890"]]


# What an index serves ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expr", "wanted"),
    [
        ({"$eq": [get("payload.score"), lit(0.5)]}, [("(score = %s::float8)", 0.5)]),
        ({"$eq": [get("payload.score"), lit(2**53 + 1)]}, [("(score = %s::float8)", 2.0**53)]),
        ({"$gt": [get("payload.score"), lit(5)]}, [("(score >= %s::float8)", 5.0)]),
        ({"$gt": [lit(5), get("payload.score")]}, [("(score <= %s::float8)", 5.0)]),
        ({"$lte": [converted("payload.score", "double"), lit(5)]}, [("(score <= %s::float8)", 5.0)]),
        ({"$lte": [converted("payload.score", "int"), lit(5)]}, [("(score <= %s::float8)", 5.0)]),
        ({"$not": [{"$gt": [get("payload.score"), lit(5)]}]}, [("(score <= %s::float8)", 5.0)]),
        ({"$not": [{"$not": [{"$gt": [get("payload.score"), lit(5)]}]}]}, [("(score >= %s::float8)", 5.0)]),
        ({"$eq": [get("scorer_ratings.q"), lit(1)]}, [("(q = %s::float8)", 1.0)]),
        ({"$in": [get("payload.score"), [lit(1), lit(2.5), lit(None)]]}, [
            ("(score in (%s::float8, %s::float8))", 1.0, 2.5)]),
        ({"$eq": [get("payload.name"), lit("é")]}, [('(name = (%s::text collate "C"))', "é")]),
        ({"$lt": [get("payload.name"), lit("z" * 300)]}, [('(name <= (%s::text collate "C"))', "z" * 256)]),
        ({"$eq": [converted("payload.name", "string"), lit("a")]}, [('(name = (%s::text collate "C"))', "a")]),
        ({"$eq": [get("payload.flag"), lit(True)]}, [("(flag = %s::int)", 1)]),
        ({"$ne": [get("payload.flag"), lit(True)]}, [("(flag = %s::int)", 0)]),
        ({"$lt": [get("payload.flag"), lit(True)]}, [("(flag = %s::int)", 0)]),
        (converted("payload.flag", "bool"), [("(flag = %s::int)", 1)]),
        ({"$not": [converted("payload.flag", "bool")]}, [("(flag = %s::int)", 0)]),
        ({"$and": [{"$gte": [get("payload.score"), lit(0.25)]}, {"$lt": [get("payload.score"), lit(0.5)]},
                   {"$eq": [get("payload.name"), lit("a")]}]},
         [("(score between %s::float8 and %s::float8)", 0.25, 0.5), ('(name = (%s::text collate "C"))', "a")]),
        ({"$not": [{"$or": [{"$lt": [get("payload.score"), lit(1)]}, {"$gt": [get("payload.score"), lit(2)]}]}]},
         [("(score between %s::float8 and %s::float8)", 1.0, 2.0)]),
        ({"$or": [{"$lt": [get("payload.score"), lit(1)]}, {"$eq": [get("payload.name"), lit("a")]}]},
         [("(score <= %s::float8)", 1.0), ('(name = (%s::text collate "C"))', "a")]),
    ],
)  # fmt: skip
def test_a_comparison_with_literals_is_narrowed_by_the_index_of_its_kind(expr: Expr, wanted: list[Any]) -> None:
    assert conditions(expr, POSTGRES) == wanted


def test_sqlite_narrows_between_two_bounds_some_doubles_wider_than_the_number() -> None:
    [(text, low, high)] = conditions({"$gte": [get("payload.score"), lit(0.5)]})
    assert (text, high) == ("(score between ? and ?)", float("inf"))
    assert 0.5 - 1e-15 < low < 0.5
    [(text, low, high)] = conditions({"$eq": [get("payload.score"), lit(0.5)]})
    assert low < 0.5 < high < 0.5 + 1e-15
    assert conditions({"$gt": [get("payload.name"), lit("b")]}) == [("(name between ? and ?)", "b", b"")]
    assert conditions({"$lt": [get("payload.name"), lit("b")]}) == [("(name between ? and ?)", "", "b")]


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRES], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "expr",
    [
        {"$ne": [get("payload.score"), lit(0.5)]},
        {"$not": [{"$eq": [get("payload.score"), lit(0.5)]}]},
        {"$not": [{"$in": [get("payload.score"), [lit(0.5)]]}]},
        {"$gt": [get("payload.score"), lit("a")]},
        {"$gt": [get("payload.name"), lit(1)]},
        {"$gt": [get("payload.other"), lit(1)]},
        {"$gt": [get("payload.score"), lit(None)]},
        {"$gt": [get("payload.score"), get("scorer_ratings.other")]},
        {"$gt": [get("payload.score"), get("payload.score")]},
        {"$eq": [converted("payload.score", "string"), lit("0.5")]},
        {"$eq": [converted("scorer_ratings.q", "string"), lit("0.5")]},
        {"$in": [get("payload.score"), [lit(0.5), get("payload.other")]]},
        {"$in": [get("payload.score"), [lit(0.5), lit("a")]]},
        {"$in": [get("payload.score"), [lit(None)]]},
        {"$in": [get("payload.flag"), [lit(True), lit(False)]]},
        {"$gte": [get("payload.flag"), lit(False)]},
        {"$gt": [get("payload.flag"), lit(True)]},
        {"$contains": {"input": get("payload.name"), "substr": lit("a")}},
        converted("payload.name", "exists"),
        {"$eq": [lit(0.5), lit(0.5)]},
    ],
)
def test_no_index_serves(expr: Expr, dialect: Dialect) -> None:
    assert conditions(expr, dialect) == []
    compiled = compile_indexed(parsed(expr), dialect, "f", Indexes(DECLARED))
    assert compiled.sql == compile_filter(parsed(expr), dialect)


def test_many_members_are_bound_one_by_one_then_as_a_list_or_as_ranges() -> None:
    def within(path: str, count: int) -> tuple[Any, ...]:
        literals = [lit(f"{n:04}" if path == "payload.name" else n) for n in range(count)]
        [found] = conditions({"$in": [get(path), literals]})
        return tuple(found)

    text, *values = within("payload.name", 100)
    assert (text.count("?"), values) == (100, [f"{n:04}" for n in range(100)])
    text, *values = within("payload.name", 101)
    assert (text.count("?"), len(values)) == (1, 1)
    text, *values = within("payload.score", 16)
    assert (text.count(" or "), len(values)) == (15, 32)
    text, low, high = within("payload.score", 17)
    assert (text, low < 0 < 16 < high < 16.1) == ("(score between ? and ?)", True)


def test_a_filter_has_eight_conditions_at_most_and_none_that_is_not_wanted() -> None:
    declared = tuple(declare(f"payload.p{n}", "number") for n in range(12))
    expr = {"$and": [{"$gt": [get(f"payload.p{n}"), lit(n)]} for n in range(12)]}
    assert len(conditions(expr, SQLITE, declared)) == 8
    operation, indexes = parsed({"$gt": [get("payload.score"), lit(1)]}), Indexes(DECLARED)
    [condition] = compile_indexed(operation, SQLITE, "f", indexes).conditions
    without = compile_indexed(operation, SQLITE, "f", indexes, [condition])
    assert without == (compile_filter(operation, SQLITE), ())


# The expressions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", DECLARED, ids=lambda index: index.path)
def test_no_index_holds_a_registered_function_or_a_subquery(index: DeclaredIndex) -> None:
    for dialect in (SQLITE, POSTGRES):
        text = create(dialect, declaration(dialect, index))
        assert not any(name in text for name in FUNCTIONS)
        assert "select" not in text.lower()
        assert text.startswith(f"CREATE INDEX {declaration(dialect, index).name} ON feedback (project, ")


def test_another_path_or_kind_has_another_name() -> None:
    paths = ["payload.a", "payload.b", "payload.a.b", "payload.a\\.b", "payload.A"]
    names = {declaration(SQLITE, declare(path, kind)).name for path in paths for kind in ("number", "text", "bool")}
    assert len(names) == 15
    assert all(len(name) < 63 and name.isidentifier() for name in names)


@pytest.mark.parametrize("key", HOSTILE)
@pytest.mark.parametrize("kind", ["number", "text", "bool"])
def test_a_hostile_key_is_only_a_key(key: str, kind: str) -> None:
    """The index is made, the planner uses it, and the table is not changed otherwise."""
    index = declare(path_of(key), kind)
    value: Any = {"number": 5, "text": "five", "bool": True}[kind]
    table = Table(declared=[index])
    schema = table.connection.execute("SELECT count(*) FROM sqlite_schema").get
    [segment] = index.ref.segments  # type: ignore[union-attr]
    table.fill([row(0, json.dumps({segment: value})), row(1, json.dumps({segment + "x": value})), row(2)])
    operation = parsed({"$eq": [get(index.path), lit(value)]})
    assert table.ids(operation) == ["f0"]
    assert "<expr>" in table.plan(operation)
    assert table.connection.execute("SELECT count(*) FROM sqlite_schema").get == schema


@pytest.mark.parametrize("key", HOSTILE)
def test_postgres_writes_a_path_in_letters_and_escapes_alone(key: str) -> None:
    _, literal = POSTGRES.indexed.json("payload", declare(path_of(key), "text").ways)
    assert literal.startswith("E'{\"")
    assert literal.endswith("\"}'::text[]")
    inner = literal[4:-11]
    assert not set(inner) & set("'%;-:$()?@/*`")
    assert all(part[:1] in ("u", "U") for part in inner.split("\\")[1:])


@pytest.mark.parametrize("op", ["$eq", "$gt", "$gte", "$lt", "$lte", "$in"])
def test_texts_that_begin_alike_are_told_apart(op: str) -> None:
    texts = ["z" * 255, "z" * 256, "z" * 256 + "a", "z" * 256 + "b", "z" * 257]
    rows = [row(number, json.dumps({"name": text})) for number, text in enumerate(texts)]
    plain, indexed = Table(rows), Table(rows, [NAME])
    for text in texts:
        operation = parsed({op: [get("payload.name"), [lit(text), lit("x")] if op == "$in" else lit(text)]})
        assert "<expr>" in indexed.plan(operation) or op == "$in"
        assert indexed.ids(operation) == plain.ids(operation)


@pytest.mark.parametrize("kind", ["number", "text", "bool"])
def test_every_literal_finds_by_an_index_what_the_oracle_finds(kind: str) -> None:
    """Each value that is difficult for some engine, at a difficult path, with each difficult literal."""
    values = nasty_values()
    rows = [row(number, f'{{"a": {value}, "b": [{value}]}}') for number, value in enumerate(values)]
    table = Table(rows, [declare("payload.a", kind), declare("payload.b.0", kind)])
    for literal, op, path in nasty_comparisons(kind):
        operation = parsed({op: [get(path), [lit(literal)] if op == "$in" else lit(literal)]})
        told = (literal, op, path)
        assert (set(table.ids(operation)), set(table.ids(Not(operation)))) == by_oracle(operation, rows), told
