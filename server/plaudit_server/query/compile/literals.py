"""Constants as SQL: truth values, and the values of a request, which are bound and never part of the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from plaudit_server.query.compile.dialect import Dialect
from plaudit_server.query.compile.fragments import Sql
from plaudit_server.query.kinds import ScalarKind

# Typed, because in a subquery an engine may read a bare null as text.
NULL: Final = Sql("cast(null as boolean)")
TRUE: Final = Sql("true")
FALSE: Final = Sql("false")


def bound(dialect: Dialect, kind: ScalarKind, value: Any) -> Sql:
    """The placeholder of a value of a kind."""
    match kind:
        case "text":
            return Sql(dialect.text_slot, (value,))
        case "number":
            return Sql(dialect.number_slot, (dialect.bind_number(value),))
        case "bool":
            return Sql(dialect.bool_slot, (value,))
        case "time":
            return Sql(dialect.time_slot, (value,))


def bound_texts(dialect: Dialect, values: Sequence[str]) -> Sql:
    """The one placeholder of a list of texts."""
    return Sql(dialect.text_slot, (dialect.bind_texts(values),))


def bound_numbers(dialect: Dialect, values: Sequence[int | float]) -> Sql:
    """The one placeholder of a list of numbers."""
    return Sql(dialect.text_slot, (dialect.bind_numbers(values),))
