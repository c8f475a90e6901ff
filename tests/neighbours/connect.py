"""A client of Connect's protocol over HTTP/1.1 for attackers: one connection, one unary call after the other."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping

from google.rpc import error_details_pb2

_STATUS_NAMES = {"canceled": "CANCELLED"}


class HttpConnection:
    """A connection that is kept, and made again after it was closed."""

    def __init__(self, target: str, source: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self._source = (source, 0) if source else None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, path: str, body: bytes, headers: Mapping[str, str]) -> str:
        """Make a call; how it has ended, as `attackers.outcome_text` says it. Raises OSError where it was cut."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._host, int(self._port), local_addr=self._source)
            reader, writer = self._streams
            lines = [f"POST {path} HTTP/1.1", "host: localhost", "content-type: application/proto"]
            lines += [f"content-length: {len(body)}", "connect-protocol-version: 1"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            length = next(int(line[15:]) for line in head if line.lower().startswith("content-length:"))
            answer = await reader.readexactly(length)
        except (OSError, EOFError) as error:
            self.close()
            raise OSError from error
        except BaseException:
            self.close()
            raise
        return "OK" if head[0].split()[1] == "200" else _failure(json.loads(answer))

    def close(self) -> None:
        """Leave, whatever is open."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def _failure(error: Mapping[str, object]) -> str:
    code = str(error["code"])
    text, later = _STATUS_NAMES.get(code, code.upper()), ""
    details = error.get("details", [])
    assert isinstance(details, list)
    for detail in details:
        value = base64.b64decode(detail["value"] + "==")
        if detail["type"] == "google.rpc.ErrorInfo":
            text += f" {error_details_pb2.ErrorInfo.FromString(value).reason}"
        elif detail["type"] == "google.rpc.RetryInfo":
            later = ", come back"
    return text + later
