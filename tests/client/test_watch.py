"""Watching: each change once, in order, over as many streams as needed; the caller may end it at any time."""

from __future__ import annotations

import itertools
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import plaudit
from plaudit import v1
from plaudit._contract.uuid7 import uuid7
from plaudit._core.lines import change_line
from plaudit._core.position import Position
from plaudit._relay.event import FORMS, Event
from plaudit._sync.watch import Watch
from plaudit_server.testing import RunningServer
from tests.client.fakes import PROJECT, FakeTransport, message
from tests.client.network import Network

CREATED = v1.ChangeKind.CHANGE_KIND_CREATED
DOWN = plaudit.UnavailableError("down")
_projects = itertools.count()


@pytest.fixture
def project() -> str:
    """A project that no other test uses."""
    return f"watch/p{next(_projects)}"


def told(*revisions: int, upto: int | None = None) -> v1.WatchFeedbackResponse:
    """A response of a stream: changes of these revisions, and everything up to `upto`."""
    changes = [v1.Change(kind=CREATED, revision=n, feedback=message(n)) for n in revisions]
    return v1.WatchFeedbackResponse(changes=changes, revision=revisions[-1] if upto is None else upto)


def watch_of(transport: FakeTransport, *scripts: Any, after: int | None = 0) -> Watch:
    transport.scripts += scripts
    return Watch(transport, Position(PROJECT, after, None))


def seen(watch: Watch, count: int) -> list[int]:
    return [change.revision for change in itertools.islice(watch, count)]


def asked(transport: FakeTransport) -> list[int | None]:
    """The revision after which each stream was asked to begin."""
    return [r.after_revision if r.HasField("after_revision") else None for r in transport.requests]


def test_changes_come_in_order_and_revision_follows_what_was_given_out(transport: FakeTransport) -> None:
    watch = watch_of(transport, [told(upto=0), told(1, 2, upto=2), told(upto=7), told(9)])

    assert watch.revision == 0
    assert next(watch).revision == 1
    assert watch.revision == 1
    assert next(watch).feedback == plaudit.Feedback(message(2))
    assert next(watch).revision == 9
    assert watch.revision == 9


def test_heartbeats_move_the_revision(transport: FakeTransport) -> None:
    watch = watch_of(transport, [told(upto=3), told(upto=5), told(6), plaudit.InvalidArgumentError("end")], after=3)

    assert next(watch).revision == 6
    with pytest.raises(plaudit.InvalidArgumentError):
        next(watch)
    assert watch.revision == 6


def test_watch_from_now_learns_where_now_is_before_it_returns(transport: FakeTransport) -> None:
    watch = watch_of(transport, [told(upto=41), DOWN], [told(upto=41), told(42)], after=None)

    assert watch.revision == 41
    assert seen(watch, 1) == [42]
    assert asked(transport) == [None, 41]


@pytest.mark.parametrize(
    "end",
    [[DOWN], [], [plaudit.ResourceExhaustedError("too slow", retry_after=0.01)]],
    ids=["unavailable", "drained", "too slow"],
)
def test_broken_stream_is_opened_again_where_it_was(transport: FakeTransport, end: list[Exception]) -> None:
    watch = watch_of(
        transport, [told(upto=0), told(1, 2), *end], [DOWN], [told(upto=2), told(3, upto=5), *end], [told(6)]
    )

    assert seen(watch, 4) == [1, 2, 3, 6]
    assert asked(transport) == [0, 2, 2, 5]


def test_a_stream_that_is_opened_again_says_of_which_store_the_revision_is(transport: FakeTransport) -> None:
    first = v1.WatchFeedbackResponse(revision=0, store_id="aa")
    changed = plaudit.StoreChangedError("restored", reason="STORE_CHANGED")
    watch = watch_of(transport, [first, told(1), DOWN], [first, told(2), DOWN], [changed])

    assert watch.store_id == "aa"
    assert seen(watch, 2) == [1, 2]
    with pytest.raises(plaudit.StoreChangedError):
        next(watch)
    assert [request.store_id for request in transport.requests] == ["", "aa", "aa"]


