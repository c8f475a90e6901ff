"""Operations and orders to SQL text and bound values; no text of a request is ever in the SQL."""

from __future__ import annotations

from typing import Any, NamedTuple


class Sql(NamedTuple):
    """A piece of SQL and the values of its placeholders, in order of appearance."""

    text: str
    params: tuple[Any, ...] = ()
