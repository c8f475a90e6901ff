"""Ingest: all is stored once, whatever fails; input is read no faster than it is stored; refusals are reported."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

import plaudit
from plaudit import v1
from plaudit._contract import limits
from plaudit._sync.ingest import _Input
from plaudit._sync.interrupts import Interrupts
from plaudit_server.testing import RunningServer
from tests.client.fakes import PROJECT, REF, FakeTransport
from tests.client.network import Network

DOWN = plaudit.UnavailableError("down")
_projects = itertools.count()


@pytest.fixture(autouse=True)
def ctrl_c_raises() -> Iterator[None]:
    """As in a program of one's own, whatever an earlier test of this process has done with the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def project() -> str:
    """A project that no other test uses."""
    return f"ingest/p{next(_projects)}"


def record(number: int = 0, **fields: Any) -> dict[str, Any]:
    return {"ref": REF, "feedback_type": "t", "payload": {"n": number}, **fields}


def records(count: int) -> Iterator[dict[str, Any]]:
    return (record(number) for number in range(count))


class Picky:
    """Refuses the records whose `n` is named, and answers for the others."""

    def __init__(self, transport: FakeTransport, *refused: int) -> None:
        self._answer = transport.IngestFeedback
        self._refused = [f'{{"n":{n}}}' for n in refused]
        transport.IngestFeedback = self  # type: ignore[method-assign]

    def __call__(self, requests: Iterator[v1.IngestFeedbackRequest]) -> Iterator[v1.IngestFeedbackResponse]:
        for request in requests:
            rejected = [
                v1.RejectedFeedback(
                    index=index,
                    status=status_pb2.Status(
                        code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message=f"feedback[{index}].ref: no"
                    ),
                )
                for index, item in enumerate(request.feedback)
                if item.payload_json in self._refused
            ]
            yield v1.IngestFeedbackResponse(
                sequence=request.sequence,
                stored_count=len(request.feedback) - len(rejected),
                rejected=rejected,
                revision=100 + request.sequence,
            )


def test_records_go_in_numbered_requests_of_a_thousand(client: plaudit.Client, transport: FakeTransport) -> None:
    done = client.ingest(records(2500))

    assert (done.stored, done.refused, done.revision) == (2500, [], 2500)
    assert [(r.sequence, len(r.feedback), r.project) for r in transport.requests] == [
        (1, 1000, PROJECT),
        (2, 1000, PROJECT),
        (3, 500, PROJECT),
    ]
    assert len({item.id for request in transport.requests for item in request.feedback}) == 2500
    assert len(transport.streams) == 1


def test_nothing_to_store_opens_nothing(client: plaudit.Client, transport: FakeTransport) -> None:
    assert client.ingest([]) == plaudit.Ingested()
    assert transport.streams == []


def test_requests_are_cut_by_bytes_too(client: plaudit.Client, transport: FakeTransport) -> None:
    client.ingest(record(payload={"text": "x" * 900_000}) for _ in range(7))

    assert [len(request.feedback) for request in transport.requests] == [3, 3, 1]
    assert max(request.ByteSize() for request in transport.requests) <= limits.REQUEST_BYTES


class Stop(BaseException):
    """Like KeyboardInterrupt, which no code expects; KeyboardInterrupt itself would end the event loop."""


def test_endless_input_is_read_no_faster_than_it_is_stored(client: plaudit.Client, transport: FakeTransport) -> None:
    ahead = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal ahead
        for number in itertools.count():
            ahead = max(ahead, number - len(transport.rows))
            if number == 8_000:
                raise Stop
            yield record(number)

    with pytest.raises(Stop) as raised:
        client.ingest(endless())

    assert ahead <= 5001
    assert len(transport.rows) == 8000
    assert raised.value.__notes__ == ["8000 records are stored; go on at position 8000. "
                                      "Some came without an id: sending these again stores them twice."]  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 5500])
