"""Projects that another transaction holds: nobody else waits for them, and what waits is written, in order, once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from plaudit_server.errors import QueryTooExpensive, StoreUnavailable
from plaudit_server.feedback.commands import Replace
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.reads import Count, SelectChanges
from plaudit_server.feedback.records import Row, message
from plaudit_server.rpc.errors import describe
from plaudit_server.store.base import Reading, Statement, Steps
from plaudit_server.store.engines.postgres.engine import PostgresEngine
from plaudit_server.store.ledger import ProjectRevision
from plaudit_server.store.work import Owner, Work
from plaudit_server.store.writer import Writer
from tests.postgres.cluster import Database
from tests.store.factory import record

HELD = "acme/held"
LOCK = "SELECT FROM project WHERE project = %s FOR UPDATE"


def run(database: Database, scenario: Callable[[PostgresEngine, Writer], Awaitable[None]], **options: Any) -> None:
    async def with_writer() -> None:
        store = PostgresEngine(database.url, **options)
        await store.open()
        writer = Writer(store)
        writer.start()
        await scenario(store, writer)
        await writer.close()
        await store.close()

    asyncio.run(with_writer())


def create(project: str, number: int, seconds: float | None = None) -> Create:
    deadline = None if seconds is None else time.monotonic() + seconds
    return Create(project, [record(number, project=project)], work=Work(Owner("", project), deadline))


@pytest.mark.parametrize("side_by_side", [False, True])
def test_others_write_while_a_projects_row_is_locked(empty_database: Database, side_by_side: bool) -> None:
    async def scenario(store: PostgresEngine, writer: Writer) -> None:
        await writer.submit(create(HELD, 0))
        with psycopg.connect(empty_database.url) as locker:
            locker.execute(LOCK, (HELD,))
            held = [asyncio.create_task(writer.submit(create(HELD, number))) for number in range(1, 40)]
            others = 0
            # Long enough for what is held to be tried a few times; however slow the machine is, the others go on.
            ends = time.monotonic() + 1.0
            while others < 6 or time.monotonic() < ends:
                await asyncio.gather(*(writer.submit(create(f"acme/p{n}", others * 10 + n)) for n in range(10)))
                others += 1
            assert not any(task.done() for task in held)
        rows: list[Any] = await asyncio.gather(*held)
        assert [message(row).revision for [row] in rows] == list(range(2, 41))
        for n in range(10):
            assert await store.read(ProjectRevision(f"acme/p{n}")) == others

    run(empty_database, scenario, side_by_side=side_by_side)


@pytest.mark.parametrize("side_by_side", [False, True])
def test_what_a_lock_holds_up_for_too_long_is_refused_and_the_store_is_not(
    empty_database: Database, side_by_side: bool
) -> None:
    async def scenario(store: PostgresEngine, writer: Writer) -> None:
        await writer.submit(create(HELD, 0))
        with psycopg.connect(empty_database.url) as locker:
            locker.execute(LOCK, (HELD,))
            with pytest.raises(StoreUnavailable):
                await writer.submit(create(HELD, 1, seconds=0.3))
            await writer.submit(create("acme/other", 1))
            assert writer.failed_groups == 0
        await writer.submit(create(HELD, 2))
        assert await store.read(Count(HELD, None)) == 2

    run(empty_database, scenario, side_by_side=side_by_side)


SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.project = 'acme/held' AND NEW.id LIKE '00000000-0009%' THEN PERFORM pg_sleep(60); END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER slow BEFORE INSERT ON feedback FOR EACH ROW EXECUTE FUNCTION slow();
"""


@pytest.mark.parametrize("canceled", [False, True], ids=["its time is up", "canceled"])
def test_a_write_that_the_database_stops_is_too_expensive_and_the_store_is_not_to_blame(
    database: Database, canceled: bool
) -> None:
    async def scenario(store: PostgresEngine, writer: Writer) -> None:
        await writer.submit(create(HELD, 1))
        database.execute(SLOW)
        writes = [create(HELD, 9), *(create(f"acme/p{n}", 1) for n in range(3))]
        outcomes = [asyncio.create_task(writer.submit(write)) for write in writes]
        if canceled:
            found: list[Any] = []
            while not outcomes[0].done():
                found += database.execute(
                    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
                )
                await asyncio.sleep(0.05)
            assert found
        refused, *others = await asyncio.gather(*outcomes, return_exceptions=True)
        assert isinstance(refused, QueryTooExpensive)
        assert describe(refused).retry_delay is None
        assert "nothing of it was stored" in describe(refused).message
        assert [type(other) for other in others] == [list] * 3
        assert (writer.failed_groups, await store.read(Count(HELD, None))) == (0, 1)
        await writer.submit(create(HELD, 2))

    run(database, scenario, write_seconds=60.0 if canceled else 3.0)


