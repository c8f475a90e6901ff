"""The server produces each value of ErrorReason, with the status and the metadata that its comment gives."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

import plaudit_server.testing
from plaudit import ResourceExhaustedError
from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import (
    AggregateFeedbackRequest,
    AnalyticsServiceStub,
    BatchCreateFeedbackRequest,
    BooleanRule,
    CountFeedbackRequest,
    CreateFeedbackRequest,
    Definition,
    DefinitionServiceStub,
    ErrorReason,
    Feedback,
    FeedbackServiceStub,
    GetDefinitionRequest,
    GetFeedbackRequest,
    Grouping,
    JsonSchemaRule,
    PurgeFeedbackRequest,
    PutDefinitionRequest,
    Query,
    QueryFeedbackRequest,
    ReplaceFeedbackRequest,
    TimeBucket,
    TimeUnit,
    Unique,
    WatchFeedbackRequest,
)
from plaudit_server.config import Config, Connections, Limits
from plaudit_server.retention.holds import Hold
from plaudit_server.retention.holds import put as put_hold
from plaudit_server.store.base import Command, Written
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from plaudit_server.testing import RunningServer
from tests.faults.disk import faulty_disk
from tests.service.status import Refusal, refusal

PROTO = Path(__file__).parents[2] / "proto" / "plaudit" / "v1" / "error_reason.proto"
PROJECT = "acme/reasons"
REF = "weave:///acme/reasons/call/1"

Produce = Callable[[FeedbackServiceStub, RunningServer], Refusal]


def documented() -> dict[str, tuple[str, set[str]]]:
    """The status code, and the metadata keys of the example, by reason."""
    found = {}
    for comment, name in re.findall(r"((?:  //[^\n]*\n)+)  ERROR_REASON_(\w+) = \d+;", PROTO.read_text()):
        text = re.sub(r"^  // ?", "", comment, flags=re.MULTILINE)
        code = re.match(r"([A-Z_]+):", text)
        if code:
            example = re.search(r"^ +(\{.*\})$", text, re.MULTILINE)
            assert example, f"{name} has no example"
            found[name] = (code[1], set(json.loads(example[1])))
    return found


def create(stub: FeedbackServiceStub, **fields: Any) -> Feedback:
    feedback = Feedback(**{"ref": REF, "feedback_type": "t", **fields})
    return stub.CreateFeedback(CreateFeedbackRequest(project=PROJECT, feedback=feedback)).feedback


def invalid_field(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    return refusal(lambda: create(stub, ref=""))


def invalid_query(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    return refusal(lambda: stub.CountFeedback(CountFeedbackRequest(project=PROJECT, query=Query())))


def invalid_page_token(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    return refusal(lambda: stub.QueryFeedback(QueryFeedbackRequest(project=PROJECT, page_token="x")))


def malformed_message(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    with grpc.insecure_channel(running.target) as channel:
        call: Any = channel.unary_unary("/plaudit.v1.FeedbackService/GetFeedback")
        return refusal(lambda: call(b"\xff"))


def message_too_large(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    return refusal(lambda: create(stub, payload_json="x" * (3 << 20)))


def feedback_not_found(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    return refusal(lambda: stub.GetFeedback(GetFeedbackRequest(project=PROJECT, id=uuid7())))


def feedback_exists(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    return refusal(lambda: create(stub, id=create(stub).id, payload_json='{"other": 1}'))


def feedback_purged(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    id = create(stub).id
    stub.PurgeFeedback(PurgeFeedbackRequest(project=PROJECT, ids=[id]))
    return refusal(lambda: create(stub, id=id))


def version_mismatch(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    feedback = Feedback(id=create(stub).id, ref=REF, feedback_type="other")
    request = ReplaceFeedbackRequest(project=PROJECT, feedback=feedback, expected_version=7)
    return refusal(lambda: stub.ReplaceFeedback(request))


def revision_out_of_range(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    return refusal(lambda: next(stub.WatchFeedback(WatchFeedbackRequest(project=PROJECT, after_revision=1 << 40))))


def aggregate_too_large(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    """More periods are to be filled than there may be groups."""
    bucket = TimeBucket(unit=TimeUnit.TIME_UNIT_MINUTE, fill=True)
    bucket.start.FromJsonString("2020-01-01T00:00:00Z")
    bucket.end.FromJsonString("2025-01-01T00:00:00Z")
    request = AggregateFeedbackRequest(project=PROJECT, group_by=[Grouping(time=bucket)])
    with grpc.insecure_channel(running.target) as channel:
        return refusal(lambda: AnalyticsServiceStub(channel).AggregateFeedback(request))


@pytest.fixture
def disk_running() -> Iterator[tuple[RunningServer, Any]]:
    with faulty_disk() as disk, plaudit_server.testing.server() as running:
        yield running, disk
        disk.fail_always = False


def test_store_unavailable(disk_running: tuple[RunningServer, Any]) -> None:
    running, disk = disk_running
    with grpc.insecure_channel(running.target) as channel:
        disk.fail_always = True
        check("STORE_UNAVAILABLE", refusal(lambda: create(FeedbackServiceStub(channel))))


class SlowStore(SqliteEngine):
    """A store whose writes wait until they may go on, or fail for a reason of its own."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.may_write = threading.Event()
        self.defect = False

    async def write(self, group: Sequence[Command[Any]]) -> Written:
        await asyncio.to_thread(self.may_write.wait, 30)
        if self.defect:
            raise ZeroDivisionError("secret text of a defect")
        return await super().write(group)


