"""Places that older stores have are those that a new record would take: migration 0009 gives them their new keys."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from plaudit_server.definitions.uniqueness import key_of
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.judging import Judgement, Verdict
from plaudit_server.feedback.records import Record
from plaudit_server.store.base import Engine
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from tests.store.factory import PROJECT, id_of, record
from tests.unit.test_definition_enforcement import defined

REFS = (
    "u:1",
    "weave:///acme/chat/call/" + id_of(7),
    "urn:" + "é" * 40,
    "urn:" + "😀" * 24 + "0123456789",
    "u:" + "x" * 34,
)


def creates(first: int) -> list[Create]:
    """A record of each of the refs, and one in no place."""
    definition = defined({"feedback_type": "note", "unique": {"by_rater": True, "on_repeat": 2}}).by_type["note"]

    def create(number: int, made: Record) -> Create:
        verdict = Verdict(None, partial(key_of, definition.newest.definition, made), replaces=True)
        return Create(PROJECT, [made], judgement=Judgement(0, [verdict]))

    made = [create(n, record(n, {"first": first}, ref=ref)) for n, ref in enumerate(REFS, first)]
    return [*made, Create(PROJECT, [record(first + len(REFS))])]


async def write(store: Engine, first: int) -> None:
    """Store those records; of those whose place is taken, the record that is there is replaced."""
    await store.open()
    try:
        written = await store.write(creates(first))
    finally:
        await store.close()
    assert not any(isinstance(outcome, Exception) for outcome in written.outcomes), written.outcomes


ROWS = "SELECT ref, unique_key, version FROM feedback ORDER BY id"


def check(before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]) -> None:
    """Whether each record that had a place was replaced, and nothing else."""
    assert [(ref, key is None, version) for ref, key, version in before[:-1]] == [(ref, False, 1) for ref in REFS]
    assert after == [*((ref, key, 2) for ref, key, _ in before[:-1]), before[-1], before[-1]]


def test_a_place_of_an_older_sqlite_store_is_still_taken(tmp_path: Path) -> None:
    path = tmp_path / "plaudit.db"
    asyncio.run(write(SqliteEngine(path), 1))
    connection = apsw.Connection(str(path))
    before = connection.execute(ROWS).fetchall()
    connection.execute("UPDATE feedback SET unique_key = substr(unique_key, -32)")
    connection.execute("DELETE FROM schema_migration WHERE number >= 9; PRAGMA user_version = 8")
    connection.close()

    asyncio.run(write(SqliteEngine(path), 11))

    connection = apsw.Connection(str(path))
    check(before, connection.execute(ROWS).fetchall())
    connection.close()
