"""The meaning of the query language in plain Python, one row at a time; every store is compared with it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, total_ordering
from typing import Any, Final, assert_never

from plaudit_server.query.fields import Column, FieldRef, MapKey, PayloadPath
from plaudit_server.query.kinds import TYPE_OF_KIND
from plaudit_server.query.tree import (
    And,
    Compare,
    Contains,
    Convert,
    Field,
    In,
    Literal,
    Not,
    Operand,
    Operation,
    Or,
    SortKey,
    StartsWith,
    TypeOf,
)

Row = Mapping[str, Any]
"""A record by column: `payload` as JSON text, `scorer_*` as lists and dicts, times in microseconds."""


def matches(operation: Operation, row: Row) -> bool | None:
    """Whether a row matches: true, false, or None for unknown."""
    match operation:
        case And(operands):
            truths = [matches(operand, row) for operand in operands]
            return False if False in truths else None if None in truths else True
        case Or(operands):
            truths = [matches(operand, row) for operand in operands]
            return True if True in truths else None if None in truths else False
        case Not(operand):
            truth = matches(operand, row)
            return None if truth is None else not truth
        case Compare(op, left, right):
            return _compare(op, _read(left, row), _read(right, row))
        case In(operand, members):
            value = _read(operand, row)
            truths = [_compare("eq", value, _read(member, row)) for member in members]
            return True if True in truths else None if None in truths else False
        case Contains(input, needle, case_insensitive):
            return _contains(_read(input, row), _read(needle, row), case_insensitive)
        case StartsWith(input, prefix):
            return _starts_with(_read(input, row), _read(prefix, row))
        case Convert(input, to):
            result = _convert(_read(input, row), to)
            assert result is None or isinstance(result, bool)
            return result
        case _:
            assert_never(operation)


def read_as(operand: Operand, row: Row, kind: str) -> str | int | float | bool | None:
    """The value of an operand in a row, None for no value; a payload value is cast to `kind`: number, text or bool."""
    value = _read(operand, row)
    if isinstance(value, _Payload):
        return {"number": value.as_number, "text": value.as_text, "bool": value.as_bool}[kind]()
    assert not isinstance(value, list)
    return value


def sort_key(order: Sequence[SortKey], row: Row) -> tuple[Any, ...]:
    """What rows sort by: comparable with the key of any other row in the same order."""
    return tuple(_sort_part(key, row) for key in order)


class Missing:
    """The value of a path that is not there."""


MISSING: Final = Missing()


@dataclass(frozen=True, slots=True)
class Numeral:
    """A JSON number as it was written."""

    text: str

    @property
    def value(self) -> int | float:
        """An integer where it is digits alone within 64 bits, else the closest double."""
        if re.fullmatch(r"[+-]?[0-9]+", self.text) and -(2**63) <= int(self.text) < 2**63:
            return int(self.text)
        return float(self.text)


@dataclass(frozen=True, slots=True)
class _Payload:
    """A value in the payload, which has no kind of its own: it takes the kind of what it is compared with."""

    value: Any

    def as_number(self) -> int | float | None:
        return number_of(self.value)

    def as_text(self) -> str | None:
        return text_of(self.value)

    def as_bool(self) -> bool | None:
        return _bool(self.value)


# Values: a _Payload, or a value with a kind: text, int, float, bool, a list of tags; None is unknown.
_Value = _Payload | str | int | float | bool | list[str] | None


def _read(operand: Operand, row: Row) -> _Value:
    match operand:
        case Literal(value):
            return value
        case Field(ref):
            return _field(ref, row)
        case Convert(input, to):
            return _convert(_read(input, row), to)
        case TypeOf(Field(ref)):
            return _type_of(ref, row)
        case _:
            return matches(operand, row)


def _field(ref: FieldRef, row: Row) -> _Value:
    if isinstance(ref, Column):
        value: _Value = row[ref.name]
        return value
    if isinstance(ref, MapKey):
        value = row[ref.column].get(ref.key)
        return float(value) if isinstance(value, int) and ref.kind == "number" else value
    return _Payload(walk(ref, row["payload"]))


def walk(path: PayloadPath, payload: str) -> Any:
    """The value at a path of a payload, as `parsed` returns it; MISSING when there is none."""
    value: Any = parsed(payload)
    for segment in path.segments:
        if isinstance(value, dict) and segment in value:
            value = value[segment]
        elif isinstance(value, list) and re.fullmatch(r"0|[1-9][0-9]*", segment) and int(segment) < len(value):
            value = value[int(segment)]
        else:
            return MISSING
    return value


@lru_cache(maxsize=256)
def parsed(payload: str) -> Any:
    """The JSON of a payload, with each number as a Numeral."""
    return json.loads(payload, parse_int=Numeral, parse_float=Numeral)


def number_of(value: Any) -> int | float | None:
    """A number, or a text that can be read as one, as a number; None for every other value."""
    match value:
        case bool():
            return None
        case int() | float():
            return value
        case Numeral():
            return value.value
        case str() if len(value) <= 40 and re.fullmatch(
            r"[+-]?([0-9]+|[0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?", value
        ):
            return Numeral(value).value
        case _:
            return None


def text_of(value: Any) -> str | None:
    """The text form of a value; None for a value that has no text form."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return re.sub(r"\.0+\Z", "", repr(value))
        case Numeral():
            return re.sub(r"\.0+\Z", "", value.text)
        case _:
            return None


