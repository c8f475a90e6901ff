"""Metrics over the wire: the counts equal what was done, and no label is a caller's text."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, uuid5

import grpc
import pytest

from plaudit.v1 import (
    BatchCreateFeedbackRequest,
    BooleanRule,
    CountFeedbackRequest,
    CreateFeedbackRequest,
    Definition,
    DefinitionServiceStub,
    Feedback,
    FeedbackServiceStub,
    GetServerInfoRequest,
    ImportFeedbackRequest,
    IngestFeedbackRequest,
    PurgeFeedbackRequest,
    PutDefinitionRequest,
    ReplaceFeedbackRequest,
    WatchFeedbackRequest,
)
from plaudit_server.config import Config, Limits
from plaudit_server.errors import StoreUnavailable
from plaudit_server.feedback.model import FeedbackModel
from plaudit_server.store.base import Command, Read, Reading, Statement, Steps, Written
from plaudit_server.store.engines.memory import MemoryEngine
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from plaudit_server.store.prepared import Prepared
from plaudit_server.store.work import SERVER, Work
from plaudit_server.testing import server
from tests.service.operators import Scraped, scrape, with_admin

T = TypeVar("T")

PROJECT = "acme/chat"
CANARY = "canary-in-a-label"


def id_of(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, name))


def feedback(name: str, note: str = "") -> Feedback:
    payload = json.dumps({"note": note}) if note else "{}"
    return Feedback(id=id_of(name), ref="weave:///acme/chat/call/1", feedback_type="custom", payload_json=payload)


def readable(stub: FeedbackServiceStub) -> int:
    return stub.CountFeedback(CountFeedbackRequest(project=PROJECT)).count


def bad() -> Feedback:
    return Feedback(ref="no ref", feedback_type="custom")


def load(stub: FeedbackServiceStub, part: int) -> None:
    """Writes of every kind, with items that validation refuses among them: 3 + 5 + 12 + 4 rows."""
    for number in range(3):
        stub.CreateFeedback(CreateFeedbackRequest(project=PROJECT, feedback=feedback(f"one-{part}-{number}")))
    with pytest.raises(grpc.RpcError):
        stub.CreateFeedback(CreateFeedbackRequest(project=PROJECT, feedback=bad()))
    batch = [feedback(f"batch-{part}-{number}") for number in range(5)]
    stub.BatchCreateFeedback(BatchCreateFeedbackRequest(project=PROJECT, feedback=[*batch, bad()], partial=True))
    with pytest.raises(grpc.RpcError):
        stub.BatchCreateFeedback(BatchCreateFeedbackRequest(project=PROJECT, feedback=[feedback("never"), bad()]))
    requests = [
        IngestFeedbackRequest(
            project=PROJECT, feedback=[bad(), *(feedback(f"stream-{part}-{batch}-{number}") for number in range(4))]
        )
        for batch in range(3)
    ]
    assert [answer.stored_count for answer in stub.IngestFeedback(iter(requests))] == [4, 4, 4]
    imported = [feedback(f"import-{part}-{number}") for number in range(4)]
    for item in imported:
        item.user_id = "judge"
        item.created_at.GetCurrentTime()
    [answer] = stub.ImportFeedback(iter([ImportFeedbackRequest(project=PROJECT, feedback=imported)]))
    assert answer.stored_count == 4


def test_after_a_load_run_accepted_stored_and_acknowledged_are_equal_and_readable() -> None:
    with server(config=with_admin()) as running, grpc.insecure_channel(running.target) as channel:
        stub = FeedbackServiceStub(channel)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(partial(load, stub), range(8)))
        found = scrape(running)

        assert found.rows("accepted") == found.rows("stored") == found.rows("acknowledged") == readable(stub) == 8 * 24
        assert found.rows("refused") == found.rows("failed") == found.value("plaudit_rows_repeated_total") == 0
        assert found.value("plaudit_group_rows_sum") == 8 * 24
        assert found.value("plaudit_group_commands_sum") == 8 * (3 + 1 + 3 + 1)
        assert found.value("plaudit_group_rows_count") == found.value("plaudit_commit_duration_seconds_count")
        assert found.calls("plaudit.v1.FeedbackService/CreateFeedback") == 8 * 3
        assert found.calls("plaudit.v1.FeedbackService/CreateFeedback", "INVALID_ARGUMENT") == 8
        assert found.calls("plaudit.v1.FeedbackService/IngestFeedback") == 8
        assert found.value("plaudit_calls_in_flight", kind="calls") == 0
        assert found.value("plaudit_writer_pending_commands") == found.value("plaudit_writer_pending_bytes") == 0


def test_retries_and_conflicts_are_told_apart() -> None:
    with server(config=with_admin()) as running, grpc.insecure_channel(running.target) as channel:
        stub = FeedbackServiceStub(channel)
        first = CreateFeedbackRequest(project=PROJECT, feedback=feedback("a"))
        for _ in range(3):
            stub.CreateFeedback(first)
        # A retry, a conflict, twice the same in one request, and a new one.
        mixed = [feedback("a"), feedback("a", "other"), feedback("b"), feedback("b"), feedback("c")]
        stub.BatchCreateFeedback(BatchCreateFeedbackRequest(project=PROJECT, feedback=mixed, partial=True))
        with pytest.raises(grpc.RpcError):
            stub.BatchCreateFeedback(BatchCreateFeedbackRequest(project=PROJECT, feedback=[*mixed, feedback("d")]))
        list(stub.IngestFeedback(iter([IngestFeedbackRequest(project=PROJECT, feedback=[*mixed, feedback("e")])])))
        found = scrape(running)

        assert found.rows("accepted") == 3 + 5 + 6 + 6
        assert found.rows("refused") == 1 + 6 + 1
        assert found.rows("stored") == found.rows("acknowledged") == 3 + 4 + 5
        assert found.rows("stored") - found.value("plaudit_rows_repeated_total") == readable(stub) == 4


def test_replaces_and_purges_are_counted_for_themselves() -> None:
    with server(config=with_admin()) as running, grpc.insecure_channel(running.target) as channel:
        stub = FeedbackServiceStub(channel)
        stub.CreateFeedback(CreateFeedbackRequest(project=PROJECT, feedback=feedback("a")))
        replaced = ReplaceFeedbackRequest(project=PROJECT, feedback=feedback("a", "better"))
        stub.ReplaceFeedback(replaced)
        stub.ReplaceFeedback(replaced)
        with pytest.raises(grpc.RpcError):
            stub.ReplaceFeedback(ReplaceFeedbackRequest(project=PROJECT, feedback=feedback("b")))
        stub.PurgeFeedback(PurgeFeedbackRequest(project=PROJECT, ids=[id_of("a")], dry_run=True))
        stub.PurgeFeedback(PurgeFeedbackRequest(project=PROJECT, ids=[id_of("a"), id_of("b")]))
        found = scrape(running)

        assert found.rows("accepted", "replace") == 3
        assert found.rows("stored", "replace") == found.rows("acknowledged", "replace") == 2
        assert found.rows("refused", "replace") == 1
        assert found.value("plaudit_rows_repeated_total") == 1
        assert found.value("plaudit_rows_purged_total") == 1
        assert found.rows("stored") == 1


class Unsteady(MemoryEngine):
    """Fails, or waits, on command."""

    def __init__(self) -> None:
        super().__init__(FeedbackModel(lambda: time.time_ns() // 1000))
        self.fails = False
        self.held: asyncio.Event | None = None
        self.writing = 0

    async def write(self, group: Sequence[Command[Any]]) -> Written:
        self.writing += 1
        if self.fails:
            raise StoreUnavailable(self.name)
        if self.held is not None:
            await self.held.wait()
        return await super().write(group)

    async def read(self, read: Read[T], work: Work = SERVER) -> T:
        if self.fails:
            raise StoreUnavailable(self.name)
        return await super().read(read, work)

    async def check(self) -> None:
        if self.fails:
            raise StoreUnavailable(self.name)


def test_what_the_store_fails_at_is_counted() -> None:
    store = Unsteady()
    with server(store, with_admin()) as running, grpc.insecure_channel(running.target) as channel:
        stub = FeedbackServiceStub(channel)
        store.fails = True
        batch = BatchCreateFeedbackRequest(project=PROJECT, feedback=[feedback("a"), feedback("b")])
        with pytest.raises(grpc.RpcError):
            stub.BatchCreateFeedback(batch)
        with pytest.raises(grpc.RpcError):
            readable(stub)
        deadline = time.monotonic() + 30
        while (found := scrape(running)).value("plaudit_store_errors_total", operation="check") == 0:
            assert time.monotonic() < deadline
        assert found.rows("accepted") == found.rows("failed") == 2
        assert found.rows("stored") == found.rows("acknowledged") == 0
        assert found.value("plaudit_store_errors_total", operation="write") == 1
        assert found.value("plaudit_store_errors_total", operation="read") == 1
        assert found.value("plaudit_serving") == 0
        store.fails = False
        stub.BatchCreateFeedback(batch)
        deadline = time.monotonic() + 30
        while (found := scrape(running)).value("plaudit_serving") == 0:
            assert time.monotonic() < deadline
        assert found.rows("stored") == found.rows("acknowledged") == 2


def test_a_row_whose_caller_has_left_is_stored_and_not_acknowledged() -> None:
    store = Unsteady()
    with server(store, with_admin()) as running, grpc.insecure_channel(running.target) as channel:
        stub = FeedbackServiceStub(channel)
        store.held = asyncio.Event()
        request = CreateFeedbackRequest(project=PROJECT, feedback=feedback("a"))
        with ThreadPoolExecutor(1) as pool:
            left = pool.submit(stub.CreateFeedback, request, timeout=0.3)
            with pytest.raises(grpc.RpcError):
                left.result(30)
        deadline = time.monotonic() + 30
        while scrape(running).calls("plaudit.v1.FeedbackService/CreateFeedback", "CANCELLED") == 0:
            assert time.monotonic() < deadline

        async def go_on() -> None:
            assert store.held is not None
            store.held.set()

        running.run(go_on())
        while (found := scrape(running)).rows("stored") == 0:
            assert time.monotonic() < deadline
        assert (found.rows("accepted"), found.rows("stored"), found.rows("acknowledged")) == (1, 1, 0)


def test_methods_that_are_not_there_are_one_label_and_answered_as_grpc_does() -> None:
    with server(config=with_admin()) as running, grpc.insecure_channel(running.target) as channel:
        paths = [f"/{CANARY}.Service/M{number}" for number in range(20)]
        paths += [f"/plaudit.v1.FeedbackService/{CANARY}", f"/grpc.health.v1.Health/{CANARY}", "/_OTHER"]
        shapes: list[Any] = [channel.unary_unary, channel.unary_stream, channel.stream_unary, channel.stream_stream]
        for number, path in enumerate(paths):
            call = shapes[number % 4](path)
            sent = iter([b"x"]) if number % 4 >= 2 else b"x"
            with pytest.raises(grpc.RpcError) as raised:
                list(call(sent))
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert raised.value.details() == "Method not found!"
        found = scrape(running)
        assert found.calls("_OTHER", "UNIMPLEMENTED") == len(paths)
        assert CANARY not in found.text


def test_no_label_is_a_text_of_a_caller() -> None:
    config = with_admin(Config(limits=Limits(calls_per_second=1, burst_seconds=1)))
    with server(config=config) as running, grpc.insecure_channel(running.target) as channel:
        stub = FeedbackServiceStub(channel)
        metadata = (("x-request-id", CANARY), ("user-agent", CANARY), (CANARY, CANARY))
        for number in range(4):
            request = CreateFeedbackRequest(
                project=f"acme/{CANARY}", feedback=Feedback(id=CANARY, ref=f"weave:///{CANARY}/x/call/1")
            )
            with suppress(grpc.RpcError):
                stub.CreateFeedback(request, metadata=metadata)
            with suppress(grpc.RpcError):
                stub.CountFeedback(CountFeedbackRequest(project=f"{CANARY}/{number}"), metadata=metadata)
        found = scrape(running)
        assert CANARY not in found.text
        assert found.value("plaudit_refusals_total", reason="calls_per_second") == 3
        values = {value for _, pairs in found.samples for label, value in pairs if label not in ("le", "version")}
        again = scrape(running)
        assert values == {
            value for _, pairs in again.samples for label, value in pairs if label not in ("le", "version")
        }


def test_records_that_break_their_definition_are_counted() -> None:
    with server(config=with_admin()) as running, grpc.insecure_channel(running.target) as channel:
        definition = Definition(feedback_type="t", boolean=BooleanRule())
        DefinitionServiceStub(channel).PutDefinition(PutDefinitionRequest(project=PROJECT, definition=definition))
        stub = FeedbackServiceStub(channel)
        values = ("true", "1", "false", '"x"')
        feedback = [Feedback(ref="urn:x", feedback_type="t", payload_json=f'{{"value": {v}}}') for v in values]
        stub.BatchCreateFeedback(BatchCreateFeedbackRequest(project=PROJECT, feedback=feedback, partial=True))
        assert scrape(running).value("plaudit_definition_breaches_total") == 2


def test_a_clock_that_is_ahead_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    now = time.time_ns() // 1000
    ahead = [60_000_000]
    with TemporaryDirectory() as directory:
        store = SqliteEngine(Path(directory) / "plaudit.db", clock=lambda: now + ahead[0])
        with server(store, with_admin()) as running, grpc.insecure_channel(running.target) as channel:
            stub = FeedbackServiceStub(channel)
            stub.CreateFeedback(CreateFeedbackRequest(project=PROJECT, feedback=feedback("a")))
            assert scrape(running).value("plaudit_clock_ahead_seconds") == 0
            ahead[0] = 0
            stub.CreateFeedback(CreateFeedbackRequest(project=PROJECT, feedback=feedback("b")))
            assert scrape(running).value("plaudit_clock_ahead_seconds") == 60
    [line] = [record.getMessage() for record in caplog.records if "ahead" in record.getMessage()]
    assert line.startswith("the clock of a project is 60.0 s ahead")


def test_watchers_and_calls_in_flight_are_told() -> None:
    config = with_admin(Config(limits=Limits(in_flight_watches=2)))
    with server(config=config) as running, grpc.insecure_channel(running.target) as channel:
        stub = FeedbackServiceStub(channel)
        watches = [stub.WatchFeedback(WatchFeedbackRequest(project=PROJECT)) for _ in range(2)]
        for watch in watches:
            next(watch)
        with pytest.raises(grpc.RpcError):
            next(stub.WatchFeedback(WatchFeedbackRequest(project=PROJECT)))
        found = scrape(running)
        assert found.value("plaudit_watchers") == found.value("plaudit_calls_in_flight", kind="watches") == 2
        assert found.value("plaudit_calls_in_flight_limit", kind="watches") == 2
        assert found.value("plaudit_refusals_total", reason="in_flight_watches") == 1
        for watch in watches:
            watch.cancel()
        deadline = time.monotonic() + 30
        while scrape(running).value("plaudit_watchers"):
            assert time.monotonic() < deadline


def test_reads_are_told_by_lane() -> None:
    with server(config=with_admin()) as running:
        store = running.server.store

        def endless(_: Prepared) -> Steps[int]:
            yield Statement("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n")
            return 0

        async def scan(count: int) -> list[asyncio.Task[int]]:
            return [asyncio.create_task(store.read(Reading(endless))) for _ in range(count)]

        async def end(tasks: list[asyncio.Task[int]]) -> None:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        scans = running.run(scan(8))

        def in_scan_lane() -> tuple[float, float]:
            found = scrape(running)
            assert found.value("plaudit_reads_waiting", lane="point") == 0
            return found.value("plaudit_reads_running", lane="scan"), found.value("plaudit_reads_waiting", lane="scan")

        deadline = time.monotonic() + 30
        while sum(in_scan_lane()) < 8:
            assert time.monotonic() < deadline
        running_now, waiting = in_scan_lane()
        assert running_now > 0
        assert waiting > 0
        running.run(end(scans))
        while sum(in_scan_lane()):
            assert time.monotonic() < deadline


def test_the_server_tells_what_it_is_and_what_it_uses() -> None:
    with server(config=with_admin()) as running, grpc.insecure_channel(running.target) as channel:
        version = FeedbackServiceStub(channel).GetServerInfo(GetServerInfoRequest()).version
        found: Scraped = scrape(running)
        assert found.value("plaudit_build_info", version=version, store="sqlite") == 1
        assert found.value("plaudit_serving") == 1
        assert found.value("process_resident_memory_bytes") > 0
        assert not [name for name, _ in found.samples if name.endswith("_created")]
