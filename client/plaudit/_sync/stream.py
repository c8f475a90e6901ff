"""The records of a query over one stream of the server, as an iterator that blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from plaudit import v1
from plaudit._core.model import Feedback
from plaudit._core.options import CallOptions
from plaudit._steps.reading import Streamed
from plaudit._sync.closing import Closing
from plaudit._sync.line import BlockingLine
from plaudit._sync.run import finish
from plaudit._wire.methods import STREAM
from plaudit._wire.transport import Transport


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

    def close(self) -> None:
        """End the stream; iterating stops."""
        self._end()


class _StreamLine(BlockingLine[v1.StreamFeedbackResponse]):
    """The line of a stream of records: one request."""

    def open(self, requests: Sequence[v1.StreamFeedbackRequest]) -> None:
        """Open a stream for the one request."""
        [request] = requests
        self._answers = self._transport.stream(STREAM, request, **self._options.of_stream())
