"""What happens to blocking transports when the process forks: a gRPC that is at work during a fork breaks in the child.

Calls and forks exclude each other by a gate; streams are ended before a fork, and those who read them open them again.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, Protocol

# A fork waits for the calls in flight no longer than this. After that a child made in the middle of one may not work.
_SECONDS: Final = 2.0


class Gate:
    """Any number of calls may be inside at a time, or one fork; for calls it is a context manager."""

    __slots__ = ("_calls", "_changed", "_is_shut")

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls = 0
        self._is_shut = False

    def __enter__(self) -> None:
        with self._changed:
            while self._is_shut:
                self._changed.wait()
            self._calls += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._calls -= 1
            self._changed.notify_all()

    def shut(self, seconds: float) -> bool:
        """Let no call in, and wait at most `seconds` until those inside have ended; whether they have."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._is_shut:
                self._changed.wait()  # another thread forks as well
            self._is_shut = True
            while self._calls:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
            return True

    def open(self) -> None:
        """Let calls in again."""
        with self._changed:
            self._is_shut = False
            self._changed.notify_all()


class ForkedStream(Protocol):
    """A stream as a fork sees it."""

    def end_for_fork(self) -> None:
        """End the call: no thread of gRPC's may be at work during the fork."""

    def wait_for_end(self, seconds: float) -> None:
        """Wait until gRPC has nothing more to do for the call."""


class ForkedTransport(Protocol):
    """A transport as a fork sees it."""

    def open_streams(self) -> Iterable[ForkedStream]:
        """The streams that may still be in progress."""

    def forget_parent(self) -> Iterable[Any]:
        """In a forked child: drop the parent's channel and streams, and return them; the next call opens a channel."""


gate = Gate()
"""Held by each call. Read it from this module each time: a forked child has another one."""

_transports: weakref.WeakSet[Any] = weakref.WeakSet()
# Never freed: destroying the parent's channels and streams in the child would wait for threads that are not there.
_kept_of_parents: list[Any] = []


def watch_forks(transport: ForkedTransport) -> None:
    """From now on, end the transport's streams before a fork, and renew it in the child."""
    _transports.add(transport)


def _before() -> None:
    gate.shut(_SECONDS)
    streams = [stream for transport in list(_transports) for stream in transport.open_streams()]
    for stream in streams:
        stream.end_for_fork()
    for stream in streams:
        stream.wait_for_end(_SECONDS)


def _after_in_child() -> None:
    global gate  # noqa: PLW0603
    gate = Gate()  # the parent's may be held by a thread that is not in the child
    for transport in list(_transports):
        _kept_of_parents.extend(transport.forget_parent())


def _after_in_parent() -> None:
    gate.open()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
