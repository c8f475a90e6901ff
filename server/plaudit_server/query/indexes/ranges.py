"""Ranges of the values that may pass a comparison with literals: of payload values, and of an index's values."""

from __future__ import annotations

import math
import operator
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from plaudit_server.query.indexes.declared import TEXT_CHARACTERS, IndexKind
from plaudit_server.query.tree import Op, Scalar

_Bound = float | str | bytes

IndexValue = str | float | int
"""A value in an index: a number's double, the beginning of a text, 1 or 0 for a bool."""


class Range(NamedTuple):
    """Two bounds, both included, in an order in which numbers are below texts, and texts below blobs."""

    low: _Bound
    high: _Bound


@dataclass(frozen=True, slots=True)
class Span:
    """A range of an index's values, both bounds included; None is no bound."""

    low: IndexValue | None = None
    high: IndexValue | None = None

    @property
    def is_point(self) -> bool:
        """Whether it holds one value."""
        return self.low is not None and self.low == self.high

    def common(self, other: Span) -> Span:
        """What is in both, of the same index."""
        lows: list[Any] = [low for low in (self.low, other.low) if low is not None]
        highs: list[Any] = [high for high in (self.high, other.high) if high is not None]
        return Span(max(lows, default=None), min(highs, default=None))


_BEYOND_TEXT: Final = b""  # the least of the blobs
_JSON_NUMERAL: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_WORDS: Final = {"false": 0.0, "true": 1.0}
_OPERATORS: Final[dict[Op, Callable[[Any, Any], bool]]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def range_of(op: Op, values: Sequence[Scalar]) -> Range | None:
    """A range that holds every payload value that passes a comparison with one of the literals.

    None where almost every value may pass, and for literals that are neither all texts nor all numbers.
    """
    texts = [value for value in values if isinstance(value, str)]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(values) not in (len(texts), len(numbers)):
        return None
    ranges = [_text_range(op, text) for text in texts] + [_number_range(op, number) for number in numbers]
    known = [found for found in ranges if found is not None]
    if not known or len(known) < len(ranges):
        return None
    return Range(min((r.low for r in known), key=_place), max((r.high for r in known), key=_place))


def number_range(value: float) -> tuple[float, float]:
    """What a number may be read as, four doubles wider than exact: an engine may misread a long numeral."""
    low = high = float(value)
    for _ in range(4):
        low, high = math.nextafter(low, -math.inf), math.nextafter(high, math.inf)
    return low, high


def span_of(kind: IndexKind, op: Op, value: Any, exact_numbers: bool) -> Span | None:
    """The values of an index of a kind that may pass a comparison with a literal; None where almost all may."""
    if kind == "bool":
        passing = [int(possible) for possible in (False, True) if _OPERATORS[op](possible, value)]
        return Span(passing[0], passing[0]) if len(passing) == 1 else None
    if kind == "text":
        # The beginnings of two texts are in the same order as the texts, or equal.
        low = high = value[:TEXT_CHARACTERS]
    elif exact_numbers:
        # So are the closest doubles of two numbers.
        low = high = float(value)
    else:
        low, high = number_range(value)
    match op:
        case "eq":
            return Span(low, high)
        case "gt" | "gte":
            return Span(low, None)
        case "lt" | "lte":
            return Span(None, high)
        case _:
            return None


def after_prefix(prefix: str) -> str | None:
    """The least text, by code point, that is above every text with a prefix; None where there is none."""
    while prefix:
        prefix, last = prefix[:-1], ord(prefix[-1])
        if last < sys.maxunicode:
            # Surrogates are no characters of a text.
            return prefix + chr(0xE000 if last == 0xD7FF else last + 1)
    return None


def _number_range(op: Op, value: float) -> Range | None:
    """The numbers that may pass."""
    low, high = number_range(value)
    match op:
        case "eq":
            return Range(low, high)
        case "gt" | "gte":
            return Range(low, math.inf)
        case "lt" | "lte":
            return Range(-math.inf, high)
        case _:
            return None


def _text_range(op: Op, text: str) -> Range | None:
    """The values whose text form may pass; true and false are 1 and 0 before they are cast."""
    match op:
        case "eq" if text in _WORDS:
            return Range(_WORDS[text], text)
        case "eq" if _JSON_NUMERAL.fullmatch(text):
            number = _number_range("eq", float(text))
            return number and Range(number.low, text)
        case "eq":
            return Range(text, text)
        case "lt" | "lte":
            return Range(-math.inf, text)
        case "gt" | "gte" if text > "true":  # above the text form of every number and bool
            return Range(text, _BEYOND_TEXT)
        case _:
            return None


def _place(bound: _Bound) -> tuple[int, Any]:
    """A sort key for bounds of all kinds."""
    return (float, str, bytes).index(type(bound)), bound
