"""The Connect protocol: unary calls as plain HTTP by POST and GET, streams as envelopes; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

from plaudit_server.web.codecs import compact_json
from plaudit_server.web.codes import OK, code_of
from plaudit_server.web.compression import GZIP, IDENTITY, decompressed
from plaudit_server.web.connect_errors import error_value
from plaudit_server.web.envelopes import CONNECT_END
from plaudit_server.web.exchange import (
    PUSHBACK,
    STATUS_DETAILS,
    Encoded,
    EnvelopedExchange,
    Exchange,
    Outcome,
    Parts,
    reader_of,
)
from plaudit_server.web.faults import UNIMPLEMENTED, BadRequest, TooLarge, UnknownCompression, WebFault
from plaudit_server.web.headers import (
    HeaderPairs,
    Headers,
    connect_timeout,
    decoded_base64,
    header_pairs,
    names_token,
)

ACCEPTED: Final = "gzip"
_INTERNAL_TRAILERS: Final = frozenset({STATUS_DETAILS, PUSHBACK})
_VERSION: Final = "1"


@dataclass
class ConnectUnary(Exchange):
    """A unary call: the body is the message, the HTTP status is that of the code."""

    protocol = "connectrpc"

    _message: Encoded | None = None
    _given: bytes | None = None
    """The message of a GET, which came with the head."""

    def __post_init__(self) -> None:
        self._body = bytearray()

    def read_head(self, headers: Headers) -> None:
        """Take what the head says of a POST; a fault in it is kept for later."""
        try:
            _read_common(self, headers)
            self._compression = reader_of(headers.get("content-encoding"))
        except WebFault as fault:
            self.fault = fault
        self.compresses = names_token(headers.all("accept-encoding"), GZIP)

    def read_query(self, query: str, headers: Headers) -> None:
        """Take a GET's message and what its query says of it; a fault in it is kept for later."""
        try:
            _read_common(self, headers)
            parameters = _parameters(query)
            version = parameters.get("connect")
            if version not in (None, f"v{_VERSION}"):
                raise BadRequest("connect", "the parameter `connect` must be v1")
            text = parameters.get("message")
            if text is None:
                raise BadRequest("message", "the parameter `message` is missing")
            self._compression = reader_of(parameters.get("compression"))
            is_base64 = parameters.get("base64") == "1"
            self._given = decoded_base64(text, "message") if is_base64 else text.encode("utf-8", "surrogateescape")
        except WebFault as fault:
            self.fault = fault
        self.compresses = names_token(headers.all("accept-encoding"), GZIP)

    def receive(self, data: bytes) -> list[bytes]:
        """Nothing before the end: the whole body is the message."""
        if self.fault is not None:
            raise self.fault
        if len(self._body) + len(data) > self.limit:
            raise TooLarge(len(self._body) + len(data), self.limit)
        self._body += data
        return []

    def finish(self) -> list[bytes]:
        """The message."""
        if self.fault is not None:
            raise self.fault
        data = bytes(self._body) if self._given is None else self._given
        self._body = bytearray()
        if self._compression != IDENTITY and data:
            data = decompressed(data, self.limit)
        elif len(data) > self.limit:
            raise TooLarge(len(data), self.limit)
        return [self._request(data)]

    def answer(self, message: Encoded) -> Parts:
        """Nothing before the end: only then is it known whether there is exactly one answer."""
        self._message = message
        return []

    def end(self, outcome: Outcome) -> Parts:
        """The whole answer."""
        headers: HeaderPairs = _trailer_headers(self)
        if outcome.code == OK and self._message is not None:
            (body, zipped), status = self._message, 200
            headers.append(("content-type", f"application/{self.codec.name}"))
        else:
            if outcome.code == OK:
                outcome = Outcome(UNIMPLEMENTED, "the method gave no answer")
            body, zipped = self._compressed(compact_json(error_value(outcome)))
            status = code_of(outcome.code).http_status
            headers += [("content-type", "application/json"), *_retry_after(self)]
        if isinstance(self.fault, UnknownCompression):
            headers.append(("accept-encoding", ACCEPTED))
        if zipped:
            headers.append(("content-encoding", GZIP))
        headers += [("vary", "accept-encoding"), ("content-length", str(len(body)))]
        if self._given is not None:
            headers.append(("cache-control", "no-store"))
        return [*self._head_once(status, headers), body]


@dataclass
class ConnectStream(EnvelopedExchange):
    """A call with a stream on either side: envelopes both ways; the last one of the answer says how it ended."""

    protocol = "connectrpc"

    def read_head(self, headers: Headers) -> None:
        """Take what the head says; a fault in it is kept for later."""
        try:
            _read_common(self, headers)
            self._compression = reader_of(headers.get("connect-content-encoding"))
        except WebFault as fault:
            self.fault = fault
        self.compresses = names_token(headers.all("connect-accept-encoding"), GZIP)

    def end(self, outcome: Outcome) -> Parts:
        """The last envelope."""
        value: dict[str, Any] = {}
        if outcome.code != OK:
            value["error"] = error_value(outcome)
        metadata: dict[str, list[str]] = {}
        for name, text in header_pairs([pair for pair in self.trailing if pair[0] not in _INTERNAL_TRAILERS]):
            metadata.setdefault(name, []).append(text)
        if metadata:
            value["metadata"] = metadata
        return [*self._head(), self._sealed(CONNECT_END, self._compressed(compact_json(value)))]

    def _head(self) -> Parts:
        headers = [
            ("content-type", f"application/connect+{self.codec.name}"),
            ("connect-accept-encoding", ACCEPTED),
            # Proxies that buffer an answer would keep a watch's changes to themselves.
            ("x-accel-buffering", "no"),
            ("cache-control", "no-store"),
        ]
        if self.compresses:
            headers.append(("connect-content-encoding", GZIP))
        return self._head_once(200, headers)


def _read_common(exchange: Exchange, headers: Headers) -> None:
    exchange.metadata = headers.metadata()
    exchange.timeout = connect_timeout(headers.get("connect-timeout-ms"))
    if headers.get("connect-protocol-version") not in (None, _VERSION):
        raise BadRequest("connect-protocol-version", "connect-protocol-version must be 1")


def _trailer_headers(exchange: Exchange) -> HeaderPairs:
    return header_pairs([pair for pair in exchange.trailing if pair[0] not in _INTERNAL_TRAILERS], "trailer-")


def _retry_after(exchange: Exchange) -> HeaderPairs:
    """In whole seconds, at least one: the same delay as RetryInfo's, for clients that know only HTTP."""
    for name, value in exchange.trailing:
        if name == PUSHBACK and isinstance(value, str) and value.isdigit():
            return [("retry-after", str(max(1, -(-int(value) // 1000))))]
    return []


def _parameters(query: str) -> dict[str, str]:
    try:
        found = parse_qs(query, keep_blank_values=True, errors="surrogateescape", max_num_fields=20)
    except ValueError:
        raise BadRequest("", "the query has too many parameters") from None
    if any(len(values) > 1 for values in found.values()):
        raise BadRequest("", "a parameter of the query is given twice")
    return {name: values[0] for name, values in found.items()}
