"""Connect and gRPC-Web without a socket: what a request's bytes become, and what an answer's parts are."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote, urlencode

import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from plaudit.v1 import (
    CreateFeedbackRequest,
    Feedback,
    GetFeedbackRequest,
    GetFeedbackResponse,
    StreamFeedbackRequest,
    StreamFeedbackResponse,
    feedback_service_pb2,
)
from plaudit_server.web.codes import CODES, code_of
from plaudit_server.web.compression import compressed, decompressed
from plaudit_server.web.envelopes import CONNECT_END, TRAILERS, EnvelopeReader, sealed
from plaudit_server.web.exchange import Exchange, Head, Outcome, Parts
from plaudit_server.web.faults import (
    BadRequest,
    HttpRefusal,
    TooLarge,
    UnexpectedCompression,
    UnknownCompression,
    WebFault,
    WrongCount,
)
from plaudit_server.web.headers import Headers, connect_timeout, grpc_message, grpc_timeout, header_pairs, names_token
from plaudit_server.web.methods import Method, methods_of
from plaudit_server.web.negotiation import negotiate

SERVICE = feedback_service_pb2.DESCRIPTOR.services_by_name["FeedbackService"]
METHODS = methods_of([SERVICE])
GET = replace(METHODS["/plaudit.v1.FeedbackService/GetFeedback"], safe=True)
CREATE = replace(METHODS["/plaudit.v1.FeedbackService/CreateFeedback"], safe=False)
STREAM = METHODS["/plaudit.v1.FeedbackService/StreamFeedback"]
INGEST = METHODS["/plaudit.v1.FeedbackService/IngestFeedback"]
LIMIT = 10_000

ASKED = GetFeedbackRequest(project="acme/chat", id="x" * 1500)
ANSWER = GetFeedbackResponse(feedback=Feedback(id="é" * 1500))
PAGE = StreamFeedbackResponse(feedback=[Feedback(id="a" * 1500)])


def headers(**values: str | list[str]) -> Headers:
    pairs = []
    for name, value in values.items():
        several = [value] if isinstance(value, str) else value
        pairs += [(name.replace("_", "-").encode(), one.encode("latin-1")) for one in several]
    return Headers(pairs)


def post(method: Method, content_type: str, **more: str | list[str]) -> Exchange:
    return negotiate(method, "POST", "", headers(content_type=content_type, **more), LIMIT)


def get(query: str, **more: str) -> Exchange:
    return negotiate(GET, "GET", query, headers(**more), LIMIT)


def feed(exchange: Exchange, body: bytes, size: int = 7) -> list[bytes]:
    """Every message of a body that comes in small pieces."""
    messages = []
    for at in range(0, len(body), size):
        messages += exchange.receive(body[at : at + size])
    return messages + exchange.finish()


def parts(pieces: Iterable[Parts]) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body; the head comes first and once."""
    head, *body = [part for piece in pieces for part in piece]
    assert isinstance(head, Head)
    return head.status, dict(head.headers), b"".join(part for part in body if isinstance(part, bytes))


def details() -> bytes:
    status = status_pb2.Status(code=8, message="slow down")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="QUOTA_EXCEEDED", domain="plaudit.dev"))
    status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1)))
    status.details.add(type_url="type.googleapis.com/nobody.Knows", value=b"\x01")
    status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")
    encoded: bytes = status.SerializeToString()
    return encoded