def test_a_position_that_was_kept_says_of_which_store_it_is(transport: FakeTransport) -> None:
    transport.scripts += [[told(upto=4)]]
    watch = Watch(transport, Position(PROJECT, 4, None, "aa"))

    assert transport.requests[0].store_id == watch.store_id == "aa"


def test_outage_of_any_length_is_waited_out(transport: FakeTransport) -> None:
    watch = watch_of(transport, [told(1)], *([DOWN] for _ in range(20)), [told(2)])
    transport.time.now += 10_000

    assert seen(watch, 2) == [1, 2]


def test_first_connection_must_succeed(transport: FakeTransport) -> None:
    with pytest.raises(plaudit.PermissionDeniedError):
        watch_of(transport, [plaudit.PermissionDeniedError("no")])

    def late() -> Iterator[Any]:
        transport.time.now += 4.0
        yield DOWN

    with pytest.raises(plaudit.UnavailableError, match="down"):
        watch_of(transport, *(late() for _ in range(5)))
    assert len(transport.requests) == 1 + 3


def test_error_that_does_not_pass_is_raised(transport: FakeTransport) -> None:
    watch = watch_of(transport, [told(1), DOWN], [plaudit.InvalidArgumentError("the store is older than that")])

    assert seen(watch, 1) == [1]
    with pytest.raises(plaudit.InvalidArgumentError):
        next(watch)


def test_closed_watch_gives_nothing_more(transport: FakeTransport) -> None:
    with watch_of(transport, [told(1, 2, 3)]) as watch:
        assert next(watch).revision == 1
    watch.close()

    assert list(watch) == []
    assert watch.revision == 1
    assert transport.streams[0].is_cancelled
    assert repr(watch) == "Watch(revision=1, closed)"


def test_no_answer_at_all_is_an_error_within_the_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        client = plaudit.Client(PROJECT, target=target, timeout=0.3)
        with client, pytest.raises(plaudit.UnavailableError, match="no answer to the watch"):
            client.watch()
        assert time.monotonic() - started < 10


def record(number: int, **fields: Any) -> dict[str, Any]:
    return {"ref": "urn:x", "feedback_type": "t", "payload": {"n": number}, **fields}


def test_kinds_of_change(running: RunningServer, project: str) -> None:
    client = running.client(project)
    first, second = client.create_batch([record(1), record(2)])
    with client.watch(after=0) as watch:
        assert next(watch) == plaudit.Change(1, "created", first, None)
        replaced = client.replace({**second.to_dict(), "payload": {"n": 3}})
        client.purge([first.id])

        changes = list(itertools.islice(watch, 3))

    assert [(change.revision, change.kind, change.id) for change in changes] == [
        (2, "created", second.id),
        (3, "replaced", second.id),
        (4, "purged", first.id),
    ]
    assert changes[1].feedback == replaced
    assert changes[2].feedback is None
    assert isinstance(changes[2].tombstone, plaudit.Tombstone)
    assert changes[2].tombstone.user_id == "anonymous"


def test_query_and_start(running: RunningServer, project: str) -> None:
    client = running.client()
    client.create_batch([record(n) for n in range(10)], project=project)

    with client.watch(project, after=4, query=plaudit.field("payload.n") > 6) as watch:
        assert [change.feedback.payload["n"] for change in itertools.islice(watch, 3) if change.feedback] == [7, 8, 9]
    with pytest.raises(plaudit.InvalidArgumentError, match="above the project's revision"):
        client.watch(project, after=11)


def test_what_comes_after_the_call_is_seen(running: RunningServer, project: str) -> None:
    client = running.client(project)
    client.create(record(1))
    with client.watch() as watch:
        client.create(record(2))
        assert next(watch).revision == 2


def test_close_from_another_thread_ends_the_wait(running: RunningServer, project: str) -> None:
    watch = running.client(project).watch()
    closer = threading.Timer(0.1, watch.close)
    closer.start()

    assert list(watch) == []
    closer.join()


