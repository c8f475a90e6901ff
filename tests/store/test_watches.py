"""Watching over a real store: each change once and in order, whatever the filters' thread and the window manage."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from plaudit_server.errors import QueryTooExpensive
from plaudit_server.feedback import tail as tails
from plaudit_server.feedback import watch as watching
from plaudit_server.feedback.commands import Purge, Replace
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.reads import Change, Changes, SelectChanges
from plaudit_server.feedback.watch import Watches
from plaudit_server.query.tree import Compare, Literal, Not, Operation, Or
from plaudit_server.store.base import Read
from plaudit_server.store.engines.sqlite import sieve as sieves
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from plaudit_server.store.engines.sqlite.sieve import Filter, Rows, Sieve
from plaudit_server.store.ledger import ProjectRevision, ProjectRevisions
from plaudit_server.store.work import SERVER, Owner, Work
from tests.store.factory import PROJECT, id_of, record
from tests.store.suite import column, payload

T = TypeVar("T")

FILTERS: Sequence[Operation | None] = (
    None,
    *(payload("n", n) for n in range(5)),  # of one shape
    Not(payload("n", 1)),
    Or((payload("n", 2), column("feedback_type", "score"))),
    column("version", 1, "gt", "number"),
    column("project", PROJECT),
    Compare("eq", Literal(1), Literal(1)),  # looks at no column
)


class Counting(SqliteEngine):
    """A store that counts what is read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reads: Counter[str] = Counter()
        self.slices: list[int] = []
        self.slow = 10**9
        """From how many revisions on a slice takes too long."""

    async def read(self, read: Read[T], work: Work = SERVER) -> T:
        self.reads[type(read).__name__] += 1
        if isinstance(read, SelectChanges):
            self.slices.append(read.most_revisions)
            if read.most_revisions > self.slow:
                raise QueryTooExpensive(1.0)
        return await super().read(read, work)


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[tuple[Counting, Watches]]:
    store = Counting(path / "plaudit.db")
    await store.open()
    watches = Watches(store, **options)
    try:
        yield store, watches
    finally:
        watches.close()
        await watches.release()
        await store.close()


def work_of(principal: str) -> Work:
    return Work(Owner(principal, PROJECT))


def watch(
    watches: Watches, after: int | None, number: int = 0, project: str = PROJECT
) -> AsyncGenerator[Changes, None]:
    filter = FILTERS[number]
    return watches.watch(
        project, after, filter, lambda: work_of(f"p{number % 3}"), b"" if filter is None else b"%d" % number
    )


async def follow(
    watches: Watches, number: int, until: asyncio.Event, target: list[int], chance: random.Random
) -> list[int]:
    """The revisions that a watcher sees, which leaves now and then and comes back where it was."""
    seen: list[int] = []
    position = 0
    while not until.is_set() or position < target[0]:
        leave = chance.randint(1, 30)
        async with aclosing(watch(watches, position, number)) as stream:
            async for found in stream:
                seen += [change.revision for change in found.changes]
                position = found.revision
                leave -= 1
                if leave == 0 or (until.is_set() and position >= target[0]):
                    break
                if chance.random() < 0.05:
                    await asyncio.sleep(0.02)
    return seen


async def every_change(store: Counting, filter: Operation | None) -> list[int]:
    newest, position, seen = await store.read(ProjectRevision(PROJECT)), 0, list[Change]()
    while position < newest:
        found = await SqliteEngine.read(store, SelectChanges(PROJECT, position, filter, 500))
        seen += found.changes
        position = found.revision
    return [change.revision for change in seen]


async def scenario(path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with opened(path, heartbeat=0.05) as (store, watches):
        done, target = asyncio.Event(), [0]
        followers = [
            asyncio.create_task(follow(watches, number, done, target, random.Random(seed + number)))
            for number in range(len(FILTERS))
        ]
        stored = 0
        for _ in range(60):
            if stored and chance.random() < 0.4:
                commands: list[Any] = [
                    Replace(PROJECT, record(chance.randrange(stored), {"n": chance.randrange(6)})) for _ in range(3)
                ]
            else:
                count = chance.choice((1, 2, 40))
                fields = {"feedback_type": chance.choice(("note", "score"))}
                records = [record(stored + n, {"n": chance.randrange(6)}, **fields) for n in range(count)]
                commands = [Create(PROJECT, records)]
                stored += count
            watches.committed((await store.write(commands)).revisions)
            await asyncio.sleep(chance.choice((0, 0, 0.003)))
        target[0] = await store.read(ProjectRevision(PROJECT))
        done.set()
        async with asyncio.timeout(60):
            seen = await asyncio.gather(*followers)
        for filter, revisions in zip(FILTERS, seen, strict=True):
            assert revisions == await every_change(store, filter)
        assert watches.watchers == 0
        async with asyncio.timeout(10):
            while any(await left_in_memory(watches)):
                pass


async def reached(watches: Watches, revision: int) -> None:
    """Wait until the filters of the only tail with one have been put to this revision."""
    [line] = watches._tails[PROJECT]._lines.values()
    async with asyncio.timeout(10):
        while line.upto < revision:  # noqa: ASYNC110  # nothing but the line itself knows
            await asyncio.sleep(0)


async def left_in_memory(watches: Watches) -> list[int]:
    """How many rows and values the filters' thread still has."""
    sieve = watches._sieve

    def count() -> list[int]:
        assert sieve._connection is not None
        names = ("sifted", *(f"values_{width}" for width in sieves._WIDTHS))
        return [len(sieve._connection.execute(f"SELECT 1 FROM {name}").fetchall()) for name in names]

    return await sieve._threads().run(count)


def test_every_watcher_sees_each_change_that_passes_once_and_in_order(tmp_path: Path) -> None:
    asyncio.run(scenario(tmp_path, 1))


def test_what_is_not_matched_in_time_or_leaves_the_window_is_read_from_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(2)
    match = Sieve.match

    async def unreliable(
        self: Sieve, owner: Owner, rows: Sequence[Rows], filters: Sequence[Filter]
    ) -> dict[Filter, list[int]]:
        await asyncio.sleep(chance.choice((0, 0.01)))
        if chance.random() < 0.1:
            raise RuntimeError("a defect")
        found = await match(self, owner, rows, filters)
        return {filter: numbers for filter, numbers in found.items() if chance.random() < 0.8}

    monkeypatch.setattr(Sieve, "match", unreliable)
    monkeypatch.setattr(tails, "_BATCHES", 2)
    monkeypatch.setattr(watching, "_WINDOW_BYTES", 1000)
    asyncio.run(scenario(tmp_path, 2))


def test_a_filter_with_more_values_than_fit_is_put_to_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sieves, "_WIDTHS", (1,))

    async def large() -> None:
        async with opened(tmp_path) as (store, watches):
            async with aclosing(watch(watches, None, 1)) as stream:
                await anext(stream)
                for number in range(4):
                    new = record(number, {"n": number % 2})
                    watches.committed((await store.write([Create(PROJECT, [new])])).revisions)
                seen: list[int] = []
                while len(seen) < 2:
                    seen += [change.revision for change in (await anext(stream)).changes]
            assert seen == [1, 3]
            assert store.reads["SelectChanges"] >= 1

    asyncio.run(large())


