"""The client against a real server: what the tests with fakes assume."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import plaudit
from plaudit import v1
from plaudit._contract.uuid7 import uuid7
from plaudit._core.retry import Retry
from plaudit._wire.grpc import GrpcTransport
from plaudit._wire.grpc_aio import GrpcAsyncTransport
from plaudit._wire.methods import Method
from plaudit_server.testing import RunningServer
from tests.client.blocking import Loop, blocking_client


class Counted:
    """A transport that counts the calls of another."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.names: list[str] = []

    def unary(self, method: Method[Any, Any], request: Any, *, retried: bool = True, **options: Any) -> Any:
        self.names.append(method.name)
        return self.inner.unary(method, request, retried=retried, **options)

    def stream(self, method: Method[Any, Any], request: Any, **options: Any) -> Any:
        self.names.append(method.name)
        return self.inner.stream(method, request, **options)

    def both_streams(self, method: Method[Any, Any], requests: Iterator[Any], **options: Any) -> Any:
        self.names.append(method.name)
        return self.inner.both_streams(method, requests, **options)

    def retry(self, patience: float | None = None) -> Retry:
        return GrpcTransport.retry(self.inner, patience)

    def close(self) -> None:
        self.inner.close()


class AsyncCounted(Counted):
    """The same for an AsyncClient."""

    async def unary(self, method: Method[Any, Any], request: Any, *, retried: bool = True, **options: Any) -> Any:
        self.names.append(method.name)
        return await self.inner.unary(method, request, retried=retried, **options)

    def both_streams(self, method: Method[Any, Any], **options: Any) -> Any:  # type: ignore[override]
        self.names.append(method.name)
        return self.inner.both_streams(method, **options)

    def retry(self, patience: float | None = None) -> Retry:
        return GrpcAsyncTransport.retry(self.inner, patience)

    async def close(self) -> None:  # type: ignore[override]
        await self.inner.close()


@pytest.fixture(params=["blocking", "asyncio"])
def client(request: pytest.FixtureRequest, running: RunningServer, loop: Loop) -> Iterator[Any]:
    if request.param == "blocking":
        blocking = running.client()
        blocking.transport = Counted(blocking.transport)
        yield blocking
        return
    with blocking_client("acme/chat", loop, target=running.target) as of_asyncio:
        of_asyncio.transport = AsyncCounted(of_asyncio.transport)
        yield of_asyncio


@pytest.fixture
def ref(client: plaudit.Client) -> plaudit.RefFeedbackQuery:
    """A ref of its own for each test."""
    return client.ref(f"weave:///acme/chat/call/{uuid7()}")


def calls(client: plaudit.Client) -> list[str]:
    assert isinstance(client.transport, Counted)
    names, client.transport.names = client.transport.names, []
    return names


def test_refresh_is_one_small_call_until_something_is_stored(
    client: plaudit.Client, ref: plaudit.RefFeedbackQuery
) -> None:
    ref.add_note("a")
    first = ref.execute()
    calls(client)

    assert ref.refresh() == first
    assert calls(client) == ["QueryFeedback"]

    client.ref(ref.ref).add_note("b")
    calls(client)
    assert [row.payload["note"] for row in ref.refresh()] == ["a", "b"]
    assert calls(client) == ["QueryFeedback", "QueryFeedback"]


def test_what_the_server_refuses_is_told_with_its_paths(ref: plaudit.RefFeedbackQuery) -> None:
    with pytest.raises(plaudit.InvalidArgumentError) as raised:
        ref.add_note("x" * 10_001)

    assert raised.value.reason == "INVALID_FIELD"
    assert [violation.field for violation in raised.value.violations] == ["feedback.payload.note"]
    assert raised.value.request_id


def test_stored_record_may_be_stored_again(client: plaudit.Client, ref: plaudit.RefFeedbackQuery) -> None:
    stored = client.create({"ref": ref.ref, "feedback_type": "t", "payload": {"z": 1, "a": 2**53 + 1}})

    assert client.create(stored.to_dict()) == stored
    assert list(ref) == [stored]


def test_batch_over_several_requests_and_back(client: plaudit.Client, ref: plaudit.RefFeedbackQuery) -> None:
    stored = client.create_batch(
        {"ref": ref.ref, "feedback_type": "t", "payload": {"text": "é" * 3000, "n": number}} for number in range(1200)
    )

    assert calls(client) == ["BatchCreateFeedback"] * 3
    assert [row.payload["n"] for row in stored] == list(range(1200))
    assert list(ref) == stored
    assert client.purge(query=plaudit.field("ref") == ref.ref) == 1200
    assert not ref.refresh()


def test_partial_batch_keeps_the_good_ones(client: plaudit.Client, ref: plaudit.RefFeedbackQuery) -> None:
    good, bad = {"ref": ref.ref, "feedback_type": "t"}, {"ref": "no uri", "feedback_type": "t"}

    first, second, third = client.create_batch([good, bad, good], partial=True)

    assert isinstance(second, plaudit.InvalidArgumentError)
    assert list(ref) == [first, third]


