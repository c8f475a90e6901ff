"""UUIDv7 as text (RFC 9562), each greater than the one before in the same process."""

from __future__ import annotations

import os
import threading
import time

_COUNTER_BITS = 42
_TAIL_BITS = 32


class _Clock:
    """The last millisecond and counter that were used; the counter orders the ids of one millisecond."""

    __slots__ = ("counter", "lock", "milliseconds")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.milliseconds = 0
        self.counter = 0


_clock = _Clock()


def _start_anew() -> None:
    """In a forked child: the parent goes on with its counter, and the copy of its lock may never be released."""
    global _clock  # noqa: PLW0603
    _clock = _Clock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


def uuid7() -> str:
    """A new UUIDv7, in lower case with dashes, greater than all that this process has made before.

    It has 48 bits of milliseconds since 1970, a counter of 42 bits that starts in each millisecond at a random number
    in the lower half of its range, and 32 random bits. When the clock steps back, the last millisecond is used again.
    """
    random = int.from_bytes(os.urandom(10), "big")
    clock = _clock
    with clock.lock:
        now = time.time_ns() // 1_000_000
        if now > clock.milliseconds:
            clock.milliseconds = now
            # The top bit stays clear, so that the counter has room to grow.
            clock.counter = random >> _TAIL_BITS & (1 << _COUNTER_BITS - 1) - 1
        else:
            clock.counter += 1
            if clock.counter >> _COUNTER_BITS:
                clock.milliseconds += 1
                clock.counter = 0
        milliseconds, counter = clock.milliseconds, clock.counter
    high, low = counter >> 30, counter & (1 << 30) - 1
    number = milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low << _TAIL_BITS | random & 0xFFFF_FFFF
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
