"""A table of feedback in PostgreSQL without the store around it, as tests/unit/querytable.py is for SQLite."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from plaudit_server.feedback.reads import plain_key
from plaudit_server.query.compile.filters import compile_indexed
from plaudit_server.query.compile.fragments import Sql
from plaudit_server.query.compile.order import compile_order
from plaudit_server.query.fields import COLUMNS, PAYLOAD
from plaudit_server.query.indexes.conditions import Indexes
from plaudit_server.query.indexes.declared import DeclaredIndex
from plaudit_server.query.tree import DEFAULT_ORDER, Operation, SortKey
from plaudit_server.store.declared import create, declaration
from plaudit_server.store.engines.postgres.dialect import postgres

_NAMES = (*COLUMNS, PAYLOAD)
_NUMBERS = {name for name, column in COLUMNS.items() if column.kind in ("number", "time")}


class Table:
    """Rows by column, and the answers of SQL about them."""

    def __init__(
        self, connection: psycopg.Connection[Any], fold_collation: str, declared: Sequence[DeclaredIndex] = ()
    ) -> None:
        self._connection = connection
        self._dialect = postgres(fold_collation)
        kinds = {True: "bigint", False: 'text COLLATE "C"'}
        columns = ", ".join(f"{name} {kinds[name in _NUMBERS]}" for name in _NAMES)
        connection.execute("DROP TABLE IF EXISTS pg_temp.feedback")
        connection.execute(f"CREATE TEMP TABLE feedback ({columns})".encode())
        for index in declared:
            connection.execute(create(self._dialect, declaration(self._dialect, index)).encode())
        self._indexes = Indexes(declared)

    def fill(self, rows: Iterable[dict[str, Any]]) -> None:
        """Replace all rows."""
        self._connection.execute("DELETE FROM feedback")
        with self._connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO feedback VALUES ({', '.join(['%s'] * len(_NAMES))})".encode(),
                [tuple(_stored(row[name]) for name in _NAMES) for row in rows],
            )

    def ids(self, filter: Operation | None = None, order: Sequence[SortKey] = DEFAULT_ORDER) -> list[str]:
        """The ids of the rows that match, in order."""
        return [row[0] for row in self._select(filter, order)]

    def pages(self, filter: Operation | None, order: Sequence[SortKey], size: int) -> list[str]:
        """The same, page by page: each continues after the last sort key, which is encoded as JSON in between."""
        ordering = compile_order(order, self._dialect)
        ids: list[str] = []
        after = None
        while page := self._select(filter, order, f" LIMIT {size}", after):
            ids += [row[0] for row in page]
            after = ordering.after(json.loads(json.dumps(plain_key(page[-1][1:]))))
        return ids

    def plan(self, filter: Operation) -> str:
        """PostgreSQL's plan for finding the matches."""
        [[plan]] = self._select(filter, DEFAULT_ORDER, before="EXPLAIN (FORMAT JSON) ")
        return json.dumps(plan)

    def _select(
        self,
        filter: Operation | None,
        order: Sequence[SortKey],
        tail: str = "",
        after: Sql | None = None,
        before: str = "",
    ) -> list[Any]:
        ordering = compile_order(order, self._dialect)
        text = f"{before}SELECT f.id, {ordering.columns.text} FROM feedback AS f WHERE f.project = %s"
        params = (*ordering.columns.params, "acme/chat")
        compiled = None if filter is None else compile_indexed(filter, self._dialect, "f", self._indexes).sql
        for condition in (compiled, after):
            if condition is not None:
                text += f" AND ({condition.text})"
                params += condition.params
        text += f" ORDER BY {ordering.order_by.text}{tail}"
        return self._connection.execute(text.encode(), params + ordering.order_by.params, prepare=False).fetchall()


def _stored(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
