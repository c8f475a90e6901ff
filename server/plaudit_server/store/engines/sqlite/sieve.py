"""Filters over rows in memory: which of some rows match which of many filters, in SQL, on a thread of its own.

The rows need not come from a SQLite store: both engines' dialects give a filter one meaning. Filters that differ only
in their values have one statement, which takes the values from a table, so that many of them cost little more than one.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any, Final

import apsw

from plaudit_server.query.compile.filters import compile_filter
from plaudit_server.query.compile.functions import FUNCTIONS
from plaudit_server.query.tree import Operation
from plaudit_server.store.base import Table
from plaudit_server.store.engines.sqlite.dialect import SQLITE
from plaudit_server.store.engines.sqlite.threads import Threads
from plaudit_server.store.lanes import Places
from plaudit_server.store.migrate import migrations
from plaudit_server.store.work import Owner

logger = logging.getLogger("plaudit_server")

# How many values a filter may have, by the table that its values are in. One with more is not taken.
_WIDTHS: Final = (16, 128, 1_900)
_JOB_SECONDS: Final = 0.25
# How often a statement looks at the clock, in instructions of the engine's virtual machine.
_INSTRUCTIONS: Final = 50_000
_STATEMENTS_CACHED: Final = 128
_MOST_WAITING: Final = 1_000_000  # callers bound what they ask
_COLUMN: Final = re.compile(r"\bf\.([a-z_]+)")
# For a filter that looks at no column: rows are given with one at least.
_ANY_COLUMN: Final = frozenset({"id"})


class Filter:
    """A filter in the form in which a sieve runs it.

    `columns` are those that it reads; filters with the same `shape`, the SQL without its values, share a statement.
    """

    __slots__ = ("_is_dropped", "_is_stored", "_values", "_width", "columns", "number", "shape")

    def __init__(self, number: int, operation: Operation) -> None:
        compiled = compile_filter(operation, SQLITE, "f")
        first, *others = compiled.text.split(SQLITE.text_slot)
        self.number = number
        self._values = compiled.params
        # Every placeholder is one of these; otherwise the text is not what this class takes it for.
        self._width = bisect_left(_WIDTHS, len(others)) if len(others) == len(compiled.params) else len(_WIDTHS)
        # A column has an affinity, and a bound value has none, nor has an expression such as this.
        self.shape = first + "".join(f"+p.c{place}{text}" for place, text in enumerate(others))
        self._is_stored = False
        self._is_dropped = False
        self.columns = frozenset(_COLUMN.findall(self.shape)) or _ANY_COLUMN

    @property
    def fits(self) -> bool:
        """Whether a sieve takes it."""
        return self._width < len(_WIDTHS)


class Rows:
    """Rows to be matched: `values` of `columns` for each; the sieve numbers them from `first` on."""

    __slots__ = ("_is_loaded", "columns", "end", "first", "values")

    def __init__(self, first: int, columns: Sequence[str], values: Sequence[tuple[Any, ...]]) -> None:
        self.first = first
        self.end = first + len(values)
        self.columns = columns
        self.values = values
        self._is_loaded = False


class Sieve:
    """Matches rows of one kind of table with filters. All its methods are called on one event loop."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._thread: Threads | None = None
        self._turns = Places(1, _MOST_WAITING)
        self._numbers = count(1)
        self._connection: apsw.Connection | None = None
        self._until = math.inf

    def compile(self, operation: Operation) -> Filter:
        """The form of a filter in which it is matched.

        It is made here, in a millisecond or a few, and not on the thread: a thread that computes takes the interpreter
        from the event loop at each of its calls of a database's driver, of which a write has dozens.
        """
        return Filter(next(self._numbers), operation)

    async def match(self, owner: Owner, rows: Sequence[Rows], filters: Sequence[Filter]) -> dict[Filter, list[int]]:
        """The numbers of the rows that match, by filter; a filter that took too long is missing.

        `rows` are numbered without gaps, or only with gaps that hold no other rows.
        """
        async with self._turns.place(owner, None):
            return await self._threads().run(self._match, rows, filters)

    def drop(self, rows: Iterable[Rows] = (), filters: Iterable[Filter] = ()) -> None:
        """Forget rows and filters, after what was asked about them."""
        dropped = list(filters)
        for filter in dropped:
            filter._is_dropped = True
        if self._thread is not None:
            self._thread.run(self._drop, list(rows), dropped)

    async def close(self) -> None:
        """End the thread. Safe to call twice."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.run(self._close)
            await thread.close()

    def _threads(self) -> Threads:
        """The thread; most servers need none."""
        if self._thread is None:
            self._thread = Threads(1, "plaudit-sieve")
        return self._thread

    # ── On the thread ────────────────────────────────────────────────────────────────────────────────────

    def _match(self, rows: Sequence[Rows], filters: Sequence[Filter]) -> dict[Filter, list[int]]:
        connection = self._connection or self._connect()
        for part in rows:
            self._load(connection, part)
        shapes: dict[str, dict[int, Filter]] = {}
        for filter in filters:
            if filter.fits and not filter._is_dropped:
                self._store(connection, filter)
                shapes.setdefault(filter.shape, {})[filter.number] = filter
        found: dict[Filter, list[int]] = {}
        self._until = time.monotonic() + _JOB_SECONDS
        try:
            for shape, alike in shapes.items():
                matches = self._matches(connection, shape, alike, rows[0].first, rows[-1].end)
                found |= {alike[number]: places for number, places in matches.items()}
        except apsw.InterruptError:
            logger.debug("%d filters took too long", len(filters))
        finally:
            self._until = math.inf
        return found

    def _matches(
        self, connection: apsw.Connection, shape: str, alike: dict[int, Filter], first: int, end: int
    ) -> dict[int, list[int]]:
        """The rows that match each of several filters of one shape. Raises InterruptError when time is up."""
        width = _WIDTHS[next(iter(alike.values()))._width]
        try:
            pairs: list[Any] = connection.execute(
                f"SELECT p.number, f.rowid FROM values_{width} AS p CROSS JOIN sifted AS f"
                f" WHERE p.number IN (SELECT value FROM json_each(?)) AND f.rowid >= ? AND f.rowid < ? AND ({shape})",
                (json.dumps([*alike]), first, end),
            ).fetchall()
        except apsw.InterruptError:
            raise
        except apsw.Error as error:
            logger.error("%d filters could not be matched in memory: %s", len(alike), type(error).__name__)
            return {}
        matches: dict[int, list[int]] = {number: [] for number in alike}
        for number, row in pairs:
            matches[number].append(row)
        return matches

    def _load(self, connection: apsw.Connection, rows: Rows) -> None:
        if rows._is_loaded:
            return
        # A payload comes as bytes.
        places = ["CAST(? AS TEXT)" if column == "payload" else "?" for column in rows.columns]
        with connection:
            connection.executemany(
                f"INSERT INTO sifted ({', '.join(('rowid', *rows.columns))}) VALUES ({', '.join(('?', *places))})",
                ((number, *values) for number, values in enumerate(rows.values, rows.first)),
            )
        rows._is_loaded = True
        rows.values = ()

    def _store(self, connection: apsw.Connection, filter: Filter) -> None:
        if not filter._is_stored:
            columns = ["number", *(f"c{place}" for place in range(len(filter._values)))]
            connection.execute(
                f"INSERT INTO values_{_WIDTHS[filter._width]} ({', '.join(columns)})"
                f" VALUES ({', '.join('?' * len(columns))})",
                (filter.number, *filter._values),
            )
            filter._is_stored = True

    def _drop(self, rows: Sequence[Rows], filters: Sequence[Filter]) -> None:
        if self._connection is None:
            return
        for part in rows:
            self._connection.execute("DELETE FROM sifted WHERE rowid >= ? AND rowid < ?", (part.first, part.end))
        for filter in filters:
            if filter._is_stored:
                table = f"values_{_WIDTHS[filter._width]}"
                self._connection.execute(f"DELETE FROM {table} WHERE number = ?", (filter.number,))
                filter._is_stored = False

    def _connect(self) -> apsw.Connection:
        """A table as the store's own is declared, so that values have the same affinity, but without indexes."""
        connection = apsw.Connection(":memory:", statementcachesize=_STATEMENTS_CACHED)
        for name, function in FUNCTIONS.items():
            connection.create_scalar_function(name, function, 1, deterministic=True)
        for migration in migrations("sqlite"):
            for statement in migration.statements(new=True):
                connection.execute(statement)
        declared = connection.execute(f"SELECT name, type FROM pragma_table_info('{self._table.name}')").fetchall()
        connection.execute(f"CREATE TABLE sifted ({', '.join(f'{name} {type}' for name, type in declared)})")
        for width in _WIDTHS:
            values = ", ".join(f"c{place}" for place in range(width))
            connection.execute(f"CREATE TABLE values_{width} (number INTEGER PRIMARY KEY, {values})")
        connection.set_progress_handler(self._is_over, _INSTRUCTIONS)
        self._connection = connection
        return connection

    def _is_over(self) -> bool:
        return time.monotonic() >= self._until

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(True)
