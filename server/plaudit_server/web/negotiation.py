"""Which protocol a request speaks: by its method, its content type and its query; no I/O."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qs

from plaudit_server.web.connect import ConnectStream, ConnectUnary
from plaudit_server.web.exchange import Exchange
from plaudit_server.web.faults import HttpRefusal
from plaudit_server.web.grpc_web import GrpcWeb
from plaudit_server.web.headers import Headers
from plaudit_server.web.methods import Method

_UNARY: Final = {"application/proto": "proto", "application/json": "json"}
_STREAM: Final = {"application/connect+proto": "proto", "application/connect+json": "json"}
_GRPC_WEB: Final = {
    "application/grpc-web": "proto",
    "application/grpc-web+proto": "proto",
    "application/grpc-web+json": "json",
}
_UTF8: Final = re.compile(r'\s*;\s*charset\s*=\s*"?utf-?8"?\s*', re.IGNORECASE)


def negotiate(method: Method, verb: str, query: str, headers: Headers, limit: int) -> Exchange:
    """The exchange for a request on a method's path; no message may be larger than `limit` bytes.

    Raises HttpRefusal for what is no call in a protocol that the port speaks.
    """
    if verb == "GET":
        return _get(method, query, headers, limit)
    if verb != "POST":
        raise HttpRefusal(405, f"{verb[:20]} is not allowed here", ("allow", _allowed(method)))
    content_type = _content_type(headers)
    exchange: ConnectUnary | ConnectStream | GrpcWeb
    if content_type in _UNARY and not method.streaming:
        exchange = ConnectUnary(method, method.codecs[_UNARY[content_type]], limit)
    elif content_type in _STREAM and method.streaming:
        exchange = ConnectStream(method, method.codecs[_STREAM[content_type]], limit)
    elif content_type in _GRPC_WEB:
        exchange = GrpcWeb(method, method.codecs[_GRPC_WEB[content_type]], limit)
    else:
        raise _unsupported(method)
    exchange.read_head(headers)
    return exchange


def _get(method: Method, query: str, headers: Headers, limit: int) -> Exchange:
    if not method.safe or method.streaming:
        raise HttpRefusal(405, "GET is for calls that change nothing; use POST", ("allow", _allowed(method)))
    try:
        encodings = parse_qs(query, max_num_fields=20).get("encoding", [])
    except ValueError:
        encodings = []
    if len(encodings) != 1 or encodings[0] not in method.codecs:
        raise HttpRefusal(415, "the parameter `encoding` must be proto or json", ("accept-post", _accepted(method)))
    exchange = ConnectUnary(method, method.codecs[encodings[0]], limit)
    exchange.read_query(query, headers)
    return exchange


def _content_type(headers: Headers) -> str:
    value = headers.get("content-type") or ""
    name, separator, parameters = value.partition(";")
    name = name.strip().lower()
    # JSON may declare that it is UTF-8, and nothing else.
    if separator and not (name.endswith("json") and _UTF8.fullmatch(separator + parameters)):
        return ""
    return name


def _allowed(method: Method) -> str:
    return "GET, POST" if method.safe and not method.streaming else "POST"


def _accepted(method: Method) -> str:
    return ", ".join([*(_STREAM if method.streaming else _UNARY), *_GRPC_WEB])


def _unsupported(method: Method) -> HttpRefusal:
    accepted = _accepted(method)
    return HttpRefusal(415, f"use one of the content types {accepted}", ("accept-post", accepted))
