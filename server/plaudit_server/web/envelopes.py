"""Enveloped messages, as Connect's streams and gRPC-Web send them: a byte of flags, four of length, the message."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from plaudit_server.web.faults import BadRequest, TooLarge

COMPRESSED: Final = 0x01
CONNECT_END: Final = 0x02
TRAILERS: Final = 0x80

_PREFIX: Final = struct.Struct("!BI")


class Envelope(NamedTuple):
    """One message with its flags."""

    flags: int
    data: bytes


def sealed(flags: int, data: bytes) -> bytes:
    """The envelope as bytes."""
    return _PREFIX.pack(flags, len(data)) + data


class EnvelopeReader:
    """Cuts a stream of bytes into envelopes; holds at most one incomplete message of `limit` bytes."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> list[Envelope]:
        """The envelopes that are complete with these bytes. Raises TooLarge as soon as a length is above the limit."""
        buffer = self._buffer
        buffer += data
        found = []
        at = 0
        while len(buffer) - at >= _PREFIX.size:
            flags, length = _PREFIX.unpack_from(buffer, at)
            if length > self._limit:
                raise TooLarge(length, self._limit)
            start = at + _PREFIX.size
            if len(buffer) - start < length:
                break
            at = start + length
            found.append(Envelope(flags, bytes(buffer[start:at])))
        del buffer[:at]
        return found

    def finish(self) -> None:
        """The stream has ended. Raises BadRequest when it did so within an envelope."""
        if self._buffer:
            raise BadRequest("", f"the stream of messages ends within one, after {len(self._buffer)} of its bytes")
