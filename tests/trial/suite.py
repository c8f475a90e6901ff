"""What the server does around the trial resource, on any engine; none of it was written for marks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from plaudit.v1 import CreateFeedbackRequest, Feedback, FeedbackServiceStub
from plaudit_server.auth.keys import new_key
from plaudit_server.auth.keystore import StoredKeys
from plaudit_server.auth.permission import table
from plaudit_server.config import Auth, Config, Limits
from plaudit_server.config.grants import Role
from plaudit_server.ops.copying import Copied, Copy
from plaudit_server.resources import RESOURCES, registry, tables
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.resource import Parts, Running
from plaudit_server.store.base import SqlEngine, Statement, Steps
from plaudit_server.store.prepared import Prepared
from plaudit_server.store.url import open_store, opened
from plaudit_server.testing import server
from tests.service.operators import scrape, with_admin
from tests.service.secured import bearer
from tests.service.status import Refusal, refusal
from tests.trial.resource import MIGRATION, RESOURCE, SERVICE, Marks, marks
from tests.trial.wire import AddMarkRequest, AddMarkResponse

PROJECT: Final = "acme/chat"
WITH_TRIAL: Final = (*RESOURCES, RESOURCE)
METHOD: Final = f"{SERVICE.name}/AddMark"
SECURED: Final = with_admin(Config(auth=Auth(api_keys=True)))


def on(url: str, work: Callable[[SqlEngine], Awaitable[Any]]) -> Any:
    """Open the store that a URL names, do something with it, and close it."""

    async def run() -> Any:
        async with opened(url) as store:
            return await work(store)

    return asyncio.run(run())


async def apply_migration(store: SqlEngine) -> None:
    """Make the trial's table, as a migration would."""

    def steps(sql: Prepared) -> Steps[None]:
        yield Statement(MIGRATION)

    await store.transact(steps)


