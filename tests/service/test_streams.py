"""IngestFeedback, ImportFeedback and WatchFeedback on the wire: answers in order, each change once, resumable."""

from __future__ import annotations

import gc
import itertools
import json
import queue
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

import plaudit_server.testing
from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import (
    Change,
    ChangeKind,
    Comparison,
    ComparisonOp,
    CreateFeedbackRequest,
    ExistingFeedback,
    Expression,
    Feedback,
    FeedbackServiceStub,
    GetFeedbackRequest,
    ImportFeedbackRequest,
    ImportFeedbackResponse,
    IngestFeedbackRequest,
    ListFeedbackVersionsRequest,
    Literal,
    PurgeFeedbackRequest,
    Query,
    QueryFeedbackRequest,
    ReplaceFeedbackRequest,
    WatchFeedbackRequest,
)
from tests.service.status import refusal

_projects = itertools.count()


@pytest.fixture
def project() -> str:
    """A project that no other test uses."""
    return f"streams/p{next(_projects)}"


def feedback(project: str, n: int, id: str = "", feedback_type: str = "t") -> Feedback:
    ref = f"weave:///{project}/call/{n % 5}"
    return Feedback(id=id or uuid7(), ref=ref, feedback_type=feedback_type, payload_json=json.dumps({"n": n}))


def rows(stub: FeedbackServiceStub, project: str) -> list[Feedback]:
    return list(stub.QueryFeedback(QueryFeedbackRequest(project=project)).feedback)


# ── Ingest and import ────────────────────────────────────────────────────────────────────────────────────


def test_each_message_is_answered_in_order_with_what_became_of_it(stub: FeedbackServiceStub, project: str) -> None:
    def messages() -> Iterator[IngestFeedbackRequest]:
        for sequence in range(10):
            items = [feedback(project, 10 * sequence + n) for n in range(10)]
            items[3].id = "" if sequence == 4 else items[3].id
            items[5].feedback_type = "" if sequence == 7 else "t"
            yield IngestFeedbackRequest(project=project, sequence=sequence, feedback=items)

    answers = list(stub.IngestFeedback(messages()))
    assert [answer.sequence for answer in answers] == list(range(10))
    assert [answer.stored_count for answer in answers] == [10, 10, 10, 10, 9, 10, 10, 9, 10, 10]
    rejected = {a.sequence: [(r.index, r.status.code) for r in a.rejected] for a in answers if a.rejected}
    invalid = grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert rejected == {4: [(3, invalid)], 7: [(5, invalid)]}
    stored = rows(stub, project)
    assert [row.revision for row in stored] == list(range(1, 99))
    assert answers[-1].revision == 98
    numbers = [json.loads(row.payload_json)["n"] for row in stored]
    assert numbers == sorted(numbers)


def test_a_message_is_answered_without_waiting_for_the_next(stub: FeedbackServiceStub, project: str) -> None:
    outgoing: queue.Queue[IngestFeedbackRequest | None] = queue.Queue()
    answers = stub.IngestFeedback(iter(outgoing.get, None), timeout=10)
    for sequence in range(3):
        items = [feedback(project, sequence)]
        outgoing.put(IngestFeedbackRequest(project=project, sequence=sequence, feedback=items))
        assert next(answers).sequence == sequence
    outgoing.put(None)
    assert list(answers) == []


def test_a_stream_that_is_sent_again_stores_nothing_twice(stub: FeedbackServiceStub, project: str) -> None:
    items = [feedback(project, n) for n in range(50)]

    def messages(start: int) -> Iterator[IngestFeedbackRequest]:
        for sequence in range(start, 5):
            part = items[10 * sequence : 10 * sequence + 10]
            yield IngestFeedbackRequest(project=project, sequence=sequence, feedback=part)

    first = stub.IngestFeedback(messages(0))
    for _ in range(3):
        last = next(first).sequence
    first.cancel()  # the client dies; messages 3 and 4 may have been stored, or not
    answers = list(stub.IngestFeedback(messages(last + 1)))
    assert [answer.stored_count for answer in answers] == [10, 10]
    again = list(stub.IngestFeedback(messages(0)))
    assert [answer.stored_count for answer in again] == [10] * 5
    assert sorted(row.id for row in rows(stub, project)) == sorted(item.id for item in items)


def test_a_bad_message_ends_the_stream_after_the_answers_before_it(stub: FeedbackServiceStub, project: str) -> None:
    good = IngestFeedbackRequest(project=project, sequence=1, feedback=[feedback(project, 1)])
    answers = stub.IngestFeedback(iter([good, IngestFeedbackRequest(project="nonsense", sequence=2)]))
    assert next(answers).sequence == 1
    refused = refusal(lambda: next(answers))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert len(rows(stub, project)) == 1


