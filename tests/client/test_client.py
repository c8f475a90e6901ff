"""The operations of the client, and how batches and purges are cut into requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

import plaudit
from plaudit import v1
from plaudit._contract import limits
from plaudit._core.errors import Violation
from tests.client.fakes import PROJECT, REF, FakeTransport, message


def record(number: int = 0, **fields: Any) -> dict[str, Any]:
    return {"ref": REF, "feedback_type": "t", "payload": {"n": number}, **fields}


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


def test_create_returns_the_stored_record(client: plaudit.Client, transport: FakeTransport) -> None:
    stored = client.create(record(5, creator="Jane"))

    assert (stored.payload, stored.creator, stored.user_id, stored.project) == ({"n": 5}, "Jane", "alice", PROJECT)
    assert transport.requests[0].feedback.id == stored.id


@pytest.mark.parametrize(
    ("argument", "of_the_record", "expected"),
    [(None, None, PROJECT), ("x/y", None, "x/y"), (None, "r/s", "r/s"), ("x/y", "x/y", "x/y")],
)
def test_project_of_a_record(
    client: plaudit.Client, transport: FakeTransport, argument: str | None, of_the_record: str | None, expected: str
) -> None:
    client.create(record(project=of_the_record), project=argument)
    client.create_batch([record(project=of_the_record)], project=argument)

    assert [request.project for request in transport.requests] == [expected] * 2


def test_no_project_is_told(transport: FakeTransport) -> None:
    client = plaudit.Client(transport=transport)

    for call in (lambda: client.create(record()), client.count, client.refs, client.get_feedback):
        with pytest.raises(ValueError, match="no project"):
            call()
    with pytest.raises(ValueError, match="entity/project"):
        client.count(project="chat")
    assert transport.calls == 0


def test_batch_is_aligned_with_its_input(client: plaudit.Client, transport: FakeTransport) -> None:
    stored = client.create_batch(record(number) for number in range(7))

    assert [row.payload["n"] for row in stored] == list(range(7))
    assert transport.calls == 1


def test_empty_batch_sends_nothing(client: plaudit.Client, transport: FakeTransport) -> None:
    assert client.create_batch([]) == []
    assert transport.calls == 0


@pytest.mark.parametrize(("records", "sizes"), [(1000, [1000]), (1001, [1000, 1]), (2000, [1000, 1000])])
def test_batch_is_cut_by_rows(client: plaudit.Client, transport: FakeTransport, records: int, sizes: list[int]) -> None:
    stored = client.create_batch(record(number) for number in range(records))

    assert [len(request.feedback) for request in transport.requests] == sizes
    assert [row.payload["n"] for row in stored] == list(range(records))


def test_batch_is_cut_by_bytes(client: plaudit.Client, transport: FakeTransport) -> None:
    texts = [str(size % 10) * size for size in range(50_000, 1_000_000, 37_000)]

    stored = client.create_batch(record(payload={"text": text}) for text in texts)

    assert [row.payload["text"] for row in stored] == texts
    sizes = [request.ByteSize() for request in transport.requests]
    assert max(sizes) <= limits.REQUEST_BYTES
    # None of them would have taken the next one's first record too.
    firsts = [request.feedback[0].ByteSize() for request in transport.requests[1:]]
    assert all(size + first > limits.REQUEST_BYTES for size, first in zip(sizes, firsts, strict=False))


def test_batch_fills_a_request_to_the_byte(client: plaudit.Client, transport: FakeTransport) -> None:
    empty = v1.BatchCreateFeedbackRequest(project=PROJECT).ByteSize()
    room = limits.REQUEST_BYTES - empty - 3 * 6
    payloads = [room // 3] * 3
    overhead = client_bytes(record(payload={"text": ""}))
    texts = ["x" * (size - overhead - 8) for size in payloads]

    client.create_batch(record(payload={"text": text}) for text in texts)
    client.create_batch(record(payload={"text": text + "x" * 20}) for text in texts)

    assert [len(request.feedback) for request in transport.requests] == [3, 2, 1]


def client_bytes(given: dict[str, Any]) -> int:
    from plaudit._core.records import to_message

    return to_message(given).ByteSize()


def test_record_larger_than_a_request_goes_alone(client: plaudit.Client, transport: FakeTransport) -> None:
    reasons = {str(number): "é" * 10_000 for number in range(100)}
    large = record(scorer_tag_reasons=reasons, scorer_rating_reasons=reasons)

    client.create_batch([record(), large, record()])

    assert [len(request.feedback) for request in transport.requests] == [1, 1, 1]


def test_input_is_read_as_it_is_sent(client: plaudit.Client, transport: FakeTransport) -> None:
    calls_seen = []

    def records() -> Iterator[dict[str, Any]]:
        for number in range(2500):
            calls_seen.append(transport.calls)
            yield record(number)

    client.create_batch(records())

    assert calls_seen[1000] == 0
    assert calls_seen[1001] == 1
    assert calls_seen[2499] == 2


def test_records_of_other_projects_go_in_requests_of_their_own(
    client: plaudit.Client, transport: FakeTransport
) -> None:
    stored = client.create_batch([record(1), record(2, project="x/y"), record(3, project="x/y"), record(4)])

    assert [(request.project, len(request.feedback)) for request in transport.requests] == [
        (PROJECT, 1),
        ("x/y", 2),
        (PROJECT, 1),
    ]
    assert [row.payload["n"] for row in stored] == [1, 2, 3, 4]


def test_bad_record_of_an_atomic_batch_is_told_before_its_request_is_sent(
    client: plaudit.Client, transport: FakeTransport
) -> None:
    with pytest.raises(plaudit.InvalidArgumentError) as raised:
        client.create_batch([record(), record(payload={"a": float("nan")})])

    assert raised.value.violations[0].field == "feedback[1].payload.a"
    assert transport.calls == 0


def test_refusal_of_a_later_request_is_told_by_position_with_what_is_stored(
    client: plaudit.Client, transport: FakeTransport
) -> None:
    answer = transport.BatchCreateFeedback

    def refuse_the_second(request: v1.BatchCreateFeedbackRequest) -> v1.BatchCreateFeedbackResponse:
        if transport.calls == 2:
            violations = [Violation("feedback[3].ref", "is wrong")]
            raise plaudit.InvalidArgumentError("invalid: feedback[3].ref: is wrong", violations=violations)
        return answer(request)

    transport.BatchCreateFeedback = refuse_the_second  # type: ignore[method-assign]

    with pytest.raises(plaudit.InvalidArgumentError, match=r"feedback\[1003\]\.ref") as raised:
        client.create_batch(record(number) for number in range(3000))

    assert raised.value.violations == (Violation("feedback[1003].ref", "is wrong"),)
    assert "1000 records before were stored" in raised.value.__notes__[0]
    assert transport.calls == 2


def test_partial_batch_has_the_errors_in_their_places(client: plaudit.Client, transport: FakeTransport) -> None:
    answer = transport.BatchCreateFeedback

    def refuse_one(request: v1.BatchCreateFeedbackRequest) -> v1.BatchCreateFeedbackResponse:
        assert request.partial
        response = answer(request)
        code = grpc.StatusCode.ALREADY_EXISTS.value[0]
        response.results[1].status.CopyFrom(status_pb2.Status(code=code, message="taken"))
        return response

    transport.BatchCreateFeedback = refuse_one  # type: ignore[method-assign]

    results = client.create_batch([record(0), record(1, nonsense=1), record(2), record(3)], partial=True)

    first, second, third, fourth = results
    assert isinstance(first, plaudit.Feedback)
    assert isinstance(second, plaudit.InvalidArgumentError)
    assert second.violations[0].field == "feedback[1].nonsense"
    assert isinstance(third, plaudit.AlreadyExistsError)
    assert isinstance(fourth, plaudit.Feedback)
    assert fourth.payload == {"n": 3}


def test_partial_batch_goes_on_after_a_request_that_failed(client: plaudit.Client, transport: FakeTransport) -> None:
    transport.failures.append(plaudit.UnavailableError("down"))

    results = client.create_batch((record(number) for number in range(1500)), partial=True)

    assert {type(result) for result in results[:1000]} == {plaudit.UnavailableError}
    assert {type(result) for result in results[1000:]} == {plaudit.Feedback}


def test_get(client: plaudit.Client, transport: FakeTransport) -> None:
    transport.rows.append(message(1))

    assert client.get(message(1).id.upper(), version=2).id == message(1).id
    assert transport.requests[0] == v1.GetFeedbackRequest(project=PROJECT, id=message(1).id, version=2)


def test_replace_sends_the_whole_record(client: plaudit.Client, transport: FakeTransport) -> None:
    transport.rows.append(message(1, creator="Jane"))
    read = client.get(message(1).id)

    replaced = client.replace({**read.to_dict(), "payload": {"a": 1}, "id": read.id.upper()}, expected_version=1)

    assert (replaced.version, replaced.payload, replaced.creator) == (2, {"a": 1}, "Jane")
    request = transport.requests[1]
    assert (request.project, request.expected_version) == (PROJECT, 1)
    assert (request.feedback.id, request.feedback.creator, request.feedback.version) == (read.id, "Jane", 0)


@pytest.mark.parametrize("given", [{}, {"id": ""}, {"id": None}])
def test_replace_without_an_id_is_told(client: plaudit.Client, transport: FakeTransport, given: dict[str, Any]) -> None:
    with pytest.raises(plaudit.InvalidArgumentError, match=r"feedback\.id: is required"):
        client.replace(record(**given))
    assert transport.calls == 0


def test_history_reads_all_pages(client: plaudit.Client, transport: FakeTransport) -> None:
    versions = [message(1, version=n) for n in range(1, 6)]

    def pages(request: v1.ListFeedbackVersionsRequest) -> v1.ListFeedbackVersionsResponse:
        start = int(request.page_token or 0)
        token = str(start + 2) if start + 2 < 5 else ""
        return v1.ListFeedbackVersionsResponse(versions=versions[start : start + 2], next_page_token=token)

    transport.ListFeedbackVersions = pages  # type: ignore[attr-defined]

    history = client.history(message(1).id.upper())

    assert [version.version for version in history] == [1, 2, 3, 4, 5]
    assert history.tombstone is None
    assert {request.id for request in transport.requests} == {message(1).id}
    assert repr(history) == "History(5 versions, tombstone=None)"
    assert history == client.history(message(1).id)


def test_history_of_a_record_that_is_purged_meanwhile_is_its_tombstone(
    client: plaudit.Client, transport: FakeTransport
) -> None:
    answers = [
        v1.ListFeedbackVersionsResponse(versions=[message(1)], next_page_token="1"),
        v1.ListFeedbackVersionsResponse(tombstone=v1.Tombstone(id=message(1).id, ref=REF, revision=9)),
    ]
    transport.ListFeedbackVersions = lambda request: answers.pop(0)  # type: ignore[attr-defined]

    history = client.history(message(1).id)

    assert list(history) == []
    assert history.tombstone is not None
    assert (history.tombstone.id, history.tombstone.revision) == (message(1).id, 9)


def test_purge_by_ids_is_cut_and_counts(client: plaudit.Client, transport: FakeTransport) -> None:
    transport.rows.extend(message(number) for number in range(3))
    ids = [message(number).id for number in range(20_001)]

    assert client.purge([ids[0]], dry_run=True) == 1
    assert client.purge(id for id in [ids[0], *ids]) == 3

    assert [len(request.ids) for request in transport.requests] == [1, 10_000, 10_000, 1]
    assert transport.rows == []


def test_purge_by_query_goes_on_until_all_records_were_looked_at(
    client: plaudit.Client, transport: FakeTransport
) -> None:
    rare = "urn:rare"
    transport.rows.extend(message(number, ref=rare if number in (0, 5, 8) else REF) for number in range(9))
    transport.page_rows = 2

    # The second answer has removed nothing, and is not the last.
    for dry_run, left in ((True, 9), (False, 6)):
        transport.requests.clear()
        assert client.purge(query=plaudit.field("ref") == rare, dry_run=dry_run) == 3
        tokens = [request.page_token for request in transport.requests]
        assert tokens == ["", *(message(number).id for number in (1, 3, 5, 7))]
        assert len(transport.rows) == left
    assert all(row.ref == REF for row in transport.rows)


def test_purge_wants_exactly_one_of_ids_and_query(client: plaudit.Client, transport: FakeTransport) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        client.purge()
    with pytest.raises(ValueError, match="exactly one"):
        client.purge(["x"], query=plaudit.field("ref") == REF)
    with pytest.raises(TypeError):
        client.purge("one-id")
    with pytest.raises(plaudit.InvalidArgumentError):
        client.purge(query={})
    assert client.purge([]) == 0
    assert transport.calls == 0


def test_count_and_refs(client: plaudit.Client, transport: FakeTransport) -> None:
    transport.rows.extend(message(number, ref=f"urn:{number % 3}") for number in range(5))
    transport.page_rows = 2

    assert client.count() == 5
    assert client.count({"$expr": {"$eq": [{"$getField": "ref"}, {"$literal": "urn:1"}]}}) == 2
    refs = client.refs()
    assert list(refs) == ["urn:0", "urn:1", "urn:2"]
    assert refs.counts == {"urn:0": 2, "urn:1": 2, "urn:2": 1}
    assert [request.page_token for request in transport.requests[2:]] == ["", "2"]


def test_server_info(client: plaudit.Client) -> None:
    info = client.server_info()

    assert (info.version, info.store, info.limits, info.erasure_pending) == (
        "1.2.3",
        "sqlite",
        {"batch_items": 1000},
        False,
    )


def test_get_feedback_by_id_query_and_reaction(client: plaudit.Client) -> None:
    score = plaudit.field("payload.score") > 1
    types = "field('feedback_type').in_(['wandb.reaction.1', 'wandb.agent_user_feedback'])"
    reaction = f"{types} & field('payload.emoji').in_(['👍', {chr(0x1F44D) + chr(0xFE0F)!r}])"

    assert client.get_feedback().query is None
    assert repr(client.get_feedback("f2").query) == "Query(field('id') == 'f2')"
    assert repr(client.get_feedback(reaction="👍").query) == f"Query({reaction})"
    assert repr(client.get_feedback(score, reaction="👍").query) == f"Query(({score!r}) & {reaction})"
    assert client.get_feedback(plaudit.Query(score).to_dict()).query == plaudit.Query(score)
    assert client.get_feedback().show_refs
    assert client.get_feedback(project="x/y").project_id == "x/y"


@pytest.mark.parametrize("query", [5, ["f1"], 1.5, True])
def test_get_feedback_of_another_type(client: plaudit.Client, query: Any) -> None:
    with pytest.raises(TypeError):
        client.get_feedback(query)


def test_client_is_a_context_manager(transport: FakeTransport) -> None:
    with plaudit.Client(PROJECT, transport=transport) as client:
        assert not transport.is_closed
    assert transport.is_closed
    assert repr(client) == "Client('acme/chat', target='localhost:50051')"