@pytest.mark.parametrize("operation", ["ingest", "create_batch"])
def test_what_was_read_is_stored_when_the_input_fails(
    client: plaudit.Client, transport: FakeTransport, operation: str, count: int
) -> None:
    def failing() -> Iterator[dict[str, Any]]:
        for number in range(count):
            yield record(number, id=f"0192d1f0-0000-7000-8000-{number:012x}")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more") as raised:
        getattr(client, operation)(failing())

    assert len(transport.rows) == count
    assert raised.value.__notes__ == [
        f"{count} records are stored; go on at position {count}. Sending all again with the same ids is safe."
    ]


@pytest.mark.parametrize(
    "failures", [[DOWN], [DOWN, DOWN, DOWN], [plaudit.ResourceExhaustedError("", retry_after=0.1)]]
)
def test_unanswered_requests_are_sent_again_on_a_new_stream(
    client: plaudit.Client, transport: FakeTransport, failures: list[Exception]
) -> None:
    transport.failures += failures
    done = client.ingest(records(6500))

    assert done.stored == 6500
    assert len(transport.streams) == 1 + len(failures)
    sent = [request.sequence for request in transport.requests]
    assert sent == [1] * len(failures) + list(range(1, 8))


def test_stream_that_the_server_ends_is_opened_again(client: plaudit.Client, transport: FakeTransport) -> None:
    answer = transport.IngestFeedback

    def two_answers(requests: Iterator[v1.IngestFeedbackRequest]) -> Iterator[Any]:
        return itertools.islice(answer(requests), 2)

    transport.IngestFeedback = two_answers  # type: ignore[method-assign]

    assert client.ingest(records(5500)).stored == 5500
    assert len(transport.streams) == 3


def test_outage_beyond_the_timeout_is_told_with_what_is_stored(
    client: plaudit.Client, transport: FakeTransport
) -> None:
    answer = transport.IngestFeedback

    def then_down(requests: Iterator[v1.IngestFeedbackRequest]) -> Iterator[Any]:
        if len(transport.streams) == 1:
            yield next(answer(requests))
        transport.time.now += 0.5
        yield DOWN

    transport.IngestFeedback = then_down  # type: ignore[method-assign]

    with pytest.raises(plaudit.UnavailableError, match="down") as raised:
        client.ingest(records(1700))
    assert raised.value.__notes__[0].startswith("1000 records are stored, 700 more may be")
    assert 15 < len(transport.streams) < 25


def test_first_refusal_ends_the_reading_and_is_raised(client: plaudit.Client, transport: FakeTransport) -> None:
    Picky(transport, 1500, 1501, 2500)
    read = []

    with pytest.raises(plaudit.InvalidArgumentError, match=r"feedback\[1500\]\.ref: no") as raised:
        client.ingest(record(number) for number in range(100_000) if not read.append(number))  # type: ignore[func-returns-value]

    # Requests in flight are answered first, so that the number is exact.
    assert raised.value.__notes__[0].startswith(
        f"{len(transport.requests) * 1000 - 3} records are stored; go on at position {len(transport.requests) * 1000}."
    )
    assert len(read) < 7000


def test_record_that_no_message_holds_ends_the_reading(client: plaudit.Client, transport: FakeTransport) -> None:
    with pytest.raises(plaudit.InvalidArgumentError, match=r"feedback\[2\]\.nonsense") as raised:
        client.ingest([record(0), record(1), record(2, nonsense=1), record(3)])

    assert raised.value.__notes__[0].startswith("2 records are stored;")
    assert [row.payload_json for row in transport.rows] == ['{"n":0}', '{"n":1}']


def test_partial_collects_the_refused_with_their_positions(client: plaudit.Client, transport: FakeTransport) -> None:
    Picky(transport, 7, 2500)
    given = [record(number) for number in range(3000)]
    given[5] = record(5, nonsense=1, id="0192AAAA-0000-7000-8000-000000000001")

    done = client.ingest(given, partial=True)

    assert done.stored == 2997
    assert sorted(refused.position for refused in done.refused) == [5, 7, 2500]
    errors = {refused.position: str(refused.error) for refused in done.refused}
    assert "feedback[5].nonsense" in errors[5]
    assert errors[2500] == "feedback[2500].ref: no"
    assert {r.position: r.id for r in done.refused}[5] == "0192aaaa-0000-7000-8000-000000000001"


