"""Pieces of protobuf's wire format, for answers that are joined from messages which are encoded already."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp


def element(encoded: bytes) -> bytes:
    """One element of a repeated field 1 whose messages are encoded already."""
    return b"".join((b"\x0a", varint(len(encoded)), encoded))


def set_timestamp(timestamp: Timestamp, micros: int) -> None:
    """Set a Timestamp from microseconds since 1970 UTC."""
    timestamp.seconds, fraction = divmod(micros, 1_000_000)
    timestamp.nanos = fraction * 1000


def varint(value: int) -> bytes:
    """A non-negative integer as protobuf writes lengths."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
