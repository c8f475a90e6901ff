"""Casts of values that have a kind; a payload value is read as a kind first."""

from __future__ import annotations

from typing import Literal as Word

from plaudit_server.query.compile.dialect import Dialect
from plaudit_server.query.compile.fragments import Sql, fill
from plaudit_server.query.tree import Target


def cast(dialect: Dialect, kind: Word["text", "number", "bool"], to: Target, value: Sql) -> Sql:
    """A value of a kind as the target of a conversion."""
    match kind, to:
        case "text", "double":
            return fill(dialect.text_number, value=value)
        case "text", "int":
            return fill(dialect.number_integer, value=fill(dialect.text_number, value=value))
        case "text", "bool":
            return fill(dialect.text_bool, value=value)
        case "number", "int":
            return fill(dialect.number_integer, value=value)
        case "number", "bool":
            return fill(dialect.number_bool, value=value)
        case "bool", "string":
            return fill(dialect.bool_text, value=value)
        case _:  # the value has that kind already
            return value
