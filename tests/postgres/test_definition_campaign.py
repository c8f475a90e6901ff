"""Four servers write while one definer changes four types in turn: no row is stored by a version not in force."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from typing import Any

import pytest

from plaudit._contract import jsontext
from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import Feedback
from plaudit_server.definitions import rules
from plaudit_server.definitions.cache import Cache, usable
from plaudit_server.definitions.commands import PutDefinition
from plaudit_server.definitions.enforcement import Credit, look_at
from plaudit_server.definitions.judge import DefinitionJudge
from plaudit_server.definitions.reads import SelectDefinitions
from plaudit_server.definitions.records import StoredDefinition, Version
from plaudit_server.errors import InvalidFields, Overloaded
from plaudit_server.feedback.rules import new_record
from plaudit_server.feedback.writing import Draft, Writing
from plaudit_server.store.engines.postgres.engine import PostgresEngine
from plaudit_server.store.writer import Writer
from tests.conformance.definition_cases import definition_of
from tests.postgres.cluster import Database

SECONDS = float(os.environ.get("PLAUDIT_TEST_CAMPAIGN_SECONDS", "3"))
EVERY = 0.02
SERVERS, CALLERS = 4, 4
PROJECT = "acme/campaign"
TYPES = ("a", "b", "c", "d")
RULES: tuple[dict[str, Any], ...] = ({"numeric": {"min": 0}}, {"boolean": {}})


class Server:
    """A server's own engine, writer and cache of definitions, on one database."""

    def __init__(self, url: str) -> None:
        self.store = PostgresEngine(url)
        self.writer = Writer(self.store)
        self.judge = DefinitionJudge(Cache(self.store))
        self.writing = Writing(self.writer, self.judge)

    async def open(self) -> None:
        await self.store.open()
        self.writer.start()

    async def close(self) -> None:
        await self.writer.close()
        await self.store.close()


async def define(server: Server, type: str, number: int) -> None:
    message = definition_of({"feedback_type": type, "title": str(number), **RULES[number % 2]})
    read = rules.read(message, PROJECT, [])
    assert read is not None
    command = PutDefinition(PROJECT, "root", read, lambda stored: usable(PROJECT, stored), jsontext.decode)
    assert isinstance(await server.writer.submit(command), StoredDefinition)


async def changing(server: Server, until: float) -> int:
    """Change the types in turn, each from numbers to bools and back; how often."""
    number = 0
    while time.monotonic() < until:
        for type in TYPES:
            await define(server, type, number)
            await asyncio.sleep(EVERY / len(TYPES) if SECONDS < 10 else EVERY)
        number += 1
    return number * len(TYPES)


async def writing(server: Server, until: float, seed: int) -> tuple[int, int]:
    """Create numbers and bools of the four types; how many were stored, and how many refused."""
    chance = random.Random(seed)
    stored = refused = 0
    while time.monotonic() < until:
        payload = json.dumps({"value": chance.choice((1, True))})
        sent = Feedback(id=uuid7(), ref="urn:x", feedback_type=chance.choice(TYPES), payload_json=payload)
        record = new_record(sent, PROJECT, "alice", [])
        assert record is not None
        try:
            [outcome] = await server.writing.create(Draft(PROJECT, (record,), ("feedback",), atomic=False))
        except Overloaded:
            continue
        if isinstance(outcome, InvalidFields):
            refused += 1
        else:
            stored += 1
    return stored, refused


async def versions_of(server: Server) -> dict[str, list[Version]]:
    found: dict[str, list[Version]] = {type: [] for type in TYPES}
    after = ("", 0)
    while True:
        page = await server.store.read(SelectDefinitions(PROJECT, "", True, after, 500))
        for stored in page.definitions:
            found[stored.feedback_type].append(usable(PROJECT, stored))
        if not page.more:
            return found
        after = page.definitions[-1].feedback_type, page.definitions[-1].version


@pytest.mark.timeout(0)
def test_no_row_is_stored_by_a_version_that_is_not_in_force(empty_database: Database) -> None:
    async def scenario() -> tuple[int, int, int, dict[str, list[Version]]]:
        servers = [Server(empty_database.url) for _ in range(SERVERS)]
        for server in servers:
            await server.open()
        try:
            for type in TYPES:
                await define(servers[0], type, 1)
            until = time.monotonic() + SECONDS
            definer = asyncio.create_task(changing(servers[0], until))
            results = await asyncio.gather(*(writing(servers[n % SERVERS], until, n) for n in range(SERVERS * CALLERS)))
            changes = await definer
            stored, refused = (sum(result[side] for result in results) for side in (0, 1))
            return changes, stored, refused, await versions_of(servers[1])
        finally:
            for server in servers:
                await server.close()

    changes, stored, refused, versions = asyncio.run(scenario())
    rows = empty_database.execute("SELECT feedback_type, revision, payload FROM feedback")
    wrong = 0
    for type, revision, payload in rows:
        in_force = [version for version in versions[type] if version.since_revision < revision][-1]
        out: list[Any] = []
        look_at(in_force.definition, json.loads(payload), payload, out, Credit(10**9))
        wrong += bool(out)
    print(f"{changes} changes, {stored} stored, {refused} refused, {wrong} of {len(rows)} rows wrong")
    assert len(rows) == stored
    assert wrong == 0
    # Both happened, and the types changed under the writers: else the test shows nothing.
    assert min(stored, refused, changes) >= len(TYPES)