@pytest.mark.parametrize("codec", ["proto", "json"])
@pytest.mark.parametrize("zipped", [False, True])
def test_unary_connect(codec: str, zipped: bool) -> None:
    more = {"content_encoding": "gzip", "accept_encoding": "br, gzip;q=0.8"} if zipped else {}
    exchange = post(GET, f"application/{codec}", connect_timeout_ms="1500", x_request_id="r-1", **more)
    body = ASKED.SerializeToString() if codec == "proto" else b'{"project":"acme/chat","id":"' + b"x" * 1500 + b'"}'
    assert feed(exchange, gzip.compress(body, mtime=0) if zipped else body) == [ASKED.SerializeToString()]
    assert exchange.timeout == 1.5
    assert dict(exchange.metadata) == {"x-request-id": "r-1"}
    assert exchange.protocol == "connectrpc"
    exchange.initial.append(("x-early", "1"))
    exchange.trailing += [("x-request-id", "r-1"), ("x-late-bin", b"\x00")]
    assert exchange.answer(exchange.encoded(ANSWER.SerializeToString())) == []
    status, head, sent = parts([exchange.end(Outcome())])
    assert status == 200
    assert head["content-type"] == f"application/{codec}"
    assert (head["x-early"], head["x-request-id"]) == ("1", "r-1")
    assert (head["trailer-x-request-id"], head["trailer-x-late-bin"]) == ("r-1", "AA")
    assert int(head["content-length"]) == len(sent)
    assert head.get("content-encoding") == ("gzip" if zipped else None)
    sent = gzip.decompress(sent) if zipped else sent
    assert sent == (
        ANSWER.SerializeToString()
        if codec == "proto"
        else json.dumps({"feedback": {"id": "é" * 1500}}, ensure_ascii=False, separators=(",", ":")).encode()
    )


def test_a_small_answer_is_sent_as_it_is() -> None:
    exchange = post(GET, "application/proto", accept_encoding="gzip")
    exchange.answer(exchange.encoded(b""))
    status, head, body = parts([exchange.end(Outcome())])
    assert (status, body, "content-encoding" in head) == (200, b"", False)


def test_a_unary_error_in_connect() -> None:
    exchange = post(GET, "application/proto")
    exchange.trailing += [
        ("x-request-id", "r"),
        ("grpc-status-details-bin", b"internal"),
        ("grpc-retry-pushback-ms", "1001"),
    ]
    exchange.answer(exchange.encoded(b"never seen"))
    status, head, body = parts([exchange.end(Outcome(8, "slow down", details()))])
    assert status == 429
    assert head["content-type"] == "application/json"
    assert head["retry-after"] == "2"
    assert not any("details" in name or "pushback" in name for name in head)
    error = json.loads(body)
    assert (error["code"], error["message"]) == ("resource_exhausted", "slow down")
    known, retry, unknown, broken = error["details"]
    assert known["type"] == "google.rpc.ErrorInfo"
    assert known["debug"] == {"reason": "QUOTA_EXCEEDED", "domain": "plaudit.dev"}
    assert error_details_pb2.ErrorInfo.FromString(base64.b64decode(known["value"] + "==")).reason == "QUOTA_EXCEEDED"
    assert retry["debug"] == {"retryDelay": "1s"}
    assert unknown == {"type": "nobody.Knows", "value": "AQ"}
    assert "debug" not in broken


@pytest.mark.parametrize("number", range(1, 17))
def test_every_code_has_its_name_and_http_status(number: int) -> None:
    exchange = post(GET, "application/json")
    status, _, body = parts([exchange.end(Outcome(number))])
    assert json.loads(body) == {"code": CODES[number].name}
    assert status == CODES[number].http_status >= 400


def test_a_code_that_there_is_not_is_unknown() -> None:
    assert code_of(99).name == code_of(-1).name == "unknown"


def test_a_method_that_gives_no_answer_is_unimplemented() -> None:
    status, _, body = parts([post(GET, "application/proto").end(Outcome())])
    assert (status, json.loads(body)["code"]) == (501, "unimplemented")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("is_base64", [False, True])
@pytest.mark.parametrize("codec", ["proto", "json"])
def test_get(codec: str, is_base64: bool, zipped: bool) -> None:
    message = ASKED.SerializeToString() if codec == "proto" else b'{"project":"acme/chat","id":"' + b"x" * 1500 + b'"}'
    sent = gzip.compress(message, mtime=0) if zipped else message
    query = {
        "encoding": codec,
        "connect": "v1",
        "message": base64.urlsafe_b64encode(sent).rstrip(b"=") if is_base64 else sent,
    }
    query |= {"base64": "1"} if is_base64 else {}
    query |= {"compression": "gzip"} if zipped else {}
    exchange = get(urlencode(query))
    assert feed(exchange, b"") == [ASKED.SerializeToString()]
    exchange.answer(exchange.encoded(b""))
    _, head, _ = parts([exchange.end(Outcome())])
    assert head["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "query",
    [
        "encoding=json",
        "encoding=json&message={}&message={}",
        "encoding=json&message=!&base64=1",
        "encoding=json&message={}&connect=v2",
        "encoding=json&message=%FF%FE",
        "encoding=json&message=" + "&a=1" * 30,
        "encoding=proto&message=%7F&compression=gzip",
        "encoding=json&message=" + quote("{" + " " * LIMIT + "}"),
    ],
)
def test_a_get_that_cannot_be_read(query: str) -> None:
    with pytest.raises((WebFault, HttpRefusal)):
        feed(get(query), b"")


