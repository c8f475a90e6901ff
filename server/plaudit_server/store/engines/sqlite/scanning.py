"""Reads in a process of low priority, for what takes long: statements go there, rows come back; both of its ends.

What the rows are made into is made in the server.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar, Final, TypeVar

import apsw

from plaudit_server.background import Background, NotWanted, ProcessEnded, stopped
from plaudit_server.store.base import Insert, Steps, bounded
from plaudit_server.store.engines.sqlite.connection import configured, roll_back

T = TypeVar("T")

# How often a statement looks at the clock, in instructions of the engine's virtual machine: about every millisecond.
INSTRUCTIONS: Final = 10_000
# Rows that come at a time: the interpreter is held while they are unpacked, for about a millisecond.
_ROWS: Final = 1_000


class Late(Exception):
    """A statement was not done by the deadline."""


class Scanner:
    """The server's end: one process with one connection, for one thread."""

    def __init__(self, path: str, cache_kib: int) -> None:
        self._process = Background()
        self._path = path
        self._cache_kib = cache_kib

    @property
    def pid(self) -> int | None:
        """The process's id; None before the first read."""
        return self._process.pid

    def read(self, steps: Steps[T], deadline: float | None) -> T:
        """Run a generator's statements in one snapshot, and send it the rows, until it returns.

        Raises Late, NotWanted when `stop` was called, and the engine's errors.
        """
        try:
            self._process.call(_begin, self._path, self._cache_kib, deadline)
            try:
                return self._drive(steps)
            finally:
                if self.pid is not None:
                    self._process.call(_end)
        except ProcessEnded as error:
            raise apsw.IOError("the process of a read has ended") from error

    def _drive(self, steps: Steps[T]) -> T:
        call = self._process.call
        try:
            step = next(steps)
            while True:
                assert not isinstance(step, Insert), "a read inserts nothing"
                rows, more = call(_rows, step.sql, step.params, step.budget)
                while more:
                    others, more = call(_more)
                    rows += others
                step = steps.send(rows)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def stop(self) -> None:
        """End the statement that runs; from any thread."""
        self._process.stop()

    def close(self) -> None:
        """End the process. Safe to call twice."""
        self._process.close()


# ── In the process ───────────────────────────────────────────────────────────────────────────────────────


class _Ends:
    """Why a statement was interrupted, if it was."""

    def __init__(self, deadline: float | None) -> None:
        self.error: Exception | None = None
        self._deadline = deadline

    def reached(self) -> bool:
        """Whether the engine should stop; called by it, each time it has run a number of instructions."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self.error = Late()
        elif stopped():
            self.error = NotWanted()
        return self.error is not None


class _Here:
    """What this process has open: its connection, the rows of a statement that were not sent yet, and its end."""

    connection: apsw.Connection | None = None
    rest: ClassVar[list[Any]] = []
    ends = _Ends(None)


def _begin(path: str, cache_kib: int, deadline: float | None) -> None:
    connection = _Here.connection
    if connection is None:
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
        _Here.connection = configured(connection, cache_kib, "query_only = ON")
    _Here.ends = _Ends(deadline)
    connection.set_progress_handler(_Here.ends.reached, INSTRUCTIONS)
    connection.execute("BEGIN")


def _rows(sql: str, params: Any, budget: int | None) -> tuple[list[Any], bool]:
    """The first rows of a statement, and whether there are more."""
    assert _Here.connection is not None
    try:
        cursor = _Here.connection.execute(sql, params)
        rows = cursor.fetchall() if budget is None else bounded(cursor, budget)
        cursor.close(True)
    except apsw.InterruptError:
        if _Here.ends.error is None:
            raise
        raise _Here.ends.error from None
    _Here.rest = rows
    return _more()


def _more() -> tuple[list[Any], bool]:
    rows, _Here.rest = _Here.rest[:_ROWS], _Here.rest[_ROWS:]
    return rows, bool(_Here.rest)


def _end() -> None:
    _Here.rest = []
    if _Here.connection is not None:
        _Here.connection.set_progress_handler(None)
        roll_back(_Here.connection)
