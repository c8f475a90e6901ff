"""Two servers on one database behind HAProxy, with the configuration of deploy/: no call fails when one restarts."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import plaudit
from tests.postgres.balancer import Balancer, program
from tests.postgres.cluster import Database, free_port
from tests.service.process import ServerProcess
from tests.writing import BareWriter, SteadyWriter

PROJECT = "acme/rolling"
ROLLOUTS = int(os.environ.get("PLAUDIT_TEST_ROLLOUTS", "1"))
WRITES_BETWEEN = 15
# Several times the interval of the balancer's checks, as deploy/plaudit.toml has it too.
DRAIN_SECONDS = 2


class Pair:
    """Two servers, each with a fixed address, and the balancer in front of them."""

    def __init__(self, store: str, log: Path) -> None:
        self._store = store
        self._addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        self._servers = [self._started(address) for address in self._addresses]
        self.balancer = Balancer(log, *self._addresses)

    def _started(self, address: str) -> ServerProcess:
        return ServerProcess(self._store, address, "--connections-drain-delay-seconds", str(DRAIN_SECONDS))

    def renew(self, number: int, by: signal.Signals = signal.SIGTERM) -> int:
        """End one of them by a signal, start it again, and return the exit code."""
        code = self._servers[number].stop(by)
        self._servers[number] = self._started(self._addresses[number])
        return code

    def stop(self) -> list[int]:
        self.balancer.stop()
        with ThreadPoolExecutor() as pool:
            return list(pool.map(ServerProcess.stop, self._servers))


class Load:
    """Writers of both kinds on one target: Python clients, and plain stubs without retries."""

    def __init__(self, target: str) -> None:
        self.clients = [SteadyWriter(target, PROJECT) for _ in range(3)]
        self.bare = [BareWriter(target, PROJECT) for _ in range(2)]
        self.writers: list[SteadyWriter] = [*self.clients, *self.bare]
        self._target = target
        for writer in self.writers:
            writer.start()

    def go_on(self) -> None:
        """Wait until each of them has written more, or has failed."""
        for writer in self.writers:
            writer.write_more(WRITES_BETWEEN)

    def stop(self) -> int:
        """Stop writing, check that nothing acknowledged is lost or stored twice, and return how much is stored."""
        for writer in self.writers:
            writer.stop()
        with plaudit.Client(PROJECT, target=self._target) as client:
            stored = [row.id for row in client.get_feedback()]
        assert len(stored) == len(set(stored))
        assert {id for writer in self.writers for id in writer.ids} <= set(stored)
        return len(stored)


@contextmanager
def watching(target: str) -> Iterator[list[int]]:
    """The revisions that a watch from the beginning has seen so far."""
    seen: list[int] = []
    with plaudit.Client(PROJECT, target=target) as client, client.watch(after=0) as watch:
        watcher = threading.Thread(target=lambda: seen.extend(change.revision for change in watch))
        watcher.start()
        yield seen
        watch.close()
        watcher.join(10)


def wait_for(seen: list[int], count: int) -> None:
    """Wait until a watch has seen the given number of changes, or so long that it will not."""
    until = time.monotonic() + 20
    while len(seen) < count and time.monotonic() < until:
        time.sleep(0.05)


@pytest.fixture
def pair(empty_database: Database, tmp_path: Path) -> Iterator[Pair]:
    if program() is None:
        message = "HAProxy is not installed: install your distribution's haproxy"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    pair = Pair(empty_database.url, tmp_path / "haproxy.log")
    try:
        yield pair
    finally:
        codes = pair.stop()
    assert codes == [0, 0]


@pytest.mark.timeout(90 + 30 * ROLLOUTS)
def test_a_rolling_restart_under_load_costs_nobody_a_call(pair: Pair) -> None:
    with watching(pair.balancer.target) as seen:
        load = Load(pair.balancer.target)
        for _ in range(ROLLOUTS):
            for number in range(2):
                load.go_on()
                assert pair.renew(number) == 0
        load.go_on()
        stored = load.stop()
        wait_for(seen, stored)
    # Plain stubs too, for which every refusal would have been a failure: the balancer and the drain suffice.
    assert [writer.failure for writer in load.writers] == [None] * 5
    assert seen == list(range(1, stored + 1))
    # The balancer stopped sending calls because health was NOT_SERVING, before any call was refused or cut.
    downs = re.findall(r"servers/(\w) is DOWN, reason: (\w+ \w+)", pair.balancer.said)
    assert downs == [("a", "Layer7 invalid"), ("b", "Layer7 invalid")] * ROLLOUTS


@pytest.mark.timeout(90 + 30 * ROLLOUTS)
def test_a_server_that_is_killed_costs_our_clients_no_call_and_no_change(pair: Pair) -> None:
    with watching(pair.balancer.target) as seen:
        load = Load(pair.balancer.target)
        for round in range(ROLLOUTS):
            load.go_on()
            assert pair.renew(round % 2, signal.SIGKILL) == -signal.SIGKILL
        for writer in load.clients:
            writer.write_more(WRITES_BETWEEN)
        stored = load.stop()
        wait_for(seen, stored)
    assert [writer.failure for writer in load.clients] == [None] * 3
    assert seen == list(range(1, stored + 1))
