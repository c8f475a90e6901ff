"""Pieces of protobuf's wire format, for answers that are joined from messages which are encoded already."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

_MASK: Final = (1 << 64) - 1  # a negative integer is written as the one of 64 bits without a sign


def element(encoded: bytes) -> bytes:
    """One element of a repeated field 1 whose messages are encoded already."""
    return b"".join((b"\x0a", varint(len(encoded)), encoded))


def timestamp(micros: int) -> bytes:
    """A Timestamp from microseconds since 1970 UTC, encoded, after its length."""
    seconds, fraction = divmod(micros, 1_000_000)
    encoded = _seconds(seconds)
    if fraction:
        encoded += b"\x10" + varint(fraction * 1000)
    return short(len(encoded)) + encoded


@lru_cache(64)
def _seconds(seconds: int) -> bytes:
    return b"\x08" + varint(seconds & _MASK) if seconds else b""


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


@lru_cache(4096)
def short(value: int) -> bytes:
    """The same of a small one, such as a length: most are asked for again and again."""
    return varint(value)
