"""A client that writes at a steady rate while its server is stopped and started sees no failed call."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import plaudit
from tests.postgres.cluster import free_port
from tests.service.process import ServerProcess
from tests.writing import SteadyWriter

RESTARTS = int(os.environ.get("PLAUDIT_TEST_RESTARTS", "3"))
WRITES_BETWEEN = 15
PROJECT = "acme/rolling"


@pytest.mark.timeout(60 + 10 * RESTARTS)
def test_no_call_fails_and_nothing_is_doubled(tmp_path: Path) -> None:
    store, listen = tmp_path / "plaudit.db", f"127.0.0.1:{free_port()}"
    server = ServerProcess(store, listen)
    writer = SteadyWriter(listen, PROJECT)
    writer.start()
    for _ in range(RESTARTS):
        writer.write_more(WRITES_BETWEEN)
        assert server.stop() == 0
        server = ServerProcess(store, listen)
    writer.write_more(WRITES_BETWEEN)
    writer.stop()
    assert writer.failure is None
    with plaudit.Client(PROJECT, target=listen) as client:
        rows = list(client.get_feedback())
    assert [row.id for row in rows] == writer.ids
    assert [row.payload["n"] for row in rows] == list(range(len(rows)))
    assert len(rows) > WRITES_BETWEEN * RESTARTS
    assert server.stop() == 0
