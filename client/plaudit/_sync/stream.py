"""Streams that block: at most one at a time, opened again when it breaks; and the records of a query over one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, Self, TypeVar

from google.protobuf.message import Message

from plaudit import v1
from plaudit._core.errors import PlauditError
from plaudit._core.model import Feedback
from plaudit._core.options import NONE, CallOptions
from plaudit._steps.stream import Streamed
from plaudit._sync.closing import Closing
from plaudit._sync.run import finish
from plaudit._wire.methods import STREAM
from plaudit._wire.transport import Stream, Transport

ResponseT = TypeVar("ResponseT", bound=Message)


class BlockingLine(Generic[ResponseT]):
    """What streams of either kind have in common; a kind adds how one is opened."""

    def __init__(self, transport: Transport, options: CallOptions = NONE) -> None:
        self._transport = transport
        self._options = options
        self._retry = transport.retry() if options.timeout is None else transport.retry(options.timeout)
        self._answers: Stream[ResponseT] | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a stream."""
        return self._answers is not None

    def answer(self) -> ResponseT | None:
        """The next answer; None when the server has ended the stream."""
        assert self._answers is not None
        return next(self._answers, None)

    def wait(self, error: PlauditError) -> bool:
        """Wait until a stream may be opened again; False when the error is final."""
        return self._retry.wait(error)

    def succeeded(self) -> None:
        """An answer has come: delays and deadline of `wait` start again."""
        self._retry.succeeded()

    def cancel(self) -> None:
        """End the stream, if there is one."""
        answers, self._answers = self._answers, None
        if answers is not None:
            answers.cancel()


class FeedbackStream(Streamed, Closing):
    """An iterator of Feedback that holds one message of the server at a time; a context manager.

    Made by `FeedbackQuery.stream` and `Client.stream`. Iterate it once, in one thread. Iterating raises PlauditError.
    """

    def __init__(self, transport: Transport, request: v1.StreamFeedbackRequest, options: CallOptions) -> None:
        super().__init__(request)
        self._transport = transport
        self._line = _StreamLine(transport, options)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Feedback:
        while (row := self._next_row()) is None:
            if self._has_ended:
                raise StopIteration
            finish(self._receive(), self._transport)
        return row

    def _pages(self) -> Iterator[Sequence[v1.Feedback]]:
        """What is left of the stream, as many records at once as one message of the server has. Raises PlauditError."""
        while not self._has_ended:
            page = list(self._rows)
            self._read += len(page)
            if page:
                yield page
            finish(self._receive(), self._transport)

    def close(self) -> None:
        """End the stream; iterating stops."""
        self._end()


class _StreamLine(BlockingLine[v1.StreamFeedbackResponse]):
    """The line of a stream of records: one request."""

    def open(self, requests: Sequence[v1.StreamFeedbackRequest]) -> None:
        """Open a stream for the one request."""
        [request] = requests
        self._answers = self._transport.stream(STREAM, request, **self._options.of_stream())