def _bool(value: Any) -> bool | None:
    match value:
        case bool():
            return value
        case "true":
            return True
        case "false":
            return False
        case int() | float() | Numeral():
            number = number_of(value)
            return True if number == 1 else False if number == 0 else None
        case _:
            return None


def _convert(value: _Value, to: str) -> _Value:
    inner = value.value if isinstance(value, _Payload) else value
    match to:
        case "exists":
            return inner is not MISSING if isinstance(value, _Payload) else value is not None
        case "double":
            return number_of(inner)
        case "int":
            number = number_of(inner)
            if number is None or number != number // 1 or not -(2**63) <= number < 2**63:
                return None
            return int(number)
        case "string":
            return text_of(inner)
        case _:
            return _bool(inner)


def _compare(op: str, left: _Value, right: _Value) -> bool | None:
    a: Any
    b: Any
    if isinstance(left, _Payload) and isinstance(right, _Payload):
        if isinstance(left.value, Numeral) and isinstance(right.value, Numeral):
            a, b = left.as_number(), right.as_number()
        else:
            a, b = left.as_text(), right.as_text()
    elif isinstance(left, _Payload):
        a, b = _cast_like(left, right), right
    elif isinstance(right, _Payload):
        a, b = left, _cast_like(right, left)
    else:
        a, b = left, right
    if a is None or b is None:
        return None
    match op:
        case "eq":
            return bool(a == b)
        case "ne":
            return bool(a != b)
        case "gt":
            return bool(a > b)
        case "gte":
            return bool(a >= b)
        case "lt":
            return bool(a < b)
        case _:
            return bool(a <= b)


def _cast_like(payload: _Payload, other: _Value) -> str | int | float | bool | None:
    match other:
        case bool():
            return payload.as_bool()
        case str():
            return payload.as_text()
        case int() | float():
            return payload.as_number()
        case _:
            return None


def _contains(input: _Value, needle: _Value, case_insensitive: bool) -> bool | None:
    wanted = needle.as_text() if isinstance(needle, _Payload) else needle
    if wanted is None:
        return None
    assert isinstance(wanted, str)
    fold = _fold if case_insensitive else str
    inner = input.value if isinstance(input, _Payload) else input
    if isinstance(inner, list):
        return any(isinstance(element, str) and fold(element) == fold(wanted) for element in inner)
    text = text_of(inner)
    return None if text is None else fold(wanted) in fold(text)


def _starts_with(input: _Value, prefix: _Value) -> bool | None:
    text = input.as_text() if isinstance(input, _Payload) else input
    beginning = prefix.as_text() if isinstance(prefix, _Payload) else prefix
    if text is None or beginning is None:
        return None
    assert isinstance(text, str)
    assert isinstance(beginning, str)
    return text.startswith(beginning)


def _type_of(ref: FieldRef, row: Row) -> str | None:
    value = _field(ref, row)
    if not isinstance(ref, PayloadPath):
        return None if value is None else TYPE_OF_KIND[ref.kind]
    assert isinstance(value, _Payload)
    match value.value:
        case Missing():
            return None
        case None:
            return "null"
        case bool():
            return "bool"
        case str():
            return "text"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "number"


def _fold(text: str) -> str:
    return "".join({"İ": "i", "ς": "σ"}.get(character, character.lower()) for character in text)


@total_ordering
@dataclass(frozen=True, slots=True)
class Descending:
    """A value that sorts in descending order."""

    value: Any

    def __lt__(self, other: Descending) -> bool:
        return bool(other.value < self.value)


def _sort_part(key: SortKey, row: Row) -> tuple[int, Any]:
    directed = Descending if key.descending else lambda value: value
    value = _field(key.ref, row)
    if not isinstance(value, _Payload):
        return (1, None) if value is None else (0, directed(value))
    if (number := value.as_number()) is not None:
        return 0, directed(number)
    if (text := value.as_text()) is not None:
        return 1, directed(text[:256])
    return (3, None) if value.value is MISSING else (2, None)