def test_what_a_refused_stream_has_sent_is_freed_at_once(stub: FeedbackServiceStub, project: str) -> None:
    """Without the collector of cycles: messages are megabytes."""

    def kept() -> int:
        return sum(isinstance(item, grpc.aio.AbortError) for item in gc.get_objects())

    gc.collect()
    before = kept()
    gc.disable()
    try:
        empty = IngestFeedbackRequest(project=project)
        for _ in range(10):
            assert refusal(lambda: list(stub.IngestFeedback(iter([empty])))).reason == "INVALID_FIELD"
        assert kept() - before < 5
    finally:
        gc.enable()


def test_an_import_keeps_what_the_server_sets_otherwise(stub: FeedbackServiceStub, project: str) -> None:
    old = feedback(project, 1)
    old.created_at.FromJsonString("2020-02-03T04:05:06.789012Z")
    old.updated_at.FromJsonString("2021-02-03T04:05:06Z")
    old.user_id, old.version = "bob", 3
    [answer] = stub.ImportFeedback(iter([ImportFeedbackRequest(project=project, sequence=7, feedback=[old])]))
    assert (answer.sequence, answer.stored_count, answer.revision) == (7, 1, 1)
    [row] = rows(stub, project)
    assert (row.created_at, row.updated_at, row.user_id, row.version) == (old.created_at, old.updated_at, "bob", 3)
    [again] = stub.ImportFeedback(iter([ImportFeedbackRequest(project=project, feedback=[old])]))
    assert (again.stored_count, again.revision) == (1, 1)
    created = stub.CreateFeedback(CreateFeedbackRequest(project=project, feedback=feedback(project, 2))).feedback
    assert created.created_at.seconds > 1_700_000_000


def test_an_import_keeps_or_updates_what_is_there(stub: FeedbackServiceStub, project: str) -> None:
    def imported(existing: ExistingFeedback.ValueType, *items: Feedback) -> ImportFeedbackResponse:
        request = ImportFeedbackRequest(project=project, feedback=items, existing=existing)
        [answer] = stub.ImportFeedback(iter([request]))
        return answer

    def given(number: int, payload: str, day: int, user_id: str = "bob") -> Feedback:
        item = feedback(project, number)
        item.id, item.payload_json, item.user_id = f"00000000-0000-7000-8000-00000000000{number}", payload, user_id
        item.created_at.FromJsonString("2020-02-03T04:05:06Z")
        item.updated_at.FromJsonString(f"2021-02-{day:02}T04:05:06.000001Z")
        return item

    refuse, keep = ExistingFeedback.EXISTING_FEEDBACK_REFUSE, ExistingFeedback.EXISTING_FEEDBACK_KEEP
    update = ExistingFeedback.EXISTING_FEEDBACK_UPDATE
    first = [given(1, '{"a":1}', 1), given(2, '{"a":1}', 1)]
    answer = imported(refuse, *first)
    assert (answer.stored_count, answer.created_count, answer.updated_count, answer.kept_count) == (2, 2, 0, 0)
    changed = [given(1, '{"a":2}', 2, "carol"), given(2, '{"a":2}', 1), given(3, "{}", 1)]
    answer = imported(refuse, *changed)
    assert [(item.index, item.status.code) for item in answer.rejected] == [
        (0, grpc.StatusCode.ALREADY_EXISTS.value[0]),
        (1, grpc.StatusCode.ALREADY_EXISTS.value[0]),
    ]
    assert (answer.stored_count, answer.created_count) == (1, 1)
    answer = imported(keep, *changed)
    assert (answer.stored_count, answer.created_count, answer.updated_count, answer.kept_count) == (3, 0, 0, 2)
    answer = imported(update, *changed)
    assert (answer.stored_count, answer.created_count, answer.updated_count, answer.kept_count) == (3, 0, 1, 1)
    revision = answer.revision
    answer = imported(update, *changed)
    assert (answer.stored_count, answer.updated_count, answer.kept_count, answer.revision) == (3, 0, 1, revision)
    [one, two, _] = rows(stub, project)
    assert (one.version, one.user_id, one.owner, one.payload_json) == (2, "carol", "bob", '{"a":2}')
    assert (one.created_at, one.updated_at) == (first[0].created_at, changed[0].updated_at)
    assert (two.version, two.payload_json) == (1, '{"a":1}')

    refused = refusal(lambda: imported(7, first[0]))  # type: ignore[arg-type]
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