def test_replace_and_history_to_the_tombstone(client: plaudit.Client, ref: plaudit.RefFeedbackQuery) -> None:
    first = client.create({"ref": ref.ref, "feedback_type": "t", "payload": {"score": 1}})

    second = client.replace({**first.to_dict(), "payload": {"score": 2}}, expected_version=1)
    again = client.replace({**first.to_dict(), "payload": {"score": 2}}, expected_version=1)

    assert (second.version, second.payload, second.created_at) == (2, {"score": 2}, first.created_at)
    assert again == second
    history = client.history(first.id.upper())
    assert list(history) == [first, second]
    assert history.tombstone is None
    with pytest.raises(plaudit.AbortedError, match="has version 2, not 1"):
        client.replace({**first.to_dict(), "payload": {"score": 3}}, expected_version=1)

    client.purge([first.id])
    history = client.history(first.id)
    assert list(history) == []
    assert history.tombstone is not None
    assert (history.tombstone.id, history.tombstone.ref, history.tombstone.feedback_type) == (first.id, ref.ref, "t")
    assert history.tombstone.purged_at > second.updated_at


@pytest.mark.parametrize("id", ["0192aaaa-0000-7000-8000-000000000001", "f2"])
def test_what_is_not_there_has_no_versions_and_can_not_be_replaced(client: plaudit.Client, id: str) -> None:
    with pytest.raises(plaudit.NotFoundError):
        client.replace({"id": id, "ref": "urn:x", "feedback_type": "t"})
    with pytest.raises(plaudit.NotFoundError):
        client.history(id)


def test_import_keeps_what_else_only_the_server_sets(running: RunningServer, client: plaudit.Client) -> None:
    imported, moved_to = f"imported/{uuid7()}", f"moved/{uuid7()}"
    record = {"ref": "urn:x", "feedback_type": "t", "payload": {"n": 5.0}, "created_at": "2020-02-03T04:05:06.789012Z"}
    given = {"updated_at": datetime(2021, 2, 3, tzinfo=UTC), "user_id": "bob", "version": 3}

    done = client.import_records([record | given, record], project=imported)
    [first, second] = client.get_feedback(project=imported)
    moved = client.import_records((f.to_dict() | {"project": None} for f in (first, second)), project=moved_to)

    assert (done.stored, done.refused, done.revision, moved.stored) == (2, [], 2, 2)
    assert first.created_at == datetime(2020, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
    assert (first.updated_at, first.user_id, first.version) == (given["updated_at"], "bob", 3)
    assert list(client.get_feedback(project=moved_to, order_by="id")) != []
    copies = {f.id: f.to_dict() | {"project": ""} for f in client.get_feedback(project=moved_to)}
    assert copies == {f.id: f.to_dict() | {"project": ""} for f in (first, second)}


def test_import_of_what_was_read_keeps_payloads_to_the_character(client: plaudit.Client) -> None:
    message = v1.Feedback(id=uuid7(), project=f"read/{uuid7()}", ref="urn:x", feedback_type="t", version=1)
    message.payload_json = '{"a": 5.00, "b": 1E5}'
    message.created_at.GetCurrentTime()

    assert client.import_records([plaudit.Feedback(message)]).stored == 1
    [read] = client.get_feedback(project=message.project)
    assert read.payload_json == message.payload_json


def test_import_without_a_time_is_refused(client: plaudit.Client) -> None:
    done = client.import_records([{"ref": "urn:x", "feedback_type": "t"}], partial=True)

    assert [refused.position for refused in done.refused] == [0]
    assert "created_at" in str(done.refused[0].error)


FORK = """
import os, sys, threading
import plaudit

client = plaudit.Client(sys.argv[2], target=sys.argv[1])
record = {"ref": "urn:x", "feedback_type": "t"}
watch = client.watch(after=0)
seen = []
threading.Thread(target=lambda: seen.extend(change.revision for change in watch), daemon=True).start()
running = True

def call():
    while running:
        client.count()

def records():
    while running:
        yield record

ingested = []
callers = [threading.Thread(target=call) for _ in range(3)]
callers.append(threading.Thread(target=lambda: ingested.append(client.ingest(records()))))
for caller in callers:
    caller.start()
with client.buffered(linger=0.001) as writer:
    for _ in range(4):
        for _ in range(20):
            writer.add(record)
        child = os.fork()
        if child == 0:
            client.create(record)
            with client.watch(after=0) as own:
                next(own)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    running = False
for caller in callers:
    caller.join()
last = client.create(record).revision
assert last == ingested[0].stored + 4 * 20 + 4 + 1, (last, ingested)
while not seen or seen[-1] < last:
    pass
assert seen == list(range(1, last + 1))
watch.close()
client.close()
"""


def test_forks_while_every_kind_of_call_is_under_way(running: RunningServer) -> None:
    # From 3.12 on Python warns of every fork beside a thread; that is what is tried here.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, running.target, "acme/forks"]
    done = subprocess.run(command, check=False, timeout=60, capture_output=True, text=True)

    # grpcio 1.66 may lose a connection to a fork: the client says so, and connects again.
    said = [line for line in done.stderr.splitlines() if not line.endswith("; trying again")]
    assert (done.returncode, said) == (0, [])
