"""Random rows, queries and orders for property tests; difficult values on purpose, all of them well-formed."""

from __future__ import annotations

import json
import os
import re
from typing import Any

from hypothesis import strategies as st

from plaudit import Query
from plaudit.v1 import OrderBy
from plaudit_server.query.fields import COLUMNS, MAPS, MapKey
from plaudit_server.query.indexes.declared import declare
from plaudit_server.query.parse import parse_query
from plaudit_server.query.tree import Operation

EXAMPLES = int(os.environ.get("PLAUDIT_EXAMPLES", "100"))
"""How many examples a property is tested with; the environment sets more for a long run."""

Expr = dict[str, Any]

# Values ------------------------------------------------------------------------------------------------------

NUMERALS = (
    *("0", "-0", "-0.0", "1", "1.0", "1e0", "5", "5.0", "5.00", "5.50", "5.7", "9", "10", "-1.5", "1E5", "100.0"),
    *("0.1", "0.10", "0.1000000000000000055511151231257827021181583404541015625", "1.5e10", "2.0e3", "1e+20"),
    *("9007199254740992", "9007199254740993", "9007199254740992.0", "9007199254740993.0", "5e-324"),
    *("9223372036854775807", "-9223372036854775808", "9223372036854775808.0", "1.7976931348623157e308"),
    # SQLite's own conversion of these does not give the closest double.
    *("6783569406044393701377.0", "94218083432765e287", "9430957054173463e-99", "85284578879674518e+44"),
)  # fmt: skip
TEXTS = (
    *("", "5", "5.0", " 5", "5 ", "+5", "-5", ".5", "5.", ".", "+", "1e5", "1e05", "1E-05", "1e100", "1e400", "007"),
    *("٣", "0x10", "1_0", "nan", "Infinity", "9", "10", "0", "1", "1.0", "9007199254740993", "9007199254740993.0"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "0" * 39 + "5", "0" * 40 + "5", "--5"),
    *("3465612863393776271361", "85284578879674518e44", "9430957054173463e-99", "5e", "e5", "5e+", "1e5e5", "1.2.3"),
    *("true", "false", "True", "null", "abc", "ABC", "b", "x", "ab", '{"a":1}', '["a"]', "apple", "Apple pie"),
    *("İstanbul", "istanbul", "ΣΊΣΥΦΟΣ", "σίσυφος", "ÄPFEL", "äpfel", "ẞ", "ß", "\n", "%", "_", "*", "[a]", "😀"),
    *("z" * 256 + "a", "z" * 256 + "b", "'", '"', "\\", "2025-03-01", "\uffff"),
)  # fmt: skip
KEYS = (
    "a",
    "b",
    "c",
    "0",
    "1",
    "01",
    "-1",
    " 1",
    "a.b",
    'q"',
    "'",
    "$",
    "%",
    "#",
    "*",
    "\n",
    "\\",
    "é",
    "😀",
    "[0]",
    "A",
)
SPECIAL_DOUBLES = (
    0.0,
    -0.0,
    0.1,
    0.5,
    1.0,
    5.0,
    5.7,
    1e20,
    1e-5,
    5e-324,
    1e308,
    9007199254740992.0,
    2.0**63,
    -(2.0**63),
)
SPECIAL_INTEGERS = (0, 1, 5, 9, 10, 2**53, 2**53 + 1, 2**63 - 1, -(2**63))

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.sampled_from(TEXTS) | st.text(characters, max_size=6)
short_texts = st.sampled_from(("a", "b", "5", "abc", "ΣΊΣΥΦΟΣ", "ab", "true", ""))
keys = st.sampled_from(KEYS) | st.text(characters, min_size=1, max_size=3)
integers = st.sampled_from(SPECIAL_INTEGERS) | st.integers(-20, 20) | st.integers(-(2**63), 2**63 - 1)
doubles = st.sampled_from(SPECIAL_DOUBLES) | st.floats(allow_nan=False, allow_infinity=False)
shares = st.sampled_from((0.0, -0.0, 1.0, 0.5, 0.1, 1e-05, 5e-324)) | st.floats(0, 1)


def _object(entries: list[tuple[str, str]], ascii_only: bool) -> str:
    unique = dict(entries)
    return "{" + ", ".join(f"{json.dumps(k, ensure_ascii=ascii_only)}: {v}" for k, v in unique.items()) + "}"


