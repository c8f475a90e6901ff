"""The HTTP port of a real server: the same calls, rules, errors and numbers as on the gRPC port."""

from __future__ import annotations

import base64
import gzip
import json
import struct
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

import plaudit
from plaudit.v1 import GetFeedbackRequest, GetFeedbackResponse
from plaudit_server.auth.keys import new_key
from plaudit_server.auth.keystore import StoredKeys
from plaudit_server.config import Auth, Config, Connections, Limits
from plaudit_server.config.grants import Role
from plaudit_server.store.base import SqlEngine
from plaudit_server.testing import RunningServer
from tests.service.web import FEEDBACK, JSON, Answer, ask, call, create, raw, read_all, stream_head, until, web_server


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with web_server(origins=("https://chat.acme.dev",), public_url="https://feedback.acme.dev") as running:
        yield running


def reason(answer: Answer) -> str:
    [info] = [d["debug"] for d in answer.json["details"] if d["type"] == "google.rpc.ErrorInfo"]
    assert info["domain"] == "plaudit.dev"
    return str(info["reason"])


def watchers(running: RunningServer) -> int:
    text = running.server.metrics.text().decode()
    [line] = [line for line in text.splitlines() if line.startswith("plaudit_watchers ")]
    return int(float(line.split()[1]))


def test_what_is_stored_over_http_is_read_over_grpc_and_the_other_way(running: RunningServer) -> None:
    stored = create(running, 7).json["feedback"]
    client = running.client()
    assert client.get(stored["id"]).payload == {"n": 7}
    id = client.create({"ref": "urn:y", "feedback_type": "score", "payload": {"v": 2**53 + 1}}).id
    got = call(running, "GetFeedback", {"project": "acme/chat", "id": id}).json["feedback"]
    assert json.loads(got["payloadJson"]) == {"v": 2**53 + 1}
    assert got["version"] == "1"


def test_get(running: RunningServer) -> None:
    id = create(running, 8).json["feedback"]["id"]
    asked = quote(json.dumps({"project": "acme/chat", "id": id}))
    answer = ask(running, "GET", f"{FEEDBACK}GetFeedback?encoding=json&message={asked}")
    assert (answer.status, answer.json["feedback"]["id"]) == (200, id)
    assert answer.headers["cache-control"] == "no-store"
    message = base64.urlsafe_b64encode(GetFeedbackRequest(project="acme/chat", id=id).SerializeToString()).decode()
    answer = ask(running, "GET", f"{FEEDBACK}GetFeedback?encoding=proto&base64=1&message={message}")
    assert GetFeedbackResponse.FromString(answer.body).feedback.id == id


def test_definitions_and_analytics_are_read_by_get(running: RunningServer) -> None:
    def got(method: str, **message: object) -> dict[str, Any]:
        asked = quote(json.dumps({"project": "acme/by-get", **message}))
        answer = ask(running, "GET", f"/plaudit.v1.{method}?encoding=json&message={asked}")
        assert answer.status == 200, answer
        found: dict[str, Any] = answer.json
        return found

    client = running.client("acme/by-get")
    client.define(plaudit.Definition("score", plaudit.Numeric(0, 1)))
    client.create({"ref": "urn:y", "feedback_type": "score", "payload": {"value": 0.25}})
    assert got("DefinitionService/GetDefinition", feedbackType="score")["definition"]["version"] == "1"
    assert len(got("DefinitionService/ListDefinitions")["definitions"]) == 1
    assert got("DefinitionService/CheckDefinition", definition={"feedbackType": "score"})["checkedCount"] == "1"
    mean = {"name": "mean", "function": "MEASURE_FUNCTION_MEAN", "value": {"field": "payload.value"}}
    [group] = got("AnalyticsService/AggregateFeedback", measures=[mean])["groups"]
    assert group["measures"][0]["value"] == {"doubleValue": 0.25}
    assert got("AnalyticsService/DescribeFeedback")["fields"][0]["path"] == "payload.value"
    assert got("AnalyticsService/SummarizeRefs", refs=["urn:y"])["refs"][0]["rowCount"] == "1"
    agreement = got("AnalyticsService/MeasureAgreement", value={"field": "payload.value"})
    assert agreement["unitCount"] == "1"


def test_a_call_that_writes_is_not_made_by_get(running: RunningServer) -> None:
    for method in ("CreateFeedback", "PurgeFeedback", "SetReaction", "WatchFeedback"):
        assert ask(running, "GET", f"{FEEDBACK}{method}?encoding=json&message={{}}").status == 405
    assert ask(running, "GET", "/plaudit.v1.DefinitionService/PutDefinition?encoding=json&message={}").status == 405


