"""The awaited `Line`: at most one stream at a time, and the delays between streams."""

from __future__ import annotations

from typing import Generic, TypeVar

from google.protobuf.message import Message

from plaudit._core.errors import PlauditError
from plaudit._core.options import NONE, CallOptions
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
