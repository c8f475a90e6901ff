"""How measures are computed by an SQL engine: which statements, and what their rows mean; every value is bound.

Most measures are aggregates of one statement for all groups; the others are in the module counting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, NamedTuple

from plaudit_server.analytics.arithmetic import VARIABLE, root
from plaudit_server.analytics.buckets import Calendar
from plaudit_server.analytics.columns import Base, Columns, IndexedColumns, base, base_with_index
from plaudit_server.analytics.counting import Counted, counted
from plaudit_server.analytics.dialects import number, rounded
from plaudit_server.analytics.labels import bucket_of_label
from plaudit_server.analytics.placing import Term
from plaudit_server.analytics.records import ROW_COUNT, Aggregate, Grouping, Key, Kind, Measure, Measured
from plaudit_server.query.compile.dialect import Dialect
from plaudit_server.query.compile.fragments import Sql

EVERYTHING: Final = Sql("true")

# Measures that are the same, or as exact as they have to be, of numbers that are off by a bit.
_OF_NEAR: Final = ("count", "mean")

Read = Callable[[Sequence[Any]], Measured]


class Prepared(NamedTuple):
    """The statement of all simple measures: its rows are keys, the number of records, and parts of measures.

    `reads` are how each measure is read of the parts, None for one that is counted; `terms` the columns of those that
    have one exact value.
    """

    sql: Sql
    keys: int
    reads: list[Read | None]
    terms: list[Term | None]


@dataclass(frozen=True, slots=True)
class Simple:
    """A measure as aggregates of one statement, and how their values are read; which of them is its exact value."""

    parts: tuple[str, ...]
    read: Read
    exact: int | None = None


class Statements:
    """The statements of one question about groups, and what their rows mean."""

    def __init__(
        self,
        columns: Columns,
        question: Aggregate,
        where: Sql,
        calendars: Mapping[int, Calendar],
        indexed: IndexedColumns | None = None,
    ) -> None:
        """`indexed` are the columns of an index for aggregates that holds all that the question reads."""
        self._columns = columns
        self._indexed = indexed
        self._question = question
        self._where = where
        self._calendars = calendars
        self._groupings = [(grouping, calendars.get(place)) for place, grouping in enumerate(question.group_by)]
        self._measures: dict[str, Measure] = {}
        self._names: list[str | None] = []
        named: dict[str, str] = {}
        for measure in question.measures:
            if measure.value is None and measure.where is None:
                self._names.append(None)
                continue
            # By their text, in which 1, 1.0 and true are not the same.
            name = named.setdefault(repr((measure.value, measure.where)), f"v{len(named)}")
            self._names.append(name)
            self._measures[name] = measure
        exact = {name for name, of in zip(self._names, question.measures, strict=True) if of.function not in _OF_NEAR}
        self._near = self._measures.keys() - exact

    @property
    def dialect(self) -> Dialect:
        """Of the engine."""
        return self._columns.dialect

    def groups(self, grouped: bool) -> Prepared:
        """The statement of all simple measures, by group or of all records."""
        simple = [self._simple(*asked) for asked in zip(self._question.measures, self._names, strict=True)]
        parts: list[str] = []
        reads: list[Read | None] = []
        terms: list[Term | None] = []
        for measure, each in zip(self._question.measures, simple, strict=True):
            if each is None:
                reads.append(None)
                terms.append(None)
                continue
            start = len(parts)
            parts += each.parts
            reads.append(_slice(each.read, start, len(parts)))
            is_exact = each.exact is not None and measure.kind is not None
            terms.append(Term(f"p{start + (each.exact or 0)}", measure.kind or "number") if is_exact else None)
        used = {name for name, each in zip(self._names, simple, strict=True) if name is not None and each is not None}
        prepared = self._base(grouped, used)
        named = [f"{part} as p{place}" for place, part in enumerate(parts)]
        listed = ", ".join((*prepared.keys, f"count(*) as {ROW_COUNT}", *named))
        by = f" group by {', '.join(prepared.keys)}" if prepared.keys else ""
        text = f"select {listed} from ({prepared.sql.text}) as g{by}"
        return Prepared(Sql(text, prepared.sql.params), len(prepared.keys), reads, terms)

    def counted(self) -> list[Counted]:
        """The statements of the measures that are counted."""
        asked = zip(range(len(self._names)), self._question.measures, self._names, strict=True)
        return counted(
            self._columns,
            [(place, measure, name) for place, measure, name in asked if name and not self._simple(measure, name)],
        )

    def base(self, grouped: bool, counted: Counted) -> Base:
        """The subquery of all records for a statement of counted measures."""
        return self._base(grouped, {counted.value})

    def keys(self, row: Sequence[Any]) -> tuple[Key, ...]:
        """The keys of a row that has them, or has none."""
        groupings = enumerate(self._question.group_by[: len(row)])
        return tuple(self._key(place, grouping, row[place]) for place, grouping in groupings)

    def _base(self, grouped: bool, names: set[str]) -> Base:
        groupings = self._groupings if grouped else []

        def values(columns: Columns) -> Mapping[str, Sql]:
            used = [name for name in self._measures if name in names]
            return {name: columns.measured(self._measures[name], is_near=name in self._near) for name in used}

        if self._indexed is not None and names:
            return base_with_index(self._columns, self._indexed, self._where, groupings, values)
        return base(self._columns, self._where, self._question.newest_of, groupings, values(self._columns))

    def _key(self, place: int, grouping: Grouping, value: Any) -> Key:
        if value is None:
            return None
        if grouping.kind == "range":
            return bucket_of_label(self._calendars[place], int(value))
        key: Key = plain_value(value, grouping.kind)
        return key

    def _simple(self, measure: Measure, name: str | None) -> Simple | None:
        """A measure as aggregates; None where it needs the values themselves."""
        own = self._columns.own
        if name is None:
            return Simple(("count(*)",), _count, 0)
        count = f"count({name})"
        match measure.function:
            case "count":
                return Simple((count,), _count, 0)
            case "count_distinct":
                return Simple((count, f"count(distinct {name})"), lambda row: Measured(row[0], row[1]), 1)
            case "min" | "max" as function:
                kind = measure.value.kind if measure.value else "number"
                return Simple(
                    (count, f"{function}({name})"),
                    lambda row: Measured(row[0], None if row[1] is None else plain_value(row[1], kind)),
                    1,
                )
            case "share_true":
                true = own.true_count.replace("{value}", name)
                share = own.share.replace("{part}", true).replace("{whole}", count)
                return Simple((count, true, share), _share, 2)
            case "sum":
                sums = tuple(part.replace("{value}", name) for part in own.summed)
                return Simple((count, *sums), lambda row: _total(row[0], *own.total(row[1:])))
            case "mean":
                sums = tuple(part.replace("{value}", name) for part in own.averaged)
                return Simple((count, *sums), lambda row: _mean(row[0], own.near_total(row[1:])))
            case "variance" | "stddev" if own.squared:
                sums = tuple(part.replace("{value}", name) for part in (*own.squared, *own.averaged))
                is_root = measure.function == "stddev"
                return Simple(
                    (count, *sums), lambda row: _variance(row[0], row[1], row[2], own.near_total(row[3:]), is_root)
                )
            case _:
                return None


def plain_value(value: Any, kind: Kind) -> Any:
    """A value of a row as the evaluator has it."""
    match kind:
        case "bool":
            return bool(value)
        case "number":
            return number(value)
        case "time":
            return int(value)
        case _:
            return value


def _slice(read: Read, start: int, end: int) -> Read:
    return lambda row: read(row[start:end])


def _count(row: Sequence[Any]) -> Measured:
    return Measured(row[0], row[0])


def _share(row: Sequence[Any]) -> Measured:
    return Measured(row[0], row[1] / row[0] if row[0] else None)


def _total(count: int, total: Fraction, is_whole: bool) -> Measured:
    if not count:
        return Measured(0)
    if is_whole and -(2**63) <= total < 2**63:
        return Measured(count, int(total))
    return Measured(count, rounded(total))


def _mean(count: int, total: Fraction) -> Measured:
    return Measured(count, rounded(total / count) if count else None)


def _variance(count: int, squares: Any, greatest: Any, total: Fraction, is_root: bool) -> Measured:
    if count < 2 or greatest > VARIABLE:
        return Measured(count)
    exact = (count * Fraction(squares) - total**2) / (count * (count - 1))
    return Measured(count, root(exact.numerator, exact.denominator) if is_root else rounded(exact))
