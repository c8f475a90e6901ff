"""Every transaction of the SQLite store that writes begins with a write, as its connections are seen to run it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import apsw
import pytest

from plaudit_server.feedback.commands import Purge
from plaudit_server.query.indexes.declared import declare
from plaudit_server.store.engines.sqlite import indexes as sqlite_indexes
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from plaudit_server.store.ledger import LedgerStatements
from tests.keys import opened_keys
from tests.store.factory import PROJECT
from tests.store.transactions import Recorder, write_everything, write_keys

LOCK: Final = (
    "UPDATE project SET revision = revision WHERE project = ? RETURNING revision, last_created_at, definitions, flags"
)
PROBE: Final = "UPDATE meta SET value = randomblob(8) WHERE key = 'probe'"
# A file of a newer version must be left as it is; and here BEGIN IMMEDIATE by itself keeps all other writers out.
MIGRATION: Final = 'pragma "user_version"'


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Sees what every connection runs that is made from here on."""
    recorder = Recorder(reads_only=r"(?i)^begin$")

    def hook(connection: apsw.Connection) -> None:
        def ran(event: Any) -> None:
            if not event["trigger"]:
                recorder.ran(connection, event["sql"], not event["readonly"])

        connection.trace_v2(apsw.SQLITE_TRACE_STMT, ran)

    monkeypatch.setattr(apsw, "connection_hooks", [*apsw.connection_hooks, hook])
    return recorder


def with_store(path: Path, scenario: Callable[[SqliteEngine], Any]) -> None:
    async def run() -> None:
        store = SqliteEngine(path)
        await store.open()
        try:
            await scenario(store)
        finally:
            await store.close()

    asyncio.run(run())


def test_every_transaction_of_the_store_begins_with_a_write(tmp_path: Path, recorder: Recorder) -> None:
    async def scenario(store: SqliteEngine) -> None:
        assert recorder.firsts() >= {MIGRATION}
        recorder.transactions.clear()
        await write_everything(store)
        store._suspect = True  # as after a failed write: the connection is made anew, and writes first
        await store.write([Purge(PROJECT, "p", ["none"])])
        seen = recorder.firsts()
        assert seen >= {LOCK, PROBE}
        assert recorder.offences() == []
        [key] = {text for text in seen if text.startswith("INSERT INTO api_key ")}
        # What a new connection is set to are statements by themselves.
        assert {text for text in seen if not text.lower().startswith("pragma")} == {LOCK, PROBE, key}

    with_store(tmp_path / "plaudit.db", scenario)


def test_keys_and_indexes_are_written_by_transactions_that_begin_with_a_write(
    tmp_path: Path, recorder: Recorder
) -> None:
    path = tmp_path / "plaudit.db"
    with_store(path, write_everything)
    with opened_keys(f"sqlite:{path}") as keys:
        recorder.transactions.clear()
        write_keys(keys)
    index = declare("payload.a", "number")
    assert sqlite_indexes.create(str(path), index)
    assert not sqlite_indexes.create(str(path), index)
    assert sqlite_indexes.drop(str(path), index)
    assert not sqlite_indexes.drop(str(path), index)
    assert sum(transaction.begin == "BEGIN IMMEDIATE" for transaction in recorder.transactions) == 3 + 4
    assert recorder.offences() == []


def test_a_transaction_that_begins_with_a_look_is_found(tmp_path: Path, recorder: Recorder) -> None:
    look = "SELECT revision, last_created_at, definitions FROM project WHERE project = ?"

    async def scenario(store: SqliteEngine) -> None:
        recorder.transactions.clear()
        store._sql.of(LedgerStatements).lock = look
        await store.write([Purge(PROJECT, "p", ["none"])])
        assert recorder.offences() == [look]

    with_store(tmp_path / "plaudit.db", scenario)
