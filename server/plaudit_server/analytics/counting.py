"""How measures that need the values themselves are computed by an SQL engine: by counts of values, bins or deviations.

Percentiles and top values of one expression share a statement, which counts how often each value occurs in each group
and returns only the values at the ranks that are asked for. A histogram is counted by bins. Where the squares of an
engine's numbers lose bits, variances are made of deviations from a number near the mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import inf
from typing import Any, Final

from plaudit_server.analytics import arithmetic
from plaudit_server.analytics.columns import Base, Columns
from plaudit_server.analytics.dialects import number, rounded
from plaudit_server.analytics.labels import bin_sql
from plaudit_server.analytics.records import Measure, Measured
from plaudit_server.query.compile.fragments import Sql
from plaudit_server.query.compile.literals import bound

Tail = Sequence[Any]
"""What a row has after its keys."""

# How far the ranks that are returned may be off, because positions are computed in doubles there.
_MARGIN: Final = 3


@dataclass(frozen=True, slots=True)
class Counted(ABC):
    """Measures that share a statement: their places, and the name of the value in the subquery of all records."""

    columns: Columns
    places: tuple[int, ...]
    measures: tuple[Measure, ...]
    value: str

    @abstractmethod
    def sql(self, base: Base, restriction: Sql) -> Sql:
        """The statement: keys, then a tail. A restriction is a condition on the keys of `g`."""

    @abstractmethod
    def row_count(self, tails: Sequence[Tail]) -> int:
        """How many records a group has, of all its rows."""

    @abstractmethod
    def read(self, measure: Measure, tails: Sequence[Tail]) -> Measured:
        """What a measure gave, of all rows of a group; of no rows for a group without records."""


class Ranks(Counted):
    """Percentiles and top values: rows of value, count, rank of the first, place among the most frequent, totals."""

    __slots__ = ()

    def sql(self, base: Base, restriction: Sql) -> Sql:
        """One row for each value that is asked for, and one for the records without a value."""
        v, keys = self.value, base.keys
        part = f"partition by {', '.join(keys)} " if keys else ""
        listed = ", ".join((*keys, v))
        counts = (
            f"select {listed}, count(*) as c from ({base.sql.text}) as g where {restriction.text} group by {listed}"
        )
        top = max((measure.top for measure in self.measures), default=0)
        percents = sorted({percent for measure in self.measures for percent in measure.percents})
        ranked = [
            f"sum(c) over ({part}order by {v} nulls last) - c as s" if percents else "0 as s",
            f"row_number() over ({part}order by {v} is null, c desc, {v}) as r" if top else "0 as r",
            f"sum(case when {v} is not null then c end) over ({part.strip()}) as n",
            f"count({v}) over ({part.strip()}) as d",
        ]
        conditions = [f"{v} is null"]
        if top:
            conditions.append(f"r <= {top}")
        slot = self.columns.dialect.indexed.number_slot
        bounds: list[float] = []
        for percent in percents:
            place = f"({slot} * (n - 1))"
            conditions.append(f"(s + c > {place} - {_MARGIN} and s < {place} + {_MARGIN})")
            bounds += [percent / 100] * 2
        text = (
            f"select {', '.join((*keys, v, 'c', 's', 'r', 'n', 'd'))} from (select {listed}, c, {', '.join(ranked)}"
            f" from ({counts}) as counted) as ranked where {' or '.join(conditions)}"
        )
        return Sql(text, (*base.sql.params, *restriction.params, *bounds))

    def row_count(self, tails: Sequence[Tail]) -> int:
        """Those with a value and those without."""
        return self._with_value(tails) + sum(int(tail[1]) for tail in tails if tail[0] is None)

    def read(self, measure: Measure, tails: Sequence[Tail]) -> Measured:
        """Percentiles or top values."""
        count = self._with_value(tails)
        there = [(self._plain(measure, tail[0]), *tail[1:]) for tail in tails if tail[0] is not None]
        if measure.function == "percentiles":
            ranked = sorted((int(start), value, times) for value, times, start, *_ in there)
            return Measured(
                count,
                values=tuple(arithmetic.percentile_of_ranks(ranked, count, percent) for percent in measure.percents),
            )
        first = sorted((-times, value) for value, times, _, place, *_ in there if place <= measure.top)
        top = tuple((value, -times) for times, value in first)
        other = count - sum(times for _, times in top)
        return Measured(count, top=top, other_count=other, distinct_count=tails[0][5] if tails else 0)

    def _with_value(self, tails: Sequence[Tail]) -> int:
        return int(tails[0][4] or 0) if tails else 0

    def _plain(self, measure: Measure, value: Any) -> Any:
        assert measure.value is not None
        match measure.value.kind:
            case "number":
                return number(value)
            case "bool":
                return bool(value)
            case _:  # texts and times are as they are
                return value


class Bins(Counted):
    """One histogram: rows of bin and count; no bin for the records without a value."""

    __slots__ = ()

    def sql(self, base: Base, restriction: Sql) -> Sql:
        """The bin of each value is computed before they are counted."""
        [measure] = self.measures
        v, listed = self.value, ", ".join((*base.keys, "h"))
        bins = bin_sql(measure.edges, v, partial(bound, self.columns.dialect, "number"))
        inner = (
            f"select {', '.join((*base.keys, ''))}case when {v} is not null then {bins.text} end as h"
            f" from ({base.sql.text}) as g where {restriction.text}"
        )
        params = (*bins.params, *base.sql.params, *restriction.params)
        return Sql(f"select {listed}, count(*) from ({inner}) as binned group by {listed}", params)

    def row_count(self, tails: Sequence[Tail]) -> int:
        """All of them."""
        return sum(times for _, times in tails)

    def read(self, measure: Measure, tails: Sequence[Tail]) -> Measured:
        """The counts of the bins, and of what is below and above them."""
        bins = Counter({place: times for place, times in tails if place is not None})
        inside = tuple(bins[place] for place in range(1, len(measure.edges)))
        return Measured(bins.total(), bins=inside, below=bins[0], above=bins[len(measure.edges)])


class Deviations(Counted):
    """Variances: a row with counts, the least and the greatest value, and sums of deviations and of their squares.

    Deviations are from a number near the mean, and in units of the distance from the least to the greatest value: so
    nothing is lost where values are far from zero, and no square is too large for a double.
    """

    __slots__ = ()

    def sql(self, base: Base, restriction: Sql) -> Sql:
        """Two passes over records that are read once."""
        v, keys = self.value, base.keys
        center = self.columns.own.center.replace("{value}", v)
        by = f" group by {', '.join(keys)}" if keys else ""
        same = " and ".join(f"g.{key} is s.{key}" for key in keys) or "true"
        deviation = f"(g.{v} - s.m) * 1.0 / s.w"
        listed = ", ".join((*(f"g.{key}" for key in keys), ""))
        text = (
            f"with g as materialized ({base.sql.text}), s as materialized (select {', '.join((*keys, ''))}"
            f"{center} as m, min({v}) as a, max({v}) as b, max({v}) - min({v}) as w from g"
            f" where {restriction.text}{by})"
            f" select {listed}count(*), count(g.{v}), max(s.a), max(s.b), max(s.w), sum({deviation}),"
            f" sum({deviation} * ({deviation})) from g join s on {same}"
            + (f" group by {', '.join(f'g.{key}' for key in keys)}" if keys else "")
        )
        return Sql(text, (*base.sql.params, *restriction.params))

    def row_count(self, tails: Sequence[Tail]) -> int:
        """Of the one row."""
        return int(tails[0][0]) if tails else 0

    def read(self, measure: Measure, tails: Sequence[Tail]) -> Measured:
        """The variance or its root."""
        if not tails:
            return Measured(0)
        _, count, least, greatest, width, total, squares = tails[0]
        if count < 2 or max(abs(least), abs(greatest), -inf) > arithmetic.VARIABLE:
            return Measured(count)
        exact = Fraction(0)
        if width:
            sum_ = Fraction(total)
            exact = Fraction(width) ** 2 * (count * Fraction(squares) - sum_**2) / (count * (count - 1))
        exact = max(exact, Fraction(0))
        if measure.function == "stddev":
            return Measured(count, arithmetic.root(exact.numerator, exact.denominator))
        return Measured(count, rounded(exact))


def counted(columns: Columns, asked: Iterable[tuple[int, Measure, str]]) -> list[Counted]:
    """Statements for measures with their places and the names of their values; as few as they need."""
    ranks: dict[str, list[tuple[int, Measure]]] = {}
    deviations: dict[str, list[tuple[int, Measure]]] = {}
    found: list[Counted] = []
    for place, measure, value in asked:
        match measure.function:
            case "histogram":
                found.append(Bins(columns, (place,), (measure,), value))
            case "percentiles" | "top_values":
                ranks.setdefault(value, []).append((place, measure))
            case _:
                deviations.setdefault(value, []).append((place, measure))
    for kind, by_value in ((Ranks, ranks), (Deviations, deviations)):
        for value, needing in by_value.items():
            found.append(kind(columns, tuple(p for p, _ in needing), tuple(m for _, m in needing), value))
    return found
