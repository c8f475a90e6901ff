"""A payload filter that matches 1 row in 1,000 of 100,000, beside the same scan written by hand for SQLite."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import apsw

import plaudit
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.reads import Select
from plaudit_server.query.parse import parse_order, parse_query
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from tests.bench.figures import Contender, Family, Figure, Sample, Settings, ratio
from tests.bench.places import store_directory
from tests.store.factory import record

ROWS = 100_000
PROJECT = "bench/filter"
BY_HAND = (
    "SELECT f.head, CAST(f.payload AS BLOB), f.created_at, f.id FROM feedback AS f"
    " WHERE f.project = ? AND json_extract(f.payload, '$.score') > ? ORDER BY f.created_at, f.id LIMIT 1001"
)
THRESHOLD = 0.999


async def fill(store: SqliteEngine, rows: int) -> None:
    """Engine the rows: a score each, and some text around it."""
    chance = random.Random(5)
    for first in range(0, rows, 1000):
        payloads = {
            number: {"model": "m", "score": round(chance.random(), 9), "text": "x" * 60, "n": number}
            for number in range(first, first + 1000)
        }
        records = [record(number, payload, project=PROJECT) for number, payload in payloads.items()]
        await store.write([Create(PROJECT, records)])


async def compiled(store: SqliteEngine, select: Select) -> tuple[float, int]:
    """Milliseconds of the scan as the server does it, and the rows found."""
    started = time.perf_counter()
    page = await store.read(select)
    return 1000 * (time.perf_counter() - started), len(page.rows)


def by_hand(connection: apsw.Connection) -> tuple[float, int]:
    """Milliseconds of the scan by hand, and the rows found."""
    started = time.perf_counter()
    found = connection.execute(BY_HAND, (PROJECT, THRESHOLD)).fetchall()
    return 1000 * (time.perf_counter() - started), len(found)


@contextmanager
def contenders(settings: Settings) -> Iterator[Sequence[Contender]]:
    """The store itself, in this process, with no server around it."""
    rows = min(ROWS, settings.rows)
    with store_directory(settings) as directory, asyncio.Runner() as runner:
        path: Path = directory / "plaudit.db"
        store = SqliteEngine(path)
        runner.run(store.open())
        runner.run(fill(store, rows))
        expression = plaudit.field("payload.score") > THRESHOLD
        select = Select(PROJECT, parse_query(plaudit.Query(expression).to_proto()), parse_order([]))
        hand = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)

        def checked(took: tuple[float, int], there: int) -> Sample:
            if took[1] != there:
                raise RuntimeError(f"{took[1]} rows of {there} were found")
            return Sample(took[0])

        _, there = by_hand(hand)
        yield [
            Contender("compiled filter", "ms", lambda: checked(runner.run(compiled(store, select)), there)),
            Contender("scan by hand", "ms", lambda: checked(by_hand(hand), there)),
        ]
        hand.close()
        runner.run(store.close())


FAMILY = Family(
    "filters",
    (
        Figure(
            "payload-filter",
            "payload filter that finds 1 in 1,000 of 100,000 rows, of the scan by hand",
            ("compiled filter", "scan by hand"),
            ratio("compiled filter", "scan by hand"),
            None,
        ),
    ),
    contenders,
)
