"""Calls and forks keep out of each other's way: gRPC that is copied in the middle of something breaks in the child."""

from __future__ import annotations

import threading
import time
from types import TracebackType


class Gate:
    """Many calls at a time may be inside, or one fork; used as a context by calls."""

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
        """Let no call in, and wait until those inside have ended, for so long at most; whether they have."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._is_shut:
                self._changed.wait()  # another thread forks, too
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
