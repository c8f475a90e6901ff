"""The changes of a project as an iterator that blocks, and that survives restarts of the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from plaudit import v1
from plaudit._core.changes import Change
from plaudit._core.errors import PlauditError, UnavailableError
from plaudit._core.options import NONE, CallOptions
from plaudit._core.position import Position
from plaudit._steps.watch import FOREVER, Watched, no_answer
from plaudit._sync.closing import Closing
from plaudit._sync.run import finish
from plaudit._sync.stream import BlockingLine
from plaudit._wire.methods import WATCH
from plaudit._wire.transport import Stream, Transport


class Watch(Watched, Closing):
    """An endless iterator of Change, in the order of their revisions, each exactly once; a context manager.

    When the server goes away the watch reconnects by itself, for as long as it takes, and goes on where it was. It also
    goes on by itself in a forked child. Iterate it in one thread; `close()`, from any thread, ends it. Iterating raises
    PlauditError for what does not pass by itself: the right to read is gone, the store is older than `revision`;
    StoreChangedError when the store was restored or copied meanwhile, so that changes may have been missed.
    """

    def __init__(self, transport: Transport, position: Position, options: CallOptions = NONE) -> None:
        self._transport = transport
        self._position = position
        self._line = self._watch_line = _WatchLine(transport, options)
        # The server answers a new watch at once. So an error is raised here, and "from now on" counts from here.
        self._receive_next()
        self._watch_line.never_give_up()

    @property
    def _is_closed(self) -> bool:
        return self._watch_line.closed.is_set()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        while not self._is_closed:
            change = self._position.take()
            if change is not None:
                return change
            self._receive_next()
        raise StopIteration

    def _until(self, revision: int) -> Iterator[Change]:
        """The changes up to a revision that the project has; those after it are lost, so the watch is at its end."""
        while not self._is_closed and self.revision < revision:
            change = self._position.take()
            if change is None:
                if self.revision < revision:
                    self._receive_next()
            elif change.revision <= revision:
                yield change

    def close(self) -> None:
        """End the watch, from any thread; iterating stops."""
        self._watch_line.close()

    def _receive_next(self) -> None:
        finish(self._receive(), self._transport)


class _WatchLine(BlockingLine[v1.WatchFeedbackResponse]):
    """The line of a watch: the first answer of a stream must come in time, and another thread may close it."""

    def __init__(self, transport: Transport, options: CallOptions) -> None:
        super().__init__(transport, options)
        self.closed = threading.Event()
        self._is_silent = False

    def never_give_up(self) -> None:
        """From now on, reconnect for as long as it takes."""
        self._retry = self._transport.retry(FOREVER)

    def open(self, requests: Sequence[v1.WatchFeedbackRequest]) -> None:
        """Open a stream for the one request."""
        [request] = requests
        answers = self._answers = self._transport.stream(WATCH, request, **self._options.of_stream())
        self._is_silent = True
        if self.closed.is_set():
            answers.cancel()  # `close` has not seen it

    def answer(self) -> v1.WatchFeedbackResponse | None:
        """The next answer; None when the server has ended the stream."""
        answers = self._answers
        assert answers is not None
        if not self._is_silent:
            return next(answers, None)
        with _first_answer_within(self._retry.remaining(), answers):
            response = next(answers, None)
        self._is_silent = False
        return response

    def wait(self, error: PlauditError) -> bool:
        """Wait until a stream may be opened again, or the watch is closed; False when the error is final."""
        return self._retry.wait(error, self.closed)

    def close(self) -> None:
        """End the stream, and open no other one."""
        self.closed.set()
        answers = self._answers
        if answers is not None:
            answers.cancel()


@contextmanager
def _first_answer_within(seconds: float, stream: Stream[v1.WatchFeedbackResponse]) -> Iterator[None]:
    """End the stream, which has no deadline, when there is no answer at all in time. Raises UnavailableError."""
    if seconds == FOREVER:
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
            raise UnavailableError(no_answer(seconds)) from error
        raise
    finally:
        watchdog.cancel()
