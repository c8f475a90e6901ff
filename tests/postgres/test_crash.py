"""OK means stored once: servers and databases killed under load, restarted, and a standby in the primary's place."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import CreateFeedbackRequest, Feedback, FeedbackServiceStub, QueryFeedbackRequest
from tests.faults.crash import Report, campaign
from tests.postgres.cluster import Cluster, Database, binaries
from tests.service.process import ServerProcess, server_process

SERVER_KILLS = int(os.environ.get("PLAUDIT_TEST_KILLS", "2"))
DATABASE_KILLS = int(os.environ.get("PLAUDIT_TEST_DATABASE_KILLS", "1"))
SEED = int(os.environ.get("PLAUDIT_TEST_SEED", "1"))

pytestmark = pytest.mark.skipif(
    binaries() is None and not os.environ.get("CI"), reason="no PostgreSQL is installed to be killed"
)


@pytest.fixture
def own() -> Iterator[Cluster]:
    """A database server of the test's own."""
    cluster = Cluster()
    yield cluster
    cluster.remove()


def check(report: Report, kills: int, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{report}")
    assert (report.lost, report.doubled, report.phantoms) == ([], [], [])
    assert report.acknowledged > kills


@pytest.mark.timeout(60 + 15 * SERVER_KILLS)
def test_a_killed_server_keeps_what_it_acknowledged(own: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    database = Database(own.url("postgres"))
    report = campaign(lambda: ServerProcess(database.url), SERVER_KILLS, SEED)
    check(report, SERVER_KILLS, capsys)


class KilledDatabase:
    """A plaudit server that keeps running, while its database is killed and started again."""

    def __init__(self, cluster: Cluster, server: ServerProcess) -> None:
        self.target = server.target
        self._cluster = cluster
        self._server = server

    def stop(self, number: signal.Signals) -> int:
        if number == signal.SIGKILL:
            self._cluster.stop(number)
            self._cluster.start()
            return 0
        return self._server.stop(number)


@pytest.mark.timeout(60 + 30 * DATABASE_KILLS)
def test_a_killed_database_loses_and_doubles_nothing(own: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    database = Database(own.url("postgres"))
    server = ServerProcess(database.url)
    report = campaign(lambda: KilledDatabase(own, server), DATABASE_KILLS, SEED)
    check(report, DATABASE_KILLS, capsys)
    # Writes in progress when the database was killed were retried within their time, and not refused.
    assert report.unclear == 0


class Load(threading.Thread):
    """Creates records one after the other; those acknowledged, and those refused."""

    def __init__(self, target: str) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[str] = []
        self.refused: list[grpc.StatusCode] = []
        self._target = target
        self._running = True

    def run(self) -> None:
        with grpc.insecure_channel(self._target) as channel:
            stub = FeedbackServiceStub(channel)
            while self._running:
                sent = Feedback(id=uuid7(), ref="urn:x", feedback_type="t")
                try:
                    stub.CreateFeedback(CreateFeedbackRequest(project="acme/chat", feedback=sent), timeout=20)
                    self.acknowledged.append(sent.id)
                except grpc.RpcError as error:
                    self.refused.append(error.code())

    def stop(self) -> list[str]:
        self._running = False
        self.join(30)
        return self.acknowledged

    def goes_on(self) -> None:
        """Wait until another write is acknowledged."""
        before = len(self.acknowledged)
        wait_for(lambda: len(self.acknowledged) > before)


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def stored(target: str) -> set[str]:
    with grpc.insecure_channel(target) as channel:
        stub = FeedbackServiceStub(channel)
        request, ids = QueryFeedbackRequest(project="acme/chat"), set()
        while True:
            page = stub.QueryFeedback(request, timeout=30)
            ids |= {row.id for row in page.feedback}
            if not page.next_page_token:
                return ids
            request.page_token = page.next_page_token


def is_serving(target: str) -> bool:
    with grpc.insecure_channel(target) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def test_writes_go_on_over_a_restart_and_health_tells_the_truth(own: Cluster) -> None:
    database = Database(own.url("postgres"))
    with server_process(database.url) as server:
        load = Load(server.target)
        load.start()
        load.goes_on()
        own.stop()
        wait_for(lambda: not is_serving(server.target))
        own.start()
        load.goes_on()
        wait_for(lambda: is_serving(server.target))
        acknowledged = load.stop()
        assert set(acknowledged) <= stored(server.target)
        assert set(load.refused) <= {grpc.StatusCode.UNAVAILABLE}


def test_a_standby_that_is_promoted_has_every_acknowledged_write(own: Cluster) -> None:
    standby = Cluster(standby_of=own)
    try:
        own.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        own.execute("SELECT pg_reload_conf()")
        wait_for(lambda: own.execute("SELECT sync_state FROM pg_stat_replication") == [("sync",)])
        database = Database(own.url("postgres"))
        # Both machines are named; the one that takes writes is looked for.
        both = re.sub(r"@[^/]+", f"@127.0.0.1:{own.port},127.0.0.1:{standby.port}", database.url)
        with server_process(both) as server:
            load = Load(server.target)
            load.start()
            load.goes_on()
            time.sleep(0.5)
            own.stop(signal.SIGKILL)
            standby.promote()
            standby.execute("ALTER SYSTEM RESET synchronous_standby_names")
            standby.execute("SELECT pg_reload_conf()")
            load.goes_on()
            acknowledged = load.stop()
            assert set(acknowledged) <= stored(server.target)
            assert load.refused == [], "the promotion took less than a write may take"
    finally:
        standby.remove()
