"""Streams that are awaited: at most one at a time, opened again when it breaks; and the records of a query over one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Self, TypeVar

from google.protobuf.message import Message

from plaudit import v1
from plaudit._async.closing import AsyncClosing
from plaudit._async.run import finish
from plaudit._core.errors import PlauditError
from plaudit._core.model import Feedback
from plaudit._core.options import NONE, CallOptions
from plaudit._steps.stream import Streamed
from plaudit._wire.methods import STREAM
from plaudit._wire.transport import AsyncStream, AsyncTransport

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)


class AwaitedLine(Generic[RequestT, ResponseT]):
    """What streams of either kind have in common; a kind adds how one is opened."""

    def __init__(self, transport: AsyncTransport, options: CallOptions = NONE) -> None:
        self._transport = transport
        self._options = options
        self._retry = transport.retry() if options.timeout is None else transport.retry(options.timeout)
        self._stream: AsyncStream[RequestT, ResponseT] | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a stream."""
        return self._stream is not None

    async def answer(self) -> ResponseT | None:
        """The next answer; None when the server has ended the stream."""
        assert self._stream is not None
        return await anext(self._stream, None)

    async def wait(self, error: PlauditError) -> bool:
        """Wait until a stream may be opened again; False when the error is final."""
        return await self._retry.wait_async(error)

    def succeeded(self) -> None:
        """An answer has come: delays and deadline of `wait` start again."""
        self._retry.succeeded()

    def cancel(self) -> None:
        """End the stream, if there is one."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()


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
