"""How lines of the log are written, as text or JSON, and the line of a call; never payloads, refs or credentials."""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from typing import Any, Final

import grpc

from plaudit_server.config import Config
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.quotas import Bucket

calls_logger = logging.getLogger("plaudit_server.calls")

_TEXT: Final = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s"
# A value that is anything else is quoted in text, so that what a caller sent cannot pass for another fact.
_PLAIN: Final = re.compile(r"[\w.:/@+-]+", re.ASCII)
# How long the end of the process waits for lines that standard error does not take.
_FLUSH_SECONDS: Final = 2.0
_WAITING_LINES: Final = 10_000
_LEFT: Final = grpc.aio.InternalError

# A server refuses calls when it is overloaded. A line for each refusal would add a third to what it costs, and there
# would be thousands of the same.
_REFUSALS_A_SECOND: Final = 10


class _TextFormatter(logging.Formatter):
    """A record as a line of text; times are UTC, in RFC 3339."""

    converter = time.gmtime  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(_TEXT, "%Y-%m-%dT%H:%M:%S")


class _StandardError(logging.Handler):
    """Writes lines to the file of standard error, from one thread: no lock is held for which the end would wait."""

    def createLock(self) -> None:  # noqa: N802
        """Make none: a reader of standard error that stops keeps the thread which writes, and must keep nobody else."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, however long that takes."""
        rest = memoryview(f"{self.format(record)}\n".encode(errors="backslashreplace"))
        with suppress(OSError):  # nobody is there who could be told
            while rest:
                rest = rest[os.write(sys.stderr.fileno(), rest) :]


class _Listener(QueueListener):
    """A listener whose end does not wait for ever."""

    def stop(self) -> None:
        """Write what waits, for some seconds at most."""
        self.enqueue_sentinel()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(_FLUSH_SECONDS)


def _is_worth_writing(record: logging.LogRecord) -> bool:
    """False for grpc's traceback of an answer whose client has left: nobody's failure, and any client can cause it."""
    return not (record.name == "grpc._cython.cygrpc" and record.exc_info and isinstance(record.exc_info[1], _LEFT))


def _shown(value: object) -> str:
    """A fact in a line of text."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time, level, logger and message, then the facts of a call, or a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "facts", ()))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class _Entry(QueueHandler):
    """Passes records to the thread that writes them; when too many wait, further ones are dropped and counted."""

    def __init__(self, lines: queue.SimpleQueue[Any]) -> None:
        super().__init__(lines)
        self._lines = lines
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record as it is: nothing in it changes later, so the thread can format it."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Put a record in line, or drop it."""
        if self._lines.qsize() >= _WAITING_LINES:
            self.dropped += 1
        else:
            self._lines.put_nowait(record)


@contextmanager
def writing(config: Config) -> Iterator[None]:
    """Write the log to standard error, as the configuration says, until the block ends.

    Lines are written by a thread of their own, so that a slow reader of the log stops no call; when too many wait,
    further ones are dropped, and counted.
    """
    handler = _StandardError()
    is_json = config.log_format == "json" or (config.log_format == "auto" and not sys.stderr.isatty())
    handler.setFormatter(JsonFormatter() if is_json else _TextFormatter())
    lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
    entry, listener = _Entry(lines), _Listener(lines, handler)
    entry.addFilter(_is_worth_writing)
    logging.basicConfig(level=config.log_level.upper(), handlers=[entry])
    listener.start()
    try:
        yield
    finally:
        if entry.dropped:
            logging.getLogger("plaudit_server").warning("%d lines of the log were not written", entry.dropped)
        listener.stop()
        logging.getLogger().removeHandler(entry)


class CallLog:
    """An observer that logs calls: all of them, or those that failed or were slow.

    Of the latter, calls refused by a limit (RESOURCE_EXHAUSTED) leave at most ten lines a second; the next such line
    has the number of those that left none.
    """

    def __init__(self, config: Config) -> None:
        self._all = config.log_calls == "all"
        self._slow = config.log_slow_seconds or float("inf")
        self._refusals = Bucket(_REFUSALS_A_SECOND, _REFUSALS_A_SECOND, _REFUSALS_A_SECOND, time.monotonic())
        self._unlogged = 0

    def observe(self, call: Call, code: grpc.StatusCode) -> None:
        """A call has ended."""
        now = time.monotonic()
        seconds = now - call.started
        if not (self._all or self._is_worth_a_line(call, code, seconds)) or not calls_logger.isEnabledFor(logging.INFO):
            return
        unlogged = 0
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and not self._all:
            if self._refusals.delay(1, now):
                self._unlogged += 1
                return
            self._refusals.take(1)
            unlogged, self._unlogged = self._unlogged, 0
        facts = {
            "method": call.method,
            "code": code.name,
            "reason": call.reason or None,
            "duration_seconds": round(seconds, 6),
            "request_id": call.request_id,
            "trace_id": call.trace_id or None,
            "principal": None if code is grpc.StatusCode.UNAUTHENTICATED else call.user_id,
        }
        if unlogged:
            facts["refusals_not_logged"] = unlogged
        text = " ".join(f"{name}={_shown(value)}" for name, value in facts.items() if value is not None)
        calls_logger.info("call %s", text, extra={"facts": facts})

    def close(self) -> None:
        """Log how many refusals left no line and were not counted in a later one."""
        if self._unlogged:
            calls_logger.info("%d refusals were not logged", self._unlogged)
            self._unlogged = 0

    def _is_worth_a_line(self, call: Call, code: grpc.StatusCode, seconds: float) -> bool:
        if call.rpc is not None and call.rpc.kind.streams:
            # Streams last as long as their clients want, and most end when the client disconnects.
            return code not in (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED)
        return code is not grpc.StatusCode.OK or seconds >= self._slow
