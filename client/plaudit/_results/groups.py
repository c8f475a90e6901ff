"""Groups of records as they were answered: keys and measures by name, and a table of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from plaudit import v1
from plaudit._core.measures import Period, result_of, value_of
from plaudit._show.grid import Column, Grid, cell, shown_time

_SHOWN: Final = 200
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


def columns_of(
    request: v1.AggregateFeedbackRequest, groups: Sequence[Group], counts: bool
) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """The groups as columns for a frame, and the zones of those that are periods, of which the start is given."""
    columns: dict[str, list[Any]] = {}
    zones = {}
    for key in request.group_by:
        name = key_name(key)
        columns[name] = [group[name] for group in groups]
        if key.WhichOneof("by") == "time":
            zones[name] = key.time.time_zone or "UTC"
            columns[name] = [period.start for period in columns[name]]
    columns["row_count"] = [group.row_count for group in groups]
    for measure in request.measures:
        name = measure.name
        if len(measure.percents) > 1:
            for percent in measure.percents:
                columns[f"{name}_{percent:g}"] = [group[name][percent] for group in groups]
        else:
            columns[name] = [group[name] for group in groups]
        if counts:
            columns[f"{name}_count"] = [group.value_count(name) for group in groups]
    return columns, zones


def grid_of(request: v1.AggregateFeedbackRequest, groups: Sequence[Group]) -> Grid:
    """The groups as columns of text, with a small bar for the number of records."""
    names = [*(key_name(key) for key in request.group_by), *(measure.name for measure in request.measures)]
    most = max((group.row_count for group in groups), default=0)
    columns = [Column(name, 48, 8) for name in names]
    rows = [
        [*(cell(_shown(group[name]), 200) for name in names), str(group.row_count), _bar(group.row_count, most)]
        for group in groups[:_SHOWN]
    ]
    hidden = len(groups) - len(rows)
    caption = f"… and {hidden} more, not shown here" if hidden else ""
    return Grid([*columns, Column("row_count", 12, 9), Column("", _BAR, 4)], rows, caption)


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
