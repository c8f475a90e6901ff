"""A table of feedback in memory: SQLite as the store sets it up, and nothing of the store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import apsw

from plaudit_server.query.compile.filters import compile_indexed
from plaudit_server.query.compile.fragments import Sql
from plaudit_server.query.compile.functions import FUNCTIONS
from plaudit_server.query.compile.order import compile_order
from plaudit_server.query.evaluate import matches
from plaudit_server.query.fields import COLUMNS, PAYLOAD
from plaudit_server.query.indexes.conditions import Indexes
from plaudit_server.query.indexes.declared import DeclaredIndex
from plaudit_server.query.tree import DEFAULT_ORDER, Operation, SortKey
from plaudit_server.store.declared import create, declaration
from plaudit_server.store.engines.sqlite.dialect import SQLITE

_NAMES = (*COLUMNS, PAYLOAD)


def by_oracle(query: Operation, rows: Iterable[dict[str, Any]]) -> tuple[set[str], set[str]]:
    """The ids of the rows for which a query is true, and of those for which it is false; in neither, it is unknown."""
    truths = {row["id"]: matches(query, row) for row in rows}
    true, false = ({id for id, truth in truths.items() if truth is wanted} for wanted in (True, False))
    return true, false


class Table:
    """Rows by column, as evaluate.py reads them, and the answers of SQL about them."""

    def __init__(self, rows: Iterable[dict[str, Any]] = (), declared: Sequence[DeclaredIndex] = ()) -> None:
        self.connection = apsw.Connection(":memory:")
        for name, function in FUNCTIONS.items():
            self.connection.create_scalar_function(name, function, 1, deterministic=True)
        numbers = {name for name, column in COLUMNS.items() if column.kind in ("number", "time")}
        columns = ", ".join(f"{name} {'INTEGER' if name in numbers else 'TEXT'}" for name in _NAMES)
        self.connection.execute(f"CREATE TABLE feedback ({columns}) STRICT")
        self.connection.execute("CREATE INDEX by_time ON feedback (project, created_at, id)")
        self.connection.execute("CREATE INDEX by_ref ON feedback (project, ref, created_at, id)")
        for index in declared:
            self.connection.execute(create(SQLITE, declaration(SQLITE, index)))
        self._indexes = Indexes(declared)
        self.fill(rows)

    def fill(self, rows: Iterable[dict[str, Any]]) -> None:
        """Replace all rows."""
        self.connection.execute("DELETE FROM feedback")
        self.connection.executemany(
            f"INSERT INTO feedback VALUES ({', '.join('?' * len(_NAMES))})",
            [tuple(_stored(row[name]) for name in _NAMES) for row in rows],
        )

    def ids(self, filter: Operation | None = None, order: Sequence[SortKey] = DEFAULT_ORDER) -> list[str]:
        """The ids of the rows that match, in order."""
        return [row[0] for row in self._select(filter, order)]

    def pages(self, filter: Operation | None, order: Sequence[SortKey], size: int) -> list[str]:
        """The same, page by page: each continues after the last sort key, which is encoded as JSON in between."""
        ordering = compile_order(order, SQLITE)
        ids: list[str] = []
        after = None
        while page := self._select(filter, order, f" LIMIT {size}", after):
            ids += [row[0] for row in page]
            after = ordering.after(json.loads(json.dumps(page[-1][1:])))
        return ids

    def plan(
        self, filter: Operation | None, order: Sequence[SortKey] | None = DEFAULT_ORDER, after: Sql | None = None
    ) -> str:
        """SQLite's plan for the answer; without an order when `order` is None."""
        text, params = self._statement(filter, order or DEFAULT_ORDER, "", after)
        if order is None:
            text = text.partition(" ORDER BY ")[0]
        return "\n".join(str(row[3]) for row in self.connection.execute(f"EXPLAIN QUERY PLAN {text}", params))

    def value(self, sql: Sql) -> Any:
        """The value of an expression without a row."""
        return self.connection.execute(f"SELECT {sql.text}", sql.params).get

    def _select(self, filter: Operation | None, order: Sequence[SortKey], *rest: Any) -> list[Any]:
        text, params = self._statement(filter, order, *rest)
        return self.connection.execute(text, params).fetchall()

    def _statement(
        self, filter: Operation | None, order: Sequence[SortKey], tail: str = "", after: Sql | None = None
    ) -> Sql:
        ordering = compile_order(order, SQLITE)
        text = f"SELECT f.id, {ordering.columns.text} FROM feedback AS f WHERE f.project = ?"
        params = (*ordering.columns.params, "acme/chat")
        for condition in (compile_indexed(filter, SQLITE, "f", self._indexes).sql if filter else None, after):
            if condition is not None:
                text += f" AND ({condition.text})"
                params += condition.params
        return Sql(f"{text} ORDER BY {ordering.order_by.text}{tail}", params + ordering.order_by.params)


def _stored(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
