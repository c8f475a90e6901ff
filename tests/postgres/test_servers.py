"""Several servers on one database, as processes: one order of changes, seen by every watcher; workers on one port."""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import pytest

import plaudit
from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import (
    BatchCreateFeedbackRequest,
    Comparison,
    ComparisonOp,
    CreateFeedbackRequest,
    Expression,
    Feedback,
    FeedbackServiceStub,
    Literal,
    Query,
    QueryFeedbackRequest,
    ReplaceFeedbackRequest,
    WatchFeedbackRequest,
)
from plaudit_server.store.engines.postgres.engine import PostgresEngine
from tests.postgres.cluster import Database
from tests.service.operators import Scraped, page
from tests.service.process import ServerProcess, server_process, web_process

PROJECT = "acme/chat"
INFO = "plaudit.v1.FeedbackService/GetServerInfo"
SERVERS = 4


def feedback(id: str, payload: str = "{}") -> Feedback:
    return Feedback(id=id, ref=f"weave:///{PROJECT}/call/1", feedback_type="t", payload_json=payload)


@pytest.fixture(scope="module")
def servers(shared_database: Database) -> Iterator[list[FeedbackServiceStub]]:
    """Clients of four server processes on one database."""
    with ExitStack() as stack, ThreadPoolExecutor(SERVERS) as pool:
        # Started at the same time, as in a rollout.
        starting = [pool.submit(ServerProcess, shared_database.url) for _ in range(SERVERS)]
        processes = [future.result() for future in starting]
        for process in processes:
            stack.callback(process.stop)
        channels = [stack.enter_context(grpc.insecure_channel(process.target)) for process in processes]
        yield [FeedbackServiceStub(channel) for channel in channels]


def changes_until(stub: FeedbackServiceStub, revision: int) -> list[int]:
    """The revisions that a watch from the beginning sees, up to a given one."""
    seen: list[int] = []
    stream = stub.WatchFeedback(WatchFeedbackRequest(project=PROJECT, after_revision=0), timeout=30)
    for response in stream:
        seen += [change.revision for change in response.changes]
        if response.revision >= revision:
            stream.cancel()
            break
    return seen


def test_four_servers_that_write_to_one_project_leave_no_gap(
    servers: list[FeedbackServiceStub], empty_database: Database
) -> None:
    def write(number: int) -> list[int]:
        stub, revisions = servers[number % SERVERS], []
        for step in range(15):
            if step % 3:
                created = stub.CreateFeedback(
                    CreateFeedbackRequest(project=PROJECT, feedback=feedback(uuid7())), timeout=20
                )
                revisions.append(created.feedback.revision)
            else:
                batch = [feedback(uuid7()) for _ in range(8)]
                answer = stub.BatchCreateFeedback(
                    BatchCreateFeedbackRequest(project=PROJECT, feedback=batch), timeout=20
                )
                revisions += [result.feedback.revision for result in answer.results]
        return revisions

    with ThreadPoolExecutor(8) as pool:
        given = sorted(revision for part in pool.map(write, range(8)) for revision in part)
    assert given == list(range(1, 8 * (10 + 5 * 8) + 1))
    for stub in servers:
        assert changes_until(stub, given[-1]) == given
        page = stub.QueryFeedback(QueryFeedbackRequest(project=PROJECT), timeout=20)
        times = [row.created_at.ToMicroseconds() for row in page.feedback]
        assert times == sorted(set(times))
        assert [row.revision for row in page.feedback] == given


def test_one_id_sent_to_every_server_is_one_record(
    servers: list[FeedbackServiceStub], empty_database: Database
) -> None:
    with ThreadPoolExecutor(SERVERS) as pool:
        for _ in range(5):
            request = CreateFeedbackRequest(project=PROJECT, feedback=feedback(uuid7()))
            answers = list(
                pool.map(lambda stub, sent: stub.CreateFeedback(sent, timeout=20), servers, [request] * SERVERS)
            )
            assert all(answer == answers[0] for answer in answers)


def test_exactly_one_of_racing_replaces_wins(servers: list[FeedbackServiceStub], empty_database: Database) -> None:
    id = uuid7()
    servers[0].CreateFeedback(CreateFeedbackRequest(project=PROJECT, feedback=feedback(id)), timeout=20)

    def replace(number: int) -> grpc.StatusCode:
        new = feedback(id, f'{{"n": {number}}}')
        request = ReplaceFeedbackRequest(project=PROJECT, feedback=new, expected_version=1)
        try:
            servers[number].ReplaceFeedback(request, timeout=20)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        return grpc.StatusCode.OK

    with ThreadPoolExecutor(SERVERS) as pool:
        codes = list(pool.map(replace, range(SERVERS)))
    assert sorted(code.name for code in codes) == ["ABORTED"] * (SERVERS - 1) + ["OK"]


def test_a_filtered_watch_on_one_server_sees_what_comes_and_goes_on_another(
    servers: list[FeedbackServiceStub], empty_database: Database
) -> None:
    types = Expression(field="feedback_type"), Expression(literal=Literal(string_value="wanted"))
    query = Query(
        expr=Expression(comparison=Comparison(op=ComparisonOp.COMPARISON_OP_EQ, left=types[0], right=types[1]))
    )
    stream = servers[0].WatchFeedback(WatchFeedbackRequest(project=PROJECT, query=query), timeout=30)
    assert next(stream).revision == 0
    one, other = feedback(uuid7()), feedback(uuid7())
    one.feedback_type = "wanted"
    for new in (one, other):
        servers[1].CreateFeedback(CreateFeedbackRequest(project=PROJECT, feedback=new), timeout=20)
    for new, type in ((one, "t"), (one, "u"), (other, "wanted")):
        new.feedback_type = type
        servers[1].ReplaceFeedback(ReplaceFeedbackRequest(project=PROJECT, feedback=new), timeout=20)
    seen: list[int] = []
    while len(seen) < 3:
        seen += [change.revision for change in next(stream).changes]
    stream.cancel()
    # Revision 2 never was one, and 4 was not one any more.
    assert seen == [1, 3, 5]


