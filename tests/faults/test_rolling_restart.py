"""A client that writes at a steady rate while its server is stopped and started sees no failed call."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest

import plaudit
from tests.service.process import ServerProcess

RESTARTS = int(os.environ.get("PLAUDIT_TEST_RESTARTS", "3"))
WRITES_PER_SECOND = 50
WRITES_BETWEEN = 15
PROJECT = "acme/rolling"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class SteadyWriter(threading.Thread):
    """Writes one record after another, at its rate, and keeps what it was told."""

    def __init__(self, target: str) -> None:
        super().__init__(daemon=True)
        self.ids: list[str] = []
        self.failure: BaseException | None = None
        self.running = True
        self._target = target

    def write_more(self, count: int) -> None:
        """Wait until so many more records are stored, or writing has failed."""
        end, target = time.monotonic() + 30, len(self.ids) + count
        while len(self.ids) < target and self.failure is None and time.monotonic() < end:
            time.sleep(0.01)

    def run(self) -> None:
        number = 0
        try:
            with plaudit.Client(PROJECT, target=self._target) as client:
                while self.running:
                    record = {"ref": f"weave:///{PROJECT}/call/1", "feedback_type": "t", "payload": {"n": number}}
                    self.ids.append(client.create(record).id)
                    number += 1
                    time.sleep(1 / WRITES_PER_SECOND)
        except BaseException as error:
            self.failure = error


@pytest.mark.timeout(60 + 10 * RESTARTS)
def test_no_call_fails_and_nothing_is_doubled(tmp_path: Path) -> None:
    store, listen = tmp_path / "plaudit.db", f"127.0.0.1:{free_port()}"
    server = ServerProcess(store, listen)
    writer = SteadyWriter(listen)
    writer.start()
    for _ in range(RESTARTS):
        writer.write_more(WRITES_BETWEEN)
        assert server.stop() == 0
        server = ServerProcess(store, listen)
    writer.write_more(WRITES_BETWEEN)
    writer.running = False
    writer.join(30)
    assert writer.failure is None
    with plaudit.Client(PROJECT, target=listen) as client:
        rows = list(client.get_feedback())
    assert [row.id for row in rows] == writer.ids
    assert [row.payload["n"] for row in rows] == list(range(len(rows)))
    assert len(rows) > WRITES_BETWEEN * RESTARTS
    assert server.stop() == 0
