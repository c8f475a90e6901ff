"""Lost connections, unclear commits, conflicts and restarts: each write is done once, or refused and not done."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain, repeat
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from plaudit_server.errors import StoreUnavailable
from plaudit_server.feedback.commands import Purge, Purged, Replace
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.errors import FeedbackPurged
from plaudit_server.feedback.reads import Count, Select, SelectChanges, SelectVersions
from plaudit_server.feedback.records import ChangeKind, Row, message
from plaudit_server.store.base import WriteFailed
from plaudit_server.store.engines.postgres.engine import PostgresEngine
from plaudit_server.store.engines.postgres.writing import Groups
from plaudit_server.store.ledger import LedgerStatements, ProjectRevision
from tests.postgres.cluster import Database
from tests.postgres.proxy import Fate, Proxy
from tests.store.factory import BY_TIME, PROJECT, id_of, record
from tests.store.purges import purge

Scenario = Callable[[PostgresEngine, Proxy], Awaitable[None]]


def through_a_proxy(database: Database, scenario: Scenario, **options: Any) -> None:
    """Run with a store that reaches its database through a network that can fail."""

    async def run() -> None:
        parts = conninfo_to_dict(database.url)
        async with Proxy(str(parts["host"]), int(str(parts["port"]))).running() as proxy:
            store = PostgresEngine(proxy.url(database.url), **options)
            await store.open()
            try:
                await scenario(store, proxy)
            finally:
                await store.close()

    asyncio.run(run())


def fates(*first: Fate) -> Callable[[], Fate]:
    """These fates for the first commits, and success afterwards."""
    coming: Iterator[Fate] = chain(first, repeat("pass"))
    return lambda: next(coming)


def groups_of(store: PostgresEngine) -> Groups:
    assert store._groups is not None
    return store._groups


async def only(store: PostgresEngine, command: Any) -> Any:
    """What a command comes to, as often as it is skipped: what a writer does."""
    while (written := await store.write([command])).skipped:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    [outcome] = written.outcomes
    return outcome


@pytest.mark.parametrize(
    "fate",
    [
        ("cut before",),
        ("cut after",),
        ("cut after", "cut after", "cut before"),
        ("error before",),
        ("error after",),
        ("error after", "cut after", "error before", "error after"),
    ],
    ids=str,
)
def test_an_unclear_commit_is_settled_and_each_write_is_done_once(
    empty_database: Database, fate: tuple[Fate, ...]
) -> None:
    async def scenario(store: PostgresEngine, proxy: Proxy) -> None:
        proxy.fate = fates(*fate)
        rows = await only(store, Create(PROJECT, [record(n) for n in range(20)]))
        assert [message(row).revision for row in rows] == list(range(1, 21))
        proxy.fate = fates(*fate)
        replaced = await only(store, Replace(PROJECT, record(1, {"a": 1}), expected_version=1))
        assert (message(replaced).version, message(replaced).revision) == (2, 21)
        proxy.fate = fates(*fate)
        # A purge done twice would return 0 the second time; without an unclear commit it may.
        assert await only(store, Purge(PROJECT, "p", ids=[id_of(n) for n in (1, 2, 3)])) == Purged(3)
        proxy.fate = fates(*fate)
        assert await purge(store, PROJECT, limit=2) == (2, True)
        assert await store.read(ProjectRevision(PROJECT)) == 26
        assert await store.read(Count(PROJECT, None)) == 15
        assert (await store.read(SelectVersions(PROJECT, id_of(5), 0, 10))).rows == [rows[5]]
        changes = (await store.read(SelectChanges(PROJECT, 0, None, 100))).changes
        assert [c.revision for c in changes if c.kind is ChangeKind.PURGED] == [22, 23, 24, 25, 26]
        assert proxy.faults == 4 * len(fate)

    through_a_proxy(empty_database, scenario)


def test_an_unclear_commit_is_known_again_after_others_have_changed_what_it_wrote(empty_database: Database) -> None:
    async def scenario(store: PostgresEngine, proxy: Proxy) -> None:
        other = PostgresEngine(empty_database.url)
        await other.open()
        settling, settle = asyncio.Event(), asyncio.Event()
        groups = groups_of(store)
        look_up = groups.has_committed

        async def later(*args: Any) -> bool:
            settling.set()
            await settle.wait()
            return await look_up(*args)

        groups.has_committed = later  # type: ignore[assignment,method-assign]
        proxy.fate = fates("cut after")
        created = asyncio.create_task(only(store, Create(PROJECT, [record(1), record(2)])))
        await settling.wait()
        assert message(await only(other, Replace(PROJECT, record(1, {"new": 1})))).version == 2
        assert await only(other, Purge(PROJECT, "p", ids=[id_of(2)])) == Purged(1)
        settle.set()
        rows = await created
        assert [(message(row).version, message(row).revision) for row in rows] == [(1, 1), (1, 2)]
        assert await store.read(ProjectRevision(PROJECT)) == 4
        await other.close()

    through_a_proxy(empty_database, scenario)


def test_a_create_whose_rows_were_all_purged_before_it_was_settled_is_told_so(empty_database: Database) -> None:
    async def scenario(store: PostgresEngine, proxy: Proxy) -> None:
        other = PostgresEngine(empty_database.url)
        await other.open()
        groups = groups_of(store)
        look_up = groups.has_committed

        async def later(*args: Any) -> bool:
            await only(other, Purge(PROJECT, "p", ids=[id_of(1)]))
            return await look_up(*args)

        groups.has_committed = later  # type: ignore[assignment,method-assign]
        proxy.fate = fates("cut after")
        [outcome] = await only(store, Create(PROJECT, [record(1)], atomic=False))
        # The answer for a client that retries a create whose answer it never got.
        assert isinstance(outcome, FeedbackPurged)
        assert await store.read(ProjectRevision(PROJECT)) == 2
        await other.close()

    through_a_proxy(empty_database, scenario)


def test_under_random_cuts_nothing_is_lost_or_doubled_and_revisions_have_no_gap(empty_database: Database) -> None:
    chance = random.Random(7)

    async def scenario(store: PostgresEngine, proxy: Proxy) -> None:
        proxy.fate = lambda: chance.choice(("pass",) * 4 + ("cut before", "cut after", "error before", "error after"))

        async def writer(number: int) -> None:
            for step in range(12):
                n = 100 * number + step
                [row] = await only(store, Create(PROJECT, [record(n)]))
                assert isinstance(row, Row)
                if step % 3 == 0:
                    assert message(await only(store, Replace(PROJECT, record(n, {"a": 1})))).version == 2
                if step % 4 == 3:
                    assert await only(store, Purge(PROJECT, "p", ids=[id_of(n)])) == Purged(1)

        await asyncio.gather(*(writer(number) for number in range(4)))
        proxy.fate = fates()
        assert proxy.faults > 10
        assert await store.read(Count(PROJECT, None)) == 4 * 9
        revision = await store.read(ProjectRevision(PROJECT))
        assert revision == 4 * (12 + 4 + 3)
        seen = [c.revision for c in (await store.read(SelectChanges(PROJECT, 0, None, 1000))).changes]
        # Versions of what was purged are not shown: one of two of the three, two of the one that was replaced.
        assert len(seen) == len(set(seen)) == revision - 4 * (1 + 1 + 2)
        page = await store.read(Select(PROJECT, None, BY_TIME))
        assert len({message(row).created_at.ToMicroseconds() for row in page.rows}) == 4 * 9

    through_a_proxy(empty_database, scenario, write_seconds=20.0)


# As Citus answers while shards move; it names an index by that of the shard, and in the message alone.
PASSING = {
    "internal error": "'a shard has moved' USING ERRCODE = 'XX000'",
    "index damaged": "'an index is damaged' USING ERRCODE = 'XX002'",
    "revision taken": "'duplicate key' USING ERRCODE = '23505', CONSTRAINT = 'feedback_by_revision'",
    "revision taken in a shard": (
        "'duplicate key value violates unique constraint \"feedback_by_revision_102008\"' USING ERRCODE = '23505'"
    ),
}
FINAL = {
    "id taken": "'duplicate key' USING ERRCODE = '23505', CONSTRAINT = 'feedback_pkey'",
    "like a revision's": "'duplicate key' USING ERRCODE = '23505', CONSTRAINT = 'our_feedback_by_revisions'",
    "a command's own": "'not so' USING ERRCODE = '22000', CONSTRAINT = 'feedback_by_revision'",
}


def fails(database: Database, error: str, times: int) -> None:
    """Let the given number of inserts fail with an error of the database; a sequence outlives what is rolled back."""
    database.execute(
        f"""CREATE SEQUENCE fault;
        CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF nextval('fault') <= {times} THEN RAISE EXCEPTION {error}; END IF; RETURN NULL;
        END $$;
        CREATE TRIGGER fault BEFORE INSERT ON feedback FOR EACH STATEMENT EXECUTE FUNCTION fault()"""
    )


@pytest.mark.parametrize("error", PASSING.values(), ids=PASSING.keys())
def test_errors_that_pass_are_tried_again(database: Database, error: str) -> None:
    async def scenario(store: PostgresEngine, proxy: Proxy) -> None:
        fails(database, error, times=3)
        # One command at fault would be found by trying each by itself: here all are done, in the one transaction.
        written = await store.write([Create(PROJECT, [record(n)]) for n in range(3)])
        rows = [row for outcome in written.outcomes if isinstance(outcome, list) for row in outcome]
        assert [message(row).revision for row in rows if isinstance(row, Row)] == [1, 2, 3]
        assert database.execute("SELECT last_value FROM fault") == [(4,)]

    through_a_proxy(database, scenario)


@pytest.mark.parametrize("error", PASSING.values(), ids=PASSING.keys())
def test_errors_that_do_not_pass_by_the_deadline_make_the_store_unavailable(database: Database, error: str) -> None:
    async def scenario(store: PostgresEngine, proxy: Proxy) -> None:
        fails(database, error, times=1_000_000)
        with pytest.raises(StoreUnavailable):
            await store.write([Create(PROJECT, [record(1)])])
        [(tries,)] = database.execute("SELECT last_value FROM fault")
        assert tries > 1
        assert await store.read(ProjectRevision(PROJECT)) == 0

    through_a_proxy(database, scenario, write_seconds=0.3)


@pytest.mark.parametrize("error", FINAL.values(), ids=FINAL.keys())
def test_errors_about_a_command_are_not_tried_again(database: Database, error: str) -> None:
    async def scenario(store: PostgresEngine, proxy: Proxy) -> None:
        fails(database, error, times=1)
        assert isinstance(await only(store, Create(PROJECT, [record(1)])), WriteFailed)
        assert database.execute("SELECT last_value FROM fault") == [(1,)]

    through_a_proxy(database, scenario)


def test_writers_that_read_the_same_revision_do_not_give_it_out_twice(
    empty_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(store: PostgresEngine, proxy: Proxy) -> None:
        await only(store, Create(PROJECT, [record(0)]))
        # As if the lock did not hold: everybody reads, and only then goes on.
        store._sql.of(LedgerStatements).lock = (
            "SELECT revision, last_created_at, definitions, flags FROM project, pg_sleep(0.02)"
            " WHERE project = %s -- not a lock"
        )
        with caplog.at_level(logging.DEBUG, "plaudit_server"):
            written = await asyncio.gather(*(only(store, Create(PROJECT, [record(n)])) for n in range(1, 9)))
        assert "again after UniqueViolation" in caplog.text
        assert sorted(message(row).revision for [row] in written) == list(range(2, 10))
        changes = (await store.read(SelectChanges(PROJECT, 0, None, 100))).changes
        assert [change.revision for change in changes] == list(range(1, 10))

    through_a_proxy(empty_database, scenario)


def test_reads_and_writes_go_on_when_every_connection_breaks(empty_database: Database) -> None:
    async def scenario(store: PostgresEngine, proxy: Proxy) -> None:
        await only(store, Create(PROJECT, [record(1)]))
        await asyncio.gather(*(store.read(Count(PROJECT, None)) for _ in range(20)))
        for n in range(2, 7):
            proxy.cut_all()
            assert await asyncio.gather(*(store.read(Count(PROJECT, None)) for _ in range(10))) == [n - 1] * 10
            proxy.cut_all()
            await only(store, Create(PROJECT, [record(n)]))

    through_a_proxy(empty_database, scenario)


def test_a_project_that_somebody_else_holds_is_skipped(empty_database: Database) -> None:
    async def scenario(store: PostgresEngine, proxy: Proxy) -> None:
        await only(store, Create(PROJECT, [record(1)]))
        with psycopg.connect(empty_database.url) as locker:
            locker.execute("SELECT FROM project WHERE project = %s FOR UPDATE", (PROJECT,))
            # It is skipped, alone and beside others, who do not wait for it.
            assert (await store.write([Create(PROJECT, [record(2)])])).skipped == [0]
            both = [Create(PROJECT, [record(2)]), Create("acme/other", [record(2, project="acme/other")])]
            written = await store.write(both)
            assert written.skipped == [0]
            assert isinstance(written.outcomes[1], list)
        assert isinstance((await only(store, Create(PROJECT, [record(2)])))[0], Row)
        assert await store.read(ProjectRevision(PROJECT)) == 2

    through_a_proxy(empty_database, scenario)


def test_a_deadlock_is_retried(empty_database: Database) -> None:
    async def scenario(store: PostgresEngine, proxy: Proxy) -> None:
        """The store has locked the project and waits for the index; another transaction the other way round."""
        await only(store, Create(PROJECT, [record(1)]))
        other = await psycopg.AsyncConnection.connect(empty_database.url)
        await other.execute("SET deadlock_timeout = '10s'")
        await other.execute("LOCK TABLE feedback_history IN ACCESS EXCLUSIVE MODE")
        writing = asyncio.create_task(only(store, Replace(PROJECT, record(1, {"a": 1}))))
        await asyncio.sleep(0.1)
        locking = asyncio.create_task(other.execute("SELECT FROM project WHERE project = %s FOR UPDATE", (PROJECT,)))
        await locking  # the database aborted the store's transaction
        await other.rollback()
        await other.close()
        assert message(await writing).version == 2

    through_a_proxy(empty_database, scenario)


def test_one_bad_command_fails_alone(empty_database: Database) -> None:
    async def scenario(store: PostgresEngine, proxy: Proxy) -> None:
        bad = record(2, '{"nul": "\\u0000 is fine as an escape"}', creator="but not \x00 itself")
        written = await store.write(
            [Create(PROJECT, [record(1)]), Create(PROJECT, [bad]), Create(PROJECT, [record(3)])]
        )
        assert [type(outcome).__name__ for outcome in written.outcomes] == ["list", "WriteFailed", "list"]
        assert await store.read(ProjectRevision(PROJECT)) == 2

    through_a_proxy(empty_database, scenario)
