"""Buffered writing: nothing is dropped without an error or a report, whatever the server, the disk or the user does."""

from __future__ import annotations

import itertools
import logging
import pickle
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

import plaudit
from plaudit import v1
from plaudit_server.testing import RunningServer
from tests.client.fakes import PROJECT, REF, FakeTransport
from tests.client.network import Network

DOWN = plaudit.UnavailableError("down")
PATIENCE = 60.0
"""Seconds that a test waits for what must come; more than any machine takes."""
_projects = itertools.count()


class SlowTransport(FakeTransport):
    """Answers batches when the test allows it, or never."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None
        self.refused: set[str] = set()

    def BatchCreateFeedback(self, request: v1.BatchCreateFeedbackRequest) -> v1.BatchCreateFeedbackResponse:  # noqa: N802
        assert self.open.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        response = super().BatchCreateFeedback(request)
        for index, item in enumerate(request.feedback):
            if item.payload_json in self.refused:
                code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
                response.results[index].status.CopyFrom(status_pb2.Status(code=code, message=f"feedback[{index}]: no"))
                self.rows.pop(index - len(request.feedback))
        return response


@pytest.fixture
def transport() -> Iterator[SlowTransport]:
    transport = SlowTransport()
    yield transport
    transport.open.set()


@pytest.fixture
def client(transport: SlowTransport) -> plaudit.Client:
    return plaudit.Client(PROJECT, transport=transport, timeout=PATIENCE)


@pytest.fixture
def impatient(transport: SlowTransport) -> plaudit.Client:
    """A client that soon gives up."""
    return plaudit.Client(PROJECT, transport=transport, timeout=0.3)


@pytest.fixture
def project() -> str:
    """A project that no other test uses."""
    return f"buffered/p{next(_projects)}"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def record(number: int = 0, **fields: Any) -> dict[str, Any]:
    return {"ref": REF, "feedback_type": "t", "payload": {"n": number}, **fields}


def add_and_leave(client: plaudit.Client, count: int) -> None:
    """Add some records, and leave the context."""
    with client.buffered() as writer:
        for number in range(count):
            writer.add(record(number))


def add_and_fail(client: plaudit.Client, error: BaseException) -> None:
    """Add some records, and leave the context by an error."""
    with client.buffered(linger=60) as writer:
        for number in range(1500):
            writer.add(record(number))
        raise error


def stored(transport: FakeTransport) -> list[int]:
    return [int(row.payload_json.removeprefix('{"n":').removesuffix("}")) for row in transport.rows]


def test_records_are_stored_in_order_in_few_requests(client: plaudit.Client, transport: SlowTransport) -> None:
    with client.buffered(linger=10) as writer:
        ids = [writer.add(record(number)) for number in range(2500)]
        report = writer.flush()

    assert (report.stored, report.pending, report.refused, report.spooled) == (2500, 0, (), 0)
    assert [row.id for row in transport.rows] == ids
    assert stored(transport) == list(range(2500))
    assert [len(request.feedback) for request in transport.requests] == [1000, 1000, 500]
    assert all(request.partial for request in transport.requests)


def test_record_does_not_wait_longer_than_it_should(client: plaudit.Client, transport: SlowTransport) -> None:
    writer = client.buffered(linger=0.05)
    writer.add(record(1))
    while not transport.rows:
        time.sleep(0.01)
    assert writer.close().stored == 1


def test_records_of_several_projects_keep_their_order(client: plaudit.Client, transport: SlowTransport) -> None:
    with client.buffered(linger=10) as writer:
        for number in range(30):
            writer.add(record(number, project="x/y" if number % 3 else None))

    assert [(request.project, len(request.feedback)) for request in transport.requests] == [(PROJECT, 10), ("x/y", 20)]
    for project in (PROJECT, "x/y"):
        rows = [row.payload_json for row in transport.rows if row.project == project]
        assert rows == sorted(rows, key=lambda text: (len(text), text))


def test_full_buffer_makes_adding_wait(client: plaudit.Client, transport: SlowTransport) -> None:
    transport.open.clear()
    writer = client.buffered(max_records=5, linger=0)
    for number in range(5):
        writer.add(record(number))
    with pytest.raises(TimeoutError, match="5 records wait"):
        writer.add(record(5), timeout=0.05)
    with pytest.raises(TimeoutError):
        writer.add(record(5), timeout=0)
    threading.Timer(0.05, transport.open.set).start()
    writer.add(record(6))

    assert writer.close().stored == 6
    assert stored(transport) == [0, 1, 2, 3, 4, 6]


def test_memory_is_bounded_by_bytes_too(client: plaudit.Client, transport: SlowTransport) -> None:
    transport.open.clear()
    writer = client.buffered(max_bytes=100_000, linger=0)
    for _ in range(3):
        writer.add(record(payload={"text": "x" * 30_000}))
    with pytest.raises(TimeoutError):
        writer.add(record(payload={"text": "x" * 30_000}), timeout=0.01)
    transport.open.set()
    assert writer.close().pending == 0


def test_record_that_no_request_holds_is_told_at_once(client: plaudit.Client) -> None:
    reasons = {str(number): "é" * 10_000 for number in range(100)}
    with client.buffered() as writer:
        with pytest.raises(plaudit.InvalidArgumentError, match=r"feedback\.nonsense"):
            writer.add(record(nonsense=1))
        with pytest.raises(plaudit.InvalidArgumentError, match="feedback has") as raised:
            writer.add(record(scorer_tag_reasons=reasons, scorer_rating_reasons=reasons))
        assert writer.close().stored == 0
    assert raised.value.reason == "MESSAGE_TOO_LARGE"


def test_refused_record_is_told_and_holds_nobody_up(
    client: plaudit.Client, transport: SlowTransport, caplog: pytest.LogCaptureFixture
) -> None:
    transport.refused = {'{"n":7}'}
    with pytest.raises(plaudit.NotStoredError, match="1 were refused") as raised:
        add_and_leave(client, 20)

    report = raised.value.report
    [refused] = report.refused
    assert (report.stored, report.pending, report.refused_count) == (19, 0, 1)
    assert (refused.position, str(refused.error)) == (7, "feedback[7]: no")
    assert stored(transport) == [n for n in range(20) if n != 7]
    assert f"a record was refused: {refused.id} (INVALID_ARGUMENT" in caplog.text
    copy = pickle.loads(pickle.dumps(raised.value))
    assert str(copy) == str(raised.value)
    assert copy.report.refused[0].id == refused.id


def test_request_that_is_refused_as_a_whole_is_taken_apart(client: plaudit.Client, transport: SlowTransport) -> None:
    answer = transport.BatchCreateFeedback

    def choke(request: v1.BatchCreateFeedbackRequest) -> v1.BatchCreateFeedbackResponse:
        if any(item.payload_json == '{"n":5}' for item in request.feedback):
            raise plaudit.InternalError("feedback[0] broke the server")
        return answer(request)

    transport.BatchCreateFeedback = choke  # type: ignore[method-assign]
    writer = client.buffered(linger=10)
    for number in range(8):
        writer.add(record(number))
    report = writer.close()

    assert stored(transport) == [0, 1, 2, 3, 4, 6, 7]
    assert [(refused.position, str(refused.error)) for refused in report.refused] == [
        (5, "feedback[5] broke the server")
    ]


def test_right_that_is_missing_is_told(client: plaudit.Client, transport: SlowTransport) -> None:
    transport.error = plaudit.PermissionDeniedError("no")
    with pytest.raises(plaudit.NotStoredError, match="3 were refused"):
        add_and_leave(client, 3)


@pytest.mark.parametrize(
    "error",
    [DOWN, plaudit.DeadlineExceededError("late"), plaudit.ResourceExhaustedError("busy", retry_after=0.001)],
    ids=lambda error: type(error).__name__,
)
def test_server_that_is_away_is_waited_for(
    client: plaudit.Client, transport: SlowTransport, error: plaudit.PlauditError
) -> None:
    transport.failures += [error] * 5
    with client.buffered() as writer:
        for number in range(10):
            writer.add(record(number))
            time.sleep(0.002)
    assert stored(transport) == list(range(10))


def test_server_that_stays_away_is_told_at_the_end(
    impatient: plaudit.Client, transport: SlowTransport, caplog: pytest.LogCaptureFixture
) -> None:
    transport.error = DOWN
    started = time.monotonic()
    with pytest.raises(plaudit.NotStoredError, match="3 could not be sent") as raised:
        add_and_leave(impatient, 3)

    assert 0.25 < time.monotonic() - started < PATIENCE
    assert raised.value.report.pending == 3
    assert "3 records that are not stored" in caplog.text


def test_error_of_the_body_is_not_hidden(impatient: plaudit.Client, transport: SlowTransport) -> None:
    transport.error = DOWN

    def add_and_fail() -> None:
        with impatient.buffered() as writer:
            writer.add(record())
            raise KeyError("mine")

    with pytest.raises(KeyError) as raised:
        add_and_fail()
    assert raised.value.__notes__ == ["records are not stored: 1 could not be sent"]


def test_what_was_added_is_stored_when_the_block_fails_and_the_note_says_where_to_go_on(
    client: plaudit.Client, transport: SlowTransport
) -> None:
    for error in (RuntimeError("no more"), KeyboardInterrupt()):
        transport.rows.clear()
        with pytest.raises(type(error)) as raised:
            add_and_fail(client, error)
        assert stored(transport) == list(range(1500))
        assert raised.value.__notes__ == ["1500 records are stored; go on at position 1500."]


def test_a_key_makes_a_rerun_safe(running: RunningServer, project: str) -> None:
    with plaudit.Client(project, target=running.target) as client:
        for count in (3, 5):
            with client.buffered(key=("ref", "payload")) as writer:
                ids = [writer.add(record(number)) for number in range(count)]
        assert sorted(ids) == sorted(row.id for row in client.get_feedback())
        with pytest.raises(ValueError, match="is no field of a record"):
            client.buffered(key=("nope",))


def test_closed_buffer_takes_nothing(client: plaudit.Client) -> None:
    writer = client.buffered()
    writer.add(record())
    report = writer.close()

    assert writer.close() is report
    with pytest.raises(RuntimeError, match="closed; open another one"):
        writer.add(record())
    assert repr(writer) == "BufferedWriter(closed, 1 stored, 0 refused)"


def test_closing_ends_the_wait_of_those_who_add(client: plaudit.Client, transport: SlowTransport) -> None:
    transport.open.clear()
    writer = client.buffered(max_records=1, linger=0)
    writer.add(record(0))
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(writer.add, record(1))
        closing = pool.submit(writer.close)
        while not repr(writer).startswith("BufferedWriter(closed"):
            time.sleep(0.01)
        transport.open.set()
        with pytest.raises(RuntimeError, match="closed"):
            waiting.result(PATIENCE)
        assert closing.result(PATIENCE).stored == 1
    assert stored(transport) == [0]


def test_closing_does_not_wait_longer_than_told(client: plaudit.Client, transport: SlowTransport) -> None:
    transport.open.clear()
    writer = client.buffered(linger=0)
    writer.add(record())
    started = time.monotonic()

    assert writer.close(timeout=0.05).pending == 1
    assert time.monotonic() - started < PATIENCE


def test_thread_that_fails_says_so(
    client: plaudit.Client, transport: SlowTransport, caplog: pytest.LogCaptureFixture
) -> None:
    transport.error = ZeroDivisionError("a defect")
    writer = client.buffered(linger=0)
    writer.add(record())
    with pytest.raises(RuntimeError, match="1 records are not stored") as raised:
        writer.flush()
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    for call in (lambda: writer.add(record()), writer.flush, writer.close):
        with pytest.raises(RuntimeError, match="has failed"):
            call()
    assert "a buffer has failed with 1 records" in caplog.text


def test_thread_that_fails_leaves_what_it_had_in_the_spool(
    client: plaudit.Client, transport: SlowTransport, spool: Path
) -> None:
    transport.error = ZeroDivisionError("a defect")
    writer = client.buffered(linger=0, spool=spool)
    writer.add(record(1))
    with pytest.raises(RuntimeError):
        writer.close()
    transport.error = None
    with client.buffered(spool=spool) as writer:
        assert writer.flush().stored == 1


@pytest.mark.parametrize("options", [{"max_records": 0}, {"max_bytes": 0}, {"linger": -1}, {"linger": float("nan")}])
def test_options_that_make_no_sense(client: plaudit.Client, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        client.buffered(**options)


def test_spool_takes_what_the_server_does_not(client: plaudit.Client, transport: SlowTransport, spool: Path) -> None:
    transport.error = DOWN
    with client.buffered(spool=spool, max_records=10, linger=0) as writer:
        for number in range(200):
            writer.add(record(number))
        while (report := writer.flush(timeout=0.1)).pending:
            pass
        assert (report.stored, report.spooled) == (0, 200)

        transport.error = None
        writer.add(record(200))
        report = writer.flush()
        assert (report.stored, report.pending, report.spooled) == (201, 0, 0)
    assert stored(transport) == list(range(201))


def test_leftovers_of_the_spool_are_sent_first(
    client: plaudit.Client, impatient: plaudit.Client, transport: SlowTransport, spool: Path
) -> None:
    transport.error = DOWN
    with impatient.buffered(spool=spool) as writer:
        for number in range(5):
            writer.add(record(number, project="left/over"))
    assert writer.close().spooled == 5

    transport.error = None
    transport.refused = {'{"n":3}', '{"n":7}'}
    writer = client.buffered(spool=spool)
    for number in range(5, 10):
        writer.add(record(number))
    report = writer.close()

    assert (report.stored, report.spooled) == (8, 0)
    assert [refused.position for refused in report.refused] == [-1, 2]
    assert stored(transport) == [0, 1, 2, 4, 5, 6, 8, 9]
    assert {row.project for row in transport.rows[:4]} == {"left/over"}
    with sqlite3.connect(spool) as connection:
        assert connection.execute("select count(*) from refused").fetchall() == [(2,)]
    connection.close()


def test_what_is_on_its_way_when_it_closes_is_in_the_spool(
    client: plaudit.Client, transport: SlowTransport, spool: Path
) -> None:
    transport.open.clear()
    writer = client.buffered(spool=spool, linger=0)
    writer.add(record(0))
    time.sleep(0.05)
    writer.add(record(1))
    report = writer.close(timeout=0.05)

    assert (report.stored, report.pending, report.spooled) == (0, 0, 2)
    transport.open.set()
    with client.buffered(spool=spool) as again:
        assert again.flush().stored == 2
    assert set(stored(transport)) == {0, 1}


def test_disk_that_fails_leaves_records_in_memory(
    client: plaudit.Client,
    transport: SlowTransport,
    spool: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    transport.error = DOWN
    writer = client.buffered(spool=spool, linger=0)

    def full(items: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    assert writer._spool is not None
    monkeypatch.setattr(writer._spool, "append", full)
    writer.add(record(0))
    while "cannot be written; records stay in memory" not in caplog.text:
        report = writer.flush(timeout=0.05)
        assert (report.pending, report.spooled) == (1, 0)

    transport.error = None
    assert writer.close().stored == 1


def test_add_from_many_threads(running: RunningServer, project: str) -> None:
    client = running.client(project)
    with client.buffered(max_records=50) as writer:

        def add_some(thread: int) -> list[str]:
            return [writer.add(record(number, ref=f"urn:{thread}")) for number in range(100)]

        with ThreadPoolExecutor(8) as pool:
            ids = list(pool.map(add_some, range(8)))
        assert writer.flush().stored == 800
    for thread in range(8):
        assert [row.id for row in client.get_feedback(plaudit.field("ref") == f"urn:{thread}")] == ids[thread]


@pytest.mark.parametrize("with_spool", [True, False])
def test_everything_is_stored_once_over_a_network_that_breaks(
    running: RunningServer, project: str, spool: Path, with_spool: bool
) -> None:
    with (
        Network(running.target).running() as network,
        plaudit.Client(project, target=network.target, timeout=PATIENCE) as client,
    ):
        with client.buffered(max_records=100, linger=0.005, spool=spool if with_spool else None) as writer:
            for number in range(600):
                writer.add(record(number))
                if number % 50 == 0:
                    network.cut()
                    writer.flush()
                if number == 100:
                    network.go_down()
                while number == 110:
                    report = writer.flush(timeout=0.05)
                    if report.spooled == 10 or not with_spool:
                        assert report.stored == 101
                        break
                if number == 140:
                    network.come_back()
            report = writer.flush()
        assert network.connections > 5
        assert (report.stored, report.pending, report.spooled, report.refused_count) == (600, 0, 0, 0)
    assert [row.payload["n"] for row in running.client(project).get_feedback()] == list(range(600))


def run(code: str, running: RunningServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program of its own, with a client of the server as `client`."""
    program = f"""
import os, sys, time
import plaudit
client = plaudit.Client(sys.argv[2], target=sys.argv[1], timeout=50)
record = {{"ref": "urn:x", "feedback_type": "t"}}
{code}
"""
    # From 3.12 on Python warns of every fork beside a thread; that is what is tried here.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, running.target, *arguments]
    return subprocess.run(command, check=False, timeout=PATIENCE, capture_output=True, text=True)


