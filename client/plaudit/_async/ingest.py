"""The awaited line of a bulk write."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar, TypeVar

from plaudit import v1
from plaudit._async.run import finish
from plaudit._async.stream import AwaitedLine
from plaudit._core.batching import Batch, cut, cut_async
from plaudit._core.errors import PlauditError
from plaudit._core.model import Feedback
from plaudit._core.options import NONE, CallOptions
from plaudit._steps.ingest import Ingestion
from plaudit._wire.methods import Method
from plaudit._wire.transport import AsyncTransport

RequestT = TypeVar("RequestT", v1.IngestFeedbackRequest, v1.ImportFeedbackRequest)
Records = Iterable[Mapping[str, Any] | Feedback] | AsyncIterable[Mapping[str, Any] | Feedback]


class AwaitedIngestLine(AwaitedLine[Any, Any]):
    """Streams on which requests are sent one by one."""

    ends_at_once: ClassVar[tuple[type[BaseException], ...]] = (CancelledError, GeneratorExit)

    def __init__(
        self,
        transport: AsyncTransport,
        method: Method[RequestT, Any],
        ingestion: Ingestion[RequestT],
        records: Records,
        options: CallOptions = NONE,
    ) -> None:
        super().__init__(transport, options)
        self._method: Method[Any, Any] = method
        self._ingestion: Ingestion[Any] = ingestion
        self._input = _Input()
        cutter = ingestion.cutter()
        self._batches: AsyncIterator[Batch[Any]] = (
            cut_async(records, cutter, self._input)
            if isinstance(records, AsyncIterable)
            else _awaited(cut(records, cutter))
        )

    @asynccontextmanager
    async def lingering(self, seconds: float) -> AsyncIterator[None]:
        """Within this, records of a slow input wait at most the given number of seconds for others."""

        async def tick() -> None:
            while self._input.failure is None:
                await asyncio.sleep(seconds / 2)
                if self._input.is_waited_for:
                    async with self._input.others:
                        try:
                            await finish(self._ingestion.hurry(self), self._transport)
                        except Exception as error:
                            self._input.failure = error

        ticking = asyncio.create_task(tick())
        try:
            yield
        finally:
            ticking.cancel()
            with suppress(CancelledError):
                await ticking

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


class _Input:
    """Whether the input is waited for: only then another task may touch what was read. Entered around each record."""

    def __init__(self) -> None:
        self.others = asyncio.Lock()
        self.is_waited_for = False
        self.failure: Exception | None = None
        """What was raised meanwhile, to be raised where the input is read."""

    async def __aenter__(self) -> None:
        self.is_waited_for = True

    async def __aexit__(self, *_: object) -> None:
        self.is_waited_for = False
        if self.others.locked():
            async with self.others:  # what was begun while this one waited ends first
                pass
        if self.failure is not None:
            raise self.failure


async def _awaited(batches: Iterable[Batch[RequestT]]) -> AsyncIterator[Batch[RequestT]]:
    for batch in batches:
        yield batch