def test_a_get_of_an_unknown_compression_or_encoding() -> None:
    with pytest.raises(UnknownCompression):
        feed(get("encoding=json&message={}&compression=br"), b"")
    for query in ("message={}", "encoding=xml&message={}", "encoding=json&encoding=json&message={}"):
        with pytest.raises(HttpRefusal) as refused:
            get(query)
        assert refused.value.status == 415


@pytest.mark.parametrize(
    ("method", "verb", "allow"),
    [
        (CREATE, "GET", "POST"),
        (CREATE, "PUT", "POST"),
        (GET, "DELETE", "GET, POST"),
        (STREAM, "GET", "POST"),
    ],
)
def test_other_verbs_are_refused(method: Method, verb: str, allow: str) -> None:
    with pytest.raises(HttpRefusal) as refused:
        negotiate(method, verb, "encoding=json&message={}", headers(content_type="application/json"), LIMIT)
    assert (refused.value.status, dict(refused.value.headers)["allow"]) == (405, allow)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc-web-text",
        "text/plain",
        "",
        "application/xml",
        "application/connect+proto",
        "application/json; charset=latin-1",
        "application/proto; charset=utf-8",
        "application/json, application/json",
    ],
)
def test_other_content_types_are_refused(content_type: str) -> None:
    with pytest.raises(HttpRefusal) as refused:
        post(GET, content_type)
    assert refused.value.status == 415
    assert "application/grpc-web" in dict(refused.value.headers)["accept-post"]


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", 'Application/JSON;charset="UTF8"'])
def test_json_may_say_that_it_is_utf8(content_type: str) -> None:
    assert feed(post(GET, content_type), b"{}") == [b""]


def test_two_content_types_are_none() -> None:
    with pytest.raises(HttpRefusal):
        negotiate(GET, "POST", "", headers(content_type=["application/json", "application/json"]), LIMIT)


@pytest.mark.parametrize("content_type", ["application/connect+proto", "application/connect+json"])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_stream_in_connect(content_type: str, zipped: bool) -> None:
    more = {"connect_content_encoding": "gzip", "connect_accept_encoding": "gzip"} if zipped else {}
    exchange = post(STREAM, content_type, **more)
    asked = StreamFeedbackRequest(project="acme/chat", offset=5)
    body = asked.SerializeToString() if content_type.endswith("proto") else b'{"project":"acme/chat","offset":"5"}'
    assert feed(exchange, sealed(1, gzip.compress(body, mtime=0)) if zipped else sealed(0, body), 3) == [
        asked.SerializeToString()
    ]
    exchange.trailing += [("x-request-id", "r"), ("x-twice", "1"), ("x-twice", "2")]
    pieces = [
        exchange.answer(exchange.encoded(PAGE.SerializeToString())),
        exchange.answer(exchange.encoded(b"")),
        exchange.end(Outcome(8, "no", details())),
    ]
    status, head, sent = parts(pieces)
    assert (status, head["content-type"], head["x-request-id"]) == (200, content_type, "r")
    first, second, last = EnvelopeReader(10_000).feed(sent)
    assert first.flags == (1 if zipped else 0)
    content = gzip.decompress(first.data) if zipped else first.data
    expected = (
        PAGE.SerializeToString() if content_type.endswith("proto") else b'{"feedback":[{"id":"%s"}]}' % (b"a" * 1500)
    )
    assert content == expected
    assert second.flags == 0
    assert last.flags == CONNECT_END
    end = json.loads(last.data)
    assert end["error"]["code"] == "resource_exhausted"
    assert end["metadata"] == {"x-request-id": ["r"], "x-twice": ["1", "2"]}