def test_program_that_ends_stores_what_it_added(running: RunningServer, project: str) -> None:
    done = run("writer = client.buffered(linger=60)\nfor _ in range(10): writer.add(record)", running, project)

    assert (done.returncode, done.stderr) == (0, "")
    assert running.client(project).count() == 10


def test_program_that_ends_tells_what_it_could_not_store(running: RunningServer, project: str) -> None:
    code = """
client = plaudit.Client(sys.argv[2], target="127.0.0.1:1", timeout=0.2)
import plaudit._sync.buffered
plaudit._sync.buffered._EXIT_SECONDS = 0.2
writer = client.buffered()
for _ in range(3): writer.add(record)
"""
    done = run(code, running, project)

    assert "RuntimeWarning: 3 records of a plaudit buffer are not stored" in done.stderr


def test_killed_program_has_left_its_records_in_the_spool(running: RunningServer, project: str, spool: Path) -> None:
    code = """
client = plaudit.Client(sys.argv[2], target="127.0.0.1:1")
writer = client.buffered(spool=sys.argv[3])
for _ in range(7): writer.add(record)
while writer.flush(timeout=0.05).pending: pass
os.kill(os.getpid(), 9)
"""
    assert run(code, running, project, str(spool)).returncode == -signal.SIGKILL
    with running.client(project).buffered(spool=spool) as writer:
        assert writer.flush().stored == 7
    assert running.client(project).count() == 7


def test_forked_child_opens_a_buffer_of_its_own(running: RunningServer, project: str, spool: Path) -> None:
    code = """
with client.buffered(spool=sys.argv[3], linger=60) as writer:
    writer.add(record)
    child = os.fork()
    if child == 0:
        for call in (lambda: writer.add(record), writer.flush, writer.close):
            try:
                call()
            except RuntimeError as error:
                assert "open one in this process" in str(error)
            else:
                os._exit(3)
        with client.buffered() as own:
            own.add(record)
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    writer.add(record)
"""
    done = run(code, running, project, str(spool))

    assert (done.returncode, done.stderr) == (0, "")
    assert running.client(project).count() == 3


def test_logger_names_no_content(
    client: plaudit.Client, transport: SlowTransport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    transport.error = plaudit.InvalidArgumentError("the text s3cret is wrong")
    writer = client.buffered()
    writer.add(record(payload={"text": "s3cret"}))
    writer.close()

    assert "was refused" in caplog.text
    assert "s3cret" not in caplog.text