def test_record_larger_than_a_request_is_refused_alone(client: plaudit.Client, transport: FakeTransport) -> None:
    reasons = {str(number): "é" * 10_000 for number in range(100)}
    large = record(scorer_tag_reasons=reasons, scorer_rating_reasons=reasons)

    done = client.ingest([record(0), large, record(2)], partial=True)

    assert done.stored == 2
    assert [(refused.position, refused.error.reason) for refused in done.refused] == [(1, "MESSAGE_TOO_LARGE")]
    with pytest.raises(plaudit.InvalidArgumentError, match=r"feedback\[0\] has \d+ bytes"):
        client.ingest([large])


def test_request_that_ends_the_stream_is_refused_and_the_others_go_on(
    client: plaudit.Client, transport: FakeTransport
) -> None:
    answer = transport.IngestFeedback

    def not_x(requests: Iterator[v1.IngestFeedbackRequest]) -> Iterator[Any]:
        for request in requests:
            if request.project == "x/y":
                yield plaudit.InvalidArgumentError("no such project")
            else:
                yield from answer(iter([request]))

    transport.IngestFeedback = not_x  # type: ignore[method-assign]

    done = client.ingest([record(0), record(1, project="x/y"), record(2), record(3, project="x/y")], partial=True)

    assert done.stored == 2
    assert [refused.position for refused in done.refused] == [1, 3]


def test_answer_to_another_request_is_a_defect(client: plaudit.Client, transport: FakeTransport) -> None:
    transport.IngestFeedback = lambda requests: iter([v1.IngestFeedbackResponse(sequence=7)])  # type: ignore[method-assign]

    with pytest.raises(plaudit.InternalError, match="answered message 7 in place of 1"):
        client.ingest(records(1))


def test_progress_is_told_after_each_answer(client: plaudit.Client) -> None:
    stored = []
    client.ingest(records(3500), progress=lambda done: stored.append(done.stored))

    assert stored == [1000, 2000, 3000, 3500]


@pytest.mark.parametrize("sized", [True, False])
def test_progress_bar_is_drawn_on_stderr(
    client: plaudit.Client, capsys: pytest.CaptureFixture[str], sized: bool
) -> None:
    client.ingest(list(records(1500)) if sized else records(1500), progress=True)

    printed = capsys.readouterr()
    assert "1,500 stored, 0 refused" in printed.err
    assert printed.out == ""


def test_everything_is_stored_once_over_a_network_that_breaks(running: RunningServer, project: str) -> None:
    chance = random.Random(3)
    total = 8_000
    with Network(running.target).running() as network, plaudit.Client(project, target=network.target) as client:

        def break_at_times(done: plaudit.Ingested) -> None:
            if chance.random() < 0.7:
                network.cut()

        done = client.ingest(records(total), progress=break_at_times)
        assert network.connections > 2
        assert (done.stored, done.revision) == (total, total)
        assert running.client(project).count() == total
        newest = client.get_feedback(order_by="-created_at", limit=100)
        assert [row.payload["n"] for row in newest] == list(range(total - 1, total - 101, -1))


def test_what_the_server_refuses_is_told_by_position(running: RunningServer, project: str) -> None:
    client = running.client(project)
    given = [record(0), record(1, ref="no uri"), record(2), record(3, feedback_type="wandb.note.1")]

    done = client.ingest(given, partial=True)

    assert done.stored == 2
    assert [refused.position for refused in done.refused] == [1, 3]
    assert "feedback[3].payload.note" in str(done.refused[1].error)
    assert client.count() == 2


