"""Calls over the HTTP port by the standard library alone, and raw bytes for what no library sends."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from plaudit_server.config import Config, Http
from plaudit_server.testing import RunningServer, server

FEEDBACK = "/plaudit.v1.FeedbackService/"
JSON = "application/json"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@contextmanager
def web_server(config: Config | None = None, **http: Any) -> Iterator[RunningServer]:
    """A server with an HTTP port; arguments are settings of it."""
    settings = Http(**{"listen": "127.0.0.1:0", **http})
    with server(config=replace(config or Config(), http=settings)) as running:
        yield running


def address(running: RunningServer) -> tuple[str, int]:
    host, _, port = running.server.http_address.rpartition(":")
    return host, int(port)


def ask(running: RunningServer, verb: str, path: str, /, body: bytes | None = None, **headers: str) -> Answer:
    connection = http.client.HTTPConnection(*address(running), timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(verb, path, body, named)
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def call(running: RunningServer, method: str, request: Any, **headers: str) -> Answer:
    """A unary call of FeedbackService in JSON."""
    path = method if method.startswith("/") else FEEDBACK + method
    return ask(running, "POST", path, json.dumps(request).encode(), content_type=JSON, **headers)


def create(running: RunningServer, n: int = 1, **headers: str) -> Answer:
    feedback = {"ref": f"urn:x:{n}", "feedbackType": "score", "payloadJson": json.dumps({"n": n})}
    return call(running, "CreateFeedback", {"project": "acme/chat", "feedback": feedback}, **headers)


@contextmanager
def raw(running: RunningServer, sent: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(address(running), timeout=20) as connection:
        connection.sendall(sent)
        yield connection


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server closes; a reset is an end, too."""
    read = b""
    try:
        while piece := connection.recv(65536):
            read += piece
    except ConnectionResetError:
        pass
    return read


def head_of(path: str, length: int | None, **headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: localhost", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    if length is not None:
        lines.append(f"content-length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def stream_head(method: str, message: Any, **headers: str) -> bytes:
    """A stream in Connect's JSON."""
    body = json.dumps(message).encode()
    head = head_of(FEEDBACK + method, 5 + len(body), content_type="application/connect+json", **headers)
    return head + struct.pack("!BI", 0, len(body)) + body


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something holds; it is the test's timeout that fails where it never does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never held"
        time.sleep(0.01)
