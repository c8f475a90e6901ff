"""Pieces of SQL with their bound values, and how larger ones are made of them; neither engine nor request is known."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from string import Formatter
from typing import Any, Final, Literal, NamedTuple

from plaudit_server.query.tree import Op


class Sql(NamedTuple):
    """A piece of SQL and the values of its placeholders, in order of appearance."""

    text: str
    params: tuple[Any, ...] = ()


# Precedence never matters: every expression with an operator is in parentheses.
_OPERATORS: Final[dict[Op, str]] = {"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@cache
def _pieces(template: str) -> tuple[tuple[str, str | None], ...]:
    """A template as its literal pieces, each with the name of the part that follows it."""
    return tuple((literal, name) for literal, name, _, _ in Formatter().parse(template))


def fill(template: str, **parts: Sql) -> Sql:
    """A template with a piece of SQL in each of its places; parameters follow their placeholders."""
    text: list[str] = []
    params: list[Any] = []
    for literal, name in _pieces(template):
        text.append(literal)
        if name is not None:
            text.append(parts[name].text)
            params += parts[name].params
    return Sql("".join(text), tuple(params))


def join(word: Literal["and", "or"], parts: Iterable[Sql]) -> Sql:
    """Parts under one connective, as a balanced tree: engines limit how deep an expression may be."""
    row = list(parts)
    while len(row) > 1:
        pairs = zip(row[::2], row[1::2], strict=False)
        joined = [Sql(f"({left.text} {word} {right.text})", left.params + right.params) for left, right in pairs]
        row = joined + row[2 * len(joined) :]
    return row[0]


def compare(op: Op, left: Sql, right: Sql) -> Sql:
    """Two operands under a comparison."""
    return Sql(f"({left.text} {_OPERATORS[op]} {right.text})", left.params + right.params)
