"""Steps on a connection: how they are driven, and a read that can be stopped, or continue elsewhere, while it runs."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from functools import cache
from itertools import chain
from typing import Any, Final, Generic, NamedTuple, TypeVar

import apsw

from plaudit_server.background import NotWanted
from plaudit_server.errors import QueryTooExpensive
from plaudit_server.store.base import Insert, Steps, bounded
from plaudit_server.store.engines.sqlite.connection import UNAVAILABLE, roll_back
from plaudit_server.store.engines.sqlite.scanning import INSTRUCTIONS, Late, Scanner
from plaudit_server.store.lanes import OverBudget, too_many_reads

T = TypeVar("T")

_INTERRUPT_SECONDS: Final = 0.01
# One statement for many rows: the interpreter lock changes hands once for each statement, and not for each row.
_INSERT_ROWS: Final = 64
# Every number of rows has a statement of its own, in two tables, beside all that are not inserts.
STATEMENTS_CACHED: Final = 2 * _INSERT_ROWS + 64


class Reader:
    """A reader's connection, made when it is first needed, and again after it has failed."""

    def __init__(self, connect: Callable[[], apsw.Connection]) -> None:
        self._connect = connect
        self._connection: apsw.Connection | None = None

    def connection(self) -> apsw.Connection:
        """The connection; made anew if there is none, or the last one has failed."""
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def close(self) -> None:
        """Release the connection. Safe to call twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(True)


class Budget(NamedTuple):
    """What a read may use before it is OverBudget, in instructions of the engine's virtual machine.

    `each` is how many instructions it runs before it is looked at again. Instructions and not time: on a machine that
    is busy, time would end reads that are cheap, so that they would run twice. A page of 1,000 rows takes 12,000, the
    newest 100 take 1,000, a count of 200,000 rows by a path of their payloads 1,100,000.
    """

    instructions: int
    each: int


class Asked(Generic[T]):
    """One read, which may run several times: in the quick lane, then among the scans."""

    def __init__(
        self, steps: Callable[[], Steps[T]], deadline: float | None, may_begin: Callable[[], None] | None = None
    ) -> None:
        """`deadline` is in seconds of `time.monotonic()`; `may_begin` raises where it must not run any more."""
        self._steps = steps
        self._asked = time.monotonic()
        self._may_begin = may_begin
        self.deadline = deadline
        self._lock = threading.Lock()
        self._interrupt_statement: Callable[[], None] | None = None
        self._stopped: Exception | None = None
        self._left = math.inf

    def run(self, reader: Reader, budget: Budget | None) -> T:
        """Read in one snapshot.

        Raises OverBudget, QueryTooExpensive when it is not done by its deadline, Overloaded when it had not begun by
        then, InterruptError when it was stopped because nobody waits for it, and what `may_begin` raises.
        """
        self._check_start()
        each = INSTRUCTIONS if budget is None else budget.each
        self._left = math.inf if budget is None else budget.instructions // each
        try:
            connection = reader.connection()
            with self._lock:
                if self._stopped is not None:
                    raise self._stopped
                self._interrupt_statement = connection.interrupt
            try:
                connection.set_progress_handler(self._is_over, each)
                connection.execute("BEGIN")
                return drive(connection, self._steps())
            except apsw.InterruptError as error:
                if self._stopped is None:
                    raise
                raise self._stopped from error
            finally:
                with self._lock:
                    self._interrupt_statement = None
                connection.set_progress_handler(None)
                roll_back(connection)
        except UNAVAILABLE:
            reader.close()
            raise

    def run_apart(self, scanner: Scanner) -> T:
        """Read in one snapshot, in another process, without a budget. Raises as `run` does."""
        self._check_start()
        try:
            with self._lock:
                if self._stopped is not None:
                    raise self._stopped
                self._interrupt_statement = scanner.stop
            try:
                return scanner.read(self._steps(), self.deadline)
            except Late:
                raise self._too_expensive() from None
            except NotWanted:
                raise self._stopped or apsw.InterruptError("nobody waits for this read") from None
            finally:
                with self._lock:
                    self._interrupt_statement = None
        except UNAVAILABLE:
            scanner.close()
            raise

    def _check_start(self) -> None:
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise too_many_reads()
        if self._may_begin is not None:
            self._may_begin()

    def _is_over(self) -> bool:
        """Whether the engine should stop; called by it, each time it has run a number of instructions."""
        self._left -= 1
        if self._left < 0:
            self._stopped = self._stopped or OverBudget()
        elif self.deadline is not None and time.monotonic() >= self.deadline:
            self._stopped = self._stopped or self._too_expensive()
        return self._stopped is not None

    def go_on_later(self) -> None:
        """Raise OverBudget where it runs."""
        self._stop(OverBudget())

    def end(self) -> None:
        """Raise QueryTooExpensive where it runs: its deadline has passed."""
        self._stop(self._too_expensive())

    def leave(self) -> None:
        """Raise InterruptError where it runs: nobody waits for it any more."""
        self._stop(apsw.InterruptError("nobody waits for this read"))

    def again(self) -> None:
        """Let a read that was OverBudget run again."""
        with self._lock:
            if isinstance(self._stopped, OverBudget):
                self._stopped = None

    def _too_expensive(self) -> QueryTooExpensive:
        return QueryTooExpensive(
            time.monotonic() - self._asked if self.deadline is None else self.deadline - self._asked
        )

    def _stop(self, error: Exception) -> None:
        with self._lock:
            self._stopped = self._stopped or error
        self._interrupt(asyncio.get_running_loop())

    def _interrupt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Interrupt the read again and again until it has ended.

        Once is not enough: the engine forgets an interrupt that comes between two statements.
        """
        with self._lock:
            if self._interrupt_statement is None or self._stopped is None:
                return
            self._interrupt_statement()
        loop.call_later(_INTERRUPT_SECONDS, self._interrupt, loop)


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