def test_errors_carry_their_details_and_the_request_id(running: RunningServer) -> None:
    answer = call(running, "GetFeedback", {"project": "acme"}, x_request_id="mine-1")
    assert (answer.status, answer.json["code"], reason(answer)) == (400, "invalid_argument", "INVALID_FIELD")
    assert answer.headers["x-request-id"] == "mine-1"
    answer = call(running, "GetFeedback", {"project": "acme/chat", "id": "0192f8d4-0000-7000-8000-000000000000"})
    assert (answer.status, answer.json["code"], reason(answer)) == (404, "not_found", "FEEDBACK_NOT_FOUND")


@pytest.mark.parametrize(("body", "headers", "code"), [
    (b'{"nonsense": 1}', {}, "invalid_argument"), (b"{", {}, "invalid_argument"), (b"\xff", {}, "invalid_argument"),
    (b"[" * 30_000, {}, "invalid_argument"), (b"{}", {"content_encoding": "br"}, "unimplemented"),
    (b"{}", {"content_encoding": "gzip"}, "invalid_argument"),
    (b"{}", {"connect_timeout_ms": "soon"}, "invalid_argument"),
    (gzip.compress(bytes(50_000_000)), {"content_encoding": "gzip"}, "resource_exhausted"),
    (b" " * 4_000_000, {}, "resource_exhausted"),
])  # fmt: skip
def test_requests_that_cannot_be_read_have_a_reason_and_are_counted(
    running: RunningServer, body: bytes, headers: Any, code: str
) -> None:
    before = running.server.calls
    answer = ask(running, "POST", f"{FEEDBACK}CreateFeedback", body, content_type=JSON, **headers)
    assert answer.json["code"] == code
    assert reason(answer) in ("MALFORMED_MESSAGE", "MESSAGE_TOO_LARGE")
    until(lambda: running.server.calls == before + 1)


def test_metrics_name_the_protocol(running: RunningServer) -> None:
    create(running, 9)
    until(lambda: b'rpc_system_name="connectrpc"' in running.server.metrics.text())
    message = GetFeedbackRequest(project="acme/chat").SerializeToString()
    sent = struct.pack("!BI", 0, len(message)) + message
    answer = ask(running, "POST", f"{FEEDBACK}GetFeedback", sent, content_type="application/grpc-web+proto")
    assert b"grpc-status: 3\r\n" in answer.body
    until(lambda: b'rpc_system_name="grpc_web"' in running.server.metrics.text())


@pytest.mark.parametrize(("verb", "path", "headers", "status"), [
    ("POST", f"{FEEDBACK}GetFeedback", {"content_type": "application/grpc"}, 415),
    ("POST", f"{FEEDBACK}Nothing", {"content_type": JSON}, 404), ("GET", "/", {}, 404),
    ("GET", "/", {"host": "evil.example"}, 421),
    ("POST", f"{FEEDBACK}GetFeedback", {"origin": "https://evil.example"}, 403),
    ("OPTIONS", f"{FEEDBACK}GetFeedback", {"origin": "https://evil.example"}, 403),
    ("OPTIONS", f"{FEEDBACK}GetFeedback", {}, 405), ("GET", "/x", {"origin": "null"}, 403),
])  # fmt: skip
def test_what_is_refused_by_http_alone(running: RunningServer, verb: str, path: str, headers: Any, status: int) -> None:
    body = b"{}" if verb == "POST" else None
    assert ask(running, verb, path, body, **headers).status == status


def test_a_page_of_an_origin_that_may_call(running: RunningServer) -> None:
    origin = "https://chat.acme.dev"
    asked: Any = {"origin": origin, "access_control_request_method": "POST"}
    preflight = ask(running, "OPTIONS", f"{FEEDBACK}GetFeedback", **asked)
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == origin
    answer = call(running, "GetServerInfo", {}, origin=origin)
    assert answer.headers["access-control-allow-origin"] == origin
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
    assert answer.json["httpUrl"] == "https://feedback.acme.dev"


def test_gzip(running: RunningServer) -> None:
    sent = gzip.compress(b'{"project":"acme/chat"}')
    answer = ask(
        running, "POST", f"{FEEDBACK}GetServerInfo", gzip.compress(b"{}"), content_type=JSON, content_encoding="gzip",
        accept_encoding="gzip",
    )  # fmt: skip
    assert answer.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(answer.body))["version"]
    answer = ask(running, "POST", f"{FEEDBACK}CountFeedback", sent, content_type=JSON, content_encoding="gzip")
    assert answer.status == 200


def envelopes(body: bytes) -> list[tuple[int, Any]]:
    found = []
    while len(body) >= 5:
        flags, length = struct.unpack_from("!BI", body)
        if len(body) < 5 + length:
            break
        found.append((flags, json.loads(body[5 : 5 + length])))
        body = body[5 + length :]
    return found


