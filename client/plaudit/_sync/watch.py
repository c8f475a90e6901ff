"""The changes of a project as an iterator that survives the server's restarts; `Position` is the part without I/O."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from plaudit import v1
from plaudit._core.errors import PlauditError, UnavailableError
from plaudit._results.history import Change
from plaudit._wire.methods import WATCH

if TYPE_CHECKING:
    from plaudit._wire.transport import Stream, Transport

_FOR_EVER: Final = float("inf")


class Position:
    """Where a watch stands: what was given out, what was read ahead, and what to ask next."""

    __slots__ = ("_project", "_query", "_ready", "_told", "revision")

    def __init__(self, project: str, after: int | None, query: v1.Query | None) -> None:
        self.revision = after
        """Everything up to here was given out; None as long as the server has not told what `now` is."""
        self._project = project
        self._query = query
        self._ready: deque[Change] = deque()
        self._told: int | None = None

    def request(self) -> v1.WatchFeedbackRequest:
        """What to ask on a new stream."""
        return v1.WatchFeedbackRequest(project=self._project, after_revision=self.revision, query=self._query)

    def received(self, response: v1.WatchFeedbackResponse) -> None:
        """Take in what a stream tells."""
        if self.revision is None and not response.changes:
            self.revision = response.revision
        self._ready.extend(map(Change.from_proto, response.changes))
        self._told = response.revision

    def take(self) -> Change | None:
        """The next change to give out, or None: the next response has to be read."""
        if self._ready:
            change = self._ready.popleft()
            self.revision = change.revision
            return change
        if self._told is not None:
            self.revision = max(self.revision or 0, self._told)
            self._told = None
        return None


class Watch:
    """An endless iterator of Change, in the order of their revisions, each exactly once; a context manager.

    When the server goes away it comes back by itself, for as long as it takes, and goes on where it was. A forked
    child goes on by itself, too. To be iterated in one thread; `close()`, from any thread, ends it. Iterating raises
    PlauditError for what does not pass by itself: the right to read is gone, the store is older than `revision`.
    """

    def __init__(self, transport: Transport, position: Position) -> None:
        self._transport = transport
        self._position = position
        self._closed = threading.Event()
        self._stream: Stream[v1.WatchFeedbackResponse] | None = None
        # The server answers a watch at once: what is wrong with it is told here, and `now` is now.
        self._retry = transport.retry()
        self._receive()
        self._retry = transport.retry(_FOR_EVER)

    @property
    def revision(self) -> int:
        """Everything up to here was given out: keep it with what you did, and give it as `after` to go on later."""
        return self._position.revision or 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        while not self._closed.is_set():
            change = self._position.take()
            if change is not None:
                return change
            self._receive()
        raise StopIteration

    def close(self) -> None:
        """End the watch, from any thread; iterating stops."""
        self._closed.set()
        stream = self._stream
        if stream is not None:
            stream.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Watch(revision={self.revision}{', closed' if self._closed.is_set() else ''})"

    def _receive(self) -> None:
        """Read the next response, over as many streams as it takes; none once the watch is closed."""
        while not self._closed.is_set():
            try:
                self._position.received(self._next())
            except PlauditError as error:
                self._stream = None
                if self._closed.is_set():
                    return
                if not self._retry.wait(error, self._closed):
                    raise
            else:
                self._retry.succeeded()
                return

    def _next(self) -> v1.WatchFeedbackResponse:
        if self._stream is not None:
            return watched(next(self._stream, None))
        stream = self._stream = self._transport.stream(WATCH, self._position.request())
        if self._closed.is_set():
            stream.cancel()  # `close` has not seen it
        with _first_answer_within(self._retry.remaining(), stream):
            return watched(next(stream, None))


def watched(response: v1.WatchFeedbackResponse | None) -> v1.WatchFeedbackResponse:
    """The response, if there is one. Raises UnavailableError for the end of the stream."""
    if response is None:
        raise UnavailableError("the server ended the watch: it is about to stop")
    return response


@contextmanager
def _first_answer_within(seconds: float, stream: Stream[v1.WatchFeedbackResponse]) -> Iterator[None]:
    """A stream has no deadline: end it when there is no answer at all in time. Raises UnavailableError."""
    if seconds == _FOR_EVER:
        yield
        return
    late = threading.Event()

    def end() -> None:
        late.set()
        stream.cancel()

    watchdog = threading.Timer(seconds, end)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    except PlauditError as error:
        if late.is_set():
            raise UnavailableError(f"no answer to the watch within {seconds:.3g} s") from error
        raise
    finally:
        watchdog.cancel()
