"""The filters that attackers send: legal, within every limit, and costly for a project of many rows."""

from __future__ import annotations

from collections.abc import Iterable

from plaudit.v1 import Comparison, ComparisonOp, Contains, Expression, ExpressionList, Literal, Query

TERMS = 170
"""As many comparisons as a query of 512 nodes can have."""

LEAVES = 20
"""Comparisons in the filter of a watch."""


def _value(field: str) -> Expression:
    return Expression(field=field)


def _text(value: str) -> Expression:
    return Expression(literal=Literal(string_value=value))


def _contains(needle: str) -> Expression:
    return Expression(contains=Contains(input=_value("payload.text"), substring=_text(needle), case_insensitive=True))


def _any_of(expressions: Iterable[Expression]) -> Expression:
    return Expression(any_of=ExpressionList(expressions=expressions))


def _compared(op: ComparisonOp.ValueType, number: int) -> Expression:
    literal = Expression(literal=Literal(int_value=number))
    return Expression(comparison=Comparison(op=op, left=_value("payload.n"), right=literal))


def one_term() -> Query:
    """One comparison with a payload value; true for every row of a large project."""
    return Query(expr=_compared(ComparisonOp.COMPARISON_OP_GTE, 0))


def many_terms(fewer: int = 0) -> Query:
    """A substring or another, each without regard to case, in a payload's text; true for no row."""
    return Query(expr=_any_of(_contains(f"Nowhere {number}") for number in range(TERMS - fewer)))


def many_terms_of_first(count: int) -> Query:
    """As costly as `many_terms`, and true for the given number of the first rows."""
    terms = [*many_terms(fewer=1).expr.any_of.expressions, _compared(ComparisonOp.COMPARISON_OP_LT, count)]
    return Query(expr=_any_of(terms))


def leaves(number: int) -> Query:
    """A filter of its own for each number; true for no row."""
    return Query(expr=_any_of(_contains(f"Nowhere {number} {leaf}") for leaf in range(LEAVES)))
