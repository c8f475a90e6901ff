"""The transport of asyncio: the deadlines, retries and errors of `grpc`, over the channels of one event loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, Generic, Self

import grpc
import grpc.aio

from plaudit._core.errors import PlauditError, UnavailableError
from plaudit._core.retry import Attempts, Retry, RetryPolicy
from plaudit._settings import Pairs, Settings
from plaudit._wire.channel import CALLS, Channel, Channels, Kind, closed
from plaudit._wire.credentials import CallMetadata
from plaudit._wire.failures import from_rpc_error, quick
from plaudit._wire.methods import Method, RequestT, ResponseT
from plaudit._wire.outage import Outage


class GrpcAsyncStream(Generic[RequestT, ResponseT]):
    """An `AsyncStream` of gRPC's, with its errors as ours."""

    __slots__ = ("_call", "_is_broken", "_is_cancelled", "_open", "_transport")

    def __init__(self, transport: GrpcAsyncTransport, open: Callable[[], Any]) -> None:
        self._transport = transport
        self._open = open
        self._call: Any = None
        self._is_broken = False
        self._is_cancelled = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ResponseT:
        try:
            response: Any = await (await self._opened()).read()
        except grpc.RpcError as failure:
            if self._is_broken and not self._transport.is_closed:
                raise UnavailableError("the stream ended while a request was sent") from failure
            raise self._transport.error_of(failure) from failure
        except asyncio.CancelledError:
            if _is_cancelling():
                raise
            # Not the task was cancelled, but the call: left as it is, it would end a task, and a group, in silence.
            if self._transport.is_closed:
                raise closed() from None
            raise UnavailableError("the stream was ended here") from None
        if response is grpc.aio.EOF:
            raise StopAsyncIteration
        answer: ResponseT = response
        return answer

    async def send(self, request: RequestT) -> None:
        """Send a request, unless the call is over."""
        try:
            await (await self._opened()).write(request)
        except grpc.RpcError:
            # grpc.aio reports an INTERNAL of its own in place of the status that ended the call. On a new stream the
            # server reports the same status again.
            self._is_broken = True
        except asyncio.InvalidStateError:
            return
        except asyncio.CancelledError:
            if _is_cancelling():
                raise
            self._is_broken = True

    async def finish(self) -> None:
        """Say that no request follows."""
        try:
            await (await self._opened()).done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            return

    def cancel(self) -> None:
        """End the call."""
        self._is_cancelled = True
        if self._call is not None:
            self._call.cancel()

    async def _opened(self) -> Any:
        if self._call is None:
            # Here and not in the constructor: the function of the key may have to be awaited.
            self._call = await self._open()
            if self._is_cancelled:
                self._call.cancel()
        return self._call


def _is_cancelling() -> bool:
    """Whether the task itself is cancelled, and not only the call that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class GrpcAsyncTransport:
    """An `AsyncTransport` over channels that calls open, in the event loop that the first call runs in.

    Deadlines and a given `channel` are as with `GrpcTransport`.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        channel: grpc.aio.Channel | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = settings or Settings()
        self._channels: Channels[grpc.aio.Channel] = Channels(grpc.aio, settings, channel)
        self._timeout = settings.timeout
        self._metadata = CallMetadata(settings)
        self._policy = settings.retry or RetryPolicy()
        self._clock = clock
        self._outage = Outage(clock)
        self._places = asyncio.Semaphore(CALLS)
        self._streaming: set[Any] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._channels.is_closed

    async def unary(
        self,
        method: Method[RequestT, ResponseT],
        request: RequestT,
        *,
        retried: bool = True,
        timeout: float | None = None,
        metadata: Pairs = (),
    ) -> ResponseT:
        """Send one request and return its answer; again while the policy and the deadline allow, if `retried`.

        Raises PlauditError. A task that is cancelled cancels the call.
        """
        attempts: Attempts | None = None
        while True:
            async with self._places:
                channel = self._take()
                try:
                    sent = await self._metadata.awaited(metadata)
                    if attempts is None:
                        attempts = Attempts(self._policy, self._clock() + (timeout or self._timeout))
                    call = channel.stub(method, "unary_unary")
                    answer: ResponseT = await call(request, timeout=attempts.remaining(self._clock()), metadata=sent)
                except grpc.RpcError as failure:
                    error = self.error_of(failure)
                    delay = (
                        attempts.delay_after(error, self._clock(), random.random()) if attempts and retried else None
                    )
                    if delay is None:
                        raise error from failure
                    self._outage.retried(error, delay)
                except asyncio.CancelledError:
                    if _is_cancelling() or not self.is_closed:
                        raise
                    raise closed() from None
                except grpc.aio.UsageError:
                    if not self.is_closed:
                        raise
                    raise closed() from None
                else:
                    return answer
                finally:
                    channel.calls -= 1
            await asyncio.sleep(quick(delay, error))

    def stream(
        self, method: Method[RequestT, ResponseT], request: RequestT, *, metadata: Pairs = ()
    ) -> GrpcAsyncStream[RequestT, ResponseT]:
        """Send one request, once, and return the stream of its answers."""
        return self._streamed(method, "unary_stream", (request,), metadata)

    def both_streams(
        self, method: Method[RequestT, ResponseT], *, metadata: Pairs = ()
    ) -> GrpcAsyncStream[RequestT, ResponseT]:
        """Open a stream in both directions, once."""
        return self._streamed(method, "stream_stream", (), metadata)

    def retry(self, patience: float | None = None) -> Retry:
        """When to open a broken stream again: within `patience` seconds; None: a unary call's deadline; inf: always."""
        seconds = self._timeout if patience is None else patience
        return Retry(self._policy, seconds, sleep=asyncio.sleep, clock=self._clock, notice=self._outage.retried)

    async def close(self) -> None:
        """Close the channels, but for the caller's own; calls in progress and after this get a ClientClosedError."""
        channels = self._channels.close()
        # A channel of grpc.aio looks for its calls among the tasks, and does not find each stream that one reads from.
        for call in list(self._streaming):
            call.cancel()
        for channel in channels:
            await channel.close()

    def error_of(self, failure: grpc.RpcError) -> PlauditError:
        """The client's exception for a failed call."""
        if self.is_closed:
            return closed()
        return from_rpc_error(failure, self._channels.target, self._channels.proxy)

    def _take(self) -> Channel[grpc.aio.Channel]:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError("an AsyncClient belongs to the event loop of its first call; make one for each loop")
        return self._channels.take()

    def _streamed(
        self, method: Method[Any, Any], kind: Kind, sent: tuple[Any, ...], metadata: Pairs
    ) -> GrpcAsyncStream[Any, Any]:
        async def open() -> Any:
            pairs = await self._metadata.awaited(metadata)
            channel = self._take()

            def ended(call: Any) -> None:
                channel.calls -= 1
                self._streaming.discard(call)

            call = channel.stub(method, kind)(*sent, metadata=pairs)
            self._streaming.add(call)
            call.add_done_callback(ended)
            return call

        return GrpcAsyncStream(self, open)
