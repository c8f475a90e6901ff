"""The rows of any declared table, read from one SQL store in order and put into another: steps without I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from plaudit_server.store.base import Insert, Statement, Steps, StoreError, Table
from plaudit_server.store.ledger import lock, move, raise_flags
from plaudit_server.store.prepared import Prepared

Stored = tuple[Any, ...]
"""A row, its values in the order of its table's columns."""


Writing = Callable[[Prepared], Steps[None]]
"""Steps that put rows, to be run in one transaction."""


class Standing(NamedTuple):
    """Where a project stands: the revision that was given out last, its clock in microseconds since 1970 UTC, how often
    its definitions have changed, and its flags.
    """

    project: str
    revision: int
    last_created_at: int
    definitions: int = 0
    flags: int = 0


def standings(sql: Prepared, after: str, limit: int) -> Steps[list[Standing]]:
    """Where the projects above `after` stand, in code point order; those that were never written to are left out."""
    # The only statement that reads across projects: the command `copy` runs it, no server does.
    rows = yield Statement(
        sql.traits.sql(
            "SELECT project, revision, last_created_at, definitions, flags FROM project"
            " WHERE project > ? AND (revision > 0 OR definitions > 0 OR flags > 0) ORDER BY project LIMIT ?"
        ),
        (after, limit),
    )
    return [Standing(*row) for row in rows]


def count(sql: Prepared, tables: Sequence[Table], project: str) -> Steps[int]:
    """How many rows a project has in the tables."""
    total = 0
    for table in tables:
        rows = yield Statement(sql.traits.sql(f"SELECT count(*) FROM {table.name} WHERE project = ?"), (project,))
        total += rows[0][0]
    return total


def export(
    sql: Prepared, table: Table, project: str, after: Sequence[Any] | None, limit: int, max_bytes: int
) -> Steps[list[Stored]]:
    """Rows of a project after the one whose order columns are `after`, in that order.

    At most `limit` of them and about `max_bytes` of the table's large columns, at least two rows where there are two.
    """
    traits = sql.traits
    plain = [column for column in table.columns if column not in table.large]
    heavy = [
        f"t.{column}" if table.types.get(column) == "bytea" else traits.text_bytes.format(f"t.{column}")
        for column in table.large
    ]
    order = ", ".join(f"t.{column}" for column in table.order)
    text = (
        f"SELECT {', '.join([*heavy, *(f't.{column}' for column in plain)])} FROM {table.name} AS t WHERE t.project = ?"
    )
    params: list[Any] = [project]
    if after is not None:
        text += f" AND ({order}) > ({', '.join('?' * len(after))})"
        params += after
    rows = yield Statement(
        traits.sql(f"{text} ORDER BY {order} LIMIT ?"), (*params, limit), max_bytes if table.large else None
    )
    names = [*table.large, *plain]
    places = [names.index(column) for column in table.columns]
    texts = {names.index(column) for column in table.large if table.types.get(column) != "bytea"}
    return [tuple(row[place].decode() if place in texts else row[place] for place in places) for row in rows]


def key_of(table: Table, row: Stored) -> tuple[Any, ...]:
    """A row's values in the columns by which the table is ordered."""
    return tuple(row[table.place(column)] for column in table.order)


def position(sql: Prepared, table: Table, project: str) -> Steps[tuple[Any, ...] | None]:
    """The key of the project's last row in the table's order; None when it has none."""
    columns = ", ".join(table.order)
    backwards = ", ".join(f"{column} DESC" for column in table.order)
    rows = yield Statement(
        sql.traits.sql(f"SELECT {columns} FROM {table.name} WHERE project = ? ORDER BY {backwards} LIMIT 1"), (project,)
    )
    return tuple(rows[0]) if rows else None


def begin(sql: Prepared, standing: Standing) -> Steps[None]:
    """Make a project with the revision and the clock that it has in the other store.

    Raises StoreError when it is there with others: then this copy did not make it, or it was written to.
    """
    found = yield from lock(sql, standing.project)
    if found == (0, 0, 0, 0):
        yield move(sql, *standing[:-1])
        if standing.flags:
            yield raise_flags(sql, standing.project, standing.flags)
    elif found != standing[1:]:
        raise StoreError(
            f"the project {standing.project} is there already, at revision {found[0]} and not {standing.revision}: "
            "copy into a store that has not been written to, from one that is not being written to"
        )


def put(sql: Prepared, table: Table, standing: Standing, rows: Sequence[Stored]) -> Steps[None]:
    """Add rows unchanged, except those that are there already."""
    yield from begin(sql, standing)
    there = yield from position(sql, table, standing.project)
    missing = [row for row in rows if there is None or key_of(table, row) > there]
    if missing:
        yield Insert(table, missing)


def whole(sql: Prepared, table: Table) -> Steps[list[Stored]]:
    """Every row of a small table that is not about one project."""
    rows = yield Statement(f"SELECT {', '.join(table.columns)} FROM {table.name} ORDER BY {', '.join(table.order)}")
    return [tuple(row) for row in rows]


def put_whole(sql: Prepared, table: Table, rows: Sequence[Stored]) -> Steps[None]:
    """Add rows of such a table, and overwrite those with the same key."""
    others = [column for column in table.columns if column not in table.order]
    text = sql.traits.sql(
        f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({', '.join('?' * len(table.columns))})"
        f" ON CONFLICT ({', '.join(table.order)})"
        f" DO UPDATE SET {', '.join(f'{column} = excluded.{column}' for column in others)}"
    )
    for row in rows:
        yield Statement(text, row)
