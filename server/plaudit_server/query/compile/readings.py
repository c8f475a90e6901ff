"""Comparisons of two payload values, whose kinds are known only when a row is read."""

from __future__ import annotations

from typing import NamedTuple

from plaudit_server.query.compile.dialect import Dialect
from plaudit_server.query.compile.fragments import Sql, compare, fill
from plaudit_server.query.tree import Op


class Readings(NamedTuple):
    """All that a payload value may be read as, when it is compared with another payload value."""

    type: Sql
    number: Sql
    text: Sql


def reading_templates(dialect: Dialect) -> tuple[str, str, str]:
    """The dialect's template of each reading, in the order of Readings."""
    return dialect.json_type, dialect.json_number, dialect.json_text


def readings(dialect: Dialect, json: Sql, path: Sql) -> Readings:
    """The readings of the value at a path of a JSON text."""
    return Readings(*(fill(template, json=json, path=path) for template in reading_templates(dialect)))


def compare_readings(dialect: Dialect, op: Op, left: Readings, right: Readings) -> Sql:
    """Two payload values: as numbers where both are JSON numbers, else as text."""
    return fill(
        "(case when {both_numbers} then {as_numbers} else {as_texts} end)",
        both_numbers=fill(dialect.both_numbers, left=left.type, right=right.type),
        as_numbers=compare(op, left.number, right.number),
        as_texts=compare(op, left.text, right.text),
    )
