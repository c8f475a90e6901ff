"""The control of writing: SQLite alone, with the store's tables, indexes and settings."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

import apsw

from plaudit_server.feedback.records import FEEDBACK
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from tests.bench import rows
from tests.bench.figures import Sample

_INSERT = f"INSERT INTO feedback ({', '.join(FEEDBACK.columns)}) VALUES ({', '.join('?' * len(FEEDBACK.columns))})"


def make(path: Path) -> None:
    """An empty store."""

    async def opened() -> None:
        store = SqliteEngine(path)
        await store.open()
        await store.close()

    asyncio.run(opened())


def connect(path: Path) -> apsw.Connection:
    """A connection like that of the store's writer."""
    return SqliteEngine(path)._connect()


def insert(connection: apsw.Connection, count: int, transactions: int) -> tuple[list[float], float]:
    """Insert rows in transactions; return the time of each, and the processor time of all, in seconds."""
    [(last,)] = connection.execute("SELECT coalesce(max(revision), 0) FROM feedback")
    took, used = [], 0.0
    for number in range(transactions):
        new = list(rows.stored_rows(count, last + 1 + number * count))
        started, began = time.perf_counter(), time.process_time()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, new)
        connection.execute("COMMIT")
        took.append(time.perf_counter() - started)
        used += time.process_time() - began
    return took, used


def commit_ms(path: Path, seconds: float) -> Sample:
    """The median time of a transaction of one row, on disk, in milliseconds."""
    connection = connect(path)
    took: list[float] = []
    used = 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        more, cpu = insert(connection, 1, 20)
        took += more
        used += cpu
    connection.close()
    return Sample(1000 * statistics.median(took), 1e6 * used / len(took))


def rows_per_second(path: Path, count: int, transactions: int) -> Sample:
    """Rows a second in transactions of `count` rows."""
    connection = connect(path)
    took, used = insert(connection, count, transactions)
    connection.close()
    written = count * transactions
    return Sample(written / sum(took), 1e6 * used / written)
