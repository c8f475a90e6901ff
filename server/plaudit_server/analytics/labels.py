"""Periods of the calendar as SQL: a whole number for each instant, by which rows are grouped; no engine's own zones.

All instants are microseconds since 1970 UTC. SQL divides integers toward zero, so something is added before and
subtracted after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from plaudit_server.analytics.buckets import HOUR, MINUTE, Bucket, Calendar
from plaudit_server.analytics.zones import DAY
from plaudit_server.query.compile.fragments import Sql
from plaudit_server.query.compile.paths import Paths

# Whole weeks, and more than there are from the year 1 to 1970.
_DAYS: Final = 5 * 146_097


def label_sql(calendar: Calendar, instant: str, paths: Paths, greatest: str) -> Sql:
    """The number of the period that an instant, an expression that may be written out often, is in.

    `greatest` is the engine's function for the greater of two numbers.
    """
    if calendar.unit in ("minute", "hour"):
        return Sql(_clock(calendar, instant, greatest))
    offset = _by_segment(calendar, instant, lambda place: str(calendar.offsets.offsets[place]))
    day = f"(({instant} + {offset} + {_DAYS * DAY}) / {DAY} - {_DAYS})"
    match calendar.unit:
        case "day":
            return Sql(day)
        case "week":
            return Sql(f"(({day} + {_DAYS + 3}) / 7 - {_DAYS // 7})")
        case unit:
            months = {"month": 1, "quarter": 3, "year": 12}[unit]
            return _month(day, months, paths)


def bucket_of_label(calendar: Calendar, label: int) -> Bucket:
    """The period that has a number."""
    if calendar.unit in ("minute", "hour"):
        return calendar.bucket(label)
    return calendar.bucket_of_period(label)


def _clock(calendar: Calendar, instant: str, greatest: str) -> str:
    """The start of a minute or hour, which is not before the offset changed."""
    length = MINUTE if calendar.unit == "minute" else HOUR
    offsets = calendar.offsets

    def start(place: int) -> str:
        offset, since = offsets.offsets[place], offsets.starts[place]
        added = offset + _DAYS * DAY
        begins = f"(({instant} + {added}) / {length} * {length} - {added})"
        return begins if not place or (since + offset) % length == 0 else f"{greatest}({begins}, {since})"

    return _by_segment(calendar, instant, start)


def _by_segment(calendar: Calendar, instant: str, of: Callable[[int], str]) -> str:
    """What `of` gives for the segment of offsets that an instant is in, found by halving: there may be many."""
    starts = calendar.offsets.starts

    def between(first: int, last: int) -> str:
        if first == last:
            return of(first)
        middle = (first + last + 1) // 2
        early, late = between(first, middle - 1), between(middle, last)
        return f"(case when {instant} < {starts[middle]} then {early} else {late} end)"

    return between(0, len(starts) - 1)


def _month(day: str, months: int, paths: Paths) -> Sql:
    """Months since January of the year 0, as buckets.py counts them, in periods of some months."""
    steps = (
        ("d", f"({day} + 719468)"),
        ("e", "(d - d / 146097 * 146097)"),
        ("y", "((e - e / 1460 + e / 36524 - e / 146096) / 365)"),
        ("m", "((5 * (e - (365 * y + y / 4 - y / 100)) + 2) / 153)"),
    )
    body = Sql(f"((12 * (y + 400 * (d / 146097)) + m + 2) / {months})")
    for name, value in reversed(steps):
        body = paths.once(name, Sql(value), body)
    return body


def bin_sql(edges: Sequence[float], value: str, bound: Callable[[float], Sql]) -> Sql:
    """The place of a number among the edges of a histogram: 0 below the first, one more above the last than in it."""

    def between(first: int, last: int) -> Sql:
        """The number of edges, of which `first` are known to be at most the value and `last` at most may be."""
        if first == last:
            return Sql(str(first))
        middle = (first + last) // 2
        edge = bound(edges[middle])
        below, above = between(first, middle), between(middle + 1, last)
        # The last bin includes its upper edge.
        operator = "<=" if middle == len(edges) - 1 else "<"
        text = f"(case when {value} {operator} {edge.text} then {below.text} else {above.text} end)"
        return Sql(text, (*edge.params, *below.params, *above.params))

    return between(0, len(edges))
