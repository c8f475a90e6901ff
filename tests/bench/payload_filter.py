"""A payload filter that matches 1 row in 1,000 of 100,000, beside the same scan written by hand for SQLite.

python -m tests.bench.payload_filter
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path

import apsw

import plaudit
from plaudit_server.query.parse import parse_order, parse_query
from plaudit_server.store.base import Create, Select
from plaudit_server.store.sqlite import SqliteStore
from tests.store.factory import record

ROWS = 100_000
ROUNDS = 9
PROJECT = "bench/filter"
BY_HAND = (
    "SELECT f.head, CAST(f.payload AS BLOB), f.created_at, f.id FROM feedback AS f"
    " WHERE f.project = ? AND json_extract(f.payload, '$.score') > ? ORDER BY f.created_at, f.id LIMIT 1001"
)
THRESHOLD = 0.999


async def fill(store: SqliteStore) -> None:
    """Store the rows: a score each, and some text around it."""
    chance = random.Random(5)
    for first in range(0, ROWS, 1000):
        payloads = {
            number: {"model": "m", "score": round(chance.random(), 9), "text": "x" * 60, "n": number}
            for number in range(first, first + 1000)
        }
        records = [record(number, payload, project=PROJECT) for number, payload in payloads.items()]
        await store.write([Create(PROJECT, records)])


async def measure(path: Path) -> None:
    """Both scans in turn, and the ratio of their medians."""
    store = SqliteStore(path)
    await store.open()
    await fill(store)
    expression = plaudit.field("payload.score") > THRESHOLD
    select = Select(PROJECT, parse_query(plaudit.Query(expression).to_proto()), parse_order([]))
    hand = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        page = await store.select(select)
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        rows = hand.execute(BY_HAND, (PROJECT, THRESHOLD)).fetchall()
        theirs.append(time.perf_counter() - started)
        assert len(page.rows) == len(rows) > 0
    hand.close()
    await store.close()
    for name, took in (("compiled", ours), ("by hand", theirs)):
        low, middle, high = (1000 * pick(took) for pick in (min, statistics.median, max))
        print(f"{name}: median {middle:.1f} ms, {low:.1f} to {high:.1f} ({len(rows)} of {ROWS} rows)")
    ratio, best = statistics.median(ours) / statistics.median(theirs), min(ours) / min(theirs)
    print(f"ratio of medians {ratio:.2f}, of the best {best:.2f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure(Path(directory) / "plaudit.db"))
