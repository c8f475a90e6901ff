"""On a Citus cluster: health of the connected node alone, durability of all, a lost node, and where indexes are made.

Citus is stood in for by its catalog and functions; `make test-citus` is what runs on a real one.
"""

from __future__ import annotations

import asyncio
import logging

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from plaudit.v1 import CreateFeedbackRequest, Feedback, FeedbackServiceStub
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.reads import Count
from plaudit_server.query.indexes.declared import declare
from plaudit_server.store.base import StoreError
from plaudit_server.store.engines.postgres import engine as postgres
from plaudit_server.store.engines.postgres import indexes as postgres_indexes
from plaudit_server.store.engines.postgres import schema as postgres_schema
from plaudit_server.store.engines.postgres.engine import PostgresEngine
from plaudit_server.store.writer import Writer
from plaudit_server.testing import server
from tests.postgres.citus import STAND_IN, find_the_node, lose_a_node
from tests.postgres.cluster import Database
from tests.store.factory import record

INDEX = declare("payload.score", "number")


@pytest.fixture
def cluster_database(database: Database) -> Database:
    """A database with the schema, which takes itself for one of a cluster."""

    async def make() -> None:
        async with postgres_schema.connected(database.url) as connection:
            await postgres_schema.migrate(connection)

    asyncio.run(make())
    database.execute(STAND_IN)
    return database


@pytest.fixture(autouse=True)
def looks_around_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_LOOK_AROUND_SECONDS", 0.02)


async def opened(database: Database) -> PostgresEngine:
    store = PostgresEngine(database.url)
    await store.open()
    return store


@pytest.mark.parametrize("settings", ["off,on,on", "on,off,on", "on,on,off"])
def test_durability_is_that_of_every_node(
    cluster_database: Database, settings: str, caplog: pytest.LogCaptureFixture
) -> None:
    cluster_database.execute("UPDATE pg_dist_node SET settings = %s WHERE nodename = 'two'", (settings,))

    async def run() -> None:
        store = await opened(cluster_database)
        await store.close()

    if settings == "off,on,on":
        with pytest.raises(StoreError, match=r"synchronous_commit is off on node 3"):
            asyncio.run(run())
        return
    with caplog.at_level(logging.WARNING, "plaudit_server"):
        asyncio.run(run())
    assert [r.getMessage() for r in caplog.records if "full_page_writes is off on node 3" in r.getMessage()]


def test_a_node_that_does_not_answer_keeps_no_server_from_its_start(
    cluster_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    cluster_database.execute("UPDATE pg_dist_node SET answers = false WHERE nodename = 'one'")

    async def run() -> None:
        store = await opened(cluster_database)
        while not store.nodes_unreachable:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert store.nodes_unreachable == 1
        cluster_database.execute("UPDATE pg_dist_node SET answers = true")
        while store.nodes_unreachable:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await store.close()

    with caplog.at_level(logging.WARNING, "plaudit_server"):
        asyncio.run(asyncio.wait_for(run(), 30))
    assert "node 2 does not say how it writes to disk: connection refused" in caplog.text


def test_a_probe_needs_nothing_that_is_on_other_nodes(cluster_database: Database) -> None:
    async def run() -> None:
        store = await opened(cluster_database)
        with psycopg.connect(cluster_database.url) as locker:
            locker.execute("LOCK TABLE meta, project IN ACCESS EXCLUSIVE MODE")
            before = cluster_database.execute("SELECT pg_current_wal_flush_lsn()")
            await store.check()
            # It was written, and is on disk.
            assert cluster_database.execute("SELECT %s::pg_lsn < pg_current_wal_flush_lsn()", before[0]) == [(True,)]
        await store.close()

    asyncio.run(run())


def test_of_a_lost_node_its_projects_alone_wait_and_are_written_when_it_is_back(cluster_database: Database) -> None:
    lost = [f"lost/p{n}" for n in range(12)]  # many more than lanes

    async def run() -> None:
        store = await opened(cluster_database)
        writer = Writer(store)
        writer.start()

        def create(project: str, number: int) -> asyncio.Task[object]:
            return asyncio.create_task(writer.submit(Create(project, [record(number, project=project)])))

        await asyncio.gather(*(create(project, 0) for project in (*lost, "acme/here")))
        lose_a_node(cluster_database)
        waiting = [create(project, 1) for project in lost]
        for number in range(1, 40):
            await create("acme/here", number)
        assert not any(task.done() for task in waiting)
        assert writer.failed_groups == 0
        find_the_node(cluster_database)
        await asyncio.gather(*waiting)
        assert [await store.read(Count(project, None)) for project in (*lost, "acme/here")] == [2] * 12 + [40]
        await writer.close()
        await store.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_health_is_that_of_the_connected_node(cluster_database: Database) -> None:
    with server(cluster_database.url) as running, grpc.insecure_channel(running.target) as channel:
        stub, health = FeedbackServiceStub(channel), health_pb2_grpc.HealthStub(channel)

        def create(project: str, seconds: float = 20.0) -> None:
            sent = Feedback(ref="urn:x", feedback_type="t")
            stub.CreateFeedback(CreateFeedbackRequest(project=project, feedback=sent), timeout=seconds)

        create("lost/a")
        lose_a_node(cluster_database)
        for _ in range(3):
            with pytest.raises(grpc.RpcError) as refused:
                create("lost/a", 0.3)
            assert refused.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            create("acme/a")
            assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status == 1
        find_the_node(cluster_database)
        create("lost/a")


@pytest.mark.parametrize("known", [True, False])
def test_an_index_is_made_on_the_coordinator_or_it_is_said_where_that_is(
    cluster_database: Database, known: bool
) -> None:
    url = cluster_database.url
    assert asyncio.run(postgres_indexes.create(url, INDEX))
    cluster_database.execute("UPDATE pg_dist_local_group SET groupid = 1")
    if not known:
        cluster_database.execute("DELETE FROM pg_dist_node WHERE groupid = 0")
    where = "run this command with its URL" + (", head:5432" if known else "")
    for act, what in ((postgres_indexes.create, "an index is made"), (postgres_indexes.drop, "an index is dropped")):
        with pytest.raises(
            StoreError, match=f"{what} on the coordinator of the Citus cluster alone: {where}; connected"
        ):
            asyncio.run(act(url, INDEX))
    [(index, state)] = asyncio.run(postgres_indexes.listing(url))  # which any node can say
    assert (index, state.value) == (INDEX, "ready")


def test_a_schema_is_changed_on_the_coordinator_alone(database: Database) -> None:
    database.execute(STAND_IN)
    database.execute("UPDATE pg_dist_local_group SET groupid = 1")
    with pytest.raises(StoreError, match="the schema is changed on the coordinator"):
        asyncio.run(opened(database))
    database.execute("UPDATE pg_dist_local_group SET groupid = 0")

    async def run() -> None:
        await (await opened(database)).close()

    asyncio.run(run())
    database.execute("UPDATE pg_dist_local_group SET groupid = 1")
    asyncio.run(run())  # a server may be connected to any node
