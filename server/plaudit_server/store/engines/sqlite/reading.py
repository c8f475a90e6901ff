"""Steps on a connection: how they are driven, and a read that can be stopped while it runs on a reader's connection."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import cache
from itertools import chain
from typing import Any, Final, Generic, TypeVar

import apsw

from plaudit_server.errors import QueryTooExpensive
from plaudit_server.store.base import Insert, Steps, bounded
from plaudit_server.store.engines.sqlite.connection import UNAVAILABLE, roll_back

T = TypeVar("T")

_INTERRUPT_SECONDS: Final = 0.01
# How often a statement looks at the clock, in instructions of the engine's virtual machine: about every millisecond.
_INSTRUCTIONS: Final = 10_000
# One statement for many rows: the interpreter lock changes hands once for each statement, and not for each row.
_INSERT_ROWS: Final = 64
# Every number of rows has a statement of its own, in two tables, beside all that are not inserts.
STATEMENTS_CACHED: Final = 2 * _INSERT_ROWS + 64


class Reader:
    """A reader's connection, made again after it has failed."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._connect = connect
        self._connection: apsw.Connection | None = connect()

    def connection(self) -> apsw.Connection:
        """The connection, made anew if the last one has failed."""
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def close(self) -> None:
        """Release the connection. Safe to call twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(True)


class Asked(Generic[T]):
    """One read on its way through the reader threads."""

    def __init__(self, steps: Steps[T], idle: deque[Reader], deadline: float | None = None) -> None:
        """`deadline` is in seconds of `time.monotonic()`."""
        self._steps = steps
        self._idle = idle
        self._asked = time.monotonic()
        self._deadline = math.inf if deadline is None else deadline
        self._lock = threading.Lock()
        self._connection: apsw.Connection | None = None
        self._cancelled = False

    def run(self) -> T:
        """Read in one snapshot.

        Raises InterruptError when it was cancelled, and QueryTooExpensive when it is not done by its deadline.
        """
        # There is one for each thread; the one used last has the pages that are asked for again.
        reader = self._idle.pop()
        try:
            connection = reader.connection()
            with self._lock:
                if self._cancelled:
                    raise apsw.InterruptError("nobody waits for this read")
                self._connection = connection
            try:
                connection.set_progress_handler(self._is_over, _INSTRUCTIONS)
                connection.execute("BEGIN")
                return drive(connection, self._steps)
            except apsw.InterruptError as error:
                if self._cancelled:
                    raise
                raise QueryTooExpensive(self._deadline - self._asked) from error
            finally:
                connection.set_progress_handler(None)
                with self._lock:
                    self._connection = None
                roll_back(connection)
        except UNAVAILABLE:
            reader.close()
            raise
        finally:
            self._idle.append(reader)

    def _is_over(self) -> bool:
        return self._cancelled or time.monotonic() > self._deadline

    def cancel(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop the read: interrupt it again and again until it has ended.

        Once is not enough: the engine forgets an interrupt that comes between two statements.
        """
        with self._lock:
            self._cancelled = True
            if self._connection is None:
                return
            self._connection.interrupt()
        loop.call_later(_INTERRUPT_SECONDS, self.cancel, loop)


def drive(connection: apsw.Connection, steps: Steps[T]) -> T:
    """Run a generator's statements and send it the rows, until it returns."""
    cursor = connection.cursor()
    rows: list[Any] = []
    send = steps.send
    try:
        step = next(steps)
        while True:
            if isinstance(step, Insert):
                insert_rows(cursor, step)
                rows = []
            elif step.budget is None:
                rows = cursor.execute(step.sql, step.params).fetchall()
            else:
                rows = bounded(cursor.execute(step.sql, step.params), step.budget)
                cursor = connection.cursor()
            step = send(rows)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        # Not left to an exception's traceback: it is dropped on the event loop, where freeing the cursor would
        # wait for the statement that this connection then runs for somebody else.
        cursor.close(True)


def insert_rows(cursor: apsw.Cursor, step: Insert) -> None:
    """Insert rows, many with each statement."""
    table = step.table
    for start in range(0, len(step.rows), _INSERT_ROWS):
        rows = step.rows[start : start + _INSERT_ROWS]
        cursor.execute(_insert_statement(table.name, table.columns, len(rows)), tuple(chain.from_iterable(rows)))


@cache
def _insert_statement(name: str, columns: tuple[str, ...], rows: int) -> str:
    row = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {name} ({', '.join(columns)}) VALUES {', '.join([row] * rows)}"