def test_a_draining_server_ends_a_stream_behind_its_answers() -> None:
    with plaudit_server.testing.server() as running, grpc.insecure_channel(running.target) as channel:
        outgoing: queue.Queue[IngestFeedbackRequest | None] = queue.Queue()
        answers = FeedbackServiceStub(channel).IngestFeedback(iter(outgoing.get, None), timeout=30)
        outgoing.put(IngestFeedbackRequest(project="a/b", sequence=1, feedback=[feedback("a/b", 1)]))
        assert next(answers).sequence == 1
        started = time.monotonic()
        running.run(running.server.stop(grace=20.0))
        assert time.monotonic() - started < 10, "the stream kept the server waiting for its whole grace"
        assert list(answers) == []
        outgoing.put(None)


# ── Replace and history ──────────────────────────────────────────────────────────────────────────────────


def test_history_tells_each_version_and_after_a_purge_the_tombstone_alone(
    stub: FeedbackServiceStub, project: str
) -> None:
    first = stub.CreateFeedback(CreateFeedbackRequest(project=project, feedback=feedback(project, 1))).feedback
    second = stub.ReplaceFeedback(
        ReplaceFeedbackRequest(project=project, feedback=feedback(project, 2, first.id), expected_version=1)
    ).feedback
    assert (second.version, second.revision, second.created_at) == (2, 2, first.created_at)
    history = ListFeedbackVersionsRequest(project=project, id=first.id)
    assert list(stub.ListFeedbackVersions(history).versions) == [first, second]
    page = stub.ListFeedbackVersions(ListFeedbackVersionsRequest(project=project, id=first.id, page_size=1))
    assert list(page.versions) == [first]
    more = ListFeedbackVersionsRequest(project=project, id=first.id, page_size=1, page_token=page.next_page_token)
    rest = stub.ListFeedbackVersions(more)
    assert (list(rest.versions), rest.next_page_token) == ([second], "")
    old = stub.GetFeedback(GetFeedbackRequest(project=project, id=first.id, version=1)).feedback
    assert old == first

    assert stub.PurgeFeedback(PurgeFeedbackRequest(project=project, ids=[first.id])).purged_count == 1
    left = stub.ListFeedbackVersions(history)
    assert list(left.versions) == []
    assert (left.tombstone.id, left.tombstone.ref, left.tombstone.revision) == (first.id, second.ref, 3)
    refused = refusal(lambda: stub.CreateFeedback(CreateFeedbackRequest(project=project, feedback=first)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "FEEDBACK_PURGED")


def test_a_replace_that_expects_another_version_is_aborted(stub: FeedbackServiceStub, project: str) -> None:
    made = stub.CreateFeedback(CreateFeedbackRequest(project=project, feedback=feedback(project, 1))).feedback

    def replace(n: int, expected: int) -> Any:
        new = feedback(project, n, made.id)
        return stub.ReplaceFeedback(
            ReplaceFeedbackRequest(project=project, feedback=new, expected_version=expected)
        ).feedback

    assert replace(2, 1).version == 2
    assert replace(2, 1).version == 2  # a retry
    refused = refusal(lambda: replace(3, 1))
    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "VERSION_MISMATCH")
    assert (refused.metadata["expected_version"], refused.metadata["version"]) == ("1", "2")
    missing = feedback(project, 1, uuid7())
    refused = refusal(lambda: stub.ReplaceFeedback(ReplaceFeedbackRequest(project=project, feedback=missing)))
    assert refused.code == grpc.StatusCode.NOT_FOUND