@pytest.mark.parametrize("is_read", [False, True])
def test_what_is_cancelled_once_long_before_its_time_is_up_is_done_again(database: Database, is_read: bool) -> None:
    """So it ends when a connection is used again while the request to cancel its last statement is on its way."""

    def sleeping() -> Steps[list[Any]]:
        return (yield Statement("SELECT 7 FROM pg_sleep(0.5)"))

    async def scenario(store: PostgresEngine, writer: Writer) -> None:
        await writer.submit(create(HELD, 1))
        database.execute(SLOW.replace("pg_sleep(60)", "pg_sleep(0.5)"))
        work: Any = store.read(Reading(lambda _: sleeping())) if is_read else writer.submit(create(HELD, 9))
        outcome = asyncio.create_task(work)
        while not database.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
            assert not outcome.done()
            await asyncio.sleep(0.02)
        found = await outcome
        assert found == [(7,)] if is_read else isinstance(found, list)
        assert await store.read(Count(HELD, None)) == (1 if is_read else 2)

    run(database, scenario, write_seconds=60.0)


def test_a_row_of_a_record_that_is_locked_holds_up_its_project_alone(empty_database: Database) -> None:
    async def scenario(store: PostgresEngine, writer: Writer) -> None:
        await writer.submit(create(HELD, 1))
        with psycopg.connect(empty_database.url) as locker:
            locker.execute("SELECT FROM feedback WHERE project = %s FOR UPDATE", (HELD,))
            replacing = asyncio.create_task(writer.submit(Replace(HELD, record(1, {"a": 1}, project=HELD))))
            for number in range(20):
                await asyncio.gather(*(writer.submit(create(f"acme/p{n}", number)) for n in range(3)))
            assert not replacing.done()
        row = await replacing
        assert isinstance(row, Row)
        assert message(row).version == 2

    run(empty_database, scenario)


def test_one_bad_command_of_one_project_fails_alone(empty_database: Database) -> None:
    async def scenario(store: PostgresEngine, writer: Writer) -> None:
        bad = Create("acme/p1", [record(7, project="acme/p1", creator="a NUL \x00")])
        commands = [*(create(f"acme/p{n}", 1) for n in range(5)), bad, *(create(f"acme/p{n}", 2) for n in range(5))]
        outcomes = await asyncio.gather(*map(writer.submit, commands), return_exceptions=True)
        assert [type(outcome).__name__ for outcome in outcomes] == ["list"] * 5 + ["WriteFailed"] + ["list"] * 5
        for n in range(5):
            assert await store.read(ProjectRevision(f"acme/p{n}")) == 2

    run(empty_database, scenario)


def test_servers_that_write_to_the_same_projects_share_them_without_loss_or_gap(empty_database: Database) -> None:
    projects = [f"acme/p{n}" for n in range(6)]

    async def scenario(store: PostgresEngine, writer: Writer) -> None:
        other_store = PostgresEngine(empty_database.url)
        await other_store.open()
        other = Writer(other_store)
        other.start()

        async def caller(number: int, by: Writer) -> None:
            for step in range(30):
                project = projects[(number + step) % len(projects)]
                outcome: Any = await by.submit(create(project, 1000 * number + step))
                assert [message(row).version for row in outcome] == [1]

        await asyncio.gather(*(caller(number, (writer, other)[number % 2]) for number in range(16)))
        for project in projects:
            changes = (await store.read(SelectChanges(project, 0, None, 1000))).changes
            assert [change.revision for change in changes] == list(range(1, len(changes) + 1))
            assert len(changes) == await store.read(Count(project, None))
        assert sum([await store.read(Count(project, None)) for project in projects]) == 16 * 30
        await other.close()
        await other_store.close()

    run(empty_database, scenario)
