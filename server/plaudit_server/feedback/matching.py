"""The condition on the rows of `feedback`: the project, and the filter in the form that declared indexes can serve."""

from __future__ import annotations

import math
import time
from typing import Final

from plaudit_server.query.compile.filters import compile_filter, compile_indexed
from plaudit_server.query.compile.fragments import Sql
from plaudit_server.query.indexes.conditions import Indexes
from plaudit_server.query.tree import Operation
from plaudit_server.store import declared
from plaudit_server.store.base import Statement, Steps
from plaudit_server.store.ledger import revision
from plaudit_server.store.prepared import Prepared

# How many seconds may pass until an index that was declared is used.
_INDEXES_SECONDS: Final = 5.0
# Fetching one row by an index and sorting it costs as much as reading this many rows in the order of time.
_FETCH_COST: Final = 4


def where(sql: Prepared, project: str, filter: Operation | None, rows_in_time: int | None = None) -> Steps[Sql]:
    """The condition of every read: the project, then the filter, in the form for those declared indexes that pay.

    `rows_in_time` is how many matches are wanted in the order of time; None is for all, or for another order.
    """
    mine = sql.traits.sql("f.project = ?")
    if filter is None:
        return Sql(mine, (project,))
    yield from declared_indexes(sql)
    dialect = sql.traits.dialect
    compiled = compile_indexed(filter, dialect, "f", sql.indexes)
    if compiled.conditions and sql.traits.counts_first:
        pays = _pays((yield from revision(sql, project)), rows_in_time)
        without = []
        for condition in compiled.conditions:
            if condition.is_ordered:  # in the order of time the read ends as early as without an index
                continue
            [[found]] = yield Statement(
                f"SELECT count(*) FROM (SELECT 1 FROM feedback AS f WHERE {mine} AND {condition.sql.text}"
                + sql.traits.sql(" LIMIT ?)"),
                (project, *condition.sql.params, pays),
            )
            if found == pays:
                without.append(condition)
        if without:
            compiled = compile_indexed(filter, dialect, "f", sql.indexes, without)
    return Sql(f"{mine} AND ({compiled.sql.text})", (project, *compiled.sql.params))


def opaque(sql: Prepared, project: str, filter: Operation | None) -> Sql:
    """The condition in a form that no index serves, for rows that are found in another way and then checked."""
    mine = sql.traits.sql("f.project = ?")
    if filter is None:
        return Sql(mine, (project,))
    compiled = compile_filter(filter, sql.traits.dialect, "f")
    return Sql(f"{mine} AND CASE WHEN ({compiled.text}) THEN 1 ELSE 0 END = 1", (project, *compiled.params))


def _pays(rows: int, rows_in_time: int | None) -> int:
    """The number of matches among `rows` at which fetching them by an index costs as much as reading in time order.

    A read in time order that ends after some matches reads fewer rows the more of them match.
    """
    if rows_in_time is None:
        return rows // _FETCH_COST + 1
    return math.isqrt(rows * (rows_in_time + 1) // _FETCH_COST) + 1


def declared_indexes(sql: Prepared) -> Steps[Indexes]:
    """The declared indexes; they are read unless that was done a short time ago."""
    now = time.monotonic()
    if now - sql.indexes_read >= _INDEXES_SECONDS:
        sql.indexes_read = now  # other reads continue meanwhile with what is known
        sql.indexes = declared.usable(sql.traits.dialect, (yield Statement(declared.READ)))
    return sql.indexes
