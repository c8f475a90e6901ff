"""Groups of records as they were answered: keys and measures by name, and a table of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from plaudit import v1
from plaudit._core.definitions import Definition
from plaudit._core.measures import Period, result_of, value_of
from plaudit._frames.columns import typed
from plaudit._frames.kinds import Column, Kind
from plaudit._show.grid import Column as GridColumn
from plaudit._show.grid import Grid, cell, shown_time

_SHOWN: Final = 200
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Of the others the answers say it: the least value is of any kind, and a sum of integers is one.
_KINDS: Final[Mapping[int, Kind]] = {
    v1.MeasureFunction.MEASURE_FUNCTION_COUNT: "integer",
    v1.MeasureFunction.MEASURE_FUNCTION_COUNT_DISTINCT: "integer",
    v1.MeasureFunction.MEASURE_FUNCTION_MEAN: "number",
    v1.MeasureFunction.MEASURE_FUNCTION_VARIANCE: "number",
    v1.MeasureFunction.MEASURE_FUNCTION_STDDEV: "number",
    v1.MeasureFunction.MEASURE_FUNCTION_PERCENTILES: "number",
    v1.MeasureFunction.MEASURE_FUNCTION_SHARE_TRUE: "number",
}
_KEEP_DIRECTION: Final = (
    v1.MeasureFunction.MEASURE_FUNCTION_SUM,
    v1.MeasureFunction.MEASURE_FUNCTION_MEAN,
    v1.MeasureFunction.MEASURE_FUNCTION_MIN,
    v1.MeasureFunction.MEASURE_FUNCTION_MAX,
    v1.MeasureFunction.MEASURE_FUNCTION_PERCENTILES,
    v1.MeasureFunction.MEASURE_FUNCTION_SHARE_TRUE,
)
"""Functions of which a better value means better values."""
_BAR: Final = 16


class Group(Mapping[str, Any]):
    """One group: `group["payload.model"]` is a key, `group["score"]` a measure; None where there is no value."""

    __slots__ = ("_counts", "_values", "row_count")

    def __init__(self, request: v1.AggregateFeedbackRequest, message: v1.AggregateGroup) -> None:
        names = [key_name(key) for key in request.group_by]
        self._values = {name: value_of(key) for name, key in zip(names, message.keys, strict=False)}
        self._counts: dict[str, int] = {}
        for asked, result in zip(request.measures, message.measures, strict=True):
            self._values[asked.name] = result_of(asked, result)
            self._counts[asked.name] = result.value_count
        self.row_count = message.row_count
        """How many records are in the group."""

    def value_count(self, name: str) -> int:
        """How many records of the group had a value for a measure."""
        return self._counts[name]

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Group({self._values!r}, row_count={self.row_count})"


def key_name(key: v1.Grouping) -> str:
    """The name of a key: the one given, else the path of its field."""
    if key.name:
        return key.name
    match key.WhichOneof("by"):
        case "value":
            return key.value.field
        case "time":
            return key.time.field or "created_at"
        case "ref_part":
            return key.ref_part.field or "ref"
        case _:
            return key.each


def table_of(
    request: v1.AggregateFeedbackRequest, groups: Sequence[Group], counts: bool
) -> tuple[list[Column], dict[str, list[Any]]]:
    """The groups as the columns of a table, and their values; of periods the start is given."""
    made: list[tuple[Column, list[Any]]] = []
    for key in request.group_by:
        name = key_name(key)
        values = [group[name] for group in groups]
        if key.WhichOneof("by") == "time":
            starts = [None if period is None else _microseconds(period.start) for period in values]
            made.append((Column(name, "time", zone=key.time.time_zone or "UTC"), starts))
        else:
            made.append(_typed(name, values))
    made.append((Column("row_count", "integer", is_nullable=False), [group.row_count for group in groups]))
    for measure in request.measures:
        name, kind = measure.name, _KINDS.get(measure.function)
        if len(measure.percents) > 1:
            made += [
                (Column(f"{name}_{percent:g}", "number"), [group[name][percent] for group in groups])
                for percent in measure.percents
            ]
        elif kind is None:
            made.append(_typed(name, [group[name] for group in groups]))
        else:
            made.append((Column(name, kind), [group[name] for group in groups]))
        if counts:
            made.append((Column(f"{name}_count", "integer"), [group.value_count(name) for group in groups]))
    return [column for column, _ in made], {column.name: values for column, values in made}


def _typed(name: str, values: list[Any]) -> tuple[Column, list[Any]]:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {datetime}:
        return Column(name, "time"), [None if value is None else _microseconds(value) for value in values]
    return typed(name, values)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def feedback_type_of(request: v1.AggregateFeedbackRequest) -> str | None:
    """The one feedback type that the request's query asks for; None when it asks for no type, or for several."""
    expression = request.query.expr
    for part in expression.all_of.expressions if expression.HasField("all_of") else (expression,):
        compared = part.comparison
        if compared.op == v1.ComparisonOp.COMPARISON_OP_EQ and compared.left.field == "feedback_type":
            return compared.right.literal.string_value or None
    return None


def better_in(request: v1.AggregateFeedbackRequest, definitions: Mapping[str, Definition]) -> Mapping[str, str]:
    """Which values of a measure are better, `higher` or `lower`, by its name, where a definition says so."""
    definition = definitions.get(feedback_type_of(request) or "")
    if definition is None or definition.direction is None:
        return {}
    path = "payload." + ("value" if definition.value_path is None else definition.value_path)
    return {
        measure.name: definition.direction
        for measure in request.measures
        if measure.function in _KEEP_DIRECTION and path in (measure.value.field, measure.value.convert.input.field)
    }


def grid_of(
    request: v1.AggregateFeedbackRequest, groups: Sequence[Group], better: Mapping[str, str] = MappingProxyType({})
) -> Grid:
    """The groups as columns of text, with a small bar for the number of records.

    `better` says which values of a measure are better, by its name.
    """
    names = [*(key_name(key) for key in request.group_by), *(measure.name for measure in request.measures)]
    most = max((group.row_count for group in groups), default=0)
    headings = [f"{name} ({better[name]} is better)" if name in better else name for name in names]
    columns = [GridColumn(heading, 48, 8) for heading in headings]
    rows = [
        [*(cell(_shown(group[name]), 200) for name in names), str(group.row_count), _bar(group.row_count, most)]
        for group in groups[:_SHOWN]
    ]
    hidden = len(groups) - len(rows)
    caption = f"… and {hidden} more, not shown here" if hidden else ""
    return Grid([*columns, GridColumn("row_count", 12, 9), GridColumn("", _BAR, 4)], rows, caption)


def _bar(count: int, most: int) -> str:
    return "█" * round(_BAR * count / most) if most else ""


def _shown(value: Any) -> str:
    match value:
        case None:
            return "–"
        case Period(start):
            return shown_time(start)
        case float():
            return f"{value:.6g}"
        case _:
            return str(value)
