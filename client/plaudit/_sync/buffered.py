"""A writer in the background: records are added at once, and stored in batches by a thread of its own.

`Buffer`, `Ledger` and `Spool` hold what is not stored yet, and the counts; here is the thread between them and the
server.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import sqlite3
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from plaudit._contract import limits
from plaudit._core.batching import measured, too_large
from plaudit._core.buffer import Buffer, Item, Ledger
from plaudit._core.errors import NotStoredError, PlauditError, UnavailableError
from plaudit._core.keys import Key, check_key, set_id
from plaudit._core.options import NONE, CallOptions
from plaudit._core.records import to_message
from plaudit._core.retry import is_retryable
from plaudit._core.writing import Refused, Report
from plaudit._steps.buffered import ROOM, stored
from plaudit._sync.run import finish
from plaudit._sync.spool import Spool

if TYPE_CHECKING:
    from plaudit import v1
    from plaudit._wire.transport import Transport

logger = logging.getLogger("plaudit")

_EXIT_SECONDS: Final = 10.0


class BufferedWriter:
    """Adds records without waiting for the server; a context manager. Made by `Client.buffered`.

    A thread of its own stores them in batches, in the order in which they were added. Safe between threads; a forked
    child opens its own. While the server is away it tries again, for as long as it takes. Leaving the context raises
    NotStoredError when a record was refused, or could not be sent and is in no spool.
    """

    def __init__(
        self,
        transport: Transport,
        project_of: Callable[[v1.Feedback], str],
        *,
        spool: str | os.PathLike[str] | None,
        max_records: int,
        max_bytes: int,
        linger: float,
        patience: float,
        key: Key | None = None,
        options: CallOptions = NONE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_records < 1 or max_bytes < 1 or not linger >= 0:
            raise ValueError("max_records and max_bytes must be above 0, and linger must not be below it")
        self._transport = transport
        self._project_of = project_of
        self._linger = linger
        self._patience = patience
        self._key = check_key(key)
        self._options = options
        self._clock = clock
        self._process = os.getpid()
        self._buffer = Buffer(max_records, max_bytes)
        self._spool = None if spool is None else Spool(spool)
        self._retry = transport.retry(math.inf)
        # Guards all that follows, and the buffer. Not held during a call or a write to disk.
        self._changed = threading.Condition()
        self._ledger = Ledger(0 if self._spool is None else self._spool.last_number)
        self._heard = clock()
        """When the server last answered."""
        self._hurried = 0
        """How many threads wait until everything is sent."""
        self._closing = self._closed = False
        self._close_lock = threading.Lock()
        self._report: Report | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="plaudit-buffered", daemon=True)
        self._thread.start()
        _open_writers.add(self)

    def add(self, record: Mapping[str, Any], *, timeout: float | None = None) -> str:
        """Take a record, a mapping of its fields, to be stored soon, and return its id.

        Waits while the buffer is full, at most `timeout` seconds (None: for as long as it takes), and raises
        TimeoutError after that: the record was not taken. Raises InvalidArgumentError for a record that no request can
        hold, and RuntimeError when the buffer is closed, has failed, or was opened by the parent of this process.
        """
        self._check_process()
        message = to_message(record)
        set_id(self._key, record, message, "feedback")
        project = self._project_of(message)
        size = measured(message)
        if size > ROOM:
            raise too_large("feedback", size)
        deadline = math.inf if timeout is None else self._clock() + timeout
        with self._changed:
            while True:
                self._check_usable()
                if self._closing:
                    raise RuntimeError("the buffer is closed; open another one with client.buffered()")
                if self._buffer.has_room(size):
                    break
                if not self._wait_until(deadline):
                    raise TimeoutError(f"the buffer is full: {len(self._buffer)} records wait to be stored")
            self._buffer.add(Item(self._ledger.next_number(), project, message, size, self._clock()))
            if self._buffer.waiting == 1 or self._buffer.is_full:
                self._changed.notify_all()
        return message.id

    def flush(self, timeout: float | None = None) -> Report:
        """Wait until all that was added before is stored or refused, and report what became of it.

        Waits at most `timeout` seconds; without a `timeout`, as long as the server responds, and for the client's
        timeout after it stops responding. Raises RuntimeError when the writer has failed.
        """
        self._check_process()
        with self._changed:
            self._check_usable()
            self._wait_for_all(timeout)
            self._check_usable()
            return self._reported()

    def close(self, timeout: float | None = None) -> Report:
        """Take no more, `flush`, end the thread, and report what became of everything.

        What is not stored by then is put into the spool; without one it stays pending, and is lost. Closing again
        returns the same report. Raises RuntimeError when the writer has failed.
        """
        self._check_process()
        with self._close_lock:
            if self._report is None:
                with self._changed:
                    self._closing = True
                    self._wait_for_all(timeout)
                    self._closed = True
                    self._changed.notify_all()
                    rest = self._buffer.everything()
                self._report = self._finish(rest)
        self._check_usable()
        return self._reported()

    def _close_with_client(self) -> Report | None:
        """Close with the client that gave it out; the report if that leaves records that are not stored.

        None as well for a writer that was closed or has failed before, or that the parent of this process opened.
        """
        if os.getpid() != self._process or self._closing or self._failure is not None:
            return None
        report = self.close()
        return report if report.refused or report.pending else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if os.getpid() != self._process:
            return  # in a forked child, which leaves to its parent what is the parent's
        try:
            report = self.close()
            if report.refused or report.pending:
                raise NotStoredError.of(report)
            if error is not None:
                error.add_note(self._note(report))
        except Exception as failure:
            if error is None:
                raise
            error.add_note(str(failure))

    def _note(self, report: Report) -> str:
        """Of an error that has ended the block: what is stored, and where the input goes on."""
        spooled = f", {report.spooled} are in the spool" if report.spooled else ""
        return f"{report.stored} records are stored{spooled}; go on at position {self._ledger.added}."

    def __repr__(self) -> str:
        state = "failed" if self._failure else "closed" if self._closing else "open"
        return f"BufferedWriter({state}, {self._ledger.stored} stored, {self._ledger.refused_count} refused)"

    # --- for all threads

    def _check_process(self) -> None:
        # Before any lock is taken: in a forked child it may be held by a thread that is not there.
        if os.getpid() != self._process:
            raise RuntimeError("the buffer is of the parent process; open one in this process with client.buffered()")

    def _check_usable(self) -> None:
        if self._failure is not None:
            report = self._reported()
            raise RuntimeError(
                f"the buffer has failed: {report.pending} records are not stored, {report.spooled} are in the spool"
            ) from self._failure

    def _wait_until(self, deadline: float) -> bool:
        """Wait for a change, at most until `deadline`; False if that has passed."""
        seconds = deadline - self._clock()
        if seconds <= 0:
            return False
        self._changed.wait(None if seconds == math.inf else seconds)
        return True

    def _wait_for_all(self, timeout: float | None) -> None:
        last, started = self._ledger.last, self._clock()
        self._hurried += 1
        self._changed.notify_all()
        try:
            while not self._ledger.is_done(last) and self._failure is None and not self._closed:
                silent_since = max(started, self._heard)
                if not self._wait_until(silent_since + self._patience if timeout is None else started + timeout):
                    break
        finally:
            self._hurried -= 1

    def _reported(self) -> Report:
        if self._report is not None:
            return self._report
        return self._ledger.report(len(self._buffer), self._spooled)

    @property
    def _spooled(self) -> int:
        """How many items are on disk."""
        return 0 if self._spool is None else len(self._spool)

    def _finish(self, rest: Sequence[Item]) -> Report:
        """The last steps, taken once: the rest goes to disk. The thread may still be in a call; it stops after that."""
        pending = len(rest)
        if self._spool is not None:
            try:
                self._spool.append(rest)
                pending = 0
            except sqlite3.Error:
                logger.exception("the spool %s cannot be written", self._spool.path)
            self._spool.close()
        if not rest:
            self._thread.join(1.0)
        if pending:
            logger.error("a buffer was closed with %d records that are not stored", pending)
        _open_writers.discard(self)
        return self._ledger.report(pending, self._spooled)

    # --- for its own thread

    def _run(self) -> None:
        try:
            while not self._closed:
                try:
                    self._store(self._next())
                except PlauditError as error:
                    self._wait_for_server(error)
                except sqlite3.Error as error:
                    if not self._closed:
                        logger.exception("the spool cannot be used; trying again")
                        self._wait_for_server(UnavailableError(str(error)))
        except BaseException as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()
                pending = len(self._buffer)
            logger.exception("a buffer has failed with %d records that are not stored", pending)

    def _next(self) -> list[Item]:
        """Wait for what to send next; nothing once the writer is closed."""
        with self._changed:
            while not self._closed and not self._spooled:
                now = self._clock()
                ripe_at = self._buffer.ripe_at(self._linger)
                if ripe_at is None:
                    self._changed.wait()
                elif self._hurried or ripe_at <= now:
                    return self._buffer.take(ROOM)
                else:
                    self._changed.wait(ripe_at - now)
        if self._spool is None or self._closed:
            return []
        return self._spool.head(limits.BATCH_ITEMS, ROOM)  # what is on disk was added first

    def _store(self, items: Sequence[Item]) -> None:
        """Store items. Raises PlauditError when the server is away; what is not settled then is kept."""
        finish(stored(items, self._ledger.position, self._settle), self._transport, self._options)
        if items:
            with self._changed:
                self._ledger.all_done_to(items[-1].number)
                self._changed.notify_all()

    def _settle(self, items: Sequence[Item], refused: Sequence[tuple[Item, PlauditError]]) -> None:
        """The server has answered: these are stored, except those that are refused."""
        reported = [Refused(self._ledger.position(item), item.message.id, error) for item, error in refused]
        for one in reported:
            logger.warning("a record was refused: %s (%s %s)", one.id, one.error.code.name, one.error.reason)
        if self._spool is not None and (self._spooled or reported):
            self._spool.remove(items, [(item, str(error)) for item, error in refused])
        self._retry.succeeded()
        with self._changed:
            if self._closed:
                return  # the report was made: it counts them as pending, or they are in the spool
            self._buffer.settled(items)
            self._ledger.settled(len(items), reported)
            self._heard = self._clock()
            self._changed.notify_all()

    def _wait_for_server(self, error: PlauditError) -> None:
        """Keep what is not settled, on disk if there is a spool, and wait until the next attempt."""
        with self._changed:
            self._buffer.put_back()
        passing = error if is_retryable(error) else UnavailableError(error.message)
        until = self._clock() + (self._retry.delay(passing) or 0.0)
        spooling = self._spool is not None
        while spooling:
            spooling = self._move_to_disk() and self._wait_for_items(until)
        with self._changed:
            while not self._closed and self._wait_until(until):
                pass

    def _wait_for_items(self, until: float) -> bool:
        """Wait until there are items to put on disk; False when it is time for the next attempt."""
        with self._changed:
            while not self._closed:
                now, ripe_at = self._clock(), self._buffer.ripe_at(self._linger)
                if now >= until:
                    return False
                if ripe_at is not None and ripe_at <= now:
                    return True
                self._wait_until(until if ripe_at is None else min(until, ripe_at))
        return False

    def _move_to_disk(self) -> bool:
        """Put all that waits on disk; False when that cannot be done now."""
        assert self._spool is not None
        with self._changed:
            items = self._buffer.take_all()
        try:
            if items:
                self._spool.append(items)
        except sqlite3.Error:
            with self._changed:
                self._buffer.put_back()
                if not self._closed:
                    logger.exception("the spool %s cannot be written; records stay in memory", self._spool.path)
            return False
        with self._changed:
            if not self._closed:
                self._buffer.settled(items)
                self._changed.notify_all()
        return True

    def _close_at_exit(self, timeout: float) -> None:
        """Store what can be stored in time, and warn of the rest: nothing else will."""
        try:
            report = self.close(timeout)
        except RuntimeError:
            report = self._reported()
        if report.pending or report.refused_count:
            warnings.warn(
                f"{report.pending} records of a plaudit buffer are not stored, and {report.refused_count} were refused;"
                " close the buffer, or leave its context, before the program ends",
                RuntimeWarning,
                stacklevel=1,
            )


_open_writers: weakref.WeakSet[BufferedWriter] = weakref.WeakSet()


def _close_all_at_exit() -> None:
    deadline = time.monotonic() + _EXIT_SECONDS
    for writer in list(_open_writers):
        if writer._process == os.getpid():
            writer._close_at_exit(max(0.0, deadline - time.monotonic()))


atexit.register(_close_all_at_exit)
