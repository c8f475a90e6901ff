"""The records of a query over one stream of the server, as an asynchronous iterator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from plaudit import v1
from plaudit._async.closing import AsyncClosing
from plaudit._async.line import AwaitedLine
from plaudit._async.run import finish
from plaudit._core.model import Feedback
from plaudit._core.options import CallOptions
from plaudit._steps.reading import Streamed
from plaudit._wire.methods import STREAM
from plaudit._wire.transport import AsyncTransport


class AsyncFeedbackStream(Streamed, AsyncClosing):
    """A `FeedbackStream` to iterate with `async for`, once, in one task; an async context manager."""

    def __init__(self, transport: AsyncTransport, request: v1.StreamFeedbackRequest, options: CallOptions) -> None:
        super().__init__(request)
        self._transport = transport
        self._line = _StreamLine(transport, options)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Feedback:
        while (row := self._next_row()) is None:
            if self._has_ended:
                raise StopAsyncIteration
            await finish(self._receive(), self._transport)
        return row

    async def close(self) -> None:
        """End the stream; iterating stops."""
        self._end()


class _StreamLine(AwaitedLine[v1.StreamFeedbackRequest, v1.StreamFeedbackResponse]):
    """The line of a stream of records: one request."""

    async def open(self, requests: Sequence[v1.StreamFeedbackRequest]) -> None:
        """Open a stream for the one request."""
        [request] = requests
        self._stream = self._transport.stream(STREAM, request, **self._options.of_stream())
