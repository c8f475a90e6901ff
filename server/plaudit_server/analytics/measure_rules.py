"""Which measures a request may ask for, with a violation at the path of each bad part."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, cast

from plaudit._contract import limits
from plaudit.v1 import Measure as MeasureMessage
from plaudit.v1 import MeasureFunction
from plaudit_server.analytics.expressions import Expressions, bounded, check_name
from plaudit_server.analytics.records import Function, Kind, Measure
from plaudit_server.errors import Violation

_FUNCTIONS: Final[Mapping[int, Function]] = {
    number: cast(Function, name.removeprefix("MEASURE_FUNCTION_").lower())
    for name, number in MeasureFunction.items()
    if number
}
# As what a payload path by itself is read.
_READ_AS: Final[Mapping[Function, Kind]] = {
    "count": "text",
    "count_distinct": "text",
    "top_values": "text",
    "share_true": "bool",
}
_TAKES: Final[Mapping[Function, tuple[Kind, ...]]] = {
    "count": ("number", "text", "bool", "time"),
    "count_distinct": ("number", "text", "bool", "time"),
    "top_values": ("number", "text", "bool", "time"),
    "min": ("number", "text", "time"),
    "max": ("number", "text", "time"),
    "share_true": ("bool",),
}
_NUMBERS: Final[tuple[Kind, ...]] = ("number",)

_DEFAULT_TOP: Final = 10


def check_measures(
    messages: Sequence[MeasureMessage], expressions: Expressions, out: list[Violation], most: int
) -> list[Measure | None]:
    """The measures of each group; None in the place of each that is refused."""
    return [
        _check_measure(message, f"measures[{index}]", expressions, out)
        for index, message in bounded(messages, most, "measures", out)
    ]


def _check_measure(message: MeasureMessage, at: str, expressions: Expressions, out: list[Violation]) -> Measure | None:
    before = len(out)
    if not message.name:
        out.append(Violation(f"{at}.name", "is required"))
    else:
        check_name(message.name, f"{at}.name", out)
    function = _FUNCTIONS.get(message.function)
    if function is None:
        wrong = f"{message.function} is no function" if message.function else "is required"
        out.append(Violation(f"{at}.function", wrong))
    value = None
    if message.HasField("value"):
        read_as = _READ_AS.get(function, "number") if function else "text"
        value = expressions.value(message.value, f"{at}.value", read_as)
        takes = _TAKES.get(function, _NUMBERS) if function else ()
        if function and value is not None and value.kind not in takes:
            out.append(Violation(f"{at}.value", f"is a {value.kind}; {function} takes a {' or '.join(takes)}"))
    elif function not in ("count", None):
        out.append(Violation(f"{at}.value", f"is required for {function}"))
    where = expressions.query(message.where, f"{at}.where") if message.HasField("where") else None
    percents = _check_percents(message, function, at, out)
    edges = _check_edges(message, function, at, out)
    top = message.top or _DEFAULT_TOP
    if message.top and function != "top_values":
        out.append(Violation(f"{at}.top", "goes with top_values only"))
    elif not 0 < top <= limits.AGGREGATE_TOP:
        out.append(Violation(f"{at}.top", f"is not from 1 to {limits.AGGREGATE_TOP}"))
    if function is None or len(out) > before:
        return None
    return Measure(message.name, function, value, where, percents, top if function == "top_values" else 0, edges)


def _check_percents(
    message: MeasureMessage, function: Function | None, at: str, out: list[Violation]
) -> tuple[float, ...]:
    percents = tuple(message.percents)
    if function != "percentiles":
        if percents:
            out.append(Violation(f"{at}.percents", "goes with percentiles only"))
        return percents
    if not 1 <= len(percents) <= limits.AGGREGATE_PERCENTS:
        out.append(Violation(f"{at}.percents", f"has {len(percents)} elements, not 1 to {limits.AGGREGATE_PERCENTS}"))
    for index, percent in enumerate(percents[: limits.AGGREGATE_PERCENTS]):
        if not 0 <= percent <= 100:  # NaN neither
            out.append(Violation(f"{at}.percents[{index}]", "is not from 0 to 100"))
    return percents


def _check_edges(
    message: MeasureMessage, function: Function | None, at: str, out: list[Violation]
) -> tuple[float, ...]:
    edges = tuple(message.edges)
    if function != "histogram":
        if edges:
            out.append(Violation(f"{at}.edges", "goes with histogram only"))
        return edges
    if not 2 <= len(edges) <= limits.AGGREGATE_EDGES:
        out.append(Violation(f"{at}.edges", f"has {len(edges)} elements, not 2 to {limits.AGGREGATE_EDGES}"))
    for index, edge in enumerate(edges[: limits.AGGREGATE_EDGES]):
        if not math.isfinite(edge):
            out.append(Violation(f"{at}.edges[{index}]", "is not finite"))
        elif index and not edges[index - 1] < edge:
            out.append(Violation(f"{at}.edges[{index}]", "is not greater than the one before"))
    return edges
