"""The small HTTP server: its answers, and how it ends slow connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import pytest

from plaudit_server.errors import StartError
from plaudit_server.ops.admin.http import Page, PageServer, line

LARGE = b"x" * (32 * 1024 * 1024)


async def good() -> Page:
    return line("good", good=True)


async def large() -> Page:
    return Page(HTTPStatus.OK, LARGE)


async def broken() -> Page:
    raise RuntimeError("secret")


async def stuck() -> Page:
    await asyncio.Event().wait()
    raise AssertionError


PAGES = {"/good": good, "/large": large, "/broken": broken, "/stuck": stuck}
Scenario = Callable[[str, int], Awaitable[None]]


def run(scenario: Scenario, connections: int = 4, seconds: float = 10.0) -> None:
    async def with_server() -> None:
        pages = PageServer(PAGES, connections, seconds)
        host, _, port = (await pages.start("127.0.0.1:0")).rpartition(":")
        try:
            await scenario(host, int(port))
        finally:
            await pages.close()
        assert not pages._open

    asyncio.run(with_server())


async def ask(host: str, port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    ("request_head", "status", "body"),
    [
        (b"GET /good HTTP/1.1\r\nHost: x\r\n\r\n", 200, b"good\n"),
        (b"GET /good?a=b HTTP/1.0\r\n\r\n", 200, b"good\n"),
        (b"HEAD /good HTTP/1.1\r\n\r\n", 200, b""),
        (b"POST /good HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405, b"Method Not Allowed\n"),
        (b"GET /bad HTTP/1.1\r\n\r\n", 404, b"Not Found\n"),
        (b"GET /broken HTTP/1.1\r\n\r\n", 500, b"Internal Server Error\n"),
        (b"\xff\xfe\r\n\r\n", 400, b"Bad Request\n"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, b"Bad Request\n"),
        (b"GET /good HTTP/1.1\r\n" + b"x: y\r\n" * 4096 + b"\r\n", 431, b"Request Header Fields Too Large\n"),
    ],
)
def test_answers(request_head: bytes, status: int, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(host: str, port: int) -> None:
        head, _, found = (await ask(host, port, request_head)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert found == body
        assert b"Connection: close" in head

    run(scenario)
    assert bool(caplog.records) == (status == 500)


def test_who_is_slow_to_ask_or_to_read_is_sent_away() -> None:
    async def scenario(host: str, port: int) -> None:
        async def dripping() -> None:
            reader, writer = await asyncio.open_connection(host, port)
            ended = asyncio.create_task(reader.read())
            while not ended.done():
                writer.write(b"x")
                await asyncio.wait([ended], timeout=0.02)
            writer.transport.abort()
            ended.exception()

        async def not_reading() -> int:
            reader, writer = await asyncio.open_connection(host, port, limit=1024)
            writer.write(b"GET /large HTTP/1.1\r\n\r\n")
            await asyncio.sleep(1.0)  # the server has ended it by now
            received = 0
            try:
                while chunk := await reader.read(65536):
                    received += len(chunk)
            except ConnectionResetError:
                pass
            writer.transport.abort()
            return received

        async with asyncio.timeout(30):
            _, received, answer = await asyncio.gather(
                dripping(), not_reading(), ask(host, port, b"GET /stuck HTTP/1.1\r\n\r\n")
            )
        assert received < len(LARGE)
        assert answer == b""

    run(scenario, seconds=0.3)


def test_there_are_no_more_connections_than_allowed() -> None:
    async def scenario(host: str, port: int) -> None:
        taken = [await asyncio.open_connection(host, port) for _ in range(4)]
        assert await ask(host, port, b"GET /good HTTP/1.1\r\n\r\n") == b""
        # Their time ends after a while, and then there is room again.
        assert [await reader.read() for reader, _ in taken] == [b""] * 4
        assert (await ask(host, port, b"GET /good HTTP/1.1\r\n\r\n")).endswith(b"good\n")
        for _, writer in taken:
            writer.transport.abort()

    run(scenario, seconds=2.0)


def test_closing_ends_what_is_open() -> None:
    async def scenario() -> None:
        pages = PageServer(PAGES, seconds=3600)
        host, _, port = (await pages.start("127.0.0.1:0")).rpartition(":")
        waiting = asyncio.create_task(ask(host, int(port), b"GET /stuck HTTP/1.1\r\n\r\n"))
        while not pages._open:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        async with asyncio.timeout(30):
            await pages.close()
            await pages.close()
            assert await waiting == b""

    asyncio.run(scenario())


def test_an_address_that_is_taken_is_told() -> None:
    async def scenario(host: str, port: int) -> None:
        with pytest.raises(StartError, match=f"{host}:{port}"):
            await PageServer(PAGES).start(f"{host}:{port}")

    run(scenario)
