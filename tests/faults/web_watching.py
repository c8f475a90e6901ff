"""Watches over the HTTP port by bytes alone, in each of its protocols: a request, and an answer in chunks."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, NamedTuple, Self

from plaudit.v1 import WatchFeedbackRequest, WatchFeedbackResponse

PATH: Final = "/plaudit.v1.FeedbackService/WatchFeedback"
CONNECT_JSON: Final = "application/connect+json"
CONNECT: Final = "application/connect+proto"
GRPC_WEB: Final = "application/grpc-web+proto"
PROTOCOLS: Final = (CONNECT_JSON, CONNECT, GRPC_WEB)

_MESSAGE: Final = 0


class Seen(NamedTuple):
    """One message of a watch: up to where everything has been seen, and the revisions of its changes."""

    revision: int
    changes: list[int]


class Watch:
    """One watch on a connection of its own, open from `async with` on."""

    def __init__(self, address: str, project: str, protocol: str, after: int = 0) -> None:
        self._address = address
        self._protocol = protocol
        asked = WatchFeedbackRequest(project=project, after_revision=after)
        given = {"project": project, "afterRevision": str(after)}
        body = json.dumps(given).encode() if protocol == CONNECT_JSON else asked.SerializeToString()
        self._body = struct.pack("!BI", _MESSAGE, len(body)) + body

    async def __aenter__(self) -> Self:
        host, _, port = self._address.rpartition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port), limit=2**22)
        head = f"POST {PATH} HTTP/1.1\r\nhost: {self._address}\r\ncontent-type: {self._protocol}\r\n"
        self._writer.write(f"{head}content-length: {len(self._body)}\r\n\r\n".encode() + self._body)
        status = await self._reader.readuntil(b"\r\n\r\n")
        assert status.startswith(b"HTTP/1.1 200 "), status
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connection, as a tab does that is closed."""
        self._writer.close()

    async def messages(self) -> AsyncIterator[Seen]:
        """Each message as it comes. Raises AssertionError when the stream ends."""
        buffer = b""
        while True:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            buffer += (await self._reader.readexactly(size + 2))[:-2]
            while len(buffer) >= 5:
                flags, length = struct.unpack_from("!BI", buffer)
                if len(buffer) < 5 + length:
                    break
                content, buffer = buffer[5 : 5 + length], buffer[5 + length :]
                assert flags == _MESSAGE, f"the stream ended: {content[:500]!r}"
                yield self._seen(content)

    def _seen(self, content: bytes) -> Seen:
        if self._protocol == CONNECT_JSON:
            message = json.loads(content)
            changes = [int(change["revision"]) for change in message.get("changes", ())]
            return Seen(int(message.get("revision", 0)), changes)
        read = WatchFeedbackResponse.FromString(content)
        return Seen(read.revision, [change.revision for change in read.changes])