def test_a_stream_that_ends_well_says_so_and_nothing_else() -> None:
    _, _, sent = parts([post(STREAM, "application/connect+proto").end(Outcome())])
    assert sent == sealed(CONNECT_END, b"{}")


@pytest.mark.parametrize("content_type", ["application/grpc-web", "application/grpc-web+proto"])
@pytest.mark.parametrize("zipped", [False, True])
def test_grpc_web(content_type: str, zipped: bool) -> None:
    more = {"grpc_encoding": "gzip", "grpc_accept_encoding": "identity,gzip"} if zipped else {}
    exchange = post(GET, content_type, grpc_timeout="250m", x_grpc_web="1", **more)
    body = ASKED.SerializeToString()
    assert feed(exchange, sealed(1, gzip.compress(body, mtime=0)) if zipped else sealed(0, body)) == [body]
    assert (exchange.timeout, exchange.metadata, exchange.protocol) == (0.25, [], "grpc_web")
    exchange.trailing += [("x-request-id", "r"), ("grpc-retry-pushback-ms", "80"), ("grpc-status-details-bin", b"!")]
    status, head, sent = parts(
        [
            exchange.answer(exchange.encoded(ANSWER.SerializeToString())),
            exchange.end(Outcome(8, "zu früh\n%", details())),
        ]
    )
    assert (status, head["content-type"]) == (200, "application/grpc-web+proto")
    first, last = EnvelopeReader(10_000).feed(sent)
    assert (gzip.decompress(first.data) if first.flags else first.data) == ANSWER.SerializeToString()
    assert last.flags == TRAILERS
    lines = dict(line.split(": ", 1) for line in last.data.decode().split("\r\n")[:-1])
    assert lines["grpc-status"] == "8"
    assert lines["grpc-message"] == "zu fr%C3%BCh%0A%25"
    assert (lines["x-request-id"], lines["grpc-retry-pushback-ms"]) == ("r", "80")
    assert base64.b64decode(lines["grpc-status-details-bin"] + "==") == details()


def test_grpc_web_in_json() -> None:
    exchange = post(GET, "application/grpc-web+json")
    assert feed(exchange, sealed(0, b'{"id":"a"}')) == [GetFeedbackRequest(id="a").SerializeToString()]


def test_many_messages_of_a_stream_of_requests() -> None:
    exchange = post(INGEST, "application/connect+proto")
    assert feed(exchange, b"".join(sealed(0, bytes([8, n])) for n in range(5)), 4) == [bytes([8, n]) for n in range(5)]
    assert feed(post(INGEST, "application/connect+proto"), b"") == []


@pytest.mark.parametrize(
    ("method", "content_type"),
    [
        (STREAM, "application/connect+proto"),
        (GET, "application/grpc-web"),
        (STREAM, "application/grpc-web+proto"),
    ],
)
def test_a_method_of_one_request_takes_exactly_one(method: Method, content_type: str) -> None:
    with pytest.raises(WrongCount):
        feed(post(method, content_type), b"")
    with pytest.raises(WrongCount):
        feed(post(method, content_type), sealed(0, b"") * 2)


ENVELOPED = [(STREAM, "application/connect+proto"), (GET, "application/grpc-web+proto")]


@pytest.mark.parametrize(("method", "content_type"), ENVELOPED)
@pytest.mark.parametrize(
    "body",
    [
        sealed(2, b"{}"),
        sealed(0x80, b""),
        sealed(0x40, b""),
        sealed(0, b"abc")[:-1],
        b"\x00\x00",
        b"\x00",
    ],
)
def test_envelopes_that_cannot_be_read(method: Method, content_type: str, body: bytes) -> None:
    with pytest.raises(BadRequest):
        feed(post(method, content_type), body)


@pytest.mark.parametrize(("method", "content_type"), ENVELOPED)
def test_a_message_is_compressed_only_where_the_head_says_how(method: Method, content_type: str) -> None:
    with pytest.raises(UnexpectedCompression):
        feed(post(method, content_type), sealed(1, gzip.compress(b"", mtime=0)))


