"""Hostile bytes at the HTTP port: each gets a clear answer or a closed connection, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import grpc
import pytest

from plaudit_server.testing import RunningServer
from tests.attacks import attackers, neighbour, victim, web_attackers
from tests.service.process import web_process
from tests.service.web import FEEDBACK, JSON, ask, create, head_of, raw, read_all, until, web_server

GET = b"GET /plaudit.v1.FeedbackService/GetServerInfo?encoding=json&message=%7B%7D HTTP/1.1\r\nhost: localhost\r\n\r\n"
CREATE = FEEDBACK + "CreateFeedback"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with web_server(head_seconds=0.5, body_seconds=0.5, connections=64) as running:
        yield running


@pytest.fixture(autouse=True)
def the_next_caller_is_served(running: RunningServer) -> Iterator[None]:
    yield
    until(lambda: create(running).status == 200)


def answered(running: RunningServer, sent: bytes) -> bytes:
    """What comes back until the server closes the connection; the test's timeout fails where it never does."""
    with raw(running, sent) as connection:
        return read_all(connection)


@pytest.mark.parametrize("lines", [
    ["content-length: 2", "content-length: 3"],
    ["content-length: 2", "content-length: 2"],
    ["content-length: 2", "transfer-encoding: chunked"],
    ["transfer-encoding: chunked", "content-length: 2"],
    ["content-length : 2"], ["content-length: +2"], ["content-length: 2, 2"], ["content-length: -1"],
    ["content-length: 99999999999999999999"],
    ["transfer-encoding: chunked, identity"], ["transfer-encoding: xchunked"],
    ["x: a", " folded"], ["x\x00y: a"], ["x: a\x00b"], ["x y: a"], [": a"], ["x: a\rb: c"],
])  # fmt: skip
def test_heads_that_two_servers_could_read_in_two_ways(running: RunningServer, lines: list[str]) -> None:
    head = "\r\n".join(["POST " + CREATE + " HTTP/1.1", "host: localhost", f"content-type: {JSON}", *lines])
    before = running.server.calls
    # What would be a second request to whoever believes the other line.
    answer = answered(running, head.encode("latin-1") + b"\r\n\r\n{}" + GET)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert running.server.calls == before


@pytest.mark.parametrize("sent", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00" * 100, b"GET\r\n\r\n",
    b"GET / HTTP/1.1\nhost: localhost\n\n", b"GET / HTTP/9.9\r\nhost: localhost\r\n\r\n", b"G" * 20_000,
    b"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n", b"GET http://[::1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
])  # fmt: skip
def test_what_is_no_request(running: RunningServer, sent: bytes) -> None:
    assert answered(running, sent).split(b"\r\n")[0].startswith((b"HTTP/1.1 400", b"HTTP/1.1 4"))


@pytest.mark.parametrize("size", [20_000, 200_000])
def test_a_head_of_any_size(running: RunningServer, size: int) -> None:
    sent = b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * size
    assert answered(running, sent).startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))


def test_very_many_headers(running: RunningServer) -> None:
    sent = b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"a:\r\n" * 10_000
    assert answered(running, sent).startswith(b"HTTP/1.1 431 ")


def test_no_host_and_two(running: RunningServer) -> None:
    assert answered(running, b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    two = b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    assert answered(running, two).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: local"])
def test_half_a_head_and_then_nothing(running: RunningServer, sent: bytes) -> None:
    assert answered(running, sent) == b""


def test_a_head_that_comes_byte_by_byte(running: RunningServer) -> None:
    with raw(running) as connection:
        try:
            while True:  # until the server ends it; the test's timeout fails where it does not
                connection.sendall(b"x")
                time.sleep(0.05)
        except (BrokenPipeError, ConnectionResetError):
            pass


def test_a_body_that_never_ends(running: RunningServer) -> None:
    with raw(running, head_of(CREATE, 1000, content_type=JSON, connection="close") + b'{"project"') as connection:
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"was not complete within 0.5 seconds" in answer


@pytest.mark.parametrize("rest", [b"zz\r\n{}\r\n0\r\n\r\n", b"-1\r\n", b"ffffffffffffffffff\r\n", b"2\r\n{}XX"])
def test_chunks_that_cannot_be_read(running: RunningServer, rest: bytes) -> None:
    answer = answered(running, head_of(CREATE, None, content_type=JSON, transfer_encoding="chunked") + rest)
    assert b" 200 " not in answer


def test_more_than_the_limit_in_chunks(running: RunningServer) -> None:
    head = head_of(CREATE, None, content_type=JSON, transfer_encoding="chunked")
    with raw(running, head) as connection:
        piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        try:
            for _ in range(400):  # 26 MB: more than is read of a request that was refused
                connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            return
        answer = connection.recv(65536)
    assert b"resource_exhausted" in answer


def test_requests_ahead_of_their_turn(running: RunningServer) -> None:
    with raw(running, GET * 10) as connection:
        answer = b""
        while answer.count(b"HTTP/1.1 200 ") < 10:
            answer += connection.recv(65536)
    # Far too many: the first are answered, the rest is not kept.
    until(lambda: b" 200 " in answered(running, GET * 5000))


def test_garbage_behind_a_request_never_stands_within_its_answer(running: RunningServer) -> None:
    answer = answered(running, GET + b"\x00garbage\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 ") in (1, 2)
    head, _, body = answer.partition(b"\r\n\r\n")
    [length] = [int(line.split(b": ")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")]
    assert body[:length].endswith(b"}")


def test_another_protocol_is_not_taken_up(running: RunningServer) -> None:
    upgrade = GET[:-2] + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n"
    assert answered(running, upgrade).startswith(b"HTTP/1.1 200 ")


def test_more_connections_than_there_may_be(running: RunningServer) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(raw(running)) for _ in range(100)]
        refused = sum(_closed(connection) for connection in connections[64:])
        assert refused >= 30
    until(lambda: ask(running, "GET", "/").status == 404)


def _closed(connection: socket.socket) -> bool:
    connection.settimeout(0.3)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_all_attacks_at_once_and_a_neighbour_on_each_port(tmp_path: Path) -> None:
    async def attacked(http: str, calls: Callable[[], int]) -> tuple[int, Counter[int | None]]:
        attack = attackers.Attack(http)
        tasks = [asyncio.create_task(act(attack)) for act in web_attackers.ATTACKS.values()]
        await asyncio.sleep(0.2)
        done = await asyncio.to_thread(calls)
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return done, attack.codes

    with web_process(tmp_path / "plaudit.db", "--http-head-seconds", "2") as (server, http):
        # Of a neighbour who has a connection already: how many there may be is a bound on all callers together.
        kept = HTTPConnection(http, timeout=20)
        body = b'{"project": "acme/neighbour"}'

        def count() -> int:
            kept.request("POST", f"{FEEDBACK}CountFeedback", body, {"content-type": JSON})
            return int(json.loads(kept.getresponse().read()).get("count", 0))

        count()

        def calls() -> int:
            with grpc.insecure_channel(server.target) as channel:
                done = len(neighbour.Neighbour(channel).calls(0.5))
            assert count() * 3 == done
            return done

        before = victim.mebibytes(server.process.pid)
        done, codes = asyncio.run(attacked(http, calls))
        assert done > 0
        assert {400, 401, 403, 421, 429} <= codes.keys()
        # 4,096 connections, 20 watches that are read by nobody, and a page of 200 MB that is never made.
        assert victim.peak_mebibytes(server.process.pid) - before < 150
        kept.close()
        victim.assert_well(server)
