"""The log over the wire: which calls leave a line; never payloads or credentials of callers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from plaudit.v1 import (
    BatchCreateFeedbackRequest,
    CountFeedbackRequest,
    CreateFeedbackRequest,
    Feedback,
    FeedbackServiceStub,
    GetServerInfoRequest,
    IngestFeedbackRequest,
    ListRefsRequest,
    PurgeFeedbackRequest,
    QueryFeedbackRequest,
    ReplaceFeedbackRequest,
    StreamFeedbackRequest,
    WatchFeedbackRequest,
)
from tests.service.process import ServerProcess
from tests.service.test_metrics import id_of

PROJECT = "acme/chat"
CANARY = "canary7f3a"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def log_of(tmp_path: Path, use: Callable[[grpc.Channel], None], *flags: str, env: dict[str, str] | None = None) -> str:
    """What a server writes to standard error while it is used, after it has stopped."""
    process = ServerProcess(tmp_path / "plaudit.db", "127.0.0.1:0", *flags, env=env)
    with grpc.insecure_channel(process.target) as channel:
        use(channel)
    assert process.stop(signal.SIGTERM) == 0
    return "".join(process.log)


def calls_in(log: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("logger") == "plaudit_server.calls"]


def feedback() -> Feedback:
    return Feedback(id=id_of("a"), ref="weave:///acme/chat/call/1", feedback_type="custom")


def unknown(channel: grpc.Channel, path: str) -> Any:
    return channel.unary_unary(path)


def some_calls(channel: grpc.Channel) -> None:
    stub = FeedbackServiceStub(channel)
    metadata = (("x-request-id", "the-request"), ("traceparent", PARENT))
    stub.CreateFeedback(CreateFeedbackRequest(project=PROJECT, feedback=feedback()), metadata=metadata)
    with pytest.raises(grpc.RpcError):
        stub.CountFeedback(CountFeedbackRequest(project="?"), metadata=metadata)
    with pytest.raises(grpc.RpcError):
        unknown(channel, "/no.Such/Method")(b"")
    watch = stub.WatchFeedback(WatchFeedbackRequest(project=PROJECT))
    next(watch)
    watch.cancel()
    with pytest.raises(grpc.RpcError):
        list(stub.WatchFeedback(WatchFeedbackRequest(project=PROJECT, after_revision=99)))


def test_calls_that_failed_leave_a_line_of_json(tmp_path: Path) -> None:
    lines = calls_in(log_of(tmp_path, some_calls, "--log-slow-seconds=0"))
    assert [(line["method"], line["code"], line["reason"]) for line in lines] == [
        ("CountFeedback", "INVALID_ARGUMENT", "INVALID_FIELD"),
        ("_OTHER", "UNIMPLEMENTED", None),
        ("WatchFeedback", "OUT_OF_RANGE", "REVISION_OUT_OF_RANGE"),
    ]
    first = lines[0]
    assert (first["request_id"], first["trace_id"], first["principal"]) == ("the-request", TRACE, "anonymous")
    assert first["duration_seconds"] > 0
    assert first["level"] == "INFO"
    assert first["time"].endswith("+00:00")
    assert lines[1]["trace_id"] is None
    assert len(lines[1]["request_id"]) == 32


def test_slow_calls_leave_a_line_and_streams_are_not_slow(tmp_path: Path) -> None:
    lines = calls_in(log_of(tmp_path, some_calls, "--log-slow-seconds=0.000001"))
    assert [(line["method"], line["code"]) for line in lines] == [
        ("CreateFeedback", "OK"),
        ("CountFeedback", "INVALID_ARGUMENT"),
        ("_OTHER", "UNIMPLEMENTED"),
        ("WatchFeedback", "OUT_OF_RANGE"),
    ]


def refused_calls(channel: grpc.Channel) -> None:
    """One call that finds room, then 100 that find none, with a pause between them."""
    stub = FeedbackServiceStub(channel)
    for calls, pause in ((51, 0.25), (50, 0.0)):
        for _ in range(calls):
            with suppress(grpc.RpcError):
                stub.CountFeedback(CountFeedbackRequest(project=PROJECT))
        time.sleep(pause)


def test_refusals_leave_some_lines_and_each_is_counted(tmp_path: Path) -> None:
    log = calls_in(log_of(tmp_path, refused_calls, "--limits-calls-per-second=0.01"))
    lines = [line for line in log if "code" in line]
    assert {(line["code"], line["reason"]) for line in lines} == {("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")}
    assert 12 <= len(lines) < 60
    counts = [line["refusals_not_logged"] for line in lines if "refusals_not_logged" in line]
    [rest] = [line["message"] for line in log if "code" not in line]
    assert counts
    assert len(lines) + sum(counts) + int(rest.removesuffix(" refusals were not logged")) == 100


def test_all_refusals_are_logged_when_all_calls_are(tmp_path: Path) -> None:
    lines = calls_in(log_of(tmp_path, refused_calls, "--limits-calls-per-second=0.01", "--log-calls=all"))
    assert [line["code"] for line in lines] == ["OK", *["RESOURCE_EXHAUSTED"] * 100]


@pytest.mark.parametrize(
    ("flags", "methods"),
    [
        (("--log-calls=all",), {"CreateFeedback", "CountFeedback", "_OTHER", "WatchFeedback"}),
        (("--log-calls=off",), set()),
        (("--log-calls=all", "--log-level=warning"), set()),
    ],
)
def test_all_calls_or_none_are_logged_when_told(tmp_path: Path, flags: tuple[str, ...], methods: set[str]) -> None:
    assert {line["method"] for line in calls_in(log_of(tmp_path, some_calls, *flags))} == methods


def test_text_has_the_same_facts_on_a_line(tmp_path: Path) -> None:
    log = log_of(tmp_path, some_calls, "--log-format=text", "--log-calls=all")
    [line] = [line for line in log.splitlines() if "method=CountFeedback" in line]
    assert f"request_id=the-request trace_id={TRACE} principal=anonymous" in line
    assert "code=INVALID_ARGUMENT reason=INVALID_FIELD" in line
    assert not [line for line in log.splitlines() if line.startswith("{")]


def test_everything_but_the_ready_line_is_json_when_nobody_looks(tmp_path: Path) -> None:
    log = log_of(tmp_path, some_calls)
    plain = [line for line in log.splitlines() if not line.startswith("{")]
    assert len(plain) == 1
    assert "ready on" in plain[0]
    assert "stopping" in [json.loads(line)["message"] for line in log.splitlines() if line.startswith("{")]


def every_call(channel: grpc.Channel, key: str) -> None:
    """Each RPC, with the canary in all that a caller stores or asks for; good and bad."""
    stub = FeedbackServiceStub(channel)
    payload = json.dumps({"note": CANARY, CANARY: CANARY})
    good = Feedback(ref=f"weave:///acme/chat/call/{CANARY}", feedback_type="custom", payload_json=payload)
    note = Feedback(ref=good.ref, feedback_type="note", payload_json=json.dumps({"note": CANARY}))
    bad = Feedback(ref=CANARY, feedback_type=CANARY, payload_json=CANARY)
    requests: list[tuple[Any, Any]] = [
        (stub.GetServerInfo, GetServerInfoRequest()),
        (stub.CountFeedback, CountFeedbackRequest(project=f"{CANARY}/x")),
        (stub.QueryFeedback, QueryFeedbackRequest(project=PROJECT, page_token=CANARY)),
        (stub.ListRefs, ListRefsRequest(project=PROJECT)),
        (stub.PurgeFeedback, PurgeFeedbackRequest(project=PROJECT, ids=[CANARY])),
    ]
    for item in (good, note, bad):
        requests += [
            (stub.CreateFeedback, CreateFeedbackRequest(project=PROJECT, feedback=item)),
            (stub.ReplaceFeedback, ReplaceFeedbackRequest(project=PROJECT, feedback=item)),
            (stub.BatchCreateFeedback, BatchCreateFeedbackRequest(project=PROJECT, feedback=[item])),
        ]
    credentials = [
        (("authorization", f"Bearer {key}"),),
        (("authorization", f"Bearer {key[:-4]}{CANARY}"),),
        (("authorization", f"Bearer {CANARY}"),),
    ]
    for metadata in credentials:
        for method, request in requests:
            with suppress(grpc.RpcError):
                method(request, metadata=metadata)
        with suppress(grpc.RpcError):
            list(stub.StreamFeedback(StreamFeedbackRequest(project=PROJECT), metadata=metadata))
        with suppress(grpc.RpcError):
            ingested = IngestFeedbackRequest(project=PROJECT, feedback=[good, bad])
            list(stub.IngestFeedback(iter([ingested]), metadata=metadata))
        with suppress(grpc.RpcError):
            unknown(channel, f"/{CANARY}/{CANARY}")(b"", metadata=metadata)


@pytest.mark.parametrize("format", ["json", "text"])
def test_nothing_of_what_callers_store_or_prove_themselves_by_is_logged(tmp_path: Path, format: str) -> None:
    command = [sys.executable, "-m", "plaudit_server", "keys", "create", "judge", "--role", "editor"]
    store = ["--project", "*", "--store", f"sqlite:{tmp_path / 'plaudit.db'}"]
    key = subprocess.run([*command, *store], capture_output=True, text=True, check=True).stdout.strip()
    flags = ("--auth-api-keys", f"--log-format={format}", "--log-calls=all", "--log-level=debug", "--audit-log=off")
    log = log_of(tmp_path, lambda channel: every_call(channel, key), *flags)
    assert log.count("INVALID_ARGUMENT") > 3
    assert log.count("UNAUTHENTICATED") > 10
    assert "principal=judge" in log or '"principal": "judge"' in log
    assert CANARY not in log
    _, id, secret = key.split("_", 2)  # there may be more of them in the secret
    assert secret not in log
    assert id not in log


def test_the_request_id_is_in_the_trailers_of_every_kind_of_call(tmp_path: Path) -> None:
    def use(channel: grpc.Channel) -> None:
        stub = FeedbackServiceStub(channel)
        record = CreateFeedbackRequest(project=PROJECT, feedback=feedback())
        ingested = IngestFeedbackRequest(project=PROJECT, feedback=[feedback()])
        unary: list[Callable[[Any], Any]] = [
            lambda metadata: stub.CreateFeedback.future(record, metadata=metadata),
            lambda metadata: stub.CountFeedback.future(CountFeedbackRequest(project="?"), metadata=metadata),
            lambda metadata: unknown(channel, "/no/such").future(b"", metadata=metadata),
        ]
        streams: list[Callable[[Any], Any]] = [
            lambda metadata: stub.StreamFeedback(StreamFeedbackRequest(project=PROJECT), metadata=metadata),
            lambda metadata: stub.StreamFeedback(StreamFeedbackRequest(project="?"), metadata=metadata),
            lambda metadata: stub.IngestFeedback(iter([ingested]), metadata=metadata),
            lambda metadata: stub.IngestFeedback(iter([IngestFeedbackRequest()]), metadata=metadata),
        ]
        for call in (*unary, *streams):
            for given, comes_back in (("an id", True), ("x" * 65, False), ("", False), (None, False)):
                running = call(() if given is None else (("x-request-id", given),))
                with suppress(grpc.RpcError):
                    list(running) if call in streams else running.result(30)
                [told] = [value for name, value in running.trailing_metadata() if name == "x-request-id"]
                assert (told == given) is comes_back
                assert comes_back or len(told) == 32

    log_of(tmp_path, use)
