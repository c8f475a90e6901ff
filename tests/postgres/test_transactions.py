"""Every transaction in PostgreSQL that writes begins with a write, and no SELECT locks: seen at the driver.

On Citus `SELECT … FOR UPDATE` of a distributed table does not hold up the move of its shard: two transactions then read
the same revision, each under its lock.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from plaudit_server.feedback.commands import Purge
from plaudit_server.feedback.creating import Create
from plaudit_server.query.indexes.declared import declare
from plaudit_server.store.engines.postgres import indexes as postgres_indexes
from plaudit_server.store.engines.postgres.engine import PostgresEngine, traits
from plaudit_server.store.engines.postgres.schema import connected, migrate
from plaudit_server.store.ledger import LedgerStatements, TogetherStatements
from tests.keys import opened_keys
from tests.postgres.cluster import Database
from tests.postgres.proxy import Proxy
from tests.postgres.test_trouble import fates, only, through_a_proxy
from tests.store.factory import PROJECT, record
from tests.store.transactions import Recorder, write_everything, write_keys

LOCK: Final = (
    "UPDATE project SET revision = revision WHERE project = %s RETURNING revision, last_created_at, definitions, flags"
)
LOCK_FREE: Final = TogetherStatements(traits("und-x-icu")).lock_free
PROBE: Final = "UPDATE meta SET value = %s WHERE key = 'probe'"
WRITES: Final = re.compile(
    r"\s*(insert|update|delete|with\s+free\b.*\bupdate\s+project\s+set|copy\s.*\sfrom\b|create|drop|alter|truncate)\b",
    re.I | re.S,
)


def seen_by(recorder: Recorder, monkeypatch: pytest.MonkeyPatch, owner: type[Any], name: str) -> None:
    """Let the recorder see what a method of the driver's cursors is asked to run."""
    run = getattr(owner, name)

    def seen(cursor: Any, query: Any, *args: Any, **options: Any) -> Any:
        text = query if isinstance(query, str) else query.decode() if isinstance(query, bytes) else query.as_string()
        recorder.ran(cursor.connection, text, WRITES.match(text) is not None)
        return run(cursor, query, *args, **options)

    monkeypatch.setattr(owner, name, seen)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Sees what every connection runs from here on."""
    recorder = Recorder(reads_only=r"READ ONLY$")
    for name in ("execute", "executemany", "copy", "stream"):
        seen_by(recorder, monkeypatch, psycopg.AsyncCursor, name)
        seen_by(recorder, monkeypatch, psycopg.Cursor, name)
    enter, leave = psycopg.AsyncTransaction.__aenter__, psycopg.AsyncTransaction.__aexit__

    # These two do not go through a cursor.
    async def entered(transaction: psycopg.AsyncTransaction) -> psycopg.AsyncTransaction:
        if transaction.connection.info.transaction_status == TransactionStatus.IDLE:
            recorder.ran(transaction.connection, "BEGIN", False)
        return await enter(transaction)

    async def left(transaction: psycopg.AsyncTransaction, *error: Any) -> bool:
        ended = await leave(transaction, *error)
        if transaction.connection.info.transaction_status == TransactionStatus.IDLE:
            recorder.ran(transaction.connection, "COMMIT", False)
        return ended

    monkeypatch.setattr(psycopg.AsyncTransaction, "__aenter__", entered)
    monkeypatch.setattr(psycopg.AsyncTransaction, "__aexit__", left)
    return recorder


def test_every_transaction_of_the_store_begins_with_a_write(empty_database: Database, recorder: Recorder) -> None:
    async def scenario(store: PostgresEngine, proxy: Proxy) -> None:
        recorder.transactions.clear()
        await write_everything(store)
        proxy.fate = fates("cut after")
        looked_up = len(recorder.transactions)
        await only(store, Create(PROJECT, [record(n) for n in range(20, 30)]))
        # The write, and the transaction that found out that it had been done.
        assert [found.statements[0].text for found in recorder.transactions[looked_up:] if found.begin] == [LOCK] * 2
        seen = recorder.firsts()
        [key] = {text for text in seen if text.startswith("INSERT INTO api_key ")}
        assert seen == {LOCK, LOCK_FREE, PROBE, key}
        # The one lock by SELECT is in a statement that writes what it has locked, and of several projects at once.
        assert set(recorder.offences()) == {LOCK_FREE}

    through_a_proxy(empty_database, scenario)


def test_keys_and_indexes_are_written_by_transactions_that_begin_with_a_write(
    empty_database: Database, recorder: Recorder
) -> None:
    url = empty_database.url
    with opened_keys(url) as keys:
        write_keys(keys)
    of_keys = sum(found.begin is not None for found in recorder.transactions)
    index = declare("payload.lock", "number")

    async def run() -> None:
        assert await postgres_indexes.create(url, index)
        assert not await postgres_indexes.create(url, index)
        assert await postgres_indexes.drop(url, index)

    asyncio.run(run())
    assert {text.split()[0] for text in recorder.firsts()} == {"INSERT", "UPDATE", "DELETE", "CREATE", "DROP"}
    # An index is made and dropped beside all writers, which a database does outside of transactions only.
    assert sum(found.begin is not None for found in recorder.transactions) == of_keys
    assert recorder.offences() == []


def test_a_migration_begins_with_a_write(database: Database, recorder: Recorder) -> None:
    async def run() -> None:
        async with connected(database.url) as connection:
            assert await migrate(connection)
            assert not await migrate(connection)

    asyncio.run(run())
    begun = [found for found in recorder.transactions if found.begin]
    assert [found.statements[0].text.split()[:2] for found in begun] == [["UPDATE", "schema_migration"]] * 2
    assert recorder.offences() == []


def test_a_transaction_that_begins_with_a_lock_by_select_is_found(empty_database: Database, recorder: Recorder) -> None:
    lock = "SELECT revision, last_created_at, definitions, flags FROM project WHERE project = %s FOR UPDATE"

    async def run() -> None:
        store = PostgresEngine(empty_database.url)
        await store.open()
        recorder.transactions.clear()
        store._sql.of(LedgerStatements).lock = lock
        await store.write([Purge(PROJECT, "p", ["none"])])
        # As the first of its transaction, which then makes the project's row, and twice for itself.
        assert recorder.offences() == [lock] * 3
        await store.close()

    asyncio.run(run())
