"""Ctrl-C in a bulk write: it ends the reading of the input, never the storing of what was read."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self


class Interrupts:
    """Within this, the first Ctrl-C interrupts the input, at once or before its next record; the second one anything.

    Only in the main thread, and only where Python's own handler is in place: another one knows what it does.
    """

    def __init__(self) -> None:
        self._is_reading = self._is_pending = False
        self._before: Any = None

    def __enter__(self) -> Self:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._before is not None and signal.getsignal(signal.SIGINT) == self._interrupt:
            signal.signal(signal.SIGINT, self._before)
        if self._is_pending and kind is None:
            raise KeyboardInterrupt("after everything was stored")

    def begin_reading(self) -> None:
        """The next record is waited for. Raises KeyboardInterrupt for one that came before."""
        if self._is_pending:
            raise KeyboardInterrupt
        self._is_reading = True

    def end_reading(self) -> None:
        """The record is there, or none comes."""
        self._is_reading = False

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._is_reading or self._is_pending:
            self._is_pending = True
            raise KeyboardInterrupt
        self._is_pending = True


class Reading:
    """Entered around each record that is read: between two of them a Ctrl-C is held back."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts

    def __enter__(self) -> None:
        self._interrupts.begin_reading()

    def __exit__(self, *_: object) -> None:
        self._interrupts.end_reading()
