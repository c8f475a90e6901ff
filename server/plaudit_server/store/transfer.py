"""Everything of a project as rows in the order of their revisions, read from one SQL store and put into another.

Generators without I/O, as in sql.py; what runs them is Movable, which every SQL store is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from plaudit_server.feedback.steps import COLUMNS, Insert, Statement, Statements, Steps, lock
from plaudit_server.query.compile.fragments import Sql
from plaudit_server.store.base import StoreError

T = TypeVar("T")

_TABLES: Final = ("feedback", "feedback_history")
_REVISION: Final = COLUMNS.index("revision")
_KEY_COLUMNS: Final = "id, principal, hash, role, projects, created_at, expires_at, revoked_at"
# The first two columns are bytes, as a Statement's budget has it; the rest is in the order of COLUMNS.
_PLAIN: Final = COLUMNS[:-2]


class Movable(Protocol):
    """A store whose rows can be read and written as they are."""

    @abstractmethod
    async def export(self, steps: Callable[[Statements], Steps[T]]) -> T:
        """Run a reading generator."""

    @abstractmethod
    async def restore(self, steps: Callable[[Statements], Steps[T]]) -> T:
        """Run a writing generator in one transaction; it may run again when the transaction fails."""


class Standing(NamedTuple):
    """Where a project stands: the revision that was given out last, and its clock in microseconds since 1970 UTC."""

    project: str
    revision: int
    last_created_at: int


class Stored(NamedTuple):
    """A row of a table, its values in the order of COLUMNS."""

    table: str
    values: tuple[Any, ...]

    @property
    def revision(self) -> int:
        """The change that made it."""
        return int(self.values[_REVISION])


def standings(sql: Statements, after: str, limit: int) -> Steps[list[Standing]]:
    """Where the projects above `after` stand, in code point order; those that were never written to are left out."""
    # The one statement that reads across projects: of the command alone, no server runs it.
    rows = yield Statement(
        sql.engine.sql(
            "SELECT project, revision, last_created_at FROM project WHERE project > ? AND revision > 0"
            " ORDER BY project LIMIT ?"
        ),
        (after, limit),
    )
    return [Standing(*row) for row in rows]


def count(sql: Statements, project: str) -> Steps[int]:
    """How many rows a project has: live ones, replaced versions and tombstones."""
    total = 0
    for table in _TABLES:
        rows = yield Statement(sql.engine.sql(f"SELECT count(*) FROM {table} WHERE project = ?"), (project,))
        total += rows[0][0]
    return total


def export(sql: Statements, project: str, after: int, limit: int, max_bytes: int) -> Steps[list[Stored]]:
    """Rows above a revision: at most `limit` of them and about `max_bytes`, two at least where there are two."""
    parts = []
    for number, (table, alias) in enumerate(zip(_TABLES, "fh", strict=True)):
        columns = ", ".join(f"{alias}.{column} AS {column}" for column in _PLAIN)
        text = sql.engine.sql(
            f"SELECT {alias}.head, {{payload:{alias}}}, {number} AS place, {columns}"
            f" FROM {table} AS {alias} WHERE {alias}.project = ? AND {alias}.revision > ?"
        )
        parts.append(Sql(text, (project, after)))
    rows = yield Statement(*sql.engine.merge(parts, "revision", limit), max_bytes)
    return [Stored(_TABLES[place], (*plain, head, payload.decode())) for head, payload, place, *plain in rows]


def position(sql: Statements, project: str) -> Steps[int]:
    """The newest revision of a project's rows; 0 when it has none."""
    newest = 0
    for table in _TABLES:
        rows = yield Statement(sql.engine.sql(f"SELECT max(revision) FROM {table} WHERE project = ?"), (project,))
        newest = max(newest, rows[0][0] or 0)
    return newest


def begin(sql: Statements, standing: Standing) -> Steps[int]:
    """Make a project as it stands elsewhere, and answer up to which revision its rows are there already.

    Raises StoreError when the project is there and stands elsewhere: then it was not made by this copy, or written to.
    """
    found = yield from lock(sql, standing.project)
    if found == (0, 0):
        yield Statement(sql.raise_project, standing)
    elif found != standing[1:]:
        raise StoreError(
            f"the project {standing.project} is there already, at revision {found[0]} and not {standing.revision}: "
            "copy into a store that has not been written to, from one that is not being written to"
        )
    return (yield from position(sql, standing.project))


def put(sql: Statements, standing: Standing, rows: Sequence[Stored]) -> Steps[None]:
    """Add rows as they are, those that are not there yet."""
    there = yield from begin(sql, standing)
    for table in _TABLES:
        missing = [row.values for row in rows if row.table == table and row.revision > there]
        if missing:
            yield Insert(table, missing)


def keys(sql: Statements) -> Steps[list[tuple[Any, ...]]]:
    """The API keys, as rows."""
    rows = yield Statement(f"SELECT {_KEY_COLUMNS} FROM api_key ORDER BY id")
    return [tuple(row) for row in rows]


def put_keys(sql: Statements, rows: Sequence[tuple[Any, ...]]) -> Steps[None]:
    """Add API keys, and revoke those that are there and were revoked elsewhere."""
    for row in rows:
        yield Statement(
            sql.engine.sql(
                f"INSERT INTO api_key ({_KEY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET revoked_at = excluded.revoked_at"
            ),
            row,
        )