def test_overloaded(tmp_path: Path) -> None:
    """More than 64 MiB of writes wait: further ones are refused with a RetryInfo, and those that wait are stored."""
    store = SlowStore(tmp_path / "plaudit.db")
    with plaudit_server.testing.server(store) as running, grpc.insecure_channel(running.target) as channel:
        stub = FeedbackServiceStub(channel)
        item = Feedback(ref=REF, feedback_type="t", payload_json=json.dumps({"x": "x" * 1_000_000}))
        request = BatchCreateFeedbackRequest(project=PROJECT, feedback=[item] * 3)
        calls = [stub.BatchCreateFeedback.future(request) for _ in range(30)]
        refused = next(Refusal(error) for call in reversed(calls) if (error := call.exception()) is not None)
        check("OVERLOADED", refused)
        assert refused.retry_seconds is not None
        assert refused.retry_seconds > 0
        store.may_write.set()
        stored = sum(len(call.result().results) for call in calls if call.exception() is None)
        assert stub.CountFeedback(CountFeedbackRequest(project=PROJECT)).count == stored > 0


def test_internal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = SlowStore(tmp_path / "plaudit.db")
    store.defect = True
    store.may_write.set()
    with plaudit_server.testing.server(store) as running, grpc.insecure_channel(running.target) as channel:
        refused = refusal(lambda: create(FeedbackServiceStub(channel)))
    check("INTERNAL", refused)
    assert "secret" not in refused.message
    assert refused.trailers["x-request-id"] in caplog.text


def test_watcher_too_slow() -> None:
    """A watcher that reads nothing is ended in time, with the revision after which it can continue."""
    config = Config(connections=Connections(watch_stall_seconds=0.2))
    with plaudit_server.testing.server(config=config) as running, grpc.insecure_channel(running.target) as channel:
        stub = FeedbackServiceStub(channel)
        stalled = stub.WatchFeedback(WatchFeedbackRequest(project=PROJECT, after_revision=0), timeout=30)
        next(stalled)
        total = 20  # of 900 kB: several times the size of the buffers on the way
        for _ in range(total):
            create(stub, payload_json=json.dumps({"x": "x" * 900_000}))
        time.sleep(1)
        told: list[int] = []
        refused = refusal(lambda: told.extend(c.revision for response in stalled for c in response.changes))
        check("WATCHER_TOO_SLOW", refused)
        revision = int(refused.metadata["revision"])
        assert revision < total
        again = stub.WatchFeedback(WatchFeedbackRequest(project=PROJECT, after_revision=revision))
        seen = [r for r in told if r <= revision]
        for response in again:
            seen += [change.revision for change in response.changes]
            if response.revision == total:
                break
        again.cancel()
        assert seen == list(range(1, total + 1))


def test_query_too_expensive() -> None:
    """A count that takes longer than it may is stopped, and neither RetryInfo nor the client asks for it again."""
    with plaudit_server.testing.server(config=Config(limits=Limits(read_seconds=0.5))) as running:
        client = running.client(PROJECT)
        client.create_batch(
            {"ref": REF, "feedback_type": "t", "payload": {"text": f"{n} " * 4_000}} for n in range(1_500)
        )
        text = {"$getField": "payload.text"}
        leaves = [{"$contains": {"input": text, "substr": {"$literal": f"word{n}"}}} for n in range(160)]
        before = running.server.calls
        with pytest.raises(ResourceExhaustedError) as caught:
            client.count({"$expr": {"$or": leaves}})
        assert caught.value.__cause__ is not None
        refused = Refusal(caught.value.__cause__)
        check("QUERY_TOO_EXPENSIVE", refused)
        # What the call took before the store was asked is not in it.
        assert 0 < float(refused.metadata["seconds"]) <= 0.5
        assert refused.retry_seconds is None
        assert "grpc-retry-pushback-ms" not in refused.trailers
        assert client.count() == 1_500
        assert running.server.calls == before + 2
        assert running.server.metrics.refusals["query_too_expensive"] == 1


# --- definitions


def put(running: RunningServer, feedback_type: str, **fields: Any) -> None:
    definition = Definition(feedback_type=feedback_type, **fields)
    with grpc.insecure_channel(running.target) as channel:
        DefinitionServiceStub(channel).PutDefinition(PutDefinitionRequest(project=PROJECT, definition=definition))


