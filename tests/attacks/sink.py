"""A listener that takes whatever comes: `python -m tests.attacks.sink [--refuse | --http]` prints its address.

An attacker beside it shows what the attacker's own work costs other processes. It answers nothing, or with
`--refuse` the end of each request with RESOURCE_EXHAUSTED, so that callers who wait for answers go on; with `--http`
it does so over HTTP/1.1, as Connect writes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
from collections.abc import Coroutine
from typing import Any

from tests.attacks.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    refusal,
)

_WINDOW = struct.pack(">I", 2**31 - 1 - 65_535)
_PREFACE_BYTES = 24
_REFUSAL = refusal(8)
_HTTP_BODY = b'{"code":"resource_exhausted"}'
_HTTP_REFUSAL = (
    b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\ncontent-length: "
    + str(len(_HTTP_BODY)).encode()
    + b"\r\n\r\n"
    + _HTTP_BODY
)


async def _take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, refuse: bool) -> None:
    writer.write(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31 - 1)) + frame(WINDOW_UPDATE, 0, 0, _WINDOW))
    ends = Ends()
    with contextlib.suppress(OSError):
        while taken := await reader.read(2**20):
            if len(taken) > 2**15:
                # What long messages use up of the window of their connection.
                writer.write(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", len(taken))))
            if refuse:
                answers = [frame(HEADERS, END_STREAM | END_HEADERS, stream, _REFUSAL) for stream in ends.within(taken)]
                writer.write(b"".join(answers))


async def _take_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            await reader.readexactly(length)
            writer.write(_HTTP_REFUSAL)


class Ends:
    """Finds the streams whose requests have ended, in the bytes of a connection."""

    def __init__(self) -> None:
        self._skip = _PREFACE_BYTES
        self._head = b""

    def within(self, taken: bytes) -> list[int]:
        """The streams that end in these bytes, which follow those of the call before."""
        found = []
        while taken:
            if self._skip:
                self._skip, taken = max(0, self._skip - len(taken)), taken[self._skip :]
                continue
            wanted = 9 - len(self._head)
            self._head, taken = self._head + taken[:wanted], taken[wanted:]
            if len(self._head) < 9:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self._head, 3)
            self._skip = int.from_bytes(self._head[:3], "big")
            self._head = b""
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                found.append(stream)
        return found


async def main(refuse: bool, http: bool) -> None:
    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Coroutine[Any, Any, None]:
        return _take_http(reader, writer) if http else _take(reader, writer, refuse)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    print("{}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main("--refuse" in sys.argv[1:], "--http" in sys.argv[1:]))
