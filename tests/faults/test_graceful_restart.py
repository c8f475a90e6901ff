"""A server that is stopped by SIGTERM under load and started again: no call of a client fails, and none is lost.

`make test` takes a few restarts; `make test-faults` more. Other languages are stood for by a plain channel with the
published service config.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

import plaudit
from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import CreateFeedbackRequest, Feedback, FeedbackServiceStub
from tests.postgres.cluster import free_port
from tests.service.process import ServerProcess

RESTARTS = int(os.environ.get("PLAUDIT_TEST_RESTARTS", "2"))
AWAY_SECONDS = float(os.environ.get("PLAUDIT_TEST_AWAY_SECONDS", "2"))
CALLS_BETWEEN = 15
THREADS = 4
SERVICE_CONFIG = Path(__file__).parents[2] / "proto/plaudit/v1/feedback_grpc_service_config.json"
RECORD = {"ref": "urn:x", "feedback_type": "t"}


class Load:
    """Callers that go on until they are stopped; `failed` are the calls that raised, `ids` what was stored."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.running = True
        self.calls_of: dict[int, int] = {}
        self.ids: list[str] = []
        self.failed: list[BaseException] = []

    def more(self) -> None:
        """Wait until each caller has ended some further calls: then all of them have found the server again."""
        wanted = {number: calls + CALLS_BETWEEN for number, calls in self.calls_of.items()}
        end = time.monotonic() + 30
        while any(self.calls_of[n] < calls for n, calls in wanted.items()) and time.monotonic() < end:
            time.sleep(0.01)

    @property
    def calls(self) -> int:
        """How many calls have ended."""
        return sum(list(self.calls_of.values()))

    def threads(self) -> None:
        with plaudit.Client("acme/restart", target=self.target) as client:
            callers = [threading.Thread(target=self._call, args=(client, number)) for number in range(THREADS)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()

    def _call(self, client: plaudit.Client, number: int) -> None:
        self.calls_of[number] = 0
        while self.running:
            try:
                if number % 2:
                    client.count()
                else:
                    self.ids.append(client.create(RECORD).id)
            except Exception as error:
                self.failed.append(error)
            self.calls_of[number] += 1

    def tasks(self) -> None:
        asyncio.run(self._tasks())

    async def _tasks(self) -> None:
        async with plaudit.AsyncClient("acme/restart", target=self.target) as client:

            async def call(number: int) -> None:
                self.calls_of[number] = 0
                while self.running:
                    try:
                        if number % 2:
                            await client.count()
                        else:
                            self.ids.append((await client.create(RECORD)).id)
                    except Exception as error:
                        self.failed.append(error)
                    self.calls_of[number] += 1

            await asyncio.gather(*(call(number) for number in range(4 * THREADS)))

    def plain(self) -> None:
        """A stub with the service config, as in any language."""
        options = [("grpc.service_config", SERVICE_CONFIG.read_text("utf-8"))]
        with grpc.insecure_channel(self.target, options) as channel:
            create: Any = FeedbackServiceStub(channel).CreateFeedback
            self.calls_of[0] = 0
            while self.running:
                feedback = Feedback(id=uuid7(), ref="urn:x", feedback_type="t", payload_json=json.dumps({}))
                try:
                    self.ids.append(
                        create(CreateFeedbackRequest(project="acme/restart", feedback=feedback)).feedback.id
                    )
                except grpc.RpcError as error:
                    self.failed.append(error)
                self.calls_of[0] += 1


@pytest.mark.timeout(120 + 20 * RESTARTS)
@pytest.mark.parametrize("kind", ["threads", "tasks", "plain"])
def test_no_call_fails_while_the_server_is_restarted(kind: str, tmp_path: Path) -> None:
    store, listen = tmp_path / "plaudit.db", f"127.0.0.1:{free_port()}"
    server = ServerProcess(store, listen)
    load = Load(listen)
    caller = threading.Thread(target=getattr(load, kind))
    caller.start()
    while not load.calls:
        time.sleep(0.01)
    try:
        for number in range(RESTARTS):
            load.more()
            assert server.stop() == 0
            if not number:
                time.sleep(AWAY_SECONDS)
            server = ServerProcess(store, listen)
        load.more()
        load.running = False
        caller.join(60)
        print(f"{kind}: {RESTARTS} restarts, {load.calls} calls, {len(load.failed)} failed")
        assert load.failed == []
        assert load.calls > RESTARTS * CALLS_BETWEEN
        with plaudit.Client("acme/restart", target=listen) as client:
            assert sorted(row.id for row in client.stream()) == sorted(load.ids)
    finally:
        load.running = False
        caller.join(60)
        code = server.stop()
    assert code == 0