@pytest.mark.parametrize("operation", ["ingest", "create_batch"])
@pytest.mark.parametrize(
    "key", [("ref", "feedback_type", "payload"), lambda given: [given["ref"], given["payload"]["n"]]]
)
def test_a_key_makes_a_rerun_safe(running: RunningServer, project: str, operation: str, key: Any) -> None:
    with plaudit.Client(project, target=running.target) as client:
        for count in (3, 5):
            assert getattr(client, operation)(records(count), key=key).stored == count
        assert client.count(None) == 5
        own = "0192d1f0-0000-7000-8000-000000000001"
        getattr(client, operation)([record(0, id=own)], key=key)
        assert client.get(own).id == own
        assert all(uuid.UUID(each.id).version == 5 for each in client.get_feedback() if each.id != own)


def test_a_key_is_names_of_fields_or_a_function(client: plaudit.Client, transport: FakeTransport) -> None:
    for wrong in ((), ("nope",), ("id",), ["ref", "version"]):
        with pytest.raises(ValueError, match="is no field of a record to store"):
            client.ingest(records(1), key=wrong)
    for other in ("ref", 5):
        with pytest.raises(TypeError, match="key is a tuple of names"):
            client.ingest(records(1), key=other)  # type: ignore[arg-type]
    result = client.ingest([record(0), record(1)], key=lambda given: {1} if given["payload"]["n"] else 0, partial=True)
    assert [(one.position, one.error.violations[0].field) for one in result.refused] == [(1, "feedback[1]")]
    assert len(transport.rows) == 1


def test_with_a_key_the_note_calls_a_rerun_safe(client: plaudit.Client) -> None:
    def failing() -> Iterator[dict[str, Any]]:
        yield record(0)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more") as raised:
        client.ingest(failing(), key=("ref", "payload"))
    assert raised.value.__notes__ == [
        "1 records are stored; go on at position 1. Sending all again with the same ids is safe."
    ]


def test_an_import_says_what_it_did_with_what_was_there(running: RunningServer, project: str) -> None:
    client = running.client(project)
    stamps = {"id": str(uuid.uuid4()), "created_at": "2020-01-01T00:00:00Z", "user_id": "ana"}
    old = record(1, **stamps, updated_at="2020-01-02T00:00:00Z")
    new = record(2, **(stamps | {"user_id": "ben"}), updated_at="2020-01-03T00:00:00Z")
    made = client.import_records([old])
    assert (made.stored, made.created, made.updated, made.kept) == (1, 1, 0, 0)
    with pytest.raises(plaudit.AlreadyExistsError):
        client.import_records([new])
    kept = client.import_records([new], existing="keep")
    assert (kept.stored, kept.created, kept.updated, kept.kept) == (1, 0, 0, 1)
    updated = client.import_records([new, old], existing="update")
    assert (updated.stored, updated.created, updated.updated, updated.kept) == (2, 0, 1, 1)
    assert client.import_records([new], existing="update").revision == updated.revision
    assert [(f.user_id, f.owner, f.payload) for f in client.history(old["id"])] == [
        ("ana", "ana", {"n": 1}),
        ("ben", "ana", {"n": 2}),
    ]
    with pytest.raises(ValueError, match="one of refuse, keep, update"):
        client.import_records([new], existing="merge")  # type: ignore[arg-type]


def test_of_a_slow_input_nothing_waits_for_more(running: RunningServer, project: str) -> None:
    """Each record is read by others before the next one comes, though none of them fills a request."""
    others = running.client(project)
    waits = []

    def slow() -> Iterator[dict[str, Any]]:
        for number in range(8):
            yield record(number)
            waits.append(wait_until(partial(counts, others, number + 1)))

    with plaudit.Client(project, target=running.target) as client:
        assert client.ingest(slow(), linger=0.02).stored == 8
    assert waits == [True] * 8
    assert [row.payload["n"] for row in others.get_feedback()] == list(range(8))