def prepare(url: str) -> tuple[str, str]:
    """Make a store with the trial's table and two API keys: a reader's and a writer's, whose texts are returned."""
    made = [
        new_key(f"a {role.label}", role, ("acme/*",), time.time_ns() // 1000) for role in (Role.READER, Role.WRITER)
    ]

    async def work(store: SqlEngine) -> None:
        await apply_migration(store)
        for _, key in made:
            await StoredKeys(store).add(key)

    on(url, work)
    return made[0][0], made[1][0]


def add(channel: grpc.Channel, key: str, project: str = PROJECT, text: str = "x") -> Any:
    """The answer of AddMark. Raises grpc.RpcError."""
    method: Any = channel.unary_unary(
        f"/{METHOD}",
        request_serializer=AddMarkRequest.SerializeToString,
        response_deserializer=AddMarkResponse.FromString,
    )
    return method(AddMarkRequest(project=project, text=text), metadata=bearer(key) if key else None, timeout=30)


def refused(channel: grpc.Channel, key: str, project: str = PROJECT, text: str = "x") -> Refusal:
    """Why AddMark is refused."""
    return refusal(lambda: add(channel, key, project, text))


def check_answers_and_permission(url: str) -> None:
    """Marks and feedback share a project's revisions; roles and the rules of requests apply."""
    reader, writer = prepare(url)
    with (
        server(open_store(url), SECURED, resources=WITH_TRIAL) as running,
        grpc.insecure_channel(running.target) as channel,
    ):
        assert add(channel, writer) == AddMarkResponse(revision=1, marks=1)
        feedback = Feedback(ref="weave:///acme/chat/call/1", feedback_type="custom")
        stored = FeedbackServiceStub(channel).CreateFeedback(
            CreateFeedbackRequest(project=PROJECT, feedback=feedback), metadata=bearer(writer)
        )
        assert stored.feedback.revision == 2
        assert add(channel, writer) == AddMarkResponse(revision=3, marks=2)
        assert add(channel, writer, "acme/other") == AddMarkResponse(revision=1, marks=1)

        assert refused(channel, "").reason == "UNAUTHENTICATED"
        assert refused(channel, reader).metadata == {"project": PROJECT, "right": "create"}
        for project in ("beta/chat", ""):
            assert refused(channel, writer, project).reason == "PERMISSION_DENIED"
        assert refused(channel, writer, "acme/").violations.keys() == {"project"}
        assert refused(channel, writer, text="x" * 5_000_000).reason == "MESSAGE_TOO_LARGE"
        health = health_pb2_grpc.HealthStub(channel)
        asked = health_pb2.HealthCheckRequest(service=SERVICE.name)
        assert health.Check(asked).status == health_pb2.HealthCheckResponse.SERVING
    assert "| `AddMark` | create | no | yes | yes | yes |" in table(registry(WITH_TRIAL).rights)


def check_quotas_and_metrics(url: str) -> None:
    """A mark is charged to its project, and counted as a call, as a row, and where it is refused."""
    _, writer = prepare(url)
    config = replace(SECURED, limits=Limits(rows_per_second=0.001, burst_seconds=2000))
    with (
        server(open_store(url), config, resources=WITH_TRIAL) as running,
        grpc.insecure_channel(running.target) as channel,
    ):
        for _ in range(2):
            add(channel, writer)
        over = refused(channel, writer)
        assert (over.reason, over.metadata["quota"]) == ("QUOTA_EXCEEDED", "rows_per_second")
        add(channel, writer, "acme/other")
        found = scrape(running)
        assert found.calls(METHOD) == 3
        assert found.calls(METHOD, "RESOURCE_EXHAUSTED") == 1
        for stage in ("accepted", "stored", "acknowledged"):
            assert found.rows(stage, "mark") == 3
        assert found.value("plaudit_refusals_total", reason="rows_per_second") == 1
        assert found.value("plaudit_group_rows_sum") == 3


def check_admission(url: str) -> None:
    """A mark takes a place among the calls in flight, and is refused when there is none."""
    _, writer = prepare(url)
    entered, go_on = Event(), Event()

    class Waiting(Marks):
        async def AddMark(self, call: Call, request: Any) -> Any:  # noqa: N802
            entered.set()
            await asyncio.to_thread(go_on.wait)
            return await super().AddMark(call, request)

    def start(parts: Parts) -> Running:
        return Running({SERVICE.name: Waiting(parts)})

    config = replace(SECURED, limits=Limits(in_flight_calls=1))
    waiting = (*RESOURCES, replace(RESOURCE, start=start))
    with (
        server(open_store(url), config, resources=waiting) as running,
        grpc.insecure_channel(running.target) as channel,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(add, channel, writer)
        try:
            assert entered.wait(30)
            assert refused(channel, writer).reason == "QUOTA_EXCEEDED"
        finally:
            go_on.set()
        assert first.result(30).revision == 1
        assert add(channel, writer).revision == 2


def check_audit(url: str, log: Path) -> None:
    """Each mark and each refusal of one leaves a line."""
    reader, writer = prepare(url)
    config = replace(SECURED, audit_log=str(log))
    with (
        server(open_store(url), config, resources=WITH_TRIAL) as running,
        grpc.insecure_channel(running.target) as channel,
    ):
        add(channel, writer)
        refused(channel, reader)
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [(line["rpc"], line["code"], line["user_id"], line["project"], line["rows"]) for line in lines] == [
        ("AddMark", "OK", "a writer", PROJECT, 1),
        ("AddMark", "PERMISSION_DENIED", "a reader", PROJECT, 0),
    ]


def check_copy(source: str, target: str) -> None:
    """Marks go along when a store is copied, and the copy goes on where the source stands."""
    _, writer = prepare(source)
    with (
        server(open_store(source), SECURED, resources=WITH_TRIAL) as running,
        grpc.insecure_channel(running.target) as channel,
    ):
        for number in range(5):
            add(channel, writer, text=f"ü {number}")
        add(channel, writer, "acme/other")
    on(target, apply_migration)

    async def copy() -> Copied:
        async with opened(source) as first, opened(target) as second:
            return await Copy(first, second, tables(WITH_TRIAL)).run()

    copied = asyncio.run(copy())
    assert (copied.projects, copied.rows, copied.others["API keys"]) == (2, 6, 2)
    assert on(target, lambda store: store.read(marks(PROJECT))) == 5
    with (
        server(open_store(target), SECURED, resources=WITH_TRIAL) as running,
        grpc.insecure_channel(running.target) as channel,
    ):
        assert add(channel, writer) == AddMarkResponse(revision=6, marks=6)
