"""The SQL itself: no text of a request in it, shapes that indexes serve, exact numbers, keys and case."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest

from plaudit.v1 import OrderBy
from plaudit_server.query import evaluate
from plaudit_server.query.compile.filters import compile_filter
from plaudit_server.query.compile.fragments import Sql, fill
from plaudit_server.query.compile.functions import fold, number
from plaudit_server.query.compile.order import compile_order
from plaudit_server.query.indexes.ranges import after_prefix
from plaudit_server.query.parse import parse_order
from plaudit_server.query.tree import DEFAULT_ORDER, SortKey
from plaudit_server.store.engines.sqlite.dialect import SQLITE
from tests.strategies import Expr, parsed
from tests.unit.querytable import Table
from tests.unit.test_query_cases import full_row

REF = "weave:///acme/chat/call/1"


def get(path: str) -> Expr:
    return {"$getField": path}


def lit(value: Any) -> Expr:
    return {"$literal": value}


def sql_of(expr: Expr) -> Sql:
    return compile_filter(parsed(expr), SQLITE)


def order_of(*keys: str) -> tuple[SortKey, ...]:
    return parse_order(OrderBy(field=key.removeprefix("-"), descending=key.startswith("-")) for key in keys)


def row(number: int, payload: str = "{}", **columns: Any) -> dict[str, Any]:
    given = {"id": f"f{number}", "project": "acme/chat", "ref": REF, "feedback_type": "t", "payload": {}}
    return full_row(given | {"created_at": "2025-03-01T10:00:00Z"} | columns) | {"payload": payload}


def answer(expr: Expr, *payloads: str) -> list[int]:
    """Which of the payloads match."""
    rows = [row(index, payload) for index, payload in enumerate(payloads)]
    return sorted(int(id[1:]) for id in Table(rows).ids(parsed(expr)))


# Injection ---------------------------------------------------------------------------------------------------

MARKS = ("zq1'", 'zq2"', "zq3--", "zq4;", "zq5?", "zq6%s", "zq7)", "zq8{json}")


def every_shape(mark: str) -> list[Expr]:
    """Operations with a text in each place that accepts one."""
    path, key = get(f"payload.{mark}.0.{mark}.1"), get(f"scorer_tag_reasons.{mark}")
    return [
        {"$eq": [get("creator"), lit(mark)]},
        {"$gt": [path, lit(mark)]},
        {"$lte": [path, lit(5)]},
        {"$ne": [get(f"payload.{mark}"), path]},
        {"$eq": [path, {"$eq": [get(f"scorer_ratings.{mark}"), lit(0.5)]}]},
        {"$in": [key, [lit(mark), key, lit(None)]]},
        {"$in": [path, [lit(mark), lit(7), lit(True), path]]},
        {"$in": [{"$convert": {"input": path, "to": "string"}}, [lit(mark), key]]},
        {"$contains": {"input": path, "substr": key, "case_insensitive": True}},
        {"$contains": {"input": get("scorer_tags"), "substr": lit(mark)}},
        {"$contains": {"input": lit(mark), "substr": path}},
        {"$eq": [{"$convert": {"input": lit(mark), "to": "double"}}, {"$convert": {"input": path, "to": "int"}}]},
        {"$convert": {"input": path, "to": "bool"}},
        {"$not": [{"$convert": {"input": key, "to": "exists"}}]},
    ]


@pytest.mark.parametrize("mark", MARKS)
def test_no_text_of_a_request_is_in_the_sql(mark: str) -> None:
    statement = sql_of({"$or": every_shape(mark)})
    assert "zq" not in statement.text
    assert statement.text == sql_of({"$or": every_shape("other")}).text
    assert statement.text.count("?") == len(statement.params)
    Table([row(0)]).ids(parsed({"$or": every_shape(mark)}))


@pytest.mark.parametrize("mark", MARKS)
def test_no_text_of_a_request_is_in_the_sql_of_an_order(mark: str) -> None:
    order = order_of(f"payload.{mark}.0", f"-scorer_ratings.{mark}")
    ordering = compile_order(order, SQLITE)
    after = ordering.after((1, None, mark, 0.5, mark))
    for piece in (ordering.columns, ordering.order_by, after):
        assert "zq" not in piece.text
        assert piece.text.count("?") == len(piece.params)


def test_queries_of_one_shape_are_one_statement() -> None:
    def text(value: Any, members: list[Any]) -> str:
        among = {"$in": [get("payload.b"), list(map(lit, members))]}
        return sql_of({"$and": [{"$gt": [get("payload.a"), lit(value)]}, among]}).text

    assert text(1, ["a"]) == text(2**62, ["b", "c", "d"]) == text(-0.5, ["é"] * 900)


@pytest.mark.parametrize(
    "key",
    ["'", '"', "\\", 'a\\"b', "$", "$.a", "%", "%s", "?", "*", "#", "[0]", "\n", "\t\x01\x7f", " ", "é", "😀", "-1"],
)
def test_every_key_is_found_and_no_other(key: str) -> None:
    escaped = get("payload.x." + key.replace(".", "\\."))
    payloads = [
        json.dumps({"x": {key: 1, key + "z": 2}}, ensure_ascii=True),
        json.dumps({"x": {key: 1}}, ensure_ascii=False),
        json.dumps({"x": {key + "z": 1}, key: 1}),
        json.dumps({"x": [1, 1, [1]]}),
    ]
    assert answer({"$eq": [escaped, lit(1)]}, *payloads) == [0, 1]
    assert answer({"$convert": {"input": escaped, "to": "exists"}}, *payloads) == [0, 1]


# Shapes that indexes serve -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        ({"$eq": [get("weave_ref"), lit(REF)]}, "(f.ref = ?)"),
        ({"$eq": [lit("x"), get("feedback_type")]}, "(? = f.feedback_type)"),
        ({"$eq": [get("creator"), lit("Jane")]}, "(f.creator = ?)"),
        ({"$gte": [get("created_at"), lit("2025-03-01")]}, "(f.created_at >= ?)"),
        ({"$not": [{"$lt": [get("created_at"), lit("2025-03-01")]}]}, "(f.created_at >= ?)"),
        ({"$in": [get("id"), [lit("a"), lit("b")]]}, "(f.id in (select value from json_each(?)))"),
        ({"$and": [{"$eq": [get("ref"), lit("r")]}, {"$eq": [get("id"), lit("i")]}]}, "((f.ref = ?) and (f.id = ?))"),
        ({"$startsWith": {"input": get("ref"), "prefix": lit("r")}}, "((f.ref >= ?) and (f.ref < ?))"),
        ({"$startsWith": {"input": get("ref"), "prefix": lit(chr(0x10FFFF))}}, "(f.ref >= ?)"),
    ],
)
def test_a_leaf_on_a_column_is_bare(expr: Expr, text: str) -> None:
    assert sql_of(expr).text == text


@pytest.mark.parametrize(
    ("expr", "order"),
    [
        ({"$eq": [get("ref"), lit(REF)]}, DEFAULT_ORDER),
        ({"$in": [get("ref"), [lit(REF), lit("urn:x")]]}, None),
        ({"$and": [{"$eq": [get("ref"), lit(REF)]}, {"$gt": [get("payload.score"), lit(0.5)]}]}, DEFAULT_ORDER),
    ],
)
def test_a_ref_is_looked_up_in_its_index(expr: Expr, order: tuple[SortKey, ...] | None) -> None:
    plan = Table().plan(parsed(expr), order)
    assert "INDEX by_ref (project=? AND ref=?" in plan
    assert "TEMP B-TREE" not in plan


def test_a_prefix_of_a_ref_is_a_range_of_its_index() -> None:
    expr = {"$startsWith": {"input": get("ref"), "prefix": lit("weave:///acme/chat/call/")}}
    assert "INDEX by_ref (project=? AND ref>? AND ref<?)" in Table().plan(parsed(expr), None)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        ("a", "b"),
        ("a\U0010ffff", "b"),
        ("a\U0010ffff\U0010ffff", "b"),
        ("\ud7ff", "\ue000"),
        ("\uffff", "\U00010000"),
        ("\U0010ffff", None),
    ],
)
def test_the_texts_with_a_prefix_end_before(prefix: str, end: str | None) -> None:
    assert after_prefix(prefix) == end
    assert end is None or prefix + "\U0010ffff" * 3 < end


@pytest.mark.parametrize("keys", [("created_at",), ("-created_at",), ("created_at", "-id"), ("-created_at", "-id")])
def test_a_page_by_time_starts_in_the_index(keys: tuple[str, ...]) -> None:
    order = order_of(*keys)
    after = compile_order(order, SQLITE).after((1_740_823_200_000_000, "f1"))
    plan = Table().plan(None, order, after)
    assert re.search(
        r"SEARCH f USING (COVERING )?INDEX by_time \(project=\? AND (\(created_at,id\)|created_at)[<>]", plan
    )
    assert ("TEMP B-TREE" in plan) == (keys in (("-created_at",), ("created_at", "-id")))


def test_the_condition_of_a_page_is_one_range_where_directions_agree() -> None:
    key = (5, "f1")
    assert compile_order(order_of(), SQLITE).after(key) == ("(f.created_at, f.id) > (?, ?)", key)
    assert compile_order(order_of("-created_at"), SQLITE).after(key) == (
        "(f.created_at <= ? and (f.created_at < ? or (f.id) > (?)))",
        (5, 5, "f1"),
    )


def test_a_sort_key_has_the_width_it_says() -> None:
    ordering = compile_order(order_of("payload.a", "-creator", "scorer_ratings.a"), SQLITE)
    assert ordering.width == 6
    assert ordering.order_by.text == "k0, k1, k2, k3 desc nulls last, k4 nulls last, k5"
    assert re.findall(r" as (k\d)\b", ordering.columns.text) == [f"k{index}" for index in range(6)]


def test_filters_of_every_size_compile_to_something_the_engine_takes() -> None:
    positive: Expr = {"$gt": [get("payload.a"), lit(0)]}
    deep, needle, among = positive, positive, positive
    for _ in range(29):
        deep = {"$eq": [deep, get("payload.b.0.0")]}
        among = {"$in": [among, [get("payload.b.0"), get("payload.c"), lit(True), lit(None)]]}
    for _ in range(14):
        text = {"$convert": {"input": needle, "to": "string"}}
        needle = {"$contains": {"input": get("payload.b.0"), "substr": text, "case_insensitive": True}}
    wide = {"$or": [positive] * 170}
    paths = [get(f"payload.k{index}.0") for index in range(1000)]
    many, long = {"$in": [get("payload.a"), paths]}, {"$eq": [get("payload" + ".0" * 32), get("payload" + ".a" * 9999)]}
    table = Table([row(0, '{"a": 1, "b": [[true]], "k999": [1.0]}')])
    assert [len(table.ids(parsed(expr))) for expr in (deep, among, needle, wide, many, long)] == [1, 1, 0, 1, 1, 0]


# Numbers -----------------------------------------------------------------------------------------------------

# SQLite's own conversion does not give the closest double of these, and no double equals the integer.
HARD = (
    *("6783569406044393701377.0", "3465612863393776271361e0", "94218083432765e287", "9430957054173463e-99"),
    *(
        "85284578879674518e44",
        "85284578879674518.0e+44",
        "9007199254740993",
        "9007199254740993.0",
        "9007199254740992.0",
    ),
    *(
        "9223372036854775807",
        "9223372036854775807.0",
        "-9223372036854775808",
        "0.1",
        "0.10000000000000000555",
        "5e-324",
    ),
    *("1.7976931348623157e308", "2.2250738585072011e-308", "0.500000000000000166533453693773481063544750213623046875"),
    *("9214843084008499.0", "30078505129381147446200.0", "1777820000000000000001.0", "0.8374650192837465", "1e23"),
)


@pytest.mark.parametrize("numeral", HARD)
def test_a_number_is_exactly_its_integer_or_its_nearest_double(numeral: str) -> None:
    exact = int(numeral) if numeral.lstrip("-").isdigit() else float(numeral)
    payload = f'{{"a": {numeral}, "t": "{numeral}", "b": {{"0": {numeral}}}}}'
    texts_read = len(numeral) <= 40 and re.search(r"e[-+]?\d{3}", numeral) is None
    fields = [get("payload.a"), get("payload.b.0"), *([get("payload.t")] if texts_read else [])]
    for field in fields:
        assert answer({"$eq": [field, lit(exact)]}, payload) == [0]
        assert answer({"$in": [field, [lit(exact), lit("x")]]}, payload) == [0]
        assert answer({"$ne": [field, lit(exact)]}, payload) == []
    assert number(numeral) == exact
    is_whole = float(exact).is_integer() and -(2**63) <= exact <= 2**63 - 1
    assert type(number(numeral)) is (int if is_whole else float)


def test_integers_and_doubles_compare_by_exact_value() -> None:
    payload = '{"a": 9007199254740993}'
    assert answer({"$gt": [get("payload.a"), lit(9007199254740992.0)]}, payload) == [0]
    assert answer({"$eq": [get("payload.a"), lit(9007199254740992.0)]}, payload) == []
    assert answer({"$eq": [get("payload.a"), lit(9007199254740993)]}, payload) == [0]


def test_text_reads_as_a_number_by_the_grammar_alone() -> None:
    words = ["".join(word) for size in range(1, 5) for word in itertools.product("+-.e5 x", repeat=size)]
    words += ["5" * 40, "5" * 41, "0" * 39 + "5", "1e5", "1e05", "1e005", "1E-05", "٣", "0x5", "5\n", "5_5", "Infinity"]
    grammar = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
    table = Table()
    for word in words:
        value = table.value(fill(SQLITE.text_number, value=Sql("?", (word,))))
        expected = float(word) if grammar.fullmatch(word) and len(word) <= 40 else None
        assert value == expected, word


@pytest.mark.parametrize("position", ["99999999999999999999", "4294967296", "18446744073709551616", "9", "00", "01"])
def test_a_position_beyond_the_array_is_missing_and_never_wraps(position: str) -> None:
    field = get(f"payload.a.{position}")
    assert answer({"$eq": [field, lit(1)]}, '{"a": [1, 1]}', json.dumps({"a": {position: 1}})) == [1]


# Case --------------------------------------------------------------------------------------------------------


def test_all_three_ways_to_fold_case_agree_on_every_character() -> None:
    everything = "".join(chr(code) for code in range(1, 0x20000) if not 0xD800 <= code < 0xE000)  # none above has case
    by_character = "".join(evaluate._fold(character) for character in everything)
    assert fold(everything) == by_character
    for text in (everything, everything[:127], "ABC xyz", ""):
        assert Table().value(fill(SQLITE.fold, value=Sql("?", (text,)))) == fold(text)


@pytest.mark.parametrize(
    ("text", "folded"), [("İI", "ii"), ("ΣΊΣΥΦΟΣ", "σίσυφοσ"), ("σίσυφος", "σίσυφοσ"), ("ẞß", "ßß"), ("ÄPFEL", "äpfel")]
)
def test_case_is_folded_by_character(text: str, folded: str) -> None:
    assert fold(text) == folded
    assert fold(None) is None


# Sort keys ---------------------------------------------------------------------------------------------------


def test_a_sort_key_survives_a_token_with_every_kind_of_number() -> None:
    numerals = [
        "9007199254740993",
        "9007199254740992.0",
        "-0.0",
        "1e300",
        "5e-324",
        "9223372036854775807",
        '"5"',
        "0.1",
    ]
    table = Table(row(index, f'{{"a": {numeral}}}') for index, numeral in enumerate(numerals))
    order = order_of("-payload.a")
    whole = table.ids(order=order)
    assert [int(id[1:]) for id in whole] == [3, 5, 0, 1, 6, 7, 4, 2]
    assert [table.pages(None, order, size) for size in range(1, 10)] == [whole] * 9


def test_texts_sort_by_their_first_256_characters() -> None:
    stem = "é" * 255
    rows = [
        row(0, json.dumps({"a": stem + "bz"})),
        row(1, json.dumps({"a": stem + "ba"})),
        row(2, json.dumps({"a": stem})),
    ]
    assert Table(rows).ids(order=order_of("payload.a")) == ["f2", "f0", "f1"]
    assert Table(rows).ids(order=order_of("-payload.a")) == ["f0", "f1", "f2"]
