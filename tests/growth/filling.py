"""How a store of each engine is filled without requests, in pieces: rows first, indexes afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

import apsw
import psycopg

from plaudit_server.feedback.records import FEEDBACK
from plaudit_server.store.ledger import recounting
from plaudit_server.store.url import opened
from tests.growth import rows

_PIECE_ROWS: Final = 50_000
_LINES: Final = 500
_COLUMNS: Final = ", ".join(FEEDBACK.columns)
_PROJECT: Final = (
    "INSERT INTO project (project, revision, last_created_at, definitions, counted) VALUES ({0}, {0}, {0}, 0, 0)"
)


class Filling(Protocol):
    """An engine's way to fill a store; each step may be the last one of a piece, and the next run goes on."""

    def begin(self) -> int:
        """Make the store without indexes where it is not there yet; how many rows it has."""

    def add(self, numbers: range, count: int) -> None:
        """Add rows, all or none."""

    def make_index(self) -> bool:
        """Make the next of the indexes; False when all are there."""

    def finish(self) -> None:
        """Put what the database wants after a filling."""


def go_on(filling: Filling, url: str, count: int, until: float) -> bool:
    """Fill until a time of the monotonic clock, or to the end; whether that is reached."""
    done = filling.begin()
    while done < count:
        if time.monotonic() > until:
            return False
        numbers = range(done, min(count, done + _PIECE_ROWS))
        filling.add(numbers, count)
        done = numbers.stop
    while filling.make_index():
        if time.monotonic() > until:
            return False
    asyncio.run(_counted(url))
    filling.finish()
    return True


class FillingFile:
    """A SQLite file, made by the engine and then filled without a journal."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self) -> int:
        """As the protocol says."""
        if not self._path.exists():
            asyncio.run(_make(f"sqlite:{self._path}"))
            with self._connected() as connection:
                connection.execute("BEGIN")
                connection.execute(
                    "CREATE TABLE growth_index AS SELECT name, sql FROM sqlite_schema"
                    " WHERE type = 'index' AND tbl_name = 'feedback' AND sql IS NOT NULL"
                )
                for (name,) in connection.execute("SELECT name FROM growth_index").fetchall():
                    connection.execute(f"DROP INDEX {name}")
                connection.execute("COMMIT")
        with self._connected() as connection:
            return int(connection.execute("SELECT coalesce(max(rowid), 0) FROM feedback").get)

    def add(self, numbers: range, count: int) -> None:
        """As the protocol says."""
        places = ", ".join("?" * len(FEEDBACK.columns))
        with self._connected() as connection:
            connection.execute("BEGIN")
            connection.executemany(f"INSERT INTO feedback ({_COLUMNS}) VALUES ({places})", rows.stored(numbers, count))
            if numbers.stop == count:
                standing = rows.PROJECT, count, rows.time_of(count - 1, count)
                connection.execute(_PROJECT.replace("{0}", "?"), standing)
            connection.execute("COMMIT")

    def make_index(self) -> bool:
        """As the protocol says."""
        with self._connected() as connection:
            left = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'growth_index'").fetchall()
            found: Any = left and connection.execute("SELECT name, sql FROM growth_index LIMIT 1").fetchall()
            if not left:
                return False
            if not found:
                connection.execute("DROP TABLE growth_index")
                connection.pragma("journal_mode", "wal")
                return False
            [[name, sql]] = found
            connection.execute("BEGIN")
            connection.execute(sql)
            connection.execute("DELETE FROM growth_index WHERE name = ?", (name,))
            connection.execute("COMMIT")
            return True

    def finish(self) -> None:
        """As the protocol says."""

    @contextmanager
    def _connected(self) -> Iterator[apsw.Connection]:
        with closing(apsw.Connection(str(self._path))) as connection:
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000", "threads = 2"):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            yield connection


class FillingDatabase:
    """A PostgreSQL database, filled by COPY."""

    def __init__(self, url: str) -> None:
        self._url = url

    def begin(self) -> int:
        """As the protocol says."""
        name = self._url.rpartition("/")[2]
        with psycopg.connect(self._url.replace(f"/{name}", "/postgres"), autocommit=True) as server:
            if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchall():
                server.execute(f"CREATE DATABASE {name}".encode())
        asyncio.run(_make(self._url))
        with psycopg.connect(self._url) as connection:
            if not connection.execute("SELECT 1 FROM pg_tables WHERE tablename = 'growth_state'").fetchall():
                self._forget_indexes(connection)
            [[done]] = connection.execute("SELECT rows FROM growth_state").fetchall()
        return int(done)

    def _forget_indexes(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute("CREATE TABLE growth_state AS SELECT 0::bigint AS rows")
        connection.execute(
            "CREATE TABLE growth_index AS SELECT indexname AS name, CASE WHEN indexname = 'feedback_pkey' THEN"
            " 'ALTER TABLE feedback ADD PRIMARY KEY (project, id)' ELSE indexdef END AS sql"
            " FROM pg_indexes WHERE tablename = 'feedback'"
        )
        for (name,) in connection.execute("SELECT name FROM growth_index").fetchall():
            is_key = name == "feedback_pkey"
            dropped = "ALTER TABLE feedback DROP CONSTRAINT" if is_key else "DROP INDEX"
            connection.execute(f"{dropped} {name}".encode())

    def add(self, numbers: range, count: int) -> None:
        """As the protocol says."""
        with psycopg.connect(self._url) as connection:
            with connection.cursor().copy(f"COPY feedback ({_COLUMNS}) FROM STDIN".encode()) as copy:
                lines = ("\t".join(map(_copied, row)) for row in rows.stored(numbers, count))
                while some := list(islice(lines, _LINES)):
                    copy.write("\n".join(some) + "\n")
            if numbers.stop == count:
                standing = [rows.PROJECT, count, rows.time_of(count - 1, count)]
                connection.execute(_PROJECT.replace("{0}", "%s").encode(), standing)
            connection.execute("UPDATE growth_state SET rows = %s", [numbers.stop])

    def make_index(self) -> bool:
        """As the protocol says."""
        with psycopg.connect(self._url) as connection:
            found = connection.execute("SELECT name, sql FROM growth_index ORDER BY name DESC LIMIT 1").fetchall()
            for name, sql in found:
                connection.execute(sql.encode())
                connection.execute("DELETE FROM growth_index WHERE name = %s", [name])
            return bool(found)

    def finish(self) -> None:
        """As the protocol says."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE) feedback")
            connection.execute("DROP TABLE growth_state, growth_index")
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")


def _copied(value: Any) -> str:
    """A value in COPY's text; none has a character that would have to be escaped."""
    if type(value) is str:
        return value
    return "\\N" if value is None else f"\\\\x{value.hex()}" if type(value) is bytes else str(value)


async def _counted(url: str) -> None:
    """Let the store count what is in it, so that its counters are used."""
    async with opened(url) as engine:
        await engine.transact(recounting(rows.PROJECT))


async def _make(url: str) -> None:
    async with opened(url):
        pass
