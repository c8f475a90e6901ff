"""Random rows, queries and orders for property tests; nasty values on purpose, and all of them well-formed."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Any

from hypothesis import strategies as st

from plaudit import Query
from plaudit.v1 import OrderBy
from plaudit_server.query.fields import COLUMNS, MAPS
from plaudit_server.query.parse import Operation, parse_query

EXAMPLES = int(os.environ.get("PLAUDIT_EXAMPLES", "100"))
"""How many examples a property is tried with; more by the environment, for a long run."""

Expr = dict[str, Any]

# Values ------------------------------------------------------------------------------------------------------

NUMERALS = (
    *("0", "-0", "-0.0", "1", "1.0", "1e0", "5", "5.0", "5.00", "5.50", "5.7", "9", "10", "-1.5", "1E5", "100.0"),
    *("0.1", "0.10", "0.1000000000000000055511151231257827021181583404541015625", "1.5e10", "2.0e3", "1e+20"),
    *("9007199254740992", "9007199254740993", "9007199254740992.0", "9007199254740993.0", "5e-324"),
    *("9223372036854775807", "-9223372036854775808", "9223372036854775808.0", "1.7976931348623157e308"),
    # SQLite's own conversion of these is not the nearest double.
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
near_paths = st.sampled_from(("payload.a", "payload.b", "payload.a.0", "payload.a.b", "payload.b.1.a", "payload.a.0.0"))
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


@cache
def operands(kind: str, depth: int) -> st.SearchStrategy[Expr]:
    """Operands of a kind, with operations in them down to `depth` more levels."""
    if kind == "payload":
        return payload_fields
    found = [literals[kind]]
    if kind in ("text", "number"):
        found += [st.sampled_from(_COLUMNS[kind]).map(_get), _map_fields(kind)]
    if depth > 0:
        inputs = st.one_of(
            payload_fields,
            payload_fields,
            *literals.values(),
            st.just(_NULL),
            st.sampled_from(_COLUMNS["text"] + _COLUMNS["number"]).map(_get),
            _map_fields("text"),
            _map_fields("number"),
            operations(depth - 1).filter(lambda expr: "$convert" not in expr),
        )
        targets = {"text": ("string",), "number": ("double", "int"), "bool": ("bool", "exists")}[kind]
        found.append(_converts(inputs, *targets))
        if kind == "bool":
            found.append(operations(depth - 1))
    return st.one_of(found)


@cache
def _sides(kind: str, depth: int) -> st.SearchStrategy[Expr]:
    """What compares with a kind: the same, a payload value, and now and then a null."""
    own = operands(kind, depth)
    return st.one_of(own, own, own, payload_fields, payload_fields, st.just(_NULL))


_times = st.one_of(
    st.sampled_from(_COLUMNS["time"]).map(_get),
    st.sampled_from(
        ("2025-03-01T10:00:00.000001Z", "2025-03-01T11:00:00.000002+01:00", "2025-03-01", 1740823200, 1740823200.000002)
    ).map(_literal),
    st.just(_NULL),
)


@cache
def operations(depth: int) -> st.SearchStrategy[Expr]:
    """Well-formed operations of at most `depth` levels below themselves."""
    below = max(depth - 1, 0)

    def compared(kind: str) -> st.SearchStrategy[Expr]:
        sides = _sides(kind, below)
        return st.builds(lambda op, a, b: {op: [a, b]}, st.sampled_from(_COMPARISONS), sides, sides)

    def member_of(kind: str) -> st.SearchStrategy[Expr]:
        any_member = st.one_of(_sides(kind, below), *(literals.values() if kind == "payload" else ()))
        return st.builds(
            lambda operand, members: {"$in": [operand, members]}, _sides(kind, below), st.lists(any_member, max_size=5)
        ).filter(lambda expr: kind != "payload" or "$getField" in expr["$in"][0])

    contains = st.builds(
        lambda value, needle, fold: {"$contains": {"input": value, "substr": needle, "case_insensitive": fold}},
        operands("text", below) | payload_fields | st.just(_get("scorer_tags")),
        operands("text", below) | literals["text"] | short_texts.map(_literal) | payload_fields,
        st.booleans(),
    )
    any_input = st.one_of(
        payload_fields,
        *literals.values(),
        st.just(_NULL),
        st.sampled_from(sorted(COLUMNS)).map(_get),
        _map_fields("text"),
        _map_fields("number"),
    )
    times = st.builds(
        lambda op, a, b: {op: [_get(a), b]}, st.sampled_from(_COMPARISONS), st.sampled_from(_COLUMNS["time"]), _times
    ) | st.builds(
        lambda a, members: {"$in": [_get(a), members]}, st.sampled_from(_COLUMNS["time"]), st.lists(_times, max_size=3)
    )
    found = [compared(kind) for kind in KINDS] + [member_of(kind) for kind in KINDS]
    found += [contains, contains, times, _converts(any_input, "exists"), _converts(payload_fields, "bool")]
    if depth > 0:
        inner = operations(depth - 1)
        several = st.lists(inner, min_size=1, max_size=3)
        found += [
            several.map(lambda parts: {"$and": parts}),
            several.map(lambda parts: {"$or": parts}),
            inner.map(lambda one: {"$not": [one]}),
        ] * 2
    return st.one_of(found)


def parsed(expr: Expr) -> Operation:
    """The tree of an operation in the form of its dict."""
    return parse_query(Query.from_dict({"$expr": expr}).to_proto())


queries = operations(6).map(parsed)
"""Trees of well-formed queries to depth 6."""

# Orders ------------------------------------------------------------------------------------------------------

_sortable = st.one_of(
    st.sampled_from([name for names in _COLUMNS.values() for name in names]),
    near_paths,
    payload_paths,
    st.builds(lambda name, key: f"{name}.{key}", st.sampled_from(sorted(MAPS)), keys),
)
orders = st.lists(st.builds(lambda f, d: OrderBy(field=f, descending=d), _sortable, st.booleans()), max_size=3)
"""Orders as messages, of up to three keys."""
