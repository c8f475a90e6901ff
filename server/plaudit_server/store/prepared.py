"""What steps are run with: an engine's traits, the statements that resources wrote out for it, its declared indexes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from plaudit_server.query.compile.dialect import Dialect
from plaudit_server.query.compile.fragments import Sql
from plaudit_server.query.indexes.conditions import Indexes


@dataclass(frozen=True, slots=True)
class Traits:
    """What an engine does in its own way."""

    dialect: Dialect
    in_list: str
    """A condition's right side: one of the texts in a single bound list, as in `id IN (…)`."""
    bind_list: Callable[[Sequence[str]], Any]
    """A list of texts as the value that `in_list` binds."""
    text_bytes: str
    """The text column `{}` as bytes."""
    placeholder: str = "?"
    make_project: str | None = None
    """Makes a project's row, and waits for whoever makes it at this moment; None when a transaction writes alone."""
    orders_each: bool = False
    """Whether each part of a union is ordered and bounded by itself, for the engine does not see that it could be."""
    counts_first: bool = False
    """Whether the entries of a declared index are counted before it is used, for the engine does not know how many."""

    def merge(self, parts: Sequence[Sql], order: str, limit: int) -> Sql:
        """The rows of all parts, each of which an index has in `order` (a result column): the first `limit`."""
        tail = self.sql(f" ORDER BY {order} LIMIT ?")
        if self.orders_each:
            parts = [Sql(f"({part.text}{tail})", (*part.params, limit)) for part in parts]
        text = " UNION ALL ".join(part.text for part in parts) + tail
        return Sql(text, (*(param for part in parts for param in part.params), limit))

    def sql(self, text: str) -> str:
        """A statement of ours, which writes `?`, `{in}` and `{payload:alias}`, for this engine."""
        for alias in "fho":
            text = text.replace("{payload:" + alias + "}", self.text_bytes.format(f"{alias}.payload"))
        return text.replace("{in}", self.in_list).replace("?", self.placeholder)


class Statements(Protocol):
    """Fixed statements of a resource, written out once for an engine."""

    def __init__(self, traits: Traits) -> None: ...


S = TypeVar("S", bound=Statements)


class Prepared:
    """Handed to every step: `prepared.of(FeedbackStatements)` are the statements of that class for this engine."""

    def __init__(self, traits: Traits) -> None:
        self.traits = traits
        self.indexes = Indexes()
        self.indexes_read = -math.inf
        self._made: dict[type[Any], Any] = {}

    def of(self, kind: type[S]) -> S:
        """The statements of a class, made at the first use."""
        made: S | None = self._made.get(kind)
        if made is None:
            made = self._made[kind] = kind(self.traits)
        return made
