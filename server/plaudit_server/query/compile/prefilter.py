"""Conditions that cost less than comparing a payload value with literals, and hold for every match of that."""

from __future__ import annotations

from plaudit._contract import limits
from plaudit_server.query.compile.dialect import Prefilter
from plaudit_server.query.compile.fragments import Sql, fill
from plaudit_server.query.compile.literals import bound
from plaudit_server.query.compile.paths import Paths
from plaudit_server.query.fields import PAYLOAD, PayloadPath
from plaudit_server.query.indexes.ranges import range_of
from plaudit_server.query.tree import MIRRORED, Compare, Contains, Field, In, Literal


def prefilter(paths: Paths, node: Compare | In | Contains) -> Sql | None:
    """The condition for a comparison of a payload value with literals; None where almost every value would pass."""
    templates = paths.dialect.prefilter
    match node:
        case Compare(op, Field(PayloadPath() as ref), Literal(value)):
            values = [value]
        case Compare(mirrored, Literal(value), Field(PayloadPath() as ref)):
            op, values = MIRRORED[mirrored], [value]
        case In(Field(PayloadPath() as ref), members) if members:
            op, values = "eq", [member.value if isinstance(member, Literal) else None for member in members]
        case Contains(Field(PayloadPath() as ref), Literal(str() as needle), False) if templates is not None:
            sql = _value(paths, ref, templates)
            return sql and fill(templates.may_contain, value=sql, needle=bound(paths.dialect, "text", needle))
        case _:
            return None
    bounds = range_of(op, values)
    if templates is None or bounds is None:
        return None
    sql = _value(paths, ref, templates)
    return sql and fill(
        f"({templates.text_between if isinstance(values[0], str) else templates.number_between})",
        value=sql,
        low=paths.placeholder(bounds.low),
        high=paths.placeholder(bounds.high),
    )


def _value(paths: Paths, ref: PayloadPath, templates: Prefilter) -> Sql | None:
    """A payload value as the engine reads it; None for a path of so many steps that nothing would be saved."""
    first, *later = paths.steps(ref.segments)
    if len(ref.segments) > limits.PAYLOAD_DEPTH or len(later) > 1:
        return None
    if later:
        return paths.two_steps(templates.value_of_steps, first, later[0])
    return fill(templates.value, json=paths.column(PAYLOAD), path=paths.placeholder(paths.dialect.bind_path(first)))
