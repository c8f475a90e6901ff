"""Filters as SQL conditions: what finds possible matches cheaply comes before what decides."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import reduce
from typing import Final, NamedTuple

from plaudit_server.query.compile.dialect import Dialect
from plaudit_server.query.compile.fragments import Sql, fill, join
from plaudit_server.query.compile.indexed import IndexCondition
from plaudit_server.query.compile.operators import Operators
from plaudit_server.query.compile.paths import Paths
from plaudit_server.query.compile.prefilter import prefilter
from plaudit_server.query.fields import Column
from plaudit_server.query.indexes.conditions import NO_INDEXES, Indexes
from plaudit_server.query.indexes.declared import DeclaredIndex
from plaudit_server.query.indexes.ranges import Span
from plaudit_server.query.tree import COMPLEMENT, And, Compare, Contains, Field, In, Literal, Not, Operation, Or

# For each the store may run a statement to find out whether it saves work.
_MOST_CONDITIONS: Final = 8


class Filter(NamedTuple):
    """A condition, and the parts of it that a declared index serves."""

    sql: Sql
    conditions: tuple[IndexCondition, ...]


def compile_filter(operation: Operation, dialect: Dialect, alias: str = "f") -> Sql:
    """A condition that is true for the rows of the table `alias` that match, and false or null for all others."""
    return _Filters(Paths(dialect, alias)).match(operation)


def compile_indexed(
    operation: Operation,
    dialect: Dialect,
    alias: str,
    indexes: Indexes,
    without: Collection[IndexCondition] = (),
) -> Filter:
    """The same condition, written so that declared indexes serve it, except the conditions `without`."""
    filters = _Filters(Paths(dialect, alias), indexes, without)
    return Filter(filters.match(operation), tuple(filters.conditions))


class _Filters:
    """Compiles one filter, and collects its conditions on indexes."""

    def __init__(self, paths: Paths, indexes: Indexes = NO_INDEXES, without: Collection[IndexCondition] = ()) -> None:
        self._paths = paths
        self._operators = Operators(paths)
        self._indexes = indexes
        self._without = without
        self.conditions: list[IndexCondition] = []

    def match(self, operation: Operation, wanted: bool = True) -> Sql:
        """Whether an operation is `wanted`; false and unknown are the same here, so a cheap test may come first."""
        match operation:
            case Not(operand):
                return self.match(operand, not wanted)
            case And(operands) | Or(operands):
                if isinstance(operation, And) == wanted:
                    return self._match_all(operands, wanted)
                return join("or", [self.match(operand, wanted) for operand in operands])
            case _:
                return self._match_all((operation,), wanted)

    def _match_all(self, operands: Iterable[Operation], wanted: bool) -> Sql:
        """Whether all operations are `wanted`; the conditions that indexes serve come first."""
        spans: dict[DeclaredIndex, list[tuple[Span, ...]]] = {}
        parts: list[tuple[Operation, bool, DeclaredIndex | None]] = []
        for operand in operands:
            leaf, is_wanted = _unwrapped(operand, wanted)
            exact_numbers = self._paths.dialect.indexed.exact_numbers
            narrowing = self._indexes.narrowing(leaf, is_wanted, exact_numbers)
            if narrowing is not None:
                spans.setdefault(narrowing[0], []).append(narrowing[1])
            parts.append((leaf, is_wanted, narrowing and narrowing[0]))
        serving = {index: found for index, each in spans.items() if (found := self._conditions(index, each))}
        conditions = [condition.sql for found in serving.values() for condition in found]
        has_ref = any(is_wanted and _is_equal(leaf, "ref") for leaf, is_wanted, _ in parts)
        leaves = []
        for leaf, is_wanted, index in parts:
            sql = self._match_leaf(leaf, is_wanted, with_prefilter=index not in serving)
            if has_ref and is_wanted and _is_equal(leaf, "feedback_type"):
                # A ref finds fewer records than a type, which an engine without statistics does not know.
                sql = fill(self._paths.dialect.without_index, test=sql)
            leaves.append(sql)
        return join("and", [*conditions, *leaves])

    def _conditions(self, index: DeclaredIndex, each: list[tuple[Span, ...]]) -> list[IndexCondition]:
        """Conditions on the values of an index, all of which must hold; none when one of them must be left out."""
        single = [spans[0] for spans in each if len(spans) == 1]
        wanted = [spans for spans in each if len(spans) > 1]
        if single:
            wanted.append((reduce(Span.common, single),))
        found = [IndexCondition.of(self._paths.dialect, self._paths.alias, index, spans) for spans in wanted]
        if len(self.conditions) + len(found) > _MOST_CONDITIONS or any(c in self._without for c in found):
            return []
        self.conditions += found
        return found

    def _match_leaf(self, operation: Operation, wanted: bool, with_prefilter: bool) -> Sql:
        match operation:
            case And() | Or():
                return self.match(operation, wanted)
            case Compare(op, left, right) if not wanted:
                return self._match_leaf(Compare(COMPLEMENT[op], left, right), True, with_prefilter)
            case Compare() | In() | Contains() if (
                wanted and with_prefilter and (cheap := prefilter(self._paths, operation)) is not None
            ):
                return join("and", (cheap, self._operators.truth(operation)))
            case _:
                truth = self._operators.truth(operation)
                return truth if wanted else fill("(not {truth})", truth=truth)


def _is_equal(operation: Operation, column: str) -> bool:
    """Whether an operation compares a column with a text that it must be."""
    match operation:
        case Compare("eq", Field(Column(name)), Literal()) | Compare("eq", Literal(), Field(Column(name))):
            return name == column
        case _:
            return False


def _unwrapped(operation: Operation, wanted: bool) -> tuple[Operation, bool]:
    """An operation without the negations around it."""
    while isinstance(operation, Not):
        operation, wanted = operation.operand, not wanted
    return operation, wanted
