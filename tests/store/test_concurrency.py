"""Many at once, through the writer, on a real file: each id is stored once, and one of several replaces wins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from plaudit_server.feedback.commands import Replace
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.errors import FeedbackExists, VersionMismatch
from plaudit_server.feedback.reads import Count, Get, Select, SelectVersions
from plaudit_server.feedback.records import Row, message
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from plaudit_server.store.ledger import ProjectRevision
from plaudit_server.store.writer import Writer
from tests.store.factory import BY_TIME, PROJECT, id_of, record
from tests.store.purges import purge


def with_writer(path: Path, scenario: Callable[[SqliteEngine, Writer], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        store = SqliteEngine(path)
        await store.open()
        writer = Writer(store)
        writer.start()
        try:
            await scenario(store, writer)
        finally:
            await writer.close()
            await store.close()

    asyncio.run(run())


def test_one_id_from_sixteen_at_once_is_one_record_and_sixteen_equal_answers(tmp_path: Path) -> None:
    async def scenario(store: SqliteEngine, writer: Writer) -> None:
        for number in range(20):
            create = Create(PROJECT, [record(number)], atomic=False)
            answers = await asyncio.gather(*(writer.submit(create) for _ in range(16)))
            assert all(answer == answers[0] for answer in answers)
            assert isinstance(answers[0], list)
            assert isinstance(answers[0][0], Row)
        assert await store.read(ProjectRevision(PROJECT)) == 20

    with_writer(tmp_path / "plaudit.db", scenario)


def test_of_racing_contents_for_one_id_exactly_one_is_stored(tmp_path: Path) -> None:
    async def scenario(store: SqliteEngine, writer: Writer) -> None:
        for number in range(20):
            creates = [Create(PROJECT, [record(number, {"n": n})], atomic=False) for n in range(8)]
            answers: list[Any] = await asyncio.gather(*map(writer.submit, creates))
            assert sorted(type(answer[0]) is Row for answer in answers) == [False] * 7 + [True]
            assert {type(answer[0]) for answer in answers} == {Row, FeedbackExists}
        assert await store.read(ProjectRevision(PROJECT)) == 20

    with_writer(tmp_path / "plaudit.db", scenario)


def test_exactly_one_of_racing_replaces_wins_each_round(tmp_path: Path) -> None:
    async def scenario(store: SqliteEngine, writer: Writer) -> None:
        await writer.submit(Create(PROJECT, [record(1)]))
        for round in range(1, 21):
            racers = [
                Replace(PROJECT, record(1, {"round": round, "racer": racer}), expected_version=round)
                for racer in range(8)
            ]
            answers = await asyncio.gather(*map(writer.submit, racers))
            assert [type(answer) for answer in answers].count(VersionMismatch) == 7
            [winner] = [answer for answer in answers if isinstance(answer, Row)]
            assert message(winner).version == round + 1
        assert len((await store.read(SelectVersions(PROJECT, id_of(1), 0, 100))).rows) == 21

    with_writer(tmp_path / "plaudit.db", scenario)


def test_times_and_revisions_follow_the_order_of_submission(tmp_path: Path) -> None:
    async def scenario(store: SqliteEngine, writer: Writer) -> None:
        commands = []
        for number in range(300):
            commands.append(Create(PROJECT, [record(number)], atomic=False))
            if number % 50 == 49:
                commands.append(Create(PROJECT, [record(number), record(1000 + number)]))
        await asyncio.gather(*map(writer.submit, commands))
        page = await store.read(Select(PROJECT, None, BY_TIME))
        rows = [message(row) for row in page.rows]
        assert [row.revision for row in rows] == list(range(1, 307))
        expected = [n for number in range(300) for n in ([number, 1000 + number] if number % 50 == 49 else [number])]
        assert [row.id for row in rows] == [id_of(n) for n in expected]
        assert await purge(store, PROJECT) == (306, False)

    with_writer(tmp_path / "plaudit.db", scenario)


def test_a_read_after_an_answer_sees_what_was_written(tmp_path: Path) -> None:
    async def write_and_read(store: SqliteEngine, writer: Writer, start: int) -> None:
        for number in range(start, start + 25):
            answer = await writer.submit(Create(PROJECT, [record(number)], atomic=False))
            assert isinstance(answer, list)
            assert await store.read(Get(PROJECT, id_of(number))) == answer[0]

    async def scenario(store: SqliteEngine, writer: Writer) -> None:
        await asyncio.gather(*(write_and_read(store, writer, start) for start in range(0, 800, 100)))
        assert await store.read(Count(PROJECT, None)) == 200

    with_writer(tmp_path / "plaudit.db", scenario)
