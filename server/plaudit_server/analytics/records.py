"""Questions about groups of records after their rules were checked, and parts of answers; no messages of the wire.

Values are plain: text, int, float, bool, and for a time its microseconds since 1970 UTC; None is no value. A number
that is whole and within 64 bits is always an int.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from plaudit_server.analytics.buckets import Bucket, Unit
from plaudit_server.query.fields import Column, PayloadPath
from plaudit_server.query.refparts import RefPartName
from plaudit_server.query.tree import Operand, Operation

Kind = Literal["number", "text", "bool", "time", "range"]
"""What a value of an answer is."""

Scalar = str | int | float | bool
Key = Scalar | Bucket | None

Function = Literal[
    "count",
    "count_distinct",
    "sum",
    "mean",
    "min",
    "max",
    "variance",
    "stddev",
    "percentiles",
    "top_values",
    "histogram",
    "share_true",
]

ROW_COUNT: Final = "row_count"
"""The name that `having` and `order_by` know beside those of groupings and measures."""


@dataclass(frozen=True, slots=True)
class Value:
    """An expression, and as what kind its values are read."""

    operand: Operand
    kind: Kind


@dataclass(frozen=True, slots=True)
class ByTime:
    """Periods of the calendar; `start` and `end` extend what is filled."""

    column: Column
    unit: Unit
    zone: str
    fill: bool = False
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class ByRefPart:
    """A part of a ref."""

    column: Column
    part: RefPartName


@dataclass(frozen=True, slots=True)
class ByEach:
    """Each entry of scorer_tags or of an array in the payload, or each key of a map."""

    ref: Column | PayloadPath


@dataclass(frozen=True, slots=True)
class Grouping:
    """One key of the groups."""

    name: str
    by: Value | ByTime | ByRefPart | ByEach
    fill_categories: bool = False
    categories: tuple[str, ...] = ()
    """Those that a definition gives, in its order: each one is a group, and comes before what is none of them."""

    @property
    def kind(self) -> Kind:
        """What the keys are."""
        match self.by:
            case Value(kind=kind):
                return kind
            case ByTime():
                return "range"
            case _:
                return "text"


@dataclass(frozen=True, slots=True)
class Measure:
    """What is computed of each group; `value` is None only for count."""

    name: str
    function: Function
    value: Value | None = None
    where: Operation | None = None
    percents: tuple[float, ...] = ()
    top: int = 0
    edges: tuple[float, ...] = ()

    @property
    def kind(self) -> Kind | None:
        """What its one value is; None when it has none, or several."""
        match self.function:
            case "top_values" | "histogram":
                return None
            case "percentiles":
                return "number" if len(self.percents) == 1 else None
            case "min" | "max":
                assert self.value is not None
                return self.value.kind
            case _:
                return "number"


class Sort(NamedTuple):
    """One key of the order of groups: row_count (place -1), a grouping, or a measure, by its place."""

    of: Literal["row_count", "grouping", "measure"]
    place: int
    descending: bool


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A question about groups of records of one project."""

    project: str
    filter: Operation | None = None
    newest_of: tuple[Value, ...] = ()
    group_by: tuple[Grouping, ...] = ()
    measures: tuple[Measure, ...] = ()
    having: Operation | None = None
    order: tuple[Sort, ...] = ()
    limit: int | None = None
    with_total: bool = False
    with_group_count: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What a measure gave for one group; the fields are those of MeasureResult."""

    value_count: int
    value: Scalar | None = None
    values: tuple[float | None, ...] = ()
    top: tuple[tuple[Scalar, int], ...] = ()
    other_count: int = 0
    distinct_count: int = 0
    bins: tuple[int, ...] = ()
    below: int = 0
    above: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """A group, and what was computed of it."""

    keys: tuple[Key, ...]
    row_count: int
    measures: tuple[Measured, ...]