def test_of_a_slow_asynchronous_input_nothing_waits_for_more(running: RunningServer, project: str) -> None:
    others = running.client(project)
    waits = []

    async def slow() -> AsyncIterator[dict[str, Any]]:
        for number in range(8):
            yield record(number, created_at="2025-01-01")
            waits.append(await asyncio.to_thread(wait_until, partial(counts, others, number + 1)))

    async def run() -> int:
        async with plaudit.AsyncClient(project, target=running.target) as client:
            return (await client.import_records(slow(), linger=0.02)).stored

    assert asyncio.run(run()) == 8
    assert waits == [True] * 8


def counts(client: plaudit.Client, count: int) -> bool:
    return client.count() == count


def wait_until(holds: Callable[[], bool]) -> bool:
    """Whether it holds within ten seconds."""
    deadline = time.monotonic() + 10
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def test_a_slow_input_over_a_network_that_breaks(running: RunningServer, project: str) -> None:
    others = running.client(project)
    with Network(running.target).running() as network, plaudit.Client(project, target=network.target) as client:

        def slow() -> Iterator[dict[str, Any]]:
            for number in range(30):
                yield record(number)
                if number % 10 == 3:
                    wait_until(lambda: others.count() > 0)
                    network.cut()
                    time.sleep(0.05)  # two times the linger: what is sent now has no connection

        assert client.ingest(slow(), linger=0.02).stored == 30
    assert others.count() == 30


def test_a_refusal_ends_a_slow_input(running: RunningServer, project: str) -> None:
    read = []

    def slow() -> Iterator[dict[str, Any]]:
        for number in range(100):
            read.append(number)
            yield record(number, ref="no uri" if number == 2 else REF)
            time.sleep(0.02)

    with plaudit.Client(project, target=running.target) as client:
        with pytest.raises(plaudit.InvalidArgumentError, match=r"feedback\[2\].ref"):
            client.ingest(slow(), linger=0.01)
        assert len(read) < 100


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_what_progress_raises_ends_a_slow_input(running: RunningServer, project: str, kind: str) -> None:
    def tell(done: plaudit.Ingested) -> None:
        raise RuntimeError(f"{done.stored} are enough")

    def slow() -> Iterator[dict[str, Any]]:
        for number in range(100):
            yield record(number)
            time.sleep(0.02)

    async def slow_too() -> AsyncIterator[dict[str, Any]]:
        for number in range(100):
            yield record(number)
            await asyncio.sleep(0.02)

    async def run_too() -> None:
        async with plaudit.AsyncClient(project, target=running.target) as client:
            await client.ingest(slow_too(), linger=0.01, progress=tell)

    def run() -> None:
        running.client(project).ingest(slow(), linger=0.01, progress=tell)

    with pytest.raises(RuntimeError, match="are enough") as raised:
        asyncio.run(run_too()) if kind == "asyncio" else run()
    assert running.client(project).count() < 100
    assert "records are stored" in raised.value.__notes__[0]


def test_linger_is_above_zero(client: plaudit.Client) -> None:
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="linger is a number of seconds above 0"):
            client.ingest(records(1), linger=wrong)


@pytest.mark.parametrize("key", [None, ("ref", "payload")])
def test_an_interrupted_batch_says_where_to_go_on(client: plaudit.Client, transport: FakeTransport, key: Any) -> None:
    answer = transport.BatchCreateFeedback

    def interrupted(request: v1.BatchCreateFeedbackRequest) -> v1.BatchCreateFeedbackResponse:
        if transport.calls == 3:
            raise Stop
        return answer(request)

    transport.BatchCreateFeedback = interrupted  # type: ignore[method-assign]

    with pytest.raises(Stop) as raised:
        client.create_batch(records(2500), key=key)
    [note] = raised.value.__notes__
    assert note.startswith("2000 records are stored, 500 more may be; go on at position 2000.")
    assert ("is safe" in note) == (key is not None)