def test_a_purge_passes_every_filter(tmp_path: Path) -> None:
    async def purges() -> None:
        async with opened(tmp_path) as (store, watches):
            watches.committed((await store.write([Create(PROJECT, [record(n, {"n": n}) for n in range(3)])])).revisions)
            async with aclosing(watch(watches, None, 1)) as stream:
                assert (await anext(stream)).revision == 3
                commands = [Replace(PROJECT, record(1, {"n": 7})), Purge(PROJECT, "p", ids=[id_of(1)])]
                for command in commands:
                    watches.committed((await store.write([command])).revisions)
                found = await anext(stream)
                assert [(change.revision, change.row) for change in found.changes] == [(5, None)]

    asyncio.run(purges())


def test_one_statement_polls_all_watched_projects(tmp_path: Path) -> None:
    async def polls() -> None:
        async with opened(tmp_path, poll=0.02) as (store, watches):
            streams = [watch(watches, None, n % 2, f"acme/p{n}") for n in range(30)]
            for stream in streams:
                await anext(stream)
            opening = store.reads["ProjectRevision"]
            # Nobody says that something was committed, as when another server did it.
            await store.write([Create("acme/p7", [record(1, {"n": 0}, project="acme/p7")])])
            found = await anext(streams[7])
            assert [change.revision for change in found.changes] == [1]
            assert store.reads["ProjectRevision"] == opening
            assert store.reads["ProjectRevisions"] >= 1
            assert store.reads["SelectBatch"] == 1
            assert "SelectChanges" not in store.reads
            assert await store.read(ProjectRevisions(("acme/p7", "acme/p8"))) == {"acme/p7": 1}
            for stream in streams:
                await stream.aclose()
            assert watches._polling is None

    asyncio.run(polls())


def test_idle_watchers_are_not_woken_and_read_nothing(tmp_path: Path) -> None:
    async def idle() -> None:
        async with opened(tmp_path, heartbeat=0.05) as (store, watches):
            async with aclosing(watch(watches, None, 5)) as stream:
                await anext(stream)
                for number in range(40):  # more batches than the window has
                    watches.committed((await store.write([Create(PROJECT, [record(number, {"n": 0})])])).revisions)
                    await reached(watches, number + 1)
                while (beat := await anext(stream)).revision < 40:
                    assert not beat.changes
            assert "SelectChanges" not in store.reads

    asyncio.run(idle())


def test_a_slice_that_takes_too_long_is_made_smaller(tmp_path: Path) -> None:
    async def catch_up() -> None:
        async with opened(tmp_path) as (store, watches):
            await store.write([Create(PROJECT, [record(n, {"n": 0}) for n in range(120)])])
            store.slow = 60
            seen: list[int] = []
            async with aclosing(watch(watches, 0, 1)) as stream:
                while len(seen) < 120:
                    seen += [change.revision for change in (await anext(stream)).changes]
            assert seen == list(range(1, 121))
            assert store.slices == [500, 50, 100, 10, 20, 40, 80, 8, 16, 32, 64][: len(store.slices)]
            store.slow = 0
            async with aclosing(watch(watches, 0, 1)) as stream:
                await anext(stream)
                with pytest.raises(QueryTooExpensive):
                    await anext(stream)

    asyncio.run(catch_up())


def test_principals_have_lines_of_their_own_as_long_as_there_are_any() -> None:
    lines = watching._Lines()
    assert [lines.enter("greedy") for _ in range(100)] == [0] * 100
    assert {lines.enter(f"p{n}") for n in range(7)} == set(range(1, 8))
    assert lines.enter("another") != 0
    for _ in range(100):
        lines.leave("greedy")
    assert lines.enter("later") == 0