def definition_not_found(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    with grpc.insecure_channel(running.target) as channel:
        request = GetDefinitionRequest(project=PROJECT, feedback_type="none")
        return refusal(lambda: DefinitionServiceStub(channel).GetDefinition(request))


def definition_breaks_stored(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    stub.CreateFeedback(CreateFeedbackRequest(project=PROJECT, feedback=Feedback(ref=REF, feedback_type="broken")))
    definition = Definition(feedback_type="broken", boolean=BooleanRule())
    request = PutDefinitionRequest(project=PROJECT, definition=definition, checked_revision=0)
    with grpc.insecure_channel(running.target) as channel:
        return refusal(lambda: DefinitionServiceStub(channel).PutDefinition(request))


def feedback_not_unique(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    put(running, "once", unique=Unique(by_rater=True))
    request = CreateFeedbackRequest(project=PROJECT, feedback=Feedback(ref=REF, feedback_type="once"))
    stub.CreateFeedback(request)
    return refusal(lambda: stub.CreateFeedback(request))


def validation_too_expensive(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    schema = {"items": {"anyOf": [{"const": f"v{number}"} for number in range(900)]}}
    put(running, "expensive", json_schema=JsonSchemaRule(schema_json=json.dumps(schema)))
    feedback = Feedback(ref=REF, feedback_type="expensive", payload_json=json.dumps({"value": ["x"] * 100}))
    request = BatchCreateFeedbackRequest(project=PROJECT, feedback=[feedback] * 1_000)
    refused = refusal(lambda: stub.BatchCreateFeedback(request))
    assert refused.retry_seconds is None
    return refused


def limit_reached(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    with grpc.insecure_channel(running.target) as channel:
        definitions = DefinitionServiceStub(channel)
        request = PutDefinitionRequest(project=PROJECT, definition=Definition(feedback_type="often"))
        for number in range(1_000):
            request.definition.title = str(number)
            definitions.PutDefinition(request)
        request.definition.title = "one more"
        return refusal(lambda: definitions.PutDefinition(request))


def check(reason: str, refused: Refusal) -> None:
    code, keys = documented()[reason]
    assert (refused.reason, refused.code.name, set(refused.metadata)) == (reason, code, keys)


def under_hold(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    made = Feedback(ref=REF, feedback_type="t", id=uuid7())
    stub.CreateFeedback(CreateFeedbackRequest(project="acme/held", feedback=made))
    store = running.server.store
    assert isinstance(store, SqliteEngine)
    running.run(store.transact(lambda sql: put_hold(sql, Hold("acme/held", 1, "root", "a case"))))
    purge = PurgeFeedbackRequest(project="acme/held", ids=[made.id])
    return refusal(lambda: stub.PurgeFeedback(purge))


def store_changed(stub: FeedbackServiceStub, running: RunningServer) -> Refusal:
    request = WatchFeedbackRequest(project=PROJECT, after_revision=0, store_id="another")
    return refusal(lambda: next(stub.WatchFeedback(request)))


PRODUCED: dict[str, Produce] = {
    "INVALID_FIELD": invalid_field,
    "INVALID_QUERY": invalid_query,
    "INVALID_PAGE_TOKEN": invalid_page_token,
    "MALFORMED_MESSAGE": malformed_message,
    "MESSAGE_TOO_LARGE": message_too_large,
    "FEEDBACK_NOT_FOUND": feedback_not_found,
    "FEEDBACK_EXISTS": feedback_exists,
    "FEEDBACK_PURGED": feedback_purged,
    "VERSION_MISMATCH": version_mismatch,
    "REVISION_OUT_OF_RANGE": revision_out_of_range,
    "STORE_CHANGED": store_changed,
    "AGGREGATE_TOO_LARGE": aggregate_too_large,
    "DEFINITION_NOT_FOUND": definition_not_found,
    "DEFINITION_BREAKS_STORED": definition_breaks_stored,
    "FEEDBACK_NOT_UNIQUE": feedback_not_unique,
    "VALIDATION_TOO_EXPENSIVE": validation_too_expensive,
    "LIMIT_REACHED": limit_reached,
    "UNDER_HOLD": under_hold,
}


@pytest.mark.parametrize("reason", PRODUCED)
def test_reason(reason: str, stub: FeedbackServiceStub, running: RunningServer) -> None:
    check(reason, PRODUCED[reason](stub, running))


def test_every_reason_is_produced_by_a_test() -> None:
    here = {*PRODUCED, "STORE_UNAVAILABLE", "OVERLOADED", "INTERNAL", "WATCHER_TOO_SLOW", "QUERY_TOO_EXPENSIVE"}
    elsewhere = {"UNAUTHENTICATED", "PERMISSION_DENIED", "QUOTA_EXCEEDED", "SERVER_STOPPING"}
    names = {name.removeprefix("ERROR_REASON_") for name in list(ErrorReason.keys())} - {"UNSPECIFIED"}
    assert names == here | elsewhere
