"""The changes of a project as an asynchronous iterator, which survives restarts of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self

from plaudit import v1
from plaudit._async.closing import AsyncClosing
from plaudit._async.run import finish
from plaudit._async.stream import AwaitedLine
from plaudit._core.changes import Change
from plaudit._core.errors import PlauditError, UnavailableError
from plaudit._core.options import NONE, CallOptions
from plaudit._core.position import Position
from plaudit._steps.watch import FOREVER, Watched, no_answer
from plaudit._wire.methods import WATCH
from plaudit._wire.transport import AsyncTransport


class AsyncWatch(Watched, AsyncClosing):
    """A `Watch` to iterate with `async for`; made by `await client.watch(…)`, and an async context manager."""

    def __init__(self, transport: AsyncTransport, position: Position, options: CallOptions = NONE) -> None:
        self._transport = transport
        self._position = position
        self._line = self._watch_line = _WatchLine(transport, options)

    @classmethod
    async def _opened(cls, transport: AsyncTransport, position: Position, options: CallOptions = NONE) -> AsyncWatch:
        watch = cls(transport, position, options)
        try:
            await watch._receive_next()
        except BaseException:
            await watch.close()
            raise
        watch._watch_line.never_give_up()
        return watch

    @property
    def _is_closed(self) -> bool:
        return self._watch_line.is_closed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        while not self._is_closed:
            change = self._position.take()
            if change is not None:
                return change
            await self._receive_next()
        raise StopAsyncIteration

    async def close(self) -> None:
        """End the watch, from any task of its loop; iterating stops."""
        self._watch_line.close()

    async def _receive_next(self) -> None:
        await finish(self._receive(), self._transport)


class _WatchLine(AwaitedLine[v1.WatchFeedbackRequest, v1.WatchFeedbackResponse]):
    """The line of a watch: the first answer of a stream must come in time, and another task may close it."""

    def __init__(self, transport: AsyncTransport, options: CallOptions) -> None:
        super().__init__(transport, options)
        self.is_closed = False
        self._is_silent = False

    def never_give_up(self) -> None:
        """From now on, reconnect for as long as it takes."""
        self._retry = self._transport.retry(FOREVER)

    async def open(self, requests: Sequence[v1.WatchFeedbackRequest]) -> None:
        """Open a stream for the one request."""
        [request] = requests
        self._stream = self._transport.stream(WATCH, request, **self._options.of_stream())
        self._is_silent = True

    async def answer(self) -> v1.WatchFeedbackResponse | None:
        """The next answer; None when the server has ended the stream."""
        if not self._is_silent:
            return await super().answer()
        seconds = self._retry.remaining()
        try:
            # A stream has no deadline: end it when there is no answer at all in time.
            async with asyncio.timeout(None if seconds == FOREVER else seconds):
                response = await super().answer()
        except PlauditError:
            raise  # a DeadlineExceededError is a TimeoutError, too
        except TimeoutError as error:
            raise UnavailableError(no_answer(seconds)) from error
        self._is_silent = False
        return response

    def close(self) -> None:
        """End the stream, and open no other one."""
        self.is_closed = True
        if self._stream is not None:
            self._stream.cancel()
