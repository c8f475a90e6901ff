"""gzip with a bound on what comes out, whatever comes in."""

from __future__ import annotations

import zlib
from typing import Final

from plaudit_server.web.faults import BadRequest, TooLarge

GZIP: Final = "gzip"
IDENTITY: Final = "identity"
WORTH_BYTES: Final = 1024
"""A smaller message is sent as it is: it is one packet anyway."""
THREAD_BYTES: Final = 32 * 1024
"""Compressing or converting a larger message holds the event loop for milliseconds: do it in a thread."""

_LEVEL: Final = 1
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


def compressed(data: bytes) -> bytes:
    """The bytes as gzip, at the level that costs least."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return compressor.compress(data) + compressor.flush()


def decompressed(data: bytes, limit: int) -> bytes:
    """What gzip holds. Raises TooLarge beyond `limit` bytes, having made no more than those, and BadRequest for what is
    no gzip, ends early, or goes on after its end: thousands of empty members cost more than they hold.
    """
    decompressor = zlib.decompressobj(_GZIP_WINDOW)
    try:
        out = decompressor.decompress(data, limit + 1)
    except zlib.error:
        raise BadRequest("", "the message is not gzip") from None
    if len(out) > limit:
        raise TooLarge(len(out), limit)
    if not decompressor.eof:
        raise BadRequest("", "the gzip of the message ends early")
    if decompressor.unused_data:
        raise BadRequest("", "something follows the gzip of the message")
    return out
