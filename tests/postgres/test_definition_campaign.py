"""Four servers write while one definer changes four types in turn: no row is stored by a version not in force.

The short form has four servers' engines, writers and caches in this process; the long one four server processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any, Protocol

import grpc
import pytest

from plaudit._contract import jsontext
from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import (
    CreateFeedbackRequest,
    Definition,
    DefinitionServiceStub,
    Feedback,
    FeedbackServiceStub,
    PutDefinitionRequest,
)
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
from tests.service.process import server_process

SECONDS = float(os.environ.get("PLAUDIT_TEST_CAMPAIGN_SECONDS", "3"))
EVERY = 0.02
SERVERS, CALLERS = 4, 4
PROJECT = "acme/campaign"
TYPES = ("a", "b", "c", "d")
RULES: tuple[dict[str, Any], ...] = ({"numeric": {"min": 0}}, {"boolean": {}})


class Writes(Protocol):
    """What a server does in this campaign."""

    async def define(self, definition: Definition) -> None:
        """Put a definition."""

    async def create(self, record: Feedback) -> bool | None:
        """Store a record: whether it was, or broke its definition; None when the server had no place for the call."""


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

    async def define(self, definition: Definition) -> None:
        read = rules.read(definition, PROJECT, [])
        assert read is not None
        command = PutDefinition(PROJECT, "root", read, lambda stored: usable(PROJECT, stored), jsontext.decode)
        assert isinstance(await self.writer.submit(command), StoredDefinition)

    async def create(self, record: Feedback) -> bool | None:
        draft = new_record(record, PROJECT, "alice", [])
        assert draft is not None
        try:
            [outcome] = await self.writing.create(Draft(PROJECT, (draft,), ("feedback",), atomic=False))
        except Overloaded:
            return None
        return not isinstance(outcome, InvalidFields)


class Remote:
    """A server process, called over its port."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._feedback: Any = FeedbackServiceStub(channel)
        self._definitions: Any = DefinitionServiceStub(channel)

    async def define(self, definition: Definition) -> None:
        request = PutDefinitionRequest(project=PROJECT, definition=definition)
        await self._until_answered(self._definitions.PutDefinition, request)

    async def create(self, record: Feedback) -> bool | None:
        request = CreateFeedbackRequest(project=PROJECT, feedback=record)
        return await self._until_answered(self._feedback.CreateFeedback, request) is grpc.StatusCode.OK

    async def _until_answered(self, method: Any, request: Any) -> grpc.StatusCode:
        """What became of a call, which is made again, as by every client, while the server cannot say."""
        while True:
            try:
                await method(request)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    return error.code()
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
                    raise
                await asyncio.sleep(EVERY)
            else:
                return grpc.StatusCode.OK


@asynccontextmanager
async def here(url: str) -> AsyncIterator[list[Writes]]:
    """Four servers' parts in this process."""
    servers = [Server(url) for _ in range(SERVERS)]
    for server in servers:
        await server.open()
    try:
        yield list(servers)
    finally:
        for server in servers:
            await server.close()


@asynccontextmanager
async def processes(url: str) -> AsyncIterator[list[Writes]]:
    """Four server processes."""
    with ExitStack() as started, ThreadPoolExecutor(SERVERS) as pool:
        made = list(pool.map(lambda _: started.enter_context(server_process(url)), range(SERVERS)))
        async with AsyncExitStack() as opened:
            channels = [grpc.aio.insecure_channel(process.target) for process in made]
            yield [Remote(await opened.enter_async_context(channel)) for channel in channels]


async def define(server: Writes, type: str, number: int) -> None:
    await server.define(definition_of({"feedback_type": type, "title": str(number), **RULES[number % 2]}))


async def changing(server: Writes, until: float) -> int:
    """Change the types in turn, each from numbers to bools and back; how often."""
    number = 0
    while time.monotonic() < until:
        for type in TYPES:
            await define(server, type, number)
            await asyncio.sleep(EVERY / len(TYPES) if SECONDS < 10 else EVERY)
        number += 1
    return number * len(TYPES)


async def writing(server: Writes, until: float, seed: int) -> tuple[int, int]:
    """Create numbers and bools of the four types; how many were stored, and how many refused."""
    chance = random.Random(seed)
    stored = refused = 0
    while time.monotonic() < until:
        payload = json.dumps({"value": chance.choice((1, True))})
        sent = Feedback(id=uuid7(), ref="urn:x", feedback_type=chance.choice(TYPES), payload_json=payload)
        done = await server.create(sent)
        stored += done is True
        refused += done is False
    return stored, refused


async def versions_of(url: str) -> dict[str, list[Version]]:
    store = PostgresEngine(url)
    await store.open()
    found: dict[str, list[Version]] = {type: [] for type in TYPES}
    after = ("", 0)
    while True:
        page = await store.read(SelectDefinitions(PROJECT, "", True, after, 500))
        for stored in page.definitions:
            found[stored.feedback_type].append(usable(PROJECT, stored))
        if not page.more:
            await store.close()
            return found
        after = page.definitions[-1].feedback_type, page.definitions[-1].version


@pytest.mark.timeout(0)
@pytest.mark.parametrize("servers", [here] if SECONDS < 10 else [processes])
def test_no_row_is_stored_by_a_version_that_is_not_in_force(empty_database: Database, servers: Any) -> None:
    url = empty_database.url

    async def scenario() -> tuple[int, int, int, dict[str, list[Version]]]:
        async with servers(url) as four:
            for type in TYPES:
                await define(four[0], type, 1)
            until = time.monotonic() + SECONDS
            definer = asyncio.create_task(changing(four[0], until))
            results = await asyncio.gather(*(writing(four[n % SERVERS], until, n) for n in range(SERVERS * CALLERS)))
            changes = await definer
        stored, refused = (sum(result[side] for result in results) for side in (0, 1))
        return changes, stored, refused, await versions_of(url)

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
