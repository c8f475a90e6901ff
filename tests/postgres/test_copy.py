"""Moving a store from one engine to the other and back: everything arrives, and an interrupted copy continues."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from plaudit_server.feedback.commands import Purge, Replace
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.importing import Import
from plaudit_server.feedback.reads import Select, SelectChanges, SelectVersions
from plaudit_server.feedback.records import FEEDBACK, GONE, HISTORY
from plaudit_server.feedback.retaining import Retain
from plaudit_server.ops import reading
from plaudit_server.ops.copying import Copy
from plaudit_server.resources import tables
from plaudit_server.retention.commands import PutRule
from plaudit_server.retention.holds import HOLD, Hold, put
from plaudit_server.retention.reads import GetRules
from plaudit_server.retention.records import RULE
from plaudit_server.store import identity, transfer
from plaudit_server.store.base import Engine, Reading, SqlEngine, Statement, Steps, StoreError
from plaudit_server.store.engines.postgres.engine import PostgresEngine
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from plaudit_server.store.identity import StoreId
from plaudit_server.store.ledger import ProjectRevision
from tests.postgres.cluster import Database
from tests.store.factory import BY_TIME, id_of, record

PROJECTS = ("acme/chat", "acme/zebra", "ÅÄÖ/åäö")
RULED = "acme/rules"
"""A project in which nothing was stored but a rule."""


async def fill(store: SqlEngine) -> None:
    """Records of every kind: replaced, purged, imported, with each type of value."""
    for project in PROJECTS:
        records = [
            record(n, {"n": n, "text": "ü\n👍" * n}, project=project, creator=None if n % 2 else "", ref=f"urn:{n % 7}")
            for n in range(120)
        ]
        await store.write([Create(project, records)])
        for n in range(0, 40, 3):
            await store.write([Replace(project, record(n, {"again": n}, project=project, scorer_ratings={"r": 0.1}))])
        await store.write([Purge(project, "ann", ids=[id_of(n) for n in range(0, 120, 11)])])
        imported = record(500, project=project, created_at=5, updated_at=6, version=4)
        await store.write([Import(project, [imported])])
        gone = Retain(project, None, 2**60, [id_of(n) for n in range(1, 120, 29)])
        await store.write([gone, PutRule(project, "note", 30, "root", 5)])
    await store.write([PutRule(RULED, "*", 7, "root", 5)])
    await store.transact(lambda sql: put(sql, Hold(PROJECTS[1], 5, "root", "a case")))


async def everything(store: Engine) -> Any:
    """Everything that can be read from a store."""
    return [
        (
            await store.read(ProjectRevision(project)),
            await store.read(Select(project, None, BY_TIME, with_total=True)),
            await store.read(SelectChanges(project, 0, None, 10_000)),
            [await store.read(SelectVersions(project, id_of(n), 0, 100)) for n in (0, 3, 5, 500)],
            await store.read(GetRules(project)),
        )
        for project in (*PROJECTS, RULED)
    ]


def rows(text: str) -> Steps[list[Any]]:
    """The rows of one statement."""
    found: list[Any] = yield Statement(text)
    return found


async def rows_of(store: Any, project: str) -> int:
    """How many rows of any table a project has."""
    of_project = (FEEDBACK, HISTORY, GONE, RULE, HOLD)
    count: int = await store.read(Reading(lambda sql: transfer.count(sql, of_project, project)))
    return count


def with_stores(first: Engine, second: Engine, scenario: Callable[[Any, Any], Any]) -> None:
    async def run() -> None:
        await first.open()
        await second.open()
        try:
            await scenario(first, second)
        finally:
            await first.close()
            await second.close()

    asyncio.run(run())


@pytest.mark.parametrize("direction", ["to PostgreSQL", "to SQLite"])
def test_everything_arrives_and_the_clock_goes_on(empty_database: Database, tmp_path: Path, direction: str) -> None:
    stores: list[Any] = [SqliteEngine(tmp_path / "plaudit.db"), PostgresEngine(empty_database.url)]
    if direction == "to SQLite":
        stores.reverse()

    async def scenario(source: Any, target: Any) -> None:
        await fill(source)
        told: list[tuple[str, int, int]] = []
        copied = await Copy(source, target, tables(), lambda *step: told.append(step)).run()
        assert copied.projects == len(PROJECTS) + 1
        assert copied.rows == sum([await rows_of(source, project) for project in (*PROJECTS, RULED)])
        assert {told[0][0], told[-1]} == {"copying", ("verifying", copied.rows, copied.rows)}
        assert await everything(target) == await everything(source)
        renewed = StoreId.of(await target.read(Reading(lambda sql: rows(identity.SELECT))))
        assert renewed.secret not in (source.store_id.secret, target.store_id.secret)
        assert renewed.former[:2] == (target.store_id.secret, source.store_id.secret)
        # A second copy finds everything already there, and reports the same.
        assert await Copy(source, target, tables()).run() == copied
        for store in (source, target):
            await store.write([Create(PROJECTS[0], [record(900)])])
        revisions = [await store.read(ProjectRevision(PROJECTS[0])) for store in (source, target)]
        assert revisions[0] == revisions[1]

    with_stores(stores[0], stores[1], scenario)


def test_a_copy_that_was_broken_off_goes_on(
    empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_BATCH_ROWS", 25)

    async def scenario(source: Any, target: Any) -> None:
        await fill(source)
        transact, batches = target.transact, 0

        async def failing(steps: Any) -> Any:
            nonlocal batches
            batches += 1
            if batches == 12:
                raise StoreError("broken off")
            return await transact(steps)

        target.transact = failing
        with pytest.raises(StoreError, match="broken off"):
            await Copy(source, target, tables()).run()
        assert await rows_of(target, sorted(PROJECTS)[0]) > 0
        told: list[int] = []
        progress = lambda what, done, _: told.append(done) if what == "copying" else None  # noqa: E731
        await Copy(source, target, tables(), progress).run()
        assert told[0] > 25, "it began anew"
        assert await everything(target) == await everything(source)

    with_stores(SqliteEngine(tmp_path / "plaudit.db"), PostgresEngine(empty_database.url), scenario)


def test_a_target_with_other_data_is_refused(empty_database: Database, tmp_path: Path) -> None:
    async def scenario(source: Any, target: Any) -> None:
        await fill(source)
        await target.write([Create(PROJECTS[1], [record(1, project=PROJECTS[1])])])
        with pytest.raises(StoreError, match="acme/zebra is there already, at revision 1"):
            await Copy(source, target, tables()).run()

    with_stores(SqliteEngine(tmp_path / "plaudit.db"), PostgresEngine(empty_database.url), scenario)


def test_a_value_that_differs_is_found(empty_database: Database, tmp_path: Path) -> None:
    async def scenario(source: Any, target: Any) -> None:
        await fill(source)
        await Copy(source, target, tables()).run()
        empty_database.execute(
            "UPDATE feedback SET payload = payload || ' ' WHERE project = 'acme/zebra' AND revision = 9"
        )
        with pytest.raises(StoreError, match=r"acme/zebra differs: (\d+) rows in the source, \1 in the target"):
            await Copy(source, target, tables()).run()

    with_stores(SqliteEngine(tmp_path / "plaudit.db"), PostgresEngine(empty_database.url), scenario)


def test_the_command_copies_and_says_what(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "plaudit.db"

    async def make() -> None:
        store = SqliteEngine(path)
        await store.open()
        await fill(store)
        await store.close()

    asyncio.run(make())
    connection = apsw.Connection(str(path))
    connection.execute("INSERT INTO api_key VALUES ('k', 'ann', x'00', 'writer', '[\"*\"]', 1, NULL, 2)")
    connection.close()
    command = [sys.executable, "-m", "plaudit_server", "copy", "--from", f"sqlite:{path}", "--to", database.url]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PLAUDIT_")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("copied and verified: ")
    assert " and 1 API keys of 4 projects, checksum " in done.stdout
    assert "verifying" in done.stderr
    assert database.execute("SELECT principal, revoked_at FROM api_key") == [("ann", 2)]
    command[5] = f"sqlite:{tmp_path / 'none.db'}"
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert not (tmp_path / "none.db").exists()


def test_rows_are_told_apart_by_type() -> None:
    """The checksum is over Python's own writing of the values: 1 is not '1', and bytes are not text."""
    rows: list[Any] = [(1,), ("1",), (b"1",), (None,), ("None",)]
    assert len({repr(row) for row in rows}) == len(rows)
