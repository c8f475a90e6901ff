"""The SQLite store: the suite of every store, and what only a file has."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import threading
from collections.abc import Callable, Coroutine
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import pytest

from plaudit_server.errors import StoreUnavailable
from plaudit_server.feedback.commands import Purge, Purged, Replace
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.importing import Import
from plaudit_server.feedback.reads import Count, Get, Select, SelectVersions
from plaudit_server.feedback.records import FEEDBACK, message
from plaudit_server.query.indexes.declared import declare
from plaudit_server.store.base import Reading, Statement, Steps, StoreError, WriteFailed
from plaudit_server.store.declared import State
from plaudit_server.store.engines.sqlite import engine as sqlite
from plaudit_server.store.engines.sqlite import erasing, indexes
from plaudit_server.store.engines.sqlite.connection import APPLICATION_ID
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from plaudit_server.store.engines.sqlite.reading import drive
from plaudit_server.store.identity import StoreId
from plaudit_server.store.ledger import ProjectRevision
from plaudit_server.store.migrate import migrations
from tests.faults.disk import Disk, faulty_disk
from tests.store import suite
from tests.store.factory import BY_TIME, PROJECT, id_of, record
from tests.store.purges import until_erased

CREATOR_INDEX = "CREATE INDEX feedback_by_creator ON feedback (project, creator, created_at, id)"
"""What every store had until the migration 0008."""


@pytest.mark.parametrize("case", [*suite.CASES, suite.a_clock_that_is_ahead_is_noticed], ids=suite.name_of)
def test_behaves_as_a_store(case: suite.Case, tmp_path: Path) -> None:
    suite.run(case, lambda clock: SqliteEngine(tmp_path / "plaudit.db", clock=clock))


def with_store(path: Path, scenario: Callable[[SqliteEngine], Coroutine[Any, Any, object]]) -> None:
    """Run a scenario on the store in a file, and close it."""

    async def run() -> None:
        store = SqliteEngine(path)
        await store.open()
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(run())


async def create(store: SqliteEngine, *numbers: int, **fields: Any) -> None:
    written = await store.write([Create(PROJECT, [record(number, **fields) for number in numbers])])
    assert isinstance(written.outcomes[0], list)


async def count(store: SqliteEngine) -> int:
    return await store.read(Count(PROJECT, None))


def files_of(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(directory.iterdir())}


# ── The file ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_closed_store_is_one_file_that_opens_again(tmp_path: Path) -> None:
    seen: list[StoreId] = []

    async def first(store: SqliteEngine) -> None:
        await create(store, 1, 2)
        seen.append(store.store_id)
        assert not store.erasure_pending

    async def second(store: SqliteEngine) -> None:
        seen.append(store.store_id)
        assert await count(store) == 2
        await create(store, 3)
        await store.check()
        assert await store.read(ProjectRevision(PROJECT)) == 3

    with_store(tmp_path / "plaudit.db", first)
    assert list(files_of(tmp_path)) == ["plaudit.db"]
    with_store(tmp_path / "plaudit.db", second)
    assert seen[0] == seen[1]
    assert len(seen[0].secret) == 32


def test_two_stores_have_two_ids(tmp_path: Path) -> None:
    ids = set()

    async def remember(store: SqliteEngine) -> None:
        ids.add(store.store_id)

    with_store(tmp_path / "a.db", remember)
    with_store(tmp_path / "b.db", remember)
    assert len(ids) == 2


def test_the_header_tells_whose_file_it_is_while_all_else_is_in_the_log(tmp_path: Path) -> None:
    async def look(store: SqliteEngine) -> None:
        header = (tmp_path / "plaudit.db").read_bytes()[:100]
        assert int.from_bytes(header[68:72], "big") == APPLICATION_ID
        assert int.from_bytes(header[60:64], "big") == len(migrations("sqlite"))
        assert header[18:20] == b"\x02\x02"  # write-ahead log

    with_store(tmp_path / "plaudit.db", look)


def test_statistics_are_gathered_anew_for_an_index_that_a_migration_makes(tmp_path: Path) -> None:
    path = tmp_path / "plaudit.db"
    with_store(path, lambda store: create(store, 1, 2))
    connection = apsw.Connection(str(path))
    connection.execute(
        "DROP INDEX feedback_by_ref; CREATE INDEX feedback_by_ref ON feedback (project, ref, created_at, id);"
        f"{CREATOR_INDEX}"
    )
    connection.execute("ANALYZE feedback; DELETE FROM schema_migration WHERE number >= 7; PRAGMA user_version = 6")
    connection.close()

    with_store(path, count)

    connection = apsw.Connection(str(path))
    found = dict(connection.execute("SELECT idx, stat FROM sqlite_stat1"))
    connection.close()
    assert found["feedback_by_ref"] == "2 2 2 1 1 1"


def test_an_older_store_keeps_its_index_of_creators_as_a_declared_one_and_a_new_store_has_none(tmp_path: Path) -> None:
    path = tmp_path / "plaudit.db"
    with_store(path, lambda store: create(store, 1, 2))
    assert indexes.listing(str(path)) == []
    connection = apsw.Connection(str(path))
    connection.execute(CREATOR_INDEX)
    connection.execute("DELETE FROM schema_migration WHERE number >= 8; PRAGMA user_version = 7")
    connection.close()

    with_store(path, count)

    assert indexes.listing(str(path)) == [(declare("creator"), State.READY)]
    connection = apsw.Connection(str(path))
    of_creators = "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND sql LIKE '%creator%'"
    assert connection.execute(of_creators).get == 1
    connection.close()
    assert not indexes.create(str(path), declare("creator"))
    assert indexes.drop(str(path), declare("creator"))


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "plaudit.db").touch()
    with_store(tmp_path / "plaudit.db", lambda store: create(store, 1))


def test_durability_and_erasure_are_set_on_every_connection(tmp_path: Path) -> None:
    async def look(store: SqliteEngine) -> None:
        def pragmas() -> Steps[list[Any]]:
            rows = []
            for name in ("synchronous", "secure_delete", "journal_mode", "query_only"):
                rows += yield Statement(f"PRAGMA {name}")
            return [row[0] for row in rows]

        assert await store._run(store._writer, store._transaction, pragmas()) == [2, 1, "wal", 0]
        assert await store.read(Reading(lambda _: pragmas())) == [2, 1, "wal", 1]
        eraser = store._eraser
        assert eraser is not None
        await store.write([Purge(PROJECT, "p", ids=[id_of(1)]), Create(PROJECT, [record(1)])])
        await store.write([Purge(PROJECT, "p", ids=[id_of(1)])])
        await until_erased(store)
        assert eraser._connection is not None
        assert [eraser._connection.pragma(name) for name in ("secure_delete", "synchronous")] == [1, 2]

    with_store(tmp_path / "plaudit.db", look)


def other_database(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
    connection.close()


def text_file(path: Path) -> None:
    path.write_text("These are notes.\n" * 20)


def short_file(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0")


def newer_store(path: Path) -> None:
    with_store(path, lambda store: create(store, 1))
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def read_only_store(path: Path) -> None:
    with_store(path, lambda store: create(store, 1))
    path.chmod(0o444)


def a_directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (other_database, "not a store of plaudit"),
        (text_file, "not a store of plaudit"),
        (short_file, "not a store of plaudit"),
        (newer_store, "newer version"),
        (read_only_store, "read-only"),
        (a_directory, "not a file"),
    ],
)
def test_a_file_that_can_not_be_used_is_refused_and_left_as_it_is(
    tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    path = tmp_path / "plaudit.db"
    make(path)
    before = None if path.is_dir() else (files_of(tmp_path), path.stat().st_mtime_ns)
    with pytest.raises(StoreError, match=reason) as refused:
        with_store(path, count)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    if before is not None:
        assert (files_of(tmp_path), path.stat().st_mtime_ns) == before


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        with_store(tmp_path / "missing" / "plaudit.db", count)


def test_a_store_of_another_line_of_migrations_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plaudit.db"
    with_store(path, lambda store: create(store, 1))
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE schema_migration SET checksum = 'another'")
    connection.close()
    with pytest.raises(StoreError, match="schema migration 1"):
        with_store(path, count)


def test_a_closed_store_is_unavailable(tmp_path: Path) -> None:
    store = SqliteEngine(tmp_path / "plaudit.db")

    async def scenario() -> None:
        await store.open()
        await store.close()
        await store.close()
        for work in (store.read(Count(PROJECT, None)), store.write([]), store.check()):
            with pytest.raises(StoreUnavailable):
                await work

    asyncio.run(scenario())


def test_the_schema_has_the_columns_of_every_statement_and_leads_each_key_with_project(tmp_path: Path) -> None:
    with_store(tmp_path / "plaudit.db", lambda store: create(store, 1))
    connection = apsw.Connection(str(tmp_path / "plaudit.db"))
    for table in ("feedback", "feedback_history"):
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        assert columns == list(FEEDBACK.columns)
    indexes = {
        (table, name): [row[2] for row in connection.execute(f"PRAGMA index_info({name})")]
        for table in ("feedback", "feedback_history", "project", "definition", "feedback_alias")
        for _, name, *_ in connection.execute(f"PRAGMA index_list({table})").fetchall()
    }
    connection.close()
    assert len(indexes) == 11
    assert {columns[0] for columns in indexes.values()} == {"project"}


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_command_that_the_engine_refuses_fails_alone(tmp_path: Path) -> None:
    lone_surrogate = record(2)._replace(queue_id="\ud800")
    too_late = record(3, created_at=2**63, updated_at=0)

    async def scenario(store: SqliteEngine) -> None:
        written = await store.write(
            [
                Create(PROJECT, [record(1)]),
                Create(PROJECT, [record(5), lone_surrogate]),
                Create(PROJECT, [record(4)]),
                Import(PROJECT, [too_late]),
                Purge(PROJECT, "p", ids=[id_of(1)]),
            ]
        )
        kinds = [type(outcome) for outcome in written.outcomes]
        assert kinds == [list, WriteFailed, list, WriteFailed, Purged]
        assert written.revisions == {PROJECT: 3}
        assert await count(store) == 1
        assert await store.read(Get(PROJECT, id_of(4))) is not None

    with_store(tmp_path / "plaudit.db", scenario)


def test_two_servers_on_one_file_share_its_revisions(tmp_path: Path) -> None:
    async def write_alone(store: SqliteEngine, start: int) -> None:
        for number in range(start, start + 20):
            await create(store, number)

    async def scenario(store: SqliteEngine) -> None:
        other = SqliteEngine(tmp_path / "plaudit.db")
        await other.open()
        try:
            await asyncio.gather(write_alone(store, 0), write_alone(other, 100))
            page = await store.read(Select(PROJECT, None, BY_TIME))
            assert [message(row).revision for row in page.rows] == list(range(1, 41))
        finally:
            await other.close()

    with_store(tmp_path / "plaudit.db", scenario)


def test_a_write_that_failed_does_not_come_back_after_a_crash(tmp_path: Path) -> None:
    """Every write and sync of two commits fails once; a copy of the files is what a crash would leave."""

    async def scenario(disk: Disk, fail_at: int) -> bool:
        directory, crashed = tmp_path / str(fail_at), tmp_path / f"{fail_at} crashed"
        directory.mkdir()
        crashed.mkdir()
        store = SqliteEngine(directory / "plaudit.db")
        await store.open()
        disk.reset(fail_at)
        acknowledged = []
        for number in range(2):
            try:
                await create(store, number)
            except StoreUnavailable:
                break
            acknowledged.append(id_of(number))
        disk.reset()
        for name in ("plaudit.db", "plaudit.db-wal"):
            shutil.copy(directory / name, crashed / name)
        await store.close()
        again = SqliteEngine(crashed / "plaudit.db")
        await again.open()
        page = await again.read(Select(PROJECT, None, BY_TIME))
        assert [message(row).id for row in page.rows] == acknowledged, f"operation {fail_at}"
        assert await again.read(ProjectRevision(PROJECT)) == len(acknowledged)
        await again.close()
        return len(acknowledged) < 2

    with faulty_disk() as disk:
        fail_at = 1
        while asyncio.run(scenario(disk, fail_at)):
            fail_at += 1
    assert fail_at > 20


def test_reads_go_on_and_writes_recover_while_the_disk_fails(tmp_path: Path) -> None:
    async def scenario() -> None:
        with faulty_disk() as disk:
            store = SqliteEngine(tmp_path / "plaudit.db")
            await store.open()
            await create(store, 1)
            for error in (apsw.FullError, apsw.IOError, apsw.ReadOnlyError):
                disk.error, disk.fail_always = error, True
                for _ in range(2):
                    with pytest.raises(StoreUnavailable):
                        await create(store, 2)
                    with pytest.raises(StoreUnavailable):
                        await store.check()
                assert await count(store) == 1
                disk.fail_always = False
                await store.check()
            await create(store, 2)
            assert await store.read(ProjectRevision(PROJECT)) == 2
            await store.close()

    asyncio.run(scenario())


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_read_that_nobody_waits_for_is_stopped(tmp_path: Path) -> None:
    def endless() -> Steps[None]:
        yield Statement("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")

    async def scenario(store: SqliteEngine) -> None:
        for _ in range(3):
            reads = [asyncio.create_task(store.read(Reading(lambda _: endless()))) for _ in range(3)]
            await asyncio.sleep(0.02)
            for read in reads:
                read.cancel()
            await asyncio.gather(*reads, return_exceptions=True)
            assert await asyncio.wait_for(count(store), 5) == 0

    with_store(tmp_path / "plaudit.db", scenario)


def test_a_read_cancelled_between_two_statements_is_stopped(tmp_path: Path) -> None:
    cancelled = threading.Event()

    def endless() -> Steps[None]:
        yield Statement("SELECT 1")
        cancelled.wait(5)
        yield Statement("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")

    async def scenario(store: SqliteEngine) -> None:
        read = asyncio.create_task(store.read(Reading(lambda _: endless())))
        await asyncio.sleep(0.02)
        read.cancel()
        await asyncio.gather(read, return_exceptions=True)
        cancelled.set()
        assert await asyncio.wait_for(asyncio.gather(*(count(store) for _ in range(4))), 5) == [0, 0, 0, 0]

    with_store(tmp_path / "plaudit.db", scenario)


def test_an_error_holds_no_cursor_of_a_connection_that_others_go_on_to_use() -> None:
    """Its traceback is freed on the event loop, where an open cursor would wait for the connection."""

    def failing() -> Steps[None]:
        yield Statement("SELECT 1")
        yield Statement("SELECT abs(-9223372036854775808)")

    with pytest.raises(apsw.SQLError) as raised:
        drive(apsw.Connection(":memory:"), failing())

    held = [value for entry in raised.traceback for value in entry.frame.f_locals.values()]
    cursors = [value for value in held if isinstance(value, apsw.Cursor)]
    assert cursors
    for cursor in cursors:
        with pytest.raises(apsw.CursorClosedError):
            cursor.get_connection()


def test_the_log_starts_over_even_when_reads_never_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_LOG_BYTES", 200_000)
    monkeypatch.setattr(sqlite, "_LOG_RETRY_SECONDS", 0.0)

    monkeypatch.setattr(erasing, "_PAUSE_SECONDS", 0.0)

    async def scenario(store: SqliteEngine) -> None:
        sizes = []
        for number in range(1000):
            # A snapshot older than the commit is there when it ends, but none is there for long.
            snapshot = apsw.Connection(str(tmp_path / "plaudit.db"))
            snapshot.execute("BEGIN")
            snapshot.execute("SELECT count(*) FROM feedback").fetchall()
            asyncio.get_running_loop().call_later(0.002, snapshot.close)
            await create(store, number, payload={"x": "x" * 20_000})
            sizes.append((tmp_path / "plaudit.db-wal").stat().st_size)
            if sum(later < earlier for earlier, later in pairwise(sizes)) >= 2:
                assert max(sizes) > 150_000
                return
        pytest.fail(f"the log never started over: {sizes[-10:]}")

    with_store(tmp_path / "plaudit.db", scenario)


# ── Erasure ──────────────────────────────────────────────────────────────────────────────────────────────


def traces(directory: Path, marks: list[bytes]) -> list[tuple[str, bytes]]:
    return [(name, mark) for name, content in files_of(directory).items() for mark in marks if mark in content]


@pytest.mark.parametrize("seed", range(30))
def test_purged_content_is_in_no_file_of_the_store(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    secret = f"secret-{seed}-"

    async def look_around(store: SqliteEngine) -> None:
        while True:
            page = await store.read(Select(PROJECT, None, BY_TIME, limit=20))
            if page.last is not None:
                await store.read(Select(PROJECT, None, BY_TIME, page.last, limit=20))
            await store.read(SelectVersions(PROJECT, id_of(chance.randrange(60)), 0, 5))

    def content(number: int, round: int) -> dict[str, Any]:
        text = secret + "payload" + "x" * chance.choice((0, 10, 300, 3000, 9000, 60_000))
        return {"payload": {"text": text, "number": number, "round": round}, "creator": secret + "creator"}

    async def scenario(store: SqliteEngine) -> None:
        readers = [asyncio.create_task(look_around(store)) for _ in range(3)]
        numbers = list(range(60))
        chance.shuffle(numbers)
        doomed = sorted(numbers[: chance.randrange(1, 40)])
        while numbers:
            batch = [numbers.pop() for _ in range(min(len(numbers), chance.randrange(1, 15)))]
            kept = {"payload": {"text": "kept" + "y" * chance.choice((10, 3000))}, "creator": "kept"}
            records = [record(n, **(content(n, 0) if n in doomed else kept)) for n in batch]
            await store.write([Create(PROJECT, records)])
        await store.write([Replace(PROJECT, record(number, **content(number, 1))) for number in doomed[::3]])
        await store.write([Replace(PROJECT, record(number, {"now": "harmless"})) for number in doomed[::6]])
        marks = [secret.encode() + b"payload", secret.encode() + b"creator"]
        assert traces(tmp_path, marks)
        half = len(doomed) // 2
        for some in (doomed[:half], doomed[half:]):
            await store.write([Purge(PROJECT, "p", ids=[id_of(number) for number in some])])
        await until_erased(store)
        for reader in readers:
            reader.cancel()
        assert traces(tmp_path, marks) == []
        assert await count(store) == 60 - len(doomed)

    with_store(tmp_path / "plaudit.db", scenario)


def test_a_snapshot_delays_the_erasure_which_is_told(tmp_path: Path) -> None:
    async def scenario(store: SqliteEngine) -> None:
        await create(store, 1, payload={"secret": "hidden-words"})
        snapshot = apsw.Connection(str(tmp_path / "plaudit.db"))
        snapshot.execute("BEGIN")
        snapshot.execute("SELECT count(*) FROM feedback").fetchall()
        await store.write([Purge(PROJECT, "p", ids=[id_of(1)])])
        assert store.erasure_pending
        assert traces(tmp_path, [b"hidden-words"])
        await create(store, 2)
        await store.erased(0.1)
        assert store.erasure_pending
        snapshot.execute("COMMIT")
        snapshot.close()
        await store.erased(10)
        assert not store.erasure_pending
        assert traces(tmp_path, [b"hidden-words"]) == []
        assert await count(store) == 1

    with_store(tmp_path / "plaudit.db", scenario)


@pytest.mark.parametrize(
    ("moves", "made", "is_all"),
    [
        ([(0.0, 9, 9)], 1, True),
        ([(0.02, 900, 900), (0.02, 30, 30), (0.0, 30, 30), (0.0, 30, 30)], 3, True),
        ([(0.02, 900, 900)] * 9, 5, True),
        ([(0.02, 900, 900), (0.02, 900, 30), (0.0, 900, 900)], 2, False),
    ],
)
def test_the_log_is_moved_until_little_is_left_to_the_writer(
    moves: list[tuple[float, int, int]], made: int, is_all: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes so many seconds, and finds so many pages, of which it moves so many."""
    began: list[int] = []
    spent: list[float] = []
    # A clock of its own: a busy machine is as late as a move that takes long.
    monkeypatch.setattr(erasing, "time", SimpleNamespace(monotonic=lambda: sum(spent)))

    class Log:
        def wal_checkpoint(self, mode: int) -> tuple[int, int]:
            seconds, pages, moved = moves[len(began)]
            began.append(mode)
            spent.append(seconds)
            return pages, moved

    connect: Any = Log
    never: Any = None
    assert erasing.Eraser("store", connect, never, never)._move() is is_all
    assert began == [apsw.SQLITE_CHECKPOINT_PASSIVE] * made