@pytest.mark.parametrize(("method", "content_type"), ENVELOPED)
def test_a_length_above_the_limit_is_refused_before_its_bytes_come(method: Method, content_type: str) -> None:
    for length in (LIMIT + 1, 2**32 - 1):
        with pytest.raises(TooLarge) as refused:
            post(method, content_type).receive(struct.pack("!BI", 0, length))
        assert refused.value.limit == LIMIT


def test_a_body_above_the_limit_is_refused_as_it_comes() -> None:
    exchange = post(GET, "application/proto")
    exchange.receive(b"x" * LIMIT)
    with pytest.raises(TooLarge):
        exchange.receive(b"x")


BOMB = gzip.compress(bytes(200_000_000), 1, mtime=0)


def test_a_bomb_makes_no_more_than_the_limit() -> None:
    with pytest.raises(TooLarge) as refused:
        decompressed(BOMB, LIMIT)
    assert refused.value.size == LIMIT + 1
    head = headers(content_type="application/proto", content_encoding="gzip")
    exchange = negotiate(GET, "POST", "", head, 10**6)
    with pytest.raises(TooLarge):
        feed(exchange, BOMB, 10**5)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        b"plain",
        gzip.compress(b"abc", mtime=0)[:-1],
        gzip.compress(b"abc", mtime=0) + b"x",
        gzip.compress(b"abc", mtime=0) * 2,
        zlib.compress(b"abc"),
        gzip.compress(b"abc", mtime=0)[:-8] + bytes(8),
    ],
)
def test_what_is_no_gzip(data: bytes) -> None:
    with pytest.raises(BadRequest):
        decompressed(data, 100)


@given(st.binary(max_size=5000))
def test_gzip_there_and_back(data: bytes) -> None:
    assert decompressed(compressed(data), 5000) == data == gzip.decompress(compressed(data))


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=50)), max_size=6), st.integers(1, 20))
def test_envelopes_in_pieces_of_any_size(envelopes: list[tuple[int, bytes]], size: int) -> None:
    body = b"".join(sealed(flags, data) for flags, data in envelopes)
    reader = EnvelopeReader(50)
    assert [e for at in range(0, len(body), size) for e in reader.feed(body[at : at + size])] == envelopes
    reader.finish()


@pytest.mark.parametrize(
    ("content_type", "method", "head"),
    [
        ("application/proto", GET, {"content_encoding": "br"}),
        ("application/connect+proto", STREAM, {"connect_content_encoding": "zstd"}),
        ("application/grpc-web", GET, {"grpc_encoding": "snappy"}),
    ],
)
def test_an_unknown_compression_is_a_fault_of_the_first_message(content_type: str, method: Method, head: Any) -> None:
    exchange = post(method, content_type, **head)
    assert isinstance(exchange.fault, UnknownCompression)
    with pytest.raises(UnknownCompression):
        exchange.receive(b"\x00")
    with pytest.raises(UnknownCompression):
        exchange.finish()
    _, answered, _ = parts([exchange.end(Outcome(12, "no"))])
    assert "gzip" in (
        answered.get("accept-encoding") or answered.get("connect-accept-encoding") or answered["grpc-accept-encoding"]
    )