def _containers(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    objects = st.builds(_object, st.lists(st.tuples(keys, values), max_size=4), st.booleans())
    return objects | st.lists(values, max_size=3).map(lambda elements: f"[{','.join(elements)}]")


json_scalars = st.one_of(
    st.sampled_from(NUMERALS),
    integers.map(str),
    doubles.map(repr),
    st.builds(json.dumps, texts, ensure_ascii=st.booleans()),
    st.sampled_from(("true", "false", "null")),
)
json_texts = st.recursive(json_scalars, _containers, max_leaves=6)
payloads = st.builds(
    _object, st.lists(st.tuples(st.sampled_from(("a", "b")) | keys, json_texts), max_size=5), st.booleans()
)
"""JSON objects as text, numbers written in many ways."""


@st.composite
def rows(draw: st.DrawFn, number: int = 0) -> dict[str, Any]:
    """A record by column, as evaluate.py reads it; `number` makes its id."""
    nullable_text = st.none() | short_texts
    return {
        "id": f"00000000-0000-7000-8000-{number:012x}",
        "project": "acme/chat",
        "ref": draw(st.sampled_from(("weave:///acme/chat/call/1", "weave:///acme/chat/call/2", "urn:x"))),
        "feedback_type": draw(short_texts),
        "user_id": draw(short_texts),
        "owner": draw(short_texts),
        "created_at": draw(st.integers(1_740_823_200_000_000, 1_740_823_200_000_003)),
        "updated_at": draw(st.integers(1_740_823_200_000_000, 1_740_823_200_000_003)),
        "version": draw(st.integers(1, 3)),
        "revision": draw(st.sampled_from((1, 2, 2**53 + 1))),
        **{name: draw(nullable_text) for name, column in COLUMNS.items() if column.nullable},
        "scorer_tags": draw(st.lists(texts, max_size=3)),
        **{
            name: draw(st.dictionaries(keys, texts if kind == "text" else shares, max_size=3))
            for name, kind in MAPS.items()
        },
        "span_agent_name": draw(short_texts),
        "span_agent_version": draw(short_texts),
        "span_status_code": draw(st.sampled_from(("UNSET", "OK", "ERROR"))),
        "span_conversation_id": draw(short_texts),
        "span_trace_id": draw(short_texts),
        "scorer_trace_id": draw(short_texts),
        "payload": draw(payloads),
    }


@st.composite
def tables(draw: st.DrawFn, max_size: int = 6) -> list[dict[str, Any]]:
    """Records with different ids, in no order."""
    size = draw(st.integers(1, max_size))
    return [draw(rows(number)) for number in draw(st.permutations(range(size)))]


# Queries -----------------------------------------------------------------------------------------------------

KINDS = ("text", "number", "bool", "payload")
_COLUMNS = {kind: [name for name, c in COLUMNS.items() if c.kind == kind] for kind in ("text", "number", "time")}
_COMPARISONS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")
_NULL: Expr = {"$literal": None}


def _literal(value: Any) -> Expr:
    return {"$literal": value}


def _get(path: str) -> Expr:
    return {"$getField": path}


def _escaped(key: str) -> str:
    return key.replace(".", "\\.")


payload_paths = st.lists(
    st.sampled_from(("a", "b", "0", "1", "99999999999999999999")) | keys.map(_escaped), min_size=1, max_size=4
).map(lambda segments: "payload." + ".".join(segments))
NEAR_PATHS = ("payload.a", "payload.b", "payload.a.0", "payload.a.b", "payload.b.1.a", "payload.a.0.0")
near_paths = st.sampled_from(NEAR_PATHS)
payload_fields = (near_paths | near_paths | payload_paths).map(_get)
literals = {
    "text": texts.map(_literal),
    "number": (integers | doubles | st.sampled_from(NUMERALS).map(float)).map(_literal),
    "bool": st.booleans().map(_literal),
}


def _map_fields(kind: str) -> st.SearchStrategy[Expr]:
    names = [name for name, of in MAPS.items() if of == kind]
    return st.builds(lambda name, key: _get(f"{name}.{key}"), st.sampled_from(names), keys)


def _converts(inputs: st.SearchStrategy[Expr], *targets: str) -> st.SearchStrategy[Expr]:
    return st.builds(lambda value, to: {"$convert": {"input": value, "to": to}}, inputs, st.sampled_from(targets))


_inputs = st.one_of(
    payload_fields,
    payload_fields,
    payload_fields,
    *literals.values(),
    st.just(_NULL),
    st.sampled_from(_COLUMNS["text"] + _COLUMNS["number"]).map(_get),
    _map_fields("text"),
    _map_fields("number"),
)
_times = st.one_of(
    st.sampled_from(_COLUMNS["time"]).map(_get),
    st.sampled_from(("2025-03-01T10:00:00.000001Z", "2025-03-01T11:00:00.000002+01:00", "2025-03-01")).map(_literal),
    st.sampled_from((1740823200, 1740823200.000002)).map(_literal),
    st.just(_NULL),
)


_types = st.builds(
    lambda value: {"$type": value},
    st.one_of(
        payload_fields,
        payload_fields,
        st.sampled_from(sorted(COLUMNS)).map(_get),
        _map_fields("text"),
        _map_fields("number"),
    ),
)
_type_tests = st.builds(
    lambda op, asked, word: {op: [asked, _literal(word)]},
    st.sampled_from(("$eq", "$ne")),
    _types,
    st.sampled_from(("number", "text", "bool", "null", "object", "array")),
)


def _weighted(weights: dict[str, int]) -> st.SearchStrategy[str]:
    """A word by its weight; one_of would give every branch below a choice the same."""
    return st.sampled_from([word for word, weight in weights.items() for _ in range(weight)])


@st.composite
def operands(draw: st.DrawFn, kind: str, depth: int) -> Expr:
    """An operand of a kind, with operations in it down to `depth` more levels."""
    if kind == "payload":
        return draw(payload_fields)
    weights = {"literal": 2}
    if kind != "bool":
        weights |= {"column": 1, "map": 1}
    if depth > 0:
        weights |= {"convert": 2, "operation": 2 if kind == "bool" else 0}
    match draw(_weighted(weights)):
        case "literal":
            return draw(literals[kind])
        case "column":
            return _get(draw(st.sampled_from(_COLUMNS[kind])))
        case "map":
            return draw(_map_fields(kind))
        case "operation":
            return draw(operations(depth - 1))
        case _:
            if kind == "text" and draw(st.booleans()):
                return draw(_types)
            targets = {"text": ("string",), "number": ("double", "int"), "bool": ("bool", "exists")}[kind]
            of_operation = draw(st.integers(0, 4)) == 0
            inputs = operations(depth - 1).filter(lambda expr: "$convert" not in expr) if of_operation else _inputs
            return draw(_converts(inputs, *targets))


@st.composite
def _sides(draw: st.DrawFn, kind: str, depth: int) -> Expr:
    """An operand that compares with a kind: of the same kind, a payload value, or sometimes a null."""
    match draw(_weighted({"own": 6, "payload": 5, "null": 1})):
        case "own":
            return draw(operands(kind, depth))
        case "payload":
            return draw(payload_fields)
        case _:
            return _NULL


@st.composite
def _leaves(draw: st.DrawFn, depth: int) -> Expr:
    """An operation that is no $and, $or or $not; its operands may hold such, down to `depth` levels."""
    kind = draw(st.sampled_from(KINDS))
    sides = _sides(kind, depth)
    match draw(
        _weighted(
            {
                "comparison": 12,
                "membership": 8,
                "contains": 6,
                "prefix": 4,
                "type": 2,
                "time": 2,
                "exists": 2,
                "bool": 1,
            }
        )
    ):
        case "comparison":
            return {draw(st.sampled_from(_COMPARISONS)): [draw(sides), draw(sides)]}
        case "membership" if kind == "payload":
            return {"$in": [draw(payload_fields), draw(st.lists(st.one_of(sides, *literals.values()), max_size=5))]}
        case "membership":
            return {"$in": [draw(sides), draw(st.lists(sides, max_size=5))]}
        case "contains":
            haystacks = (operands("text", depth), payload_fields, payload_fields, st.just(_get("scorer_tags")))
            needles = (operands("text", depth), short_texts.map(_literal), short_texts.map(_literal), payload_fields)
            parts = {"input": draw(draw(st.sampled_from(haystacks))), "substr": draw(draw(st.sampled_from(needles)))}
            return {"$contains": parts | {"case_insensitive": draw(st.booleans())}}
        case "prefix":
            texts_in = (operands("text", depth), payload_fields, payload_fields, st.just(_get("ref")))
            beginnings = (short_texts, st.sampled_from(("weave:///acme/chat/call/", "urn:", "\U0010ffff", "5", "tr")))
            prefixes = (*(each.map(_literal) for each in beginnings), operands("text", depth), payload_fields)
            parts = {"input": draw(draw(st.sampled_from(texts_in))), "prefix": draw(draw(st.sampled_from(prefixes)))}
            return {"$startsWith": parts}
        case "type":
            return draw(_type_tests)
        case "time":
            column = _get(draw(st.sampled_from(_COLUMNS["time"])))
            if draw(st.booleans()):
                return {"$in": [column, draw(st.lists(_times, max_size=3))]}
            return {draw(st.sampled_from(_COMPARISONS)): [column, draw(_times)]}
        case "exists":
            return draw(_converts(_inputs | st.sampled_from(sorted(COLUMNS)).map(_get), "exists"))
        case _:
            return draw(_converts(payload_fields, "bool"))


@st.composite
def operations(draw: st.DrawFn, depth: int) -> Expr:
    """A well-formed operation of at most `depth` levels below itself."""
    # Fewer than one operation below another on average, or the trees would outgrow what Hypothesis draws.
    match draw(_weighted({"leaf": 4, "$and": 2, "$or": 2, "$not": 1})) if depth > 0 else "leaf":
        case "leaf":
            return draw(_leaves(max(depth - 1, 0)))
        case word:
            size = 1 if word == "$not" else draw(st.integers(1, 3))
            inner = (_leaves(depth - 1), operations(depth - 1))
            return {word: [draw(draw(st.sampled_from(inner))) for _ in range(size)]}


@st.composite
def deep_operations(draw: st.DrawFn, depth: int) -> Expr:
    """An operation with `depth` levels of $and, $or and $not above its deepest leaf."""
    if depth == 0:
        return draw(_leaves(0))
    word = draw(_weighted({"$and": 2, "$or": 2, "$not": 1}))
    parts = [draw(deep_operations(depth - 1))]
    if word != "$not":
        parts.insert(draw(st.integers(0, 1)), draw(_leaves(0)))
    return {word: parts}


def parsed(expr: Expr) -> Operation:
    """The tree of an operation in the form of its dict."""
    return parse_query(Query.from_dict({"$expr": expr}).to_proto())


queries = (operations(6) | operations(6) | deep_operations(5)).map(parsed)
"""Trees of well-formed queries to depth 6."""

DECLARED = tuple(
    [declare(path, kind) for path in (*NEAR_PATHS, 'payload.q"', "payload.'", "payload.-1") for kind in KINDS[:3]]
    + [declare(f"{name}.{key}") for name in MAPS for key in ("a", "'")]
)
"""Indexes over what `narrow_cases` ask for."""

# Numerals that engines read wrongly, equal numbers in other forms, long texts.
_MET_NUMERALS = (
    *("5", "5.0", "5.00", "5e0", "0", "-0.0", "1", "1.0", "0.99", "0.10", "1.5e10", "9007199254740992"),
    *("9007199254740993", "9007199254740993.0", "9223372036854775807", "6783569406044393701377.0"),
    *("94218083432765e287", "9430957054173463e-99", "85284578879674518e+44"),
)
_MET_TEXTS = (
    *("5", "5.0", "+5", " 5", "5 ", "", "abc", "İ", "z" * 256, "z" * 256 + "a", "z" * 256 + "b", "true", "false"),
    *("1e400", "0" * 39 + "5", "0" * 40 + "5", "3465612863393776271361", "-85284578879674518e44", "nan", "null"),
)


def nasty_values() -> list[str]:
    """Values in a payload, as JSON text."""
    texts = [json.dumps(text) for text in dict.fromkeys((*TEXTS, *_MET_TEXTS))]
    return [*dict.fromkeys((*NUMERALS, *_MET_NUMERALS)), *texts, "true", "false", "null", "[5]", '{"a": 5}']


def nasty_comparisons(kind: str) -> list[tuple[Any, str, str]]:
    """Literals of a kind, each with operators and paths."""
    numerals = dict.fromkeys((*NUMERALS, *_MET_NUMERALS))
    by_kind: dict[str, list[Any]] = {
        "number": [*dict.fromkeys(map(float, numerals)), 2**53 + 1, 2**63 - 1, -(2**63), 5, 1, 0],
        "text": [*dict.fromkeys((*TEXTS, *_MET_TEXTS, *(re.sub(r"\.0+$", "", numeral) for numeral in numerals)))],
        "bool": [True, False],
    }
    operators = ("$eq", "$gt", "$lte", "$in")
    return [
        (literal, op, path) for literal in by_kind[kind] for op in operators for path in ("payload.a", "payload.b.0")
    ]


@st.composite
def narrow_cases(draw: st.DrawFn) -> tuple[list[dict[str, Any]], Operation]:
    """Records, and comparisons that declared indexes serve, of a few values, so that they meet."""
    numerals = draw(st.lists(st.sampled_from(_MET_NUMERALS), min_size=1, max_size=3))
    met = draw(st.lists(st.sampled_from(_MET_TEXTS), min_size=1, max_size=3))
    scalars = st.sampled_from(
        [*numerals, *numerals, *map(json.dumps, met), *map(json.dumps, met), "true", "false", "null", "[5]", '{"b": 5}']
    )
    values = {
        "number": st.sampled_from([int(n) if n.isdigit() else float(n) for n in numerals]).map(_literal),
        "text": st.sampled_from([*met, *(re.sub(r"\.0+$", "", numeral) for numeral in numerals)]).map(_literal),
        "bool": st.booleans().map(_literal),
    }
    shared = draw(rows())
    found = []
    for number in range(draw(st.integers(1, 10))):
        shares = {key: draw(st.sampled_from((0.0, 1.0, 5.0))) for key in ("a", "'")}
        maps = {
            name: {key: draw(st.sampled_from(met)) for key in shares} if kind == "text" else shares
            for name, kind in MAPS.items()
        }
        id = f"00000000-0000-7000-8000-{number:012x}"
        found.append(shared | maps | {"id": id, "payload": draw(_met_payloads(scalars))})
    return found, parsed(draw(_narrow_operations(values, 2)))


@st.composite
def _met_payloads(draw: st.DrawFn, scalars: st.SearchStrategy[str]) -> str:
    """A payload with a value at every path close to the given one."""
    one, other, third, last = (draw(scalars) for _ in range(4))
    forms = (one, one, f"[{one}, {other}]", f"[[{one}]]", f'{{"b": {one}, "0": {other}}}', f'{{"0": {{"0": {one}}}}}')
    b = draw(st.sampled_from((third, f'[0, {{"a": {third}}}]', f'{{"1": {{"a": {third}}}}}')))
    return f'{{"a": {draw(st.sampled_from(forms))}, "b": {b}, "q\\"": {last}, "\'": {last}, "-1": {last}}}'


@st.composite
def _narrow_operations(draw: st.DrawFn, values: dict[str, st.SearchStrategy[Expr]], depth: int) -> Expr:
    if depth and draw(st.booleans()):
        word = draw(st.sampled_from(("$and", "$or", "$not")))
        size = 1 if word == "$not" else 2
        return {word: [draw(_narrow_operations(values, depth - 1)) for _ in range(size)]}
    index = draw(st.sampled_from(DECLARED))
    kind: str = draw(_weighted({index.kind: 8, "text": 1, "number": 1}))
    operand = _get(index.path)
    if draw(st.integers(0, 3)) == 0:
        targets = {"text": ("string",), "number": ("double", "int"), "bool": ("bool",)}[index.kind]
        operand = {"$convert": {"input": operand, "to": draw(st.sampled_from(targets))}}
        kind = index.kind
    elif isinstance(index.ref, MapKey):
        kind = index.kind
    literal = values[kind]
    match draw(_weighted({"comparison": 6, "membership": 3, "truth": 1})):
        case "comparison":
            sides = [operand, draw(literal)]
            return {draw(st.sampled_from(_COMPARISONS)): sides if draw(st.booleans()) else sides[::-1]}
        case "membership":
            null = [_NULL] if draw(st.integers(0, 5)) == 0 else []
            return {"$in": [operand, draw(st.lists(literal, max_size=3)) + null]}
        case _:
            return {"$convert": {"input": _get(index.path), "to": "bool"}}


# Orders ------------------------------------------------------------------------------------------------------

_sortable = st.one_of(
    st.sampled_from([name for names in _COLUMNS.values() for name in names]),
    near_paths,
    payload_paths,
    st.builds(lambda name, key: f"{name}.{key}", st.sampled_from(sorted(MAPS)), keys),
)
orders = st.lists(st.builds(lambda f, d: OrderBy(field=f, descending=d), _sortable, st.booleans()), max_size=3)
"""Orders as messages, of up to three keys."""
