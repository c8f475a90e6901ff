"""A gRPC client of bare HTTP/2 frames, for what no honest client sends, with a fraction of an honest client's CPU.

It keeps the peer's windows, and asks for header compression without a table: so each block of headers stands for
itself, and a status is found in it by looking for its bytes.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from google.rpc import error_details_pb2, status_pb2

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM = ACK = 1
END_HEADERS = 4
CANCEL: Final = 8

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_LARGEST_WINDOW: Final = 2**31 - 1
_FRAME_BYTES: Final = 16_384
# grpc's own setting: the values of headers in -bin come without base64, which grpc would compress as well.
_BYTES_AS_THEY_ARE: Final = 0xFE03
_STATUS: Final = b"grpc-status"
_PUSHBACK: Final = b"grpc-retry-pushback-ms"
_DETAILS: Final = b"grpc-status-details-bin"

Headers = Sequence[tuple[str, str]]


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def opening(*, reads: bool = True) -> bytes:
    """What a client says first: the preface, no table for headers, windows as large as they get.

    A client that does not read has windows of nothing: headers and statuses reach it, data never does.
    """
    settings = struct.pack(">HIHIHI", 1, 0, 4, _LARGEST_WINDOW if reads else 0, _BYTES_AS_THEY_ARE, 1)
    window = struct.pack(">I", _LARGEST_WINDOW - 65_535)
    return _PREFACE + frame(SETTINGS, 0, 0, settings) + (frame(WINDOW_UPDATE, 0, 0, window) if reads else b"")


def block(path: str, more: Headers = ()) -> bytes:
    """The headers of a call, each in full."""
    fixed = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    return _literal((*fixed, *more))


def refusal(code: int) -> bytes:
    """The headers of an answer that is a status and nothing else."""
    return _literal(((":status", "200"), ("content-type", "application/grpc"), ("grpc-status", str(code))))


def _literal(headers: Headers) -> bytes:
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers)


def _text(text: str) -> bytes:
    raw = text.encode()
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    rest, length = len(raw) - 127, b"\x7f"
    while rest > 127:
        length += bytes((rest & 127 | 128,))
        rest >>= 7
    return length + bytes((rest,)) + raw


def envelope(message: bytes, compressed: bool = False) -> bytes:
    """A message as gRPC puts it into DATA frames."""
    return struct.pack(">BI", compressed, len(message)) + message


class Outcome:
    """How a call of frames ended: a gRPC status code, or None where the stream or the connection was cut."""

    __slots__ = ("answers", "code", "done", "pushback", "reason")

    def __init__(self, done: Callable[[Outcome], None]) -> None:
        self.answers = 0
        """Bytes of DATA received."""
        self.code: int | None = None
        self.pushback = 0.0
        """The seconds after which the caller may come back, as the server said."""
        self.reason = ""
        """The reason of the error, as in google.rpc.ErrorInfo; empty where none was given."""
        self.done = done


class Connection(asyncio.Protocol):
    """One connection; `call` sends, and reports each call's end to a function of the caller."""

    def __init__(self, *, reads: bool = True) -> None:
        self._reads = reads
        self.closed = asyncio.get_running_loop().create_future()
        self.open: dict[int, Outcome] = {}
        self.refused_streams = 0
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._next = 1
        self._window = 65_535
        self._stream_window = 65_535
        self._windows: dict[int, int] = {}
        self._waiting: deque[tuple[int, bytes, bool]] = deque()
        self._taken = 0

    @classmethod
    async def to(cls, target: str, *, source: str = "", reads: bool = True) -> Connection:
        """Connect to `host:port`, from an address of this machine where one is given; see `opening` for `reads`."""
        host, _, port = target.rpartition(":")
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: cls(reads=reads), host, int(port), local_addr=(source, 0) if source else None
        )
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.send(opening(reads=self._reads))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        for stream in list(self.open):
            self._end(stream)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def send(self, raw: bytes) -> None:
        """Send bytes as they are."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(raw)

    def new_stream(self) -> int:
        """The number of the next stream."""
        stream, self._next = self._next, self._next + 2
        return stream

    def call(
        self,
        headers: bytes,
        body: bytes,
        done: Callable[[Outcome], None],
        *,
        end: bool = True,
        flags: int = END_HEADERS,
    ) -> int:
        """Send headers (cut into frames as needed) and a body; call `done` at the end. Returns the stream's number."""
        stream = self.new_stream()
        self.open[stream] = Outcome(done)
        self._windows[stream] = self._stream_window
        first, *rest = [headers[at : at + _FRAME_BYTES] for at in range(0, len(headers), _FRAME_BYTES)]
        sent = frame(HEADERS, flags if not rest else 0, stream, first)
        for number, part in enumerate(rest, 1):
            sent += frame(CONTINUATION, flags if number == len(rest) else 0, stream, part)
        if len(body) <= _FRAME_BYTES and not self._waiting and len(body) <= min(self._window, self._stream_window):
            self._window -= len(body)
            self._windows[stream] -= len(body)
            self.send(sent + frame(DATA, END_STREAM if end else 0, stream, body))
        else:
            self.send(sent)
            self._waiting.append((stream, body, end))
            self._push()
        if self.closed.done():
            self._end(stream)
        return stream

    def reset(self, stream: int) -> None:
        """Cancel a call."""
        self.send(frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)))
        self._end(stream)

    def _push(self) -> None:
        """Send as much of the waiting bodies as the windows allow."""
        while self._waiting:
            stream, body, end = self._waiting.popleft()
            if stream not in self.open:
                continue
            room = min(self._window, self._windows[stream], len(body))
            for at in range(0, room, _FRAME_BYTES):
                part = body[at : min(room, at + _FRAME_BYTES)]
                last = end and at + len(part) == len(body)
                self.send(frame(DATA, END_STREAM if last else 0, stream, part))
            self._window -= room
            self._windows[stream] -= room
            if room < len(body):
                self._waiting.appendleft((stream, body[room:], end))
                return

    def _end(self, stream: int) -> None:
        self._windows.pop(stream, None)
        outcome = self.open.pop(stream, None)
        if outcome is not None:
            outcome.done(outcome)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        at, size = 0, len(buffer)
        while size - at >= 9:
            length = buffer[at] << 16 | buffer[at + 1] << 8 | buffer[at + 2]
            if size - at < 9 + length:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            stream = struct.unpack_from(">I", buffer, at + 5)[0] & _LARGEST_WINDOW
            self._take(kind, flags, stream, buffer[at + 9 : at + 9 + length])
            at += 9 + length
        self._buffer = buffer[at:]

    def _take(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        match kind:
            case 1 | 9:
                outcome = self.open.get(stream)
                if outcome is not None:
                    code = _number(body, _STATUS)
                    if code is not None:
                        outcome.code = code
                        if code:
                            outcome.pushback = (_number(body, _PUSHBACK) or 0) / 1000
                            outcome.reason = _reason(body)
                    if kind == HEADERS and flags & END_STREAM:
                        self._end(stream)
            case 0:
                self._taken += len(body)
                if self._taken > 2**24:
                    self.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._taken)))
                    self._taken = 0
                outcome = self.open.get(stream)
                if outcome is not None:
                    outcome.answers += len(body)
                    if flags & END_STREAM:
                        self._end(stream)
            case 3:
                self.refused_streams += 1
                self._end(stream)
            case 4 if not flags & ACK:
                for at in range(0, len(body), 6):
                    name, value = struct.unpack_from(">HI", body, at)
                    if name == 4:
                        change, self._stream_window = value - self._stream_window, value
                        self._windows = {number: left + change for number, left in self._windows.items()}
                self.send(frame(SETTINGS, ACK, 0))
                self._push()
            case 6 if not flags & ACK:
                self.send(frame(PING, ACK, 0, body))
            case 8:
                more = struct.unpack(">I", body)[0]
                if stream == 0:
                    self._window += more
                elif stream in self._windows:
                    self._windows[stream] += more
                self._push()
            case 7:
                self.close()


def _number(headers: bytes, name: bytes) -> int | None:
    """The number under a name in a block of headers; None where there is none."""
    found = _value(headers, name)
    return None if found is None else int(found)


def _reason(headers: bytes) -> str:
    """The reason in the details of a status; empty where there is none."""
    status, info = status_pb2.Status(), error_details_pb2.ErrorInfo()
    status.MergeFromString((_value(headers, _DETAILS) or b"").removeprefix(b"\0"))
    return next((info.reason for detail in status.details if detail.Unpack(info)), "")


def _value(headers: bytes, name: bytes) -> bytes | None:
    at = headers.find(_text(name.decode()))
    if at < 0:
        return None
    at += len(name) + 1
    length = headers[at] & 127
    at += 1
    if length == 127:
        shift = 0
        while True:
            length += (headers[at] & 127) << shift
            shift += 7
            at += 1
            if not headers[at - 1] & 128:
                break
    return headers[at : at + length]
