"""Shards that move, and a worker that is lost, under creates and purges: no revision twice, no error at a client.

PLAUDIT_TEST_CITUS is the URL of an empty database on the coordinator of a cluster with two workers or more, which has
the extension. PLAUDIT_TEST_CITUS_STOP and PLAUDIT_TEST_CITUS_START are shell commands that stop one of the workers, and
start it again; what is about a lost worker is left out without them.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import plaudit
from plaudit_server.ops.verifying import verified
from plaudit_server.resources import tables
from plaudit_server.store.engines.postgres import schema
from plaudit_server.store.url import opened
from tests.service.process import ServerProcess, server_process

URL = os.environ["PLAUDIT_TEST_CITUS"]
STOP = os.environ.get("PLAUDIT_TEST_CITUS_STOP", "")
START = os.environ.get("PLAUDIT_TEST_CITUS_START", "")
MOVES = int(os.environ.get("PLAUDIT_TEST_CITUS_MOVES", "58"))
PROJECTS = [f"acme/p{n}" for n in range(40)]

SHARDS = """
SELECT s.shardid, from_node.nodename, from_node.nodeport, to_node.nodename, to_node.nodeport
FROM pg_dist_shard AS s JOIN pg_dist_placement AS p USING (shardid)
JOIN pg_dist_node AS from_node ON from_node.groupid = p.groupid
JOIN pg_dist_node AS to_node ON to_node.groupid <> p.groupid AND to_node.shouldhaveshards
WHERE s.logicalrelid = 'project'::regclass ORDER BY s.shardid"""


class Load(threading.Thread):
    """Creates records in some projects, one after the other, and purges some; what was acknowledged, what failed."""

    def __init__(self, target: str, projects: list[str]) -> None:
        super().__init__(daemon=True)
        self.created = dict.fromkeys(projects, 0)
        self.purged = dict.fromkeys(projects, 0)
        self.failed: list[BaseException] = []
        self.ends = False
        self._target = target

    def run(self) -> None:
        with plaudit.Client(target=self._target, timeout=60.0) as client:
            while not self.ends:
                for project in self.created:
                    try:
                        record = client.create({"ref": "urn:x", "feedback_type": "t", "payload": {}}, project=project)
                        self.created[project] += 1
                        if self.created[project] % 3 == 0:
                            self.purged[project] += client.purge([record.id], project=project)
                    except Exception as error:
                        self.failed.append(error)


@pytest.fixture(scope="module")
def distributed() -> None:
    async def make() -> None:
        async with schema.connected(URL) as connection:
            assert not await schema.applied(connection), "the database of PLAUDIT_TEST_CITUS must be empty"
            await schema.migrate(connection)
            await schema.distribute(connection, tables())

    asyncio.run(make())


@pytest.fixture
def server(distributed: None) -> Iterator[ServerProcess]:
    with server_process(URL) as process:
        yield process


def settle(loads: list[Load]) -> None:
    """End the loads, and compare what was acknowledged with what is stored, and the rows with each other."""
    for load in loads:
        load.ends = True
    for load in loads:
        load.join(120)
    assert [error for load in loads for error in load.failed] == []

    async def check() -> Any:
        async with opened(URL) as store:
            return await verified(store)

    found = asyncio.run(check())
    assert found.problems == []
    for load in loads:
        for project, created in load.created.items():
            # As many numbers as changes.
            assert found.revisions.get(project, 0) >= created + load.purged[project]


@pytest.mark.timeout(0)
def test_shards_move_under_load(server: ServerProcess) -> None:
    loads = [Load(server.target, PROJECTS[n::4]) for n in range(4)]
    for load in loads:
        load.start()
    with psycopg.connect(URL, autocommit=True) as connection:
        for number in range(MOVES):
            shards = connection.execute(SHARDS).fetchall()
            move = "SELECT citus_move_shard_placement(%s, %s, %s, %s, %s, 'block_writes')"
            connection.execute(move, shards[number % len(shards)])
    created = {project: number for load in loads for project, number in load.created.items()}
    assert all(created.values())
    settle(loads)


@pytest.mark.timeout(0)
@pytest.mark.skipif(not (STOP and START), reason="PLAUDIT_TEST_CITUS_STOP and _START say how a worker is stopped")
def test_of_a_lost_worker_its_projects_alone_wait(server: ServerProcess) -> None:
    loads = [Load(server.target, [project]) for project in PROJECTS[:12]]
    for load in loads:
        load.start()
    while not all(sum(load.created.values()) for load in loads):
        time.sleep(0.1)
    subprocess.run(STOP, shell=True, check=True)
    try:
        time.sleep(2)  # what the issue asks for: by then they go on
        before = [sum(load.created.values()) for load in loads]
        time.sleep(5)
        went_on = [sum(load.created.values()) > count for load, count in zip(loads, before, strict=True)]
        assert any(went_on)
        assert not all(went_on), "the worker that was stopped has no project"
    finally:
        subprocess.run(START, shell=True, check=True)
    settle(loads)
