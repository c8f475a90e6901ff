"""An index's values as SQL: the expression that is indexed, and the conditions on it in a filter."""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

from plaudit_server.query.compile.dialect import Dialect, Indexed
from plaudit_server.query.compile.fragments import Sql, fill, join
from plaudit_server.query.compile.literals import bound_texts
from plaudit_server.query.indexes.declared import TEXT_CHARACTERS, DeclaredIndex
from plaudit_server.query.indexes.ranges import IndexValue, Span

# The engine searches for each of them separately.
_MOST_SPANS: Final = 16


def expression(indexed: Indexed, index: DeclaredIndex, alias: str = "") -> Sql:
    """What an index holds of a row of the table `alias`; its path is the only text from outside that is in SQL."""
    return _expression(indexed, index, f"{alias}." if alias else "")


@cache
def _expression(indexed: Indexed, index: DeclaredIndex, qualifier: str) -> Sql:
    json, path = indexed.json(qualifier + index.column, index.ways)
    if index.kind == "column":
        return Sql(json)
    templates = {"number": indexed.as_number, "text": indexed.as_text, "bool": indexed.as_bool}
    template = templates.get(index.kind, indexed.exact_number)
    assert template is not None, "this engine has no indexes for aggregates"
    return fill(template, json=Sql(json), path=Sql(path), length=Sql(str(TEXT_CHARACTERS)))


class IndexCondition(NamedTuple):
    """A condition that an index serves, and that holds wherever the comparisons do that it was made from.

    `is_ordered`: whether what the index finds comes in the order of time.
    """

    sql: Sql
    is_ordered: bool

    @classmethod
    def of(cls, dialect: Dialect, alias: str, index: DeclaredIndex, spans: tuple[Span, ...]) -> IndexCondition:
        """The condition that an index's value is in one of several spans."""
        return cls(_Condition(dialect, alias, index).within(spans), len(spans) == 1 and spans[0].is_point)


class _Condition:
    """Conditions on one index."""

    def __init__(self, dialect: Dialect, alias: str, index: DeclaredIndex) -> None:
        indexed = dialect.indexed
        self._dialect = dialect
        self._kind = index.kind
        self._value = expression(indexed, index, alias)
        slots: dict[str, str] = {"number": indexed.number_slot, "text": dialect.text_slot, "bool": indexed.bool_slot}
        self._slot = slots[index.kind]

    def within(self, spans: tuple[Span, ...]) -> Sql:
        if len(spans) == 1:
            return self._span(spans[0])
        points = all(span.is_point for span in spans)
        if points and len(spans) <= self._dialect.indexed.most_points:
            slots = ", ".join([self._slot] * len(spans))
            return Sql(f"({self._value.text} in ({slots}))", (*self._value.params, *(span.low for span in spans)))
        if points and self._kind == "text":
            listed = bound_texts(self._dialect, [str(span.low) for span in spans])
            return fill(f"({self._dialect.in_texts})", value=self._value, list=listed)
        if len(spans) <= _MOST_SPANS:
            return join("or", map(self._span, spans))
        return self._span(Span(min(s.low for s in spans), max(s.high for s in spans)))  # type: ignore[type-var]

    def _span(self, span: Span) -> Sql:
        if span.is_point:
            return self._compared("=", span.low)
        indexed, position = self._dialect.indexed, 1 if self._kind == "text" else 0
        low = indexed.least[position] if span.low is None and indexed.least else span.low
        high = indexed.greatest[position] if span.high is None and indexed.greatest else span.high
        if low is None:
            return self._compared("<=", high)
        if high is None:
            return self._compared(">=", low)
        value = self._value
        return Sql(f"({value.text} between {self._slot} and {self._slot})", (*value.params, low, high))

    def _compared(self, sign: str, limit: IndexValue | bytes | None) -> Sql:
        return Sql(f"({self._value.text} {sign} {self._slot})", (*self._value.params, limit))
