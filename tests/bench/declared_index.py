"""A filter by a payload path with a declared index and without, on both engines, and what the index costs a write.

python -m tests.bench.declared_index [ROWS]

Two stores of the same rows in the same run, asked in turn. PLAUDIT_TEST_POSTGRES names a PostgreSQL server to take
databases on; without it, one is started if it is installed.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from plaudit import Query, field
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.reads import Count, Select
from plaudit_server.query.indexes.declared import DeclaredIndex, declare
from plaudit_server.query.parse import parse_order, parse_query
from plaudit_server.query.tree import Operation
from plaudit_server.store.base import Engine
from plaudit_server.store.engines.sqlite import indexes as sqlite_indexes
from plaudit_server.store.url import open_store
from tests.postgres.cluster import EXISTING, Cluster, Database, binaries
from tests.store.factory import record

ROWS: Final = 100_000
ROUNDS: Final = 7
BATCH: Final = 1000
PROJECT: Final = "bench/index"
INDEX: Final = declare("payload.score", "number")
SCORE: Final = field("payload.score")
FEW, MANY, ALL = (parse_query(Query(wanted).to_proto()) for wanted in (SCORE > 0.999, SCORE > 0.9, SCORE >= 0.0))


async def write(store: Engine, first: int, rows: int) -> float:
    """Engine rows in batches: a score each, and some text around it. Answers the seconds that it took."""
    chance = Random(first)
    took = 0.0
    for start in range(first, first + rows, BATCH):
        payloads = {
            number: {"model": "m", "score": round(chance.random(), 9), "text": "x" * 200, "n": number}
            for number in range(start, min(start + BATCH, first + rows))
        }
        records = [record(number, payload, project=PROJECT) for number, payload in payloads.items()]
        started = time.perf_counter()
        await store.write([Create(PROJECT, records)])
        took += time.perf_counter() - started
    return took


async def measure(
    name: str,
    urls: tuple[str, str],
    create: Callable[[str, DeclaredIndex], Awaitable[object]],
    analyse: Callable[[], object] = lambda: None,
) -> None:
    """The same on a store without an index and on one with it, in turn; prints the ratios.

    `analyse` gathers statistics of the store without; those of the other come with its index.
    """
    plain, indexed = open_store(urls[0]), open_store(urls[1])
    for store in (plain, indexed):
        await store.open()
        await write(store, 0, rows())
    started = time.perf_counter()
    await create(urls[1], INDEX)
    analyse()
    print(f"{name}, {rows():,} rows: the index made in {time.perf_counter() - started:.1f} s")
    assert await compare("count, 1 in 1,000 match", plain, indexed, lambda store: store.read(Count(PROJECT, FEW)))
    for shape, wanted in (("1 in 1,000 match", FEW), ("1 in 10 match", MANY), ("all match", ALL)):
        await compare(f"page, {shape}", plain, indexed, partial(page, wanted))
    turns = [(turn, store) for turn in range(2 * ROUNDS) for store in (plain, indexed)]
    written = [await write(store, rows() + turn * BATCH, BATCH) for turn, store in turns]
    tell("write of 1,000", written[0::2], written[1::2])
    for store in (plain, indexed):
        await store.close()


async def page(wanted: Operation, store: Engine) -> list[bytes]:
    """The payloads of the first page."""
    return [row.payload for row in (await store.read(Select(PROJECT, wanted, parse_order([])))).rows]


async def compare(shape: str, plain: Engine, indexed: Engine, ask: Callable[[Engine], Awaitable[object]]) -> object:
    """Query both in turn; both must give the same answer."""
    took: tuple[list[float], list[float]] = [], []
    answer = await ask(plain)
    assert answer == await ask(indexed)
    for turn in range(ROUNDS):
        for number in (0, 1) if turn % 2 else (1, 0):
            started = time.perf_counter()
            await ask((plain, indexed)[number])
            took[number].append(time.perf_counter() - started)
    tell(shape, *took)
    return answer


def tell(shape: str, without: list[float], having: list[float]) -> None:
    ratio = statistics.median(without) / statistics.median(having)
    print(
        f"  {shape:24} without {1000 * statistics.median(without):8.2f} ms ({1000 * min(without):.2f} to"
        f" {1000 * max(without):.2f}), with {1000 * statistics.median(having):8.2f} ms ({1000 * min(having):.2f} to"
        f" {1000 * max(having):.2f}), {ratio:.2f} times as fast"
    )


def rows() -> int:
    """The number of rows in a store."""
    return int(sys.argv[1]) if len(sys.argv) > 1 else ROWS


async def on_sqlite(url: str, index: DeclaredIndex) -> bool:
    return await asyncio.to_thread(sqlite_indexes.create, url.partition(":")[2], index)


def main() -> None:
    """Both engines, where they are installed."""
    with tempfile.TemporaryDirectory() as directory:
        files = tuple(f"sqlite:{Path(directory) / name}" for name in ("plain.db", "indexed.db"))
        asyncio.run(measure("SQLite", (files[0], files[1]), on_sqlite))
    if not EXISTING and binaries() is None:
        print("PostgreSQL is not installed")
        return
    from plaudit_server.store.engines.postgres import indexes as postgres_indexes

    with ExitStack() as stack:
        server = EXISTING
        if not server:
            cluster = Cluster()
            stack.callback(cluster.remove)
            server = cluster.url("postgres")
        databases = [Database(server), Database(server)]
        for database in databases:
            stack.callback(database.drop)
        plain, indexed = databases
        analyse = partial(plain.execute, "ANALYZE feedback")
        asyncio.run(measure("PostgreSQL", (plain.url, indexed.url), postgres_indexes.create, analyse))


if __name__ == "__main__":
    main()
