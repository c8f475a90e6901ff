"""The awaited line of a bulk write."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

from plaudit import v1
from plaudit._async.line import AwaitedLine
from plaudit._core.batching import Batch
from plaudit._core.errors import PlauditError
from plaudit._core.options import NONE, CallOptions
from plaudit._wire.methods import Method
from plaudit._wire.transport import AsyncTransport

RequestT = TypeVar("RequestT", v1.IngestFeedbackRequest, v1.ImportFeedbackRequest)


class AwaitedIngestLine(AwaitedLine[Any, Any]):
    """Streams on which requests are sent one by one."""

    ends_at_once: ClassVar[tuple[type[BaseException], ...]] = (CancelledError, GeneratorExit)

    def __init__(
        self,
        transport: AsyncTransport,
        method: Method[RequestT, Any],
        batches: AsyncIterator[Batch[RequestT]],
        options: CallOptions = NONE,
    ) -> None:
        super().__init__(transport, options)
        self._method: Method[Any, Any] = method
        self._batches: AsyncIterator[Batch[Any]] = batches

    async def next_batch(self) -> Batch[Any] | None:
        """The next request of the input."""
        return await anext(self._batches, None)

    async def open(self, requests: Sequence[Any]) -> None:
        """Open a stream, and send these requests."""
        self._stream = self._transport.both_streams(self._method, **self._options.of_stream())
        for request in requests:
            await self._stream.send(request)

    async def send(self, request: Any) -> None:
        """Send a request."""
        assert self._stream is not None
        await self._stream.send(request)

    async def finish(self) -> None:
        """Say that no request follows, and wait until the server has ended the stream."""
        assert self._stream is not None
        await self._stream.finish()
        with suppress(PlauditError):
            async for _ in self._stream:
                pass
