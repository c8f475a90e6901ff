"""What is asked of groups of records: their keys and measures, built from fields; the wire's messages are inside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol

from plaudit import v1

FUNCTIONS: Final = {
    name.removeprefix("MEASURE_FUNCTION_").lower(): number for name, number in v1.MeasureFunction.items() if number
}
"""Measures by their names: `mean`, `count_distinct` …"""


class Condition(Protocol):
    """An expression that can be a condition."""

    def to_proto(self) -> v1.Expression:
        """The expression as a message."""


class Measure:
    """One number, or several, to compute of each group: `field("payload.score").mean()`. Immutable."""

    __slots__ = ("_message",)

    def __init__(self, message: v1.Measure) -> None:
        self._message = message

    def where(self, condition: Condition) -> Measure:
        """The same of only those records of the group for which a condition is true."""
        message = v1.Measure()
        message.CopyFrom(self._message)
        message.where.expr.CopyFrom(condition.to_proto())
        return Measure(message)

    def named(self, name: str) -> v1.Measure:
        """A copy as a message, under a name."""
        message = v1.Measure()
        message.CopyFrom(self._message)
        message.name = name
        return message

    def __repr__(self) -> str:
        return f"<{v1.MeasureFunction.Name(self._message.function).removeprefix('MEASURE_FUNCTION_').lower()}>"


class Key:
    """One key of groups that is not a plain value: a period of the calendar, a part of a ref, each tag. Immutable."""

    __slots__ = ("_message",)

    def __init__(self, message: v1.Grouping) -> None:
        self._message = message

    def named(self, name: str) -> v1.Grouping:
        """A copy as a message, under a name; with an empty one, that of its field."""
        message = v1.Grouping()
        message.CopyFrom(self._message)
        message.name = name
        return message


class Period(NamedTuple):
    """A period of the calendar, from `start` up to `end`, which is not in it; both in UTC."""

    start: datetime
    end: datetime


class Histogram(NamedTuple):
    """How many numbers are in each bin, below the first edge, and above the last."""

    bins: list[int]
    below: int
    above: int


class Measurable:
    """The measures and keys of an expression."""

    __slots__ = ()

    _message: v1.Expression

    def count(self) -> Measure:
        """How many records have a value."""
        return self._measure("count")

    def count_distinct(self) -> Measure:
        """How many distinct values there are."""
        return self._measure("count_distinct")

    def sum(self) -> Measure:
        """The sum of the numbers; None of none."""
        return self._measure("sum")

    def mean(self) -> Measure:
        """The mean of the numbers; None of none."""
        return self._measure("mean")

    def min(self) -> Measure:
        """The least number, text or time."""
        return self._measure("min")

    def max(self) -> Measure:
        """The greatest number, text or time."""
        return self._measure("max")

    def variance(self) -> Measure:
        """The variance of a sample; None for fewer than two numbers."""
        return self._measure("variance")

    def stddev(self) -> Measure:
        """The standard deviation of a sample; None for fewer than two numbers."""
        return self._measure("stddev")

    def percentile(self, percent: float) -> Measure:
        """One percentile, from 0 to 100, linear between the two closest ranks."""
        return self._measure("percentiles", percents=[percent])

    def percentiles(self, *percents: float) -> Measure:
        """Several percentiles, each from 0 to 100."""
        return self._measure("percentiles", percents=list(percents))

    def top_values(self, top: int = 10) -> Measure:
        """The most frequent values with their counts, ties by value."""
        return self._measure("top_values", top=top)

    def histogram(self, edges: Sequence[float]) -> Measure:
        """How many numbers are in each bin between two of these rising edges."""
        return self._measure("histogram", edges=list(edges))

    def share_true(self) -> Measure:
        """The share of true among true and false."""
        return self._measure("share_true")

    def minute(self, zone: str = "", **filling: Any) -> Key:
        """Minutes of a time."""
        return self._time("MINUTE", zone, **filling)

    def hour(self, zone: str = "", **filling: Any) -> Key:
        """Hours of a time; one that is repeated when clocks go back makes two."""
        return self._time("HOUR", zone, **filling)

    def day(self, zone: str = "", **filling: Any) -> Key:
        """Local days of a time, in a zone such as `Europe/Berlin`; `fill=True` adds those without records."""
        return self._time("DAY", zone, **filling)

    def week(self, zone: str = "", **filling: Any) -> Key:
        """Weeks of a time, from Monday."""
        return self._time("WEEK", zone, **filling)

    def month(self, zone: str = "", **filling: Any) -> Key:
        """Months of a time."""
        return self._time("MONTH", zone, **filling)

    def quarter(self, zone: str = "", **filling: Any) -> Key:
        """Quarters of a time."""
        return self._time("QUARTER", zone, **filling)

    def year(self, zone: str = "", **filling: Any) -> Key:
        """Years of a time."""
        return self._time("YEAR", zone, **filling)

    def part(self, part: str) -> Key:
        """A part of a ref: kind, project, name, digest, id, or base (the ref without its path)."""
        number = dict(v1.RefPart.items()).get(f"REF_PART_{part.upper()}")
        if not number:
            raise ValueError(f"a ref has no part {part!r}: kind, project, name, digest, id, base")
        return Key(v1.Grouping(ref_part=v1.RefPartOf(field=self._path("part"), part=number)))

    def each(self, *, categories: bool = False) -> Key:
        """Each entry of `scorer_tags`, each key of a map, each entry of an array in the payload.

        `categories`: each category that the definition gives for these entries is a group, see `categories()`.
        """
        return Key(v1.Grouping(each=self._path("each"), fill_categories=categories))

    def categories(self) -> Key:
        """A value of the payload, with a group for each category that the definition gives, used or not.

        In the definition's order, without those that are retired. The query must be for one feedback type.
        """
        return Key(v1.Grouping(value=v1.Expression(field=self._path("categories")), fill_categories=True))

    def _measure(self, function: str, **more: Any) -> Measure:
        return Measure(v1.Measure(function=FUNCTIONS[function], value=self._message, **more))

    def _time(
        self, unit: str, zone: str, fill: bool = False, start: datetime | None = None, end: datetime | None = None
    ) -> Key:
        bucket = v1.TimeBucket(
            field=self._path(unit.lower()), unit=v1.TimeUnit.Value(f"TIME_UNIT_{unit}"), time_zone=zone, fill=fill
        )
        for name, instant in (("start", start), ("end", end)):
            if instant is not None:
                getattr(bucket, name).FromDatetime(instant.astimezone(UTC))
        return Key(v1.Grouping(time=bucket))

    def _path(self, method: str) -> str:
        if self._message.WhichOneof("kind") != "field":
            raise TypeError(f"{method}() is of a plain field")
        return self._message.field


def value_of(message: v1.AggregateValue) -> Any:
    """A value of an answer: None, a bool, int, float, text, a datetime in UTC, or a Period."""
    match message.WhichOneof("value"):
        case None:
            return None
        case "time_value":
            return message.time_value.ToDatetime(UTC)
        case "range_value":
            span = message.range_value
            return Period(span.start.ToDatetime(UTC), span.end.ToDatetime(UTC))
        case name:
            return getattr(message, name)


def result_of(asked: v1.Measure, result: v1.MeasureResult) -> Any:
    """What a measure gave: one value, a dict by percent, a list of values with counts, or a Histogram."""
    match asked.function:
        case v1.MeasureFunction.MEASURE_FUNCTION_PERCENTILES if len(asked.percents) > 1:
            return {p: value_of(each) for p, each in zip(asked.percents, result.values, strict=True)}
        case v1.MeasureFunction.MEASURE_FUNCTION_PERCENTILES:
            return value_of(result.values[0])
        case v1.MeasureFunction.MEASURE_FUNCTION_TOP_VALUES:
            return [(value_of(each.value), each.count) for each in result.top]
        case v1.MeasureFunction.MEASURE_FUNCTION_HISTOGRAM:
            return Histogram(list(result.bins), result.below, result.above)
        case _:
            return value_of(result.value)
