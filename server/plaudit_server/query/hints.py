"""Ranges of values that may pass a comparison with literals, in an order of numbers below texts below blobs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from plaudit_server.query.parse import Op, Scalar

_Bound = float | str | bytes


class Range(NamedTuple):
    """Two bounds, which belong to it."""

    low: _Bound
    high: _Bound


_BEYOND_TEXT: Final = b""  # the least of the blobs
_JSON_NUMERAL: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_WORDS: Final = {"false": 0.0, "true": 1.0}


def range_of(op: Op, values: Sequence[Scalar]) -> Range | None:
    """A range that holds every payload value which passes a comparison with one of the literals.

    None where almost every value may pass, and for literals that are not all texts or all numbers.
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
    """What a number may be read as, four doubles wider than exact: an engine may read a long numeral amiss."""
    low = high = float(value)
    for _ in range(4):
        low, high = math.nextafter(low, -math.inf), math.nextafter(high, math.inf)
    return low, high


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
        case "gt" | "gte" if text > "true":  # beyond the text form of every number and bool
            return Range(text, _BEYOND_TEXT)
        case _:
            return None


def _place(bound: _Bound) -> tuple[int, Any]:
    """What sorts bounds of all kinds."""
    return (float, str, bytes).index(type(bound)), bound
