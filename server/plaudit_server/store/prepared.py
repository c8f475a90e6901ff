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
    """The right side of the condition that a column is one of the texts of a list, bound as one value."""
    bind_list: Callable[[Sequence[str]], Any]
    """A list of texts as the value that `in_list` binds."""
    list_table: str
    """A table with the texts of such a list in its column `ref`, to be given a name."""
    by_key: str
    """The rows of `{table}`, as `f`, of a project (`?`) whose ids are in the column `ref` of a table named `asked`;
    each once, however often its id is there."""
    text_bytes: str
    """The text column `{}` as bytes."""
    uuid_bytes: str
    """The 16 bytes of the UUID whose text is `{}`."""
    placeholder: str = "?"
    by_type: str = ""
    """Makes the planner take the index of types, which it does not do by itself where the order is that of times."""
    make_project: str | None = None
    """Makes a project's row, and waits for another transaction that makes it; None if only one writes at a time."""
    writes_in_with: bool = False
    """Whether one statement can write two tables, the first of them in a WITH."""
    orders_each: bool = False
    """Whether each part of a union is ordered and limited on its own, as the planner does not do so by itself."""
    counts_first: bool = False
    """Whether the entries of a declared index are counted before its use, as the planner does not know them."""

    def merge(self, parts: Sequence[Sql], order: str, limit: int) -> Sql:
        """The first `limit` rows of all parts, by the result column `order`, which an index of each part follows."""
        tail = self.sql(f" ORDER BY {order} LIMIT ?")
        if self.orders_each:
            parts = [Sql(f"({part.text}{tail})", (*part.params, limit)) for part in parts]
        text = " UNION ALL ".join(part.text for part in parts) + tail
        return Sql(text, (*(param for part in parts for param in part.params), limit))

    def asked(self, table: str, columns: str, condition: str = "") -> str:
        """The rows of a project with the ids of a list, each found by its key: binds the project.

        The list is a table that the statement begins with: see `asking`.
        """
        return self.sql(self.by_key.format(table=table, columns=columns, condition=condition and f" AND {condition}"))

    @property
    def asking(self) -> str:
        """What a statement begins with that has `asked` in it: binds the list."""
        return self.sql(f"WITH asked (ref) AS (SELECT ref FROM {self.list_table} AS listed) ")

    def sql(self, text: str) -> str:
        """A statement that is written with `?`, `{in}` and `{payload:alias}`, in the form of this engine."""
        for alias in "fho":
            text = text.replace("{payload:" + alias + "}", self.text_bytes.format(f"{alias}.payload"))
        return text.replace("{in}", self.in_list).replace("?", self.placeholder)


class Statements(Protocol):
    """Fixed statements of a resource, written out once for an engine."""

    def __init__(self, traits: Traits) -> None: ...


S = TypeVar("S", bound=Statements)


class Prepared:
    """Given to all steps: `prepared.of(FeedbackStatements)` are the statements of that class for this engine."""

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
