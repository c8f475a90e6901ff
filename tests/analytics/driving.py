"""Steps of reads, driven over a bare table of an engine: nothing of a store around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import apsw

from plaudit_server.query.indexes.declared import DeclaredIndex
from plaudit_server.store.base import Read, Statement, Steps
from plaudit_server.store.declared import declaration
from plaudit_server.store.engines.sqlite.dialect import SQLITE
from plaudit_server.store.engines.sqlite.engine import TRAITS
from plaudit_server.store.prepared import Prepared
from tests.unit.querytable import Table

T = TypeVar("T")

Execute = Callable[[str, Sequence[Any]], list[Any]]


class SqliteTable(Table):
    """A table of feedback with what else reads look at."""

    def __init__(self, declared: Sequence[DeclaredIndex] = ()) -> None:
        super().__init__(declared=declared)
        self.connection.execute("ALTER TABLE feedback ADD COLUMN head BLOB GENERATED ALWAYS AS (x'') VIRTUAL")
        self.connection.execute("CREATE TABLE project (project TEXT, revision INTEGER)")
        self.connection.execute("CREATE TABLE meta (key TEXT, value BLOB)")
        for made in (declaration(SQLITE, index) for index in declared):
            self.connection.execute("INSERT INTO meta VALUES (?, ?)", (made.key, made.name.encode()))
        self._prepared = Prepared(TRAITS)

    def read(self, read: Read[T]) -> T:
        """The answer to a question."""
        return drive(read.steps(self._prepared), self._execute)

    def plans(self, read: Read[Any]) -> list[str]:
        """What the engine does for each statement of a question."""
        found = []

        def execute(sql: str, params: Sequence[Any]) -> list[Any]:
            plan = self.connection.execute(f"EXPLAIN QUERY PLAN {sql}", params)
            found.append("\n".join(str(row[3]) for row in plan))
            return self._execute(sql, params)

        drive(read.steps(self._prepared), execute)
        return found

    def _execute(self, sql: str, params: Sequence[Any]) -> list[Any]:
        try:
            return self.connection.execute(sql, params).fetchall()
        except apsw.Error as error:
            error.add_note(sql)
            raise


def drive(steps: Steps[T], execute: Execute) -> T:
    """Run the statements of steps, and return what these return."""
    try:
        step = next(steps)
        while True:
            assert isinstance(step, Statement)
            step = steps.send(execute(step.sql, step.params))
    except StopIteration as stop:
        result: T = stop.value
        return result