def chunks(answer: bytes) -> bytes:
    """The body of an answer in chunks, as far as it has come."""
    _, _, rest = answer.partition(b"\r\n\r\n")
    body = b""
    while b"\r\n" in rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return body


def test_a_watch_over_http_and_a_tab_that_closes() -> None:
    with web_server() as running:
        request = {"project": "acme/chat", "afterRevision": "0"}
        with raw(running, stream_head("WatchFeedback", request)) as tab:
            until(lambda: watchers(running) == 1)
            id = create(running, 1).json["feedback"]["id"]
            read = b""
            while id.encode() not in read:
                read += tab.recv(65536)
            shown = [c for _, message in envelopes(chunks(read)) for c in message.get("changes", [])]
            assert [c["feedback"]["id"] for c in shown] == [id]
        until(lambda: watchers(running) == 0)


def test_a_watch_ends_with_the_server() -> None:
    with web_server() as running, raw(running, stream_head("WatchFeedback", {"project": "acme/chat"})) as tab:
        until(lambda: watchers(running) == 1)
        running.run(running.server.stop(grace=5.0))
        [*_, (flags, end)] = envelopes(chunks(read_all(tab)))
        assert (flags, sorted(end)) == (2, ["metadata"])  # as on the gRPC port: it ends well, and goes on elsewhere


def test_a_reader_that_takes_nothing_is_ended_with_its_error() -> None:
    config = Config(connections=Connections(watch_stall_seconds=0.5))
    with web_server(config) as running:
        client = running.client()
        text = "x" * 300_000
        with raw(running, stream_head("WatchFeedback", {"project": "acme/chat"}, connection="close")) as tab:
            until(lambda: watchers(running) == 1)
            for n in range(60):
                client.create({"ref": f"urn:{n}", "feedback_type": "a", "payload": {"v": text}})
            until(lambda: watchers(running) == 0)
            [*_, (flags, end)] = envelopes(chunks(read_all(tab)))
        assert flags == 2
        assert end["error"]["code"] == "resource_exhausted"
        [info] = [d["debug"] for d in end["error"]["details"] if d["type"] == "google.rpc.ErrorInfo"]
        assert info["reason"] == "WATCHER_TOO_SLOW"
        assert int(info["metadata"]["revision"]) < 60


def test_a_deadline() -> None:
    with web_server() as running:
        body = json.dumps({"project": "acme/chat"}).encode()
        sent = struct.pack("!BI", 0, len(body)) + body
        answer = ask(
            running, "POST", f"{FEEDBACK}WatchFeedback", sent, content_type="application/connect+json",
            connect_timeout_ms="200",
        )  # fmt: skip
        assert envelopes(answer.body)[-1][1]["error"]["code"] == "deadline_exceeded"
        until(lambda: watchers(running) == 0)


def test_a_quota_says_when_to_come_back() -> None:
    with web_server(Config(limits=Limits(calls_per_second=0.1, burst_seconds=10.0))) as running:
        assert create(running).status == 200
        answer = create(running)
        assert (answer.status, reason(answer)) == (429, "QUOTA_EXCEEDED")
        assert 1 <= int(answer.headers["retry-after"]) <= 10


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, str]]:
    config = Config(auth=Auth(api_keys=True, key_refresh_seconds=0.1))
    with web_server(config) as running:
        text, key = new_key("ci", Role.WRITER, ["acme/*"], 1)
        assert isinstance(running.server.store, SqlEngine)
        running.run(StoredKeys(running.server.store).add(key))
        yield running, text


def test_a_key_over_http(secured: tuple[RunningServer, str]) -> None:
    running, key = secured
    assert create(running).json["code"] == "unauthenticated"
    assert create(running, authorization="Bearer plk_nonsense").status == 401
    until(lambda: create(running, authorization=f"Bearer {key}").status == 200)
    answer = call(running, "CountFeedback", {"project": "other/chat"}, authorization=f"Bearer {key}")
    assert (answer.status, reason(answer)) == (403, "PERMISSION_DENIED")


def test_who_calls_is_asked_before_the_body_is_read(secured: tuple[RunningServer, str]) -> None:
    running, _ = secured
    head = (
        f"POST {FEEDBACK}CreateFeedback HTTP/1.1\r\nhost: localhost\r\ncontent-type: {JSON}\r\n"
        "content-length: 3000000\r\nexpect: 100-continue\r\n\r\n"
    )
    with raw(running, head.encode()) as connection:
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 401 ")  # and not 100: the body is never asked for
        # The rest is read all the same, else the answer could be lost.
        connection.sendall(b"x" * 3_000_000)
        connection.sendall(f"GET {FEEDBACK} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 404 ")