def test_a_watch_on_one_server_sees_the_changes_of_another_in_time(
    servers: list[FeedbackServiceStub], empty_database: Database
) -> None:
    seen: dict[str, float] = {}
    standing = threading.Event()
    stream = servers[0].WatchFeedback(WatchFeedbackRequest(project=PROJECT), timeout=60)

    def watch() -> None:
        with suppress(grpc.RpcError):  # until it is cancelled
            for response in stream:
                standing.set()
                for change in response.changes:
                    seen[change.feedback.id] = time.monotonic()

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert standing.wait(10)
    answered: dict[str, float] = {}
    took = []
    for _ in range(20):
        id = uuid7()
        asked = time.monotonic()
        servers[1].CreateFeedback(CreateFeedbackRequest(project=PROJECT, feedback=feedback(id)), timeout=20)
        answered[id] = time.monotonic()
        took.append(answered[id] - asked)
        time.sleep(0.03)
    until = time.monotonic() + 20
    while len(seen) < len(answered) and time.monotonic() < until:
        time.sleep(0.05)
    stream.cancel()
    watcher.join(10)
    assert list(seen) == list(answered)
    delays = [seen[id] - answered[id] for id in answered]
    # A poll, and reading what it found, which costs less than writing it; both may be late on a busy machine.
    assert statistics.median(delays) < 2 * (PostgresEngine.poll_seconds + statistics.median(took))


def test_workers_share_a_port_and_are_started_anew(shared_database: Database, empty_database: Database) -> None:
    with web_process(shared_database.url, "--workers", "2") as (process, http):
        parent = process.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children")
        workers = [int(pid) for pid in children.read_text().split()]
        assert len(workers) == 2

        def create() -> None:
            # A new client each time, so that the kernel chooses a worker each time; a call that meets the killed one
            # is sent again, as every client does.
            with plaudit.Client(PROJECT, target=process.target) as client:
                client.create({"ref": "urn:workers", "feedback_type": "t"})

        def ask_over_http() -> None:
            with urllib.request.urlopen(f"http://{http}/{INFO}?encoding=json&message=%7B%7D", timeout=20) as answer:
                assert "version" in json.load(answer)

        for _ in range(10):
            create()
            ask_over_http()
        os.kill(workers[0], signal.SIGKILL)
        for _ in range(10):
            create()
        until = time.monotonic() + 20
        while len(now := children.read_text().split()) < 2 or str(workers[0]) in now:
            assert time.monotonic() < until, "the worker was not started anew"
            time.sleep(0.1)
        assert str(workers[1]) in now
        for _ in range(10):
            ask_over_http()
    for pid in map(int, now):
        assert not Path(f"/proc/{pid}").exists(), "a worker outlived its server"


def two_free_ports() -> int:
    """The lower of two neighbouring ports that nobody listens on."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def test_each_worker_tells_its_own_metrics_on_a_port_of_its_own(shared_database: Database) -> None:
    lowest = two_free_ports()
    admin = [f"127.0.0.1:{port}" for port in range(lowest, lowest + 2)]
    flags = ("--workers", "2", "--admin-listen", admin[0])
    with server_process(shared_database.url, "127.0.0.1:0", *flags) as process:
        for _ in range(20):
            with plaudit.Client(PROJECT, target=process.target) as client:
                client.create({"ref": "urn:workers", "feedback_type": "t"})
        told = [Scraped(page(address, "/metrics").text) for address in admin]
        for stage in ("accepted", "stored", "acknowledged"):
            assert sum(one.rows(stage) for one in told) == 20
        parent = process.process.pid
        workers = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
        os.kill(workers[1], signal.SIGKILL)
        # Counted from 0 again, on the same port.
        until = time.monotonic() + 60
        while True:
            with suppress(OSError):
                if Scraped(page(admin[1], "/metrics").text).rows("accepted") == 0 and page(admin[1], "/readyz") == (
                    200,
                    "serving\n",
                ):
                    break
            assert time.monotonic() < until
            time.sleep(0.1)
        assert Scraped(page(admin[0], "/metrics").text).rows("accepted") == told[0].rows("accepted")


def test_workers_do_not_outlive_a_killed_parent(shared_database: Database) -> None:
    process = ServerProcess(shared_database.url, "127.0.0.1:0", "--workers", "2")
    parent = process.process.pid
    workers = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    process.stop(signal.SIGKILL)
    until = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_workers_drain_at_a_signal_and_end_at_the_second(shared_database: Database) -> None:
    flags = ("--workers", "2", "--connections-drain-delay-seconds", "3600")
    process = ServerProcess(shared_database.url, "127.0.0.1:0", *flags)
    parent = process.process.pid
    workers = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    process.process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.process.wait(1)
    assert process.stop() == 128 + signal.SIGTERM
    until = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_workers_are_refused_on_sqlite_and_on_a_port_that_is_taken(shared_database: Database, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a SQLite store is served by one process"):
        ServerProcess(tmp_path / "plaudit.db", "127.0.0.1:0", "--workers", "2")
    with (
        server_process(shared_database.url) as first,
        pytest.raises(RuntimeError, match="cannot listen on"),
    ):
        ServerProcess(shared_database.url, first.target, "--workers", "2")