def test_a_server_that_goes_away_in_a_batch_says_where_to_go_on(
    client: plaudit.Client, transport: FakeTransport
) -> None:
    transport.failures += [DOWN]
    with pytest.raises(plaudit.UnavailableError) as raised:
        client.create_batch(records(5))
    assert raised.value.__notes__ == [
        "0 records are stored, 5 more may be; go on at position 0. "
        "Some came without an id: sending these again stores them twice."
    ]


def test_an_input_that_raises_an_error_of_plaudit_is_an_input_that_fails(
    client: plaudit.Client, transport: FakeTransport
) -> None:
    def failing() -> Iterator[dict[str, Any]]:
        yield from records(1200)
        raise plaudit.NotFoundError("of another server")

    for operation in (client.create_batch, client.ingest):
        transport.rows.clear()
        with pytest.raises(plaudit.NotFoundError) as raised:
            operation(failing())
        assert len(transport.rows) == 1200
        assert raised.value.__notes__[0].startswith("1200 records are stored; go on at position 1200.")


JOB = """
import os, signal, sys, threading, time
import plaudit

project, target, operation = sys.argv[1:]
client = plaudit.Client(project, target=target)
read = 0

def source():
    global read
    while True:
        read += 1
        yield {"ref": "urn:x:1", "feedback_type": "t", "payload": {"n": read}}

threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    getattr(client, operation)(source())
except KeyboardInterrupt as error:
    print(read, client.count(), *error.__notes__, sep="|")
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


@pytest.mark.parametrize("operation", ["ingest", "create_batch"])
def test_what_was_read_before_ctrl_c_is_stored(running: RunningServer, project: str, operation: str) -> None:
    """The signal comes while records are cut, sent or answered: nearly never while the input is waited for."""
    done = subprocess.run(
        [sys.executable, "-c", JOB, project, running.target, operation],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    read, stored, note = done.stdout.strip().split("|")
    assert int(read) > 0
    assert int(read) - int(stored) in (0, 1)  # the input itself may have been interrupted, after it had counted
    assert note.startswith(f"{stored} records are stored; go on at position {stored}. Some came without an id")


def test_a_second_ctrl_c_ends_at_once(transport: FakeTransport) -> None:
    answer = transport.IngestFeedback

    def twice(requests: Iterator[v1.IngestFeedbackRequest]) -> Iterator[Any]:
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        yield from answer(requests)

    transport.IngestFeedback = twice  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt) as raised:
        plaudit.Client(PROJECT, transport=transport).ingest(records(10))
    assert raised.value.__notes__[0].startswith("0 records are stored, 10 more may be; go on at position 0.")


def test_ctrl_c_after_the_input_has_ended_is_not_lost(transport: FakeTransport) -> None:
    answer = transport.IngestFeedback

    def once(requests: Iterator[v1.IngestFeedbackRequest]) -> Iterator[Any]:
        signal.raise_signal(signal.SIGINT)
        yield from answer(requests)

    transport.IngestFeedback = once  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt, match="after everything was stored"):
        plaudit.Client(PROJECT, transport=transport).ingest([record()])
    assert len(transport.rows) == 1


def test_ctrl_c_while_another_thread_waits_for_the_server_ends_its_wait() -> None:
    entered, cancelled = threading.Event(), threading.Event()

    def wait_for_the_server() -> None:
        with reading.waited_for() as is_waited_for:
            entered.set()
            assert is_waited_for
            assert cancelled.wait(10)

    def read() -> None:
        with reading:
            thread.start()
            assert entered.wait(10)
            for seconds in (0.05, 0.1):  # the first one is held back, since something is being stored
                threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()

    thread = threading.Thread(target=wait_for_the_server)
    interrupts = Interrupts()
    reading = _Input(interrupts, cancelled.set)
    with pytest.raises(KeyboardInterrupt), interrupts:
        read()
    thread.join(10)
    assert not thread.is_alive()
    with reading.waited_for() as is_waited_for:
        assert not is_waited_for