def test_each_change_once_and_in_order_over_a_network_that_breaks(running: RunningServer, project: str) -> None:
    chance = random.Random(5)
    total = 200
    with Network(running.target).running() as network, plaudit.Client(project, target=network.target) as client:
        watch = client.watch()
        written: list[plaudit.Feedback] = []

        def write() -> None:
            written.extend(running_client.create(record(number)) for number in range(total))

        running_client = running.client(project)
        writer = threading.Thread(target=write)
        writer.start()
        found = []
        for change in watch:
            found.append(change)
            if chance.random() < 0.08:
                network.cut()
            if len(found) == total:
                break
        writer.join()
        watch.close()
        assert network.connections > 2
    assert [change.revision for change in found] == list(range(1, total + 1))
    assert [change.feedback for change in found] == written


FORK = """
import os, sys
import plaudit

client = plaudit.Client(sys.argv[2], target=sys.argv[1])
record = {"ref": "urn:x", "feedback_type": "t"}
first, second, third = client.create_batch([record] * 3)
watch = client.watch(after=0)
assert next(watch).id == first.id
child = os.fork()
if child == 0:
    ok = next(watch).id == second.id and next(watch).id == third.id
    watch.close()
    sys.exit(0 if ok else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert next(watch).id == second.id
assert client.create(record).id
assert [next(watch).revision for _ in range(2)] == [3, 4]
watch.close()
client.close()
"""


def test_forked_child_and_parent_go_on_each_by_itself(running: RunningServer, project: str) -> None:
    command = [sys.executable, "-c", FORK, running.target, project]
    subprocess.run(command, check=True, timeout=30, env={**os.environ})


def test_ids_of_changes(transport: FakeTransport) -> None:
    id = uuid7()
    purged = v1.Change(kind=v1.ChangeKind.CHANGE_KIND_PURGED, tombstone=v1.Tombstone(id=id, revision=3), revision=3)
    change = plaudit.Change.from_proto(purged)

    assert change is not None
    assert (change.id, change.kind, change.feedback) == (id, "purged", None)


def test_kinds_of_a_newer_server_are_passed_over_and_the_revision_is_kept(transport: FakeTransport) -> None:
    newer: Any = 99
    unknown_kind = v1.Change(kind=newer, revision=2, feedback=message(2))
    unknown_subject = v1.Change(kind=newer, revision=4)
    response = v1.WatchFeedbackResponse(
        changes=[told(1).changes[0], unknown_kind, told(3).changes[0], unknown_subject], revision=4
    )
    watch = watch_of(transport, [told(upto=0), response, told(5)])
    assert seen(watch, 2) == [1, 3]
    assert watch.revision == 3
    assert seen(watch, 1) == [5]
    # A stream that breaks after nothing but such changes is continued behind them.
    again = watch_of(
        transport,
        [told(upto=5), v1.WatchFeedbackResponse(changes=[unknown_subject], revision=7), DOWN],
        [told(8)],
        after=5,
    )
    assert seen(again, 1) == [8]
    assert asked(transport)[-1] == 7


def test_what_retention_removed_is_a_change_without_a_record(transport: FakeTransport) -> None:
    removed = v1.Retained(feedback_type="note", count=7)
    removed.before.FromJsonString("2026-01-02T03:04:05.000006Z")
    removed.removed_at.FromJsonString("2026-02-02T03:04:05Z")
    change = v1.Change(kind=v1.ChangeKind.CHANGE_KIND_RETAINED, revision=2, retained=removed)
    watch = watch_of(transport, [told(1), v1.WatchFeedbackResponse(changes=[change], revision=2)])
    _, found = itertools.islice(watch, 2)
    assert (found.kind, found.id, found.feedback, found.tombstone) == ("retained", "", None, None)
    assert found.retained is not None
    assert (found.retained.feedback_type, found.retained.count) == ("note", 7)
    assert "7" in str(found)
    assert json.loads(change_line(found)) == {
        "change": "retained",
        "revision": 2,
        "retained": {
            "feedback_type": "note",
            "before": "2026-01-02T03:04:05.000006Z",
            "count": 7,
            "removed_at": "2026-02-02T03:04:05.000000Z",
        },
    }
    event = Event("s", "acme/chat", found)
    assert (event.type, event.ref, event.time) == ("feedback.retained", "", found.retained.removed_at)
    for form in FORMS:
        data = json.loads(event.body(form))["data"]
        assert (data["id"], data["revision"], data["retained"]["count"]) == ("", 2, 7)