def test_of_racing_replaces_exactly_one_wins_each_round(stub: FeedbackServiceStub, project: str) -> None:
    made = stub.CreateFeedback(CreateFeedbackRequest(project=project, feedback=feedback(project, 0))).feedback
    for version in range(1, 11):
        codes: list[grpc.StatusCode] = []
        start = threading.Barrier(8)

        def race(n: int, version: int = version, codes: Any = codes, start: Any = start) -> None:
            new = feedback(project, n, made.id)
            start.wait()
            try:
                stub.ReplaceFeedback(ReplaceFeedbackRequest(project=project, feedback=new, expected_version=version))
                codes.append(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                codes.append(error.code())

        racers = [threading.Thread(target=race, args=(100 * version + n,)) for n in range(8)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert sorted(codes, key=str) == [grpc.StatusCode.ABORTED] * 7 + [grpc.StatusCode.OK]


def test_the_same_id_created_at_once_is_one_record_and_equal_answers(stub: FeedbackServiceStub, project: str) -> None:
    request = CreateFeedbackRequest(project=project, feedback=feedback(project, 1))
    answers: list[Feedback] = []
    start = threading.Barrier(16)

    def create() -> None:
        start.wait()
        answers.append(stub.CreateFeedback(request).feedback)

    threads = [threading.Thread(target=create) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 16
    assert all(answer == answers[0] for answer in answers)
    assert rows(stub, project) == [answers[0]]


# ── Watch ────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def watch(stub: FeedbackServiceStub, project: str, **arguments: Any) -> Iterator[Any]:
    stream = stub.WatchFeedback(WatchFeedbackRequest(project=project, **arguments), timeout=60)
    try:
        yield stream
    finally:
        stream.cancel()


def changes_until(stream: Any, revision: int) -> list[Change]:
    found: list[Change] = []
    for response in stream:
        found += response.changes
        if response.revision >= revision:
            return found
    raise AssertionError("the watch has ended")


def test_a_watch_tells_what_was_and_what_comes(stub: FeedbackServiceStub, project: str) -> None:
    made = [
        stub.CreateFeedback(CreateFeedbackRequest(project=project, feedback=feedback(project, n))).feedback
        for n in range(3)
    ]
    with watch(stub, project, after_revision=1) as stream:
        assert [change.feedback for change in changes_until(stream, 3)] == made[1:]
        new = feedback(project, 9, made[0].id)
        replaced = stub.ReplaceFeedback(ReplaceFeedbackRequest(project=project, feedback=new)).feedback
        stub.PurgeFeedback(PurgeFeedbackRequest(project=project, ids=[made[1].id]))
        live = changes_until(stream, 5)
    assert [(change.kind, change.revision) for change in live] == [
        (ChangeKind.CHANGE_KIND_REPLACED, 4),
        (ChangeKind.CHANGE_KIND_PURGED, 5),
    ]
    assert live[0].feedback == replaced
    assert live[1].tombstone.id == made[1].id
    with watch(stub, project, after_revision=0) as stream:
        assert [change.revision for change in changes_until(stream, 5)] == [1, 3, 4, 5]


def test_a_watch_without_a_start_begins_now(stub: FeedbackServiceStub, project: str) -> None:
    stub.CreateFeedback(CreateFeedbackRequest(project=project, feedback=feedback(project, 1)))
    with watch(stub, project) as stream:
        first = next(stream)
        assert (list(first.changes), first.revision) == ([], 1)
        stub.CreateFeedback(CreateFeedbackRequest(project=project, feedback=feedback(project, 2)))
        assert [change.revision for change in changes_until(stream, 2)] == [2]


def test_a_start_above_the_revision_is_out_of_range(stub: FeedbackServiceStub, project: str) -> None:
    with watch(stub, project, after_revision=5) as stream:
        refused = refusal(lambda: next(stream))
    assert (refused.code, refused.reason) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_OUT_OF_RANGE")


def test_a_filter_takes_the_old_or_the_new_version_and_every_purge(stub: FeedbackServiceStub, project: str) -> None:
    wanted = Comparison(
        op=ComparisonOp.COMPARISON_OP_EQ,
        left=Expression(field="feedback_type"),
        right=Expression(literal=Literal(string_value="wanted")),
    )
    query = Query(expr=Expression(comparison=wanted))

    def create(kind: str) -> Feedback:
        new = feedback(project, 1, feedback_type=kind)
        return stub.CreateFeedback(CreateFeedbackRequest(project=project, feedback=new)).feedback

    def replace(id: str, kind: str) -> None:
        new = feedback(project, 2, id, feedback_type=kind)
        stub.ReplaceFeedback(ReplaceFeedbackRequest(project=project, feedback=new))

    a, b = create("other"), create("wanted")  # 1, 2
    replace(a.id, "wanted")  # 3: new
    replace(b.id, "other")  # 4: old
    replace(b.id, "another")  # 5: neither
    c = create("other")  # 6
    stub.PurgeFeedback(PurgeFeedbackRequest(project=project, ids=[c.id]))  # 7
    with watch(stub, project, after_revision=0, query=query) as stream:
        assert [change.revision for change in changes_until(stream, 7)] == [2, 3, 4, 7]


def test_reconnects_at_random_lose_and_double_nothing(stub: FeedbackServiceStub, project: str) -> None:
    total, writers = 800, 4
    chance = random.Random(7)

    def write(writer: int) -> None:
        for n in range(total // writers):
            stub.CreateFeedback(CreateFeedbackRequest(project=project, feedback=feedback(project, n)))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    seen: list[int] = []
    reconnects = 0
    while len(seen) < total:
        with watch(stub, project, after_revision=seen[-1] if seen else 0) as stream:
            reconnects += 1
            for response in itertools.islice(stream, chance.randint(1, 30)):
                seen += [change.revision for change in response.changes]
                if len(seen) >= total:
                    break
    for thread in threads:
        thread.join()
    assert reconnects > 5
    assert seen == list(range(1, total + 1))


def test_a_draining_server_ends_its_watches() -> None:
    with plaudit_server.testing.server() as running, grpc.insecure_channel(running.target) as channel:
        stream = FeedbackServiceStub(channel).WatchFeedback(WatchFeedbackRequest(project="a/b"))
        assert next(stream).revision == 0
        running.run(running.server.stop())
        assert [response.revision for response in stream] == [0]
