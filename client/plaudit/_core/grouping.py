"""A question about groups of records: a value that grows by methods, and the request that asks it; no I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from plaudit import v1
from plaudit._core.expr import Expr, Query, QueryLike, as_query, field
from plaudit._core.measures import FUNCTIONS, Key, Measure
from plaudit._core.question import query_message

Grouped = str | Expr | Key
"""What records are grouped by: a field's path, an expression, or a key such as `field("created_at").day()`."""

Measured = Measure | tuple[Any, ...]
"""What is measured: a measure, or a path and the name of a function, as in pandas' named aggregation."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """Which groups of the records that match a query, how they are measured, kept and ordered."""

    project: str | None
    query: Query | None
    newest_of: tuple[Expr, ...] = ()
    keys: tuple[v1.Grouping, ...] = ()
    measures: tuple[v1.Measure, ...] = ()
    kept: Query | None = None
    order: tuple[str, ...] = ()
    most: int | None = None

    def newest(self, paths: tuple[str | Expr, ...]) -> Self:
        """Of records that agree in all of these only the newest counts."""
        return replace(self, newest_of=(*self.newest_of, *map(expr_of, paths)))

    def by(self, grouped: tuple[Grouped, ...], named: dict[str, Grouped]) -> Self:
        """With further keys; those that are given by keyword under that name."""
        keys = [*(_key("", each) for each in grouped), *(_key(name, each) for name, each in named.items())]
        return replace(self, keys=(*self.keys, *keys))

    def measured(self, named: dict[str, Measured]) -> Self:
        """With further measures."""
        measures = [measure_of(name, each) for name, each in named.items()]
        return replace(self, measures=(*self.measures, *measures))

    def having(self, condition: QueryLike) -> Self:
        """With only those groups for which a condition on names is true, and every one before it."""
        query = as_query(condition)
        return replace(self, kept=query if self.kept is None else Query(self.kept.expr & query.expr))

    def request(self, project: str) -> v1.AggregateFeedbackRequest:
        """The request for the first page."""
        return v1.AggregateFeedbackRequest(
            project=project,
            query=query_message(self.query),
            newest_of=[each.to_proto() for each in self.newest_of],
            group_by=self.keys,
            measures=self.measures,
            having=query_message(self.kept),
            order_by=[
                v1.AggregateOrder(name=name.removeprefix("-"), descending=name.startswith("-")) for name in self.order
            ],
            limit=self.most,
        )

    def total_request(self, project: str) -> v1.AggregateFeedbackRequest:
        """The request for one group over all records, and for no other."""
        request = replace(self, most=0, order=(), kept=None).request(project)
        request.include_total = True
        return request


def expr_of(path: str | Expr) -> Expr:
    """A field's path, or an expression, as an expression."""
    return path if isinstance(path, Expr) else field(path)


def measure_of(name: str, measured: Measured) -> v1.Measure:
    """A measure under a name. Raises TypeError for what is none, ValueError for an unknown function."""
    if isinstance(measured, Measure):
        return measured.named(name)
    if not isinstance(measured, tuple) or len(measured) != 2:
        raise TypeError(f"{name} is a measure of a field, or a path and the name of a function; not {measured!r}")
    path, function = measured
    if function not in FUNCTIONS:
        raise ValueError(f"{name}: there is no function {function!r}: {', '.join(FUNCTIONS)}")
    return v1.Measure(name=name, function=FUNCTIONS[function], value=expr_of(path).to_proto())


def _key(name: str, grouped: Grouped) -> v1.Grouping:
    if isinstance(grouped, Key):
        return grouped.named(name)
    return v1.Grouping(name=name, value=expr_of(grouped).to_proto())