@pytest.mark.parametrize(
    ("head", "content_type", "method"),
    [
        ({"connect_timeout_ms": "-1"}, "application/proto", GET),
        ({"connect_timeout_ms": "12345678901"}, "application/connect+proto", STREAM),
        ({"connect_protocol_version": "2"}, "application/proto", GET),
        ({"grpc_timeout": "1x"}, "application/grpc-web", GET),
        ({"x_some_bin": "!!"}, "application/grpc-web", GET),
        ({"x_some_bin": "!!"}, "application/proto", GET),
    ],
)
def test_a_head_that_cannot_be_read_is_a_fault_of_the_first_message(
    head: Any, content_type: str, method: Method
) -> None:
    exchange = post(method, content_type, **head)
    with pytest.raises(BadRequest):
        exchange.receive(b"")
    with pytest.raises(BadRequest):
        exchange.finish()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1H", 3600),
        ("2M", 120),
        ("3S", 3),
        ("4m", 0.004),
        ("5u", 5e-6),
        ("99999999n", 0.099999999),
        (None, None),
    ],
)
def test_timeouts_of_grpc(text: str | None, seconds: float | None) -> None:
    assert grpc_timeout(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("text", ["", "1", "S", "-1S", "1 S", "123456789S", "1.5S", "１S", "1S\n"])
def test_timeouts_that_are_none(text: str) -> None:
    with pytest.raises(BadRequest):
        grpc_timeout(text)
    with pytest.raises(BadRequest):
        connect_timeout(text if not text.isdigit() or len(text) > 10 or not text.isascii() else "x")


def test_metadata_is_what_belongs_to_the_call() -> None:
    came = headers(
        host="h", content_type="c", accept="a", te="trailers", connect_timeout_ms="1", grpc_timeout="1S",
        authorization="Bearer x", user_agent="u", x_twice=["1", "2"], x_some_bin=["AAE, AA==", "-_8"],
    )  # fmt: skip
    assert came.metadata() == [
        ("authorization", "Bearer x"), ("user-agent", "u"), ("x-twice", "1"), ("x-twice", "2"),
        ("x-some-bin", b"\x00\x01"), ("x-some-bin", b"\x00"), ("x-some-bin", b"\xfb\xff"),
    ]  # fmt: skip
    assert came.get("x-twice") is None
    assert came.all("x-twice") == ["1", "2"]


@pytest.mark.parametrize("pair", [("a\r\nb", "x"), ("a", "x\r\ny: z"), ("a", "é"), ("A", "x"), ("", "x"), ("a:", "x")])
def test_what_would_begin_another_header_is_no_metadata(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be a header"):
        header_pairs([pair])


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (["gzip"], True),
        (["br, GZIP ;q=0.5"], True),
        (["br", "gzip"], True),
        (["gzip;q=0"], False),
        (["gzip; q=0.00"], False),
        (["x-gzip"], False),
        ([], False),
        (["*"], False),
    ],
)
def test_a_token_in_a_list(values: list[str], named: bool) -> None:
    assert names_token(values, "gzip") is named


@given(st.text(st.characters(codec="utf-8")))
def test_grpc_message_is_one_line_of_ascii(text: str) -> None:
    sent = grpc_message(text)
    assert sent.isascii()
    assert sent.isprintable()
    assert unquote(sent) == text


def test_methods_of_a_service() -> None:
    assert len(METHODS) == len(SERVICE.methods)
    assert (INGEST.client_streaming, INGEST.server_streaming, INGEST.streaming) == (True, True, True)
    assert (STREAM.client_streaming, STREAM.streaming, GET.streaming) == (False, True, False)
    assert GET.service == "FeedbackService"


def test_only_what_takes_long_is_heavy() -> None:
    assert not post(GET, "application/proto").slow_to_write(10**6)
    assert post(GET, "application/proto", accept_encoding="gzip").slow_to_write(10**6)
    assert post(GET, "application/json").slow_to_write(10**6)
    assert not post(GET, "application/json", accept_encoding="gzip").slow_to_write(1000)


@given(
    st.binary(max_size=200),
    st.sampled_from([*ENVELOPED, (GET, "application/json"), (CREATE, "application/proto")]),
    st.booleans(),
)
def test_bytes_of_any_kind_are_read_or_refused(data: bytes, to: tuple[Method, str], zipped: bool) -> None:
    head = dict.fromkeys(("content_encoding", "connect_content_encoding", "grpc_encoding"), "gzip") if zipped else {}
    exchange = negotiate(to[0], "POST", "", headers(content_type=to[1], **head), LIMIT)
    with suppress(WebFault):  # anything else would be a defect
        assert len(feed(exchange, data)) == 1


def test_create_request_reads_back() -> None:
    asked = CreateFeedbackRequest(project="a/b")
    assert feed(post(CREATE, "application/proto"), asked.SerializeToString()) == [asked.SerializeToString()]