def test_writers_do_not_wait_for_an_erasure_that_a_snapshot_holds_up(tmp_path: Path) -> None:
    async def scenario(store: SqliteEngine) -> None:
        await create(store, *range(50))
        snapshot = apsw.Connection(str(tmp_path / "plaudit.db"))
        snapshot.execute("BEGIN")
        snapshot.execute("SELECT count(*) FROM feedback").fetchall()
        waits: list[int] = []
        truncate = erasing.truncate

        def seen(connection: apsw.Connection, milliseconds: int) -> bool:
            waits.append(milliseconds)
            return truncate(connection, milliseconds)

        sqlite.truncate = seen  # type: ignore[attr-defined]
        try:
            for number in range(50):
                await store.write([Purge(PROJECT, "p", ids=[id_of(number)])])
                assert store.erasure_pending
            # Fifty purges have asked for it, and the writer was asked to look a few times, for moments.
            assert len(waits) < 10
            assert all(wait <= 5 for wait in waits)
            snapshot.close()
            await until_erased(store)
        finally:
            sqlite.truncate = truncate  # type: ignore[attr-defined]

    with_store(tmp_path / "plaudit.db", scenario)


def test_an_erasure_cut_off_by_a_crash_is_finished_at_the_next_start(tmp_path: Path) -> None:
    crashed = tmp_path / "crashed"
    crashed.mkdir()

    async def scenario(store: SqliteEngine) -> None:
        await create(store, 1, payload={"secret": "hidden-words"})
        snapshot = apsw.Connection(str(tmp_path / "plaudit.db"))
        snapshot.execute("BEGIN")
        snapshot.execute("SELECT count(*) FROM feedback").fetchall()
        await store.write([Purge(PROJECT, "p", ids=[id_of(1)])])
        for name in ("plaudit.db", "plaudit.db-wal"):
            shutil.copy(tmp_path / name, crashed / name)
        snapshot.close()

    async def after(store: SqliteEngine) -> None:
        assert not store.erasure_pending
        assert traces(crashed, [b"hidden-words"]) == []

    with_store(tmp_path / "plaudit.db", scenario)
    assert traces(crashed, [b"hidden-words"])
    with_store(crashed / "plaudit.db", after)
    assert os.listdir(crashed) == ["plaudit.db"]
