"""What each function of a measure gives for the values of one group; not how they are read or counted."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from plaudit_server.analytics import arithmetic
from plaudit_server.analytics.records import Measure, Measured

NOTHING: Final[Mapping[Any, int]] = {}
"""The values of a group without any."""


def measure(measure: Measure, counted: Mapping[Any, int]) -> Measured:
    """What a measure gives, of the distinct values of a group and how often each occurs.

    Values are of the kind of the measure's value. For a count without a value, any value stands for a record.
    """
    count = sum(counted.values())
    pairs = sorted(counted.items())
    match measure.function:
        case "count":
            return Measured(count, count)
        case "count_distinct":
            return Measured(count, len(counted))
        case "top_values":
            return _top_values(measure.top, counted)
        case "histogram":
            return _histogram(measure.edges, counted)
        case "percentiles":
            return Measured(count, values=tuple(arithmetic.percentile(pairs, percent) for percent in measure.percents))
        case _ if not counted:
            return Measured(0)
        case "sum":
            return Measured(count, arithmetic.total(pairs))
        case "mean":
            return Measured(count, arithmetic.mean(pairs))
        case "min":
            return Measured(count, pairs[0][0])
        case "max":
            return Measured(count, pairs[-1][0])
        case "variance":
            return Measured(count, arithmetic.variance(pairs))
        case "stddev":
            return Measured(count, arithmetic.deviation(pairs))
        case "share_true":
            return Measured(count, counted.get(True, 0) / count)


def single(measured: Measured) -> Any:
    """The one value of a measure that has one."""
    return measured.values[0] if measured.values else measured.value


def _top_values(top: int, counted: Mapping[Any, int]) -> Measured:
    ranked = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
    count = sum(counted.values())
    listed = tuple(ranked[:top])
    other = count - sum(times for _, times in listed)
    return Measured(count, top=listed, other_count=other, distinct_count=len(counted))


def _histogram(edges: tuple[float, ...], counted: Mapping[Any, int]) -> Measured:
    bins: Counter[int] = Counter()
    for value, times in counted.items():
        # The last bin includes its upper edge.
        bins[len(edges) - 1 if value == edges[-1] else bisect_right(edges, value)] += times
    inside = tuple(bins[place] for place in range(1, len(edges)))
    return Measured(sum(counted.values()), bins=inside, below=bins[0], above=bins[len(edges)])
