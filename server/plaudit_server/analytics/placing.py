"""What an SQL engine does with groups once they are measured: having, order and page, where it is as exact as Python.

The groups are rows of a table `t`. A sum, a mean or a variance is rounded outside of the engine, and a percentile is
read there: what depends on one is left to the module groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from plaudit_server.analytics.buckets import Calendar
from plaudit_server.analytics.dialects import number
from plaudit_server.analytics.records import ROW_COUNT, Aggregate, ByTime, Grouping, Kind
from plaudit_server.query.compile.dialect import Dialect
from plaudit_server.query.compile.filters import compile_filter
from plaudit_server.query.compile.fragments import Sql, fill, join
from plaudit_server.query.compile.literals import FALSE, bound, bound_numbers, bound_texts
from plaudit_server.query.fields import Column
from plaudit_server.query.kinds import is_null, kind_of
from plaudit_server.query.tree import And, Compare, Field, In, Literal, Not, Operand, Operation, Or


class Term(NamedTuple):
    """A column of `t` by which groups can be compared."""

    column: str
    kind: Kind


class Placing:
    """The order of a question's groups as SQL."""

    def __init__(self, dialect: Dialect, question: Aggregate, measures: Sequence[Term | None]) -> None:
        """`measures` are the columns of the measures that have one exact value there."""
        self._dialect = dialect
        self._question = question
        keys = [Term(f"k{place}", grouping.kind) for place, grouping in enumerate(question.group_by)]
        count = Term(ROW_COUNT, "number")
        self._named: dict[str, Term | None] = {ROW_COUNT: count}
        names = [named.name for named in question.group_by] + [named.name for named in question.measures]
        self._named |= zip(names, (*keys, *measures), strict=True)
        by = {"row_count": [count], "grouping": keys, "measure": measures}
        self._parts = [(by[sort.of][max(sort.place, 0)], sort.descending) for sort in question.order]
        self._parts += [(key, False) for key in keys]

    @property
    def is_ordered(self) -> bool:
        """Whether the engine can put the groups in order."""
        return all(term is not None for term, _ in self._parts)

    def having(self) -> Sql | None:
        """The condition on groups; None where the engine cannot decide it."""
        if self._question.having is None:
            return Sql("true")
        condition = self._renamed(self._question.having)
        return None if condition is None else compile_filter(condition, self._dialect, "t")

    def order_by(self) -> str:
        """What follows ORDER BY, if anything."""
        parts = [f"t.{term.column}{' desc' if down else ''} nulls last" for term, down in self._parts if term]
        return f" order by {', '.join(parts)}" if parts else ""

    def after(self, values: Sequence[Any], calendars: Mapping[int, Calendar]) -> Sql:
        """The condition that a group comes after the one that sorts by these values; true where there are none."""
        if not values:
            return Sql("true")
        condition = FALSE
        for (term, descending), value in reversed(list(zip(self._parts, values, strict=True))):
            assert term is not None
            column = Sql(f"t.{term.column}")
            if value is None:  # only groups without a value follow
                condition = fill("({c} is null and {rest})", c=column, rest=condition)
                continue
            limit = self._bound(term, value, calendars)
            template = "({c} is null or {c} {sign} {limit} or ({c} = {limit} and {rest}))"
            sign = Sql("<" if descending else ">")
            condition = fill(template, c=column, sign=sign, limit=limit, rest=condition)
        return condition

    def _bound(self, term: Term, value: Any, calendars: Mapping[int, Calendar]) -> Sql:
        kind = term.kind
        if kind == "range":
            calendar = calendars[int(term.column.removeprefix("k"))]
            value, kind = calendar.label(value), "time"
        return bound(self._dialect, kind, value)

    def _renamed(self, operation: Operation) -> Operation | None:
        """A condition on names as one on columns; None where the engine might decide it otherwise."""
        match operation:
            case And(operands) | Or(operands):
                renamed = [self._renamed(operand) for operand in operands]
                known = tuple(operand for operand in renamed if operand is not None)
                return type(operation)(known) if len(known) == len(renamed) else None
            case Not(operand):
                inner = self._renamed(operand)
                return None if inner is None else Not(inner)
            case Compare(op, left, right):
                mine, theirs = self._operand(left), self._operand(right)
                if (
                    mine is None
                    or theirs is None
                    or not (is_null(mine) or is_null(theirs) or kind_of(mine) == kind_of(theirs))
                ):
                    return None
                return Compare(op, mine, theirs)
            case In(operand, members):
                inside = self._operand(operand)
                if inside is None or kind_of(inside) != "text" or not all(_is_text(member) for member in members):
                    return None
                return In(inside, members)
            case _:
                return None

    def _operand(self, operand: Operand) -> Operand | None:
        match operand:
            case Literal():
                return operand
            case Field(Column(name=name)):
                term = self._named[name]
                if term is None or term.kind == "range":
                    return None
                return Field(Column(term.column, term.kind, nullable=True))
            case _:
                return None


def restriction(dialect: Dialect, groupings: Sequence[Grouping], rows: Sequence[Sequence[Any]]) -> Sql:
    """A condition that the keys of some groups meet, given as the engine returned them, and few others."""
    conditions = [Sql("true")]
    for place, grouping in enumerate(groupings):
        values = {row[place] for row in rows}
        there = [value for value in values if value is not None]
        column = Sql(f"g.k{place}")
        match grouping.kind:
            case "text":
                found = fill(f"({dialect.in_texts})", value=column, list=bound_texts(dialect, there))
            case "number":
                numbers = [number(value) for value in there]
                found = fill(f"({dialect.in_numbers})", value=column, list=bound_numbers(dialect, numbers))
            case "time" | "range":
                found = fill(f"({dialect.in_times})", value=column, list=bound_numbers(dialect, there))
            case "bool":
                continue
        if len(there) < len(values):
            found = fill("({c} is null or {found})", c=column, found=found)
        conditions.append(found)
    return join("and", conditions)


def is_filled(question: Aggregate) -> bool:
    """Whether groups without records are added before having, which is not the engine's work."""
    return any(
        grouping.categories or (isinstance(grouping.by, ByTime) and grouping.by.fill) for grouping in question.group_by
    )


def _is_text(operand: Operand) -> bool:
    return isinstance(operand, Literal) and isinstance(operand.value, str)
