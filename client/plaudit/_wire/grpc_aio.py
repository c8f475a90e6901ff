"""The transport of asyncio: the deadlines, retries and errors of `grpc`, over one channel of one event loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, Generic, Self

import grpc
import grpc.aio

from plaudit._core.errors import UnavailableError
from plaudit._core.retry import Attempts, Retry, RetryPolicy
from plaudit._wire.channel import Kind, LazyChannel
from plaudit._wire.credentials import metadata_of
from plaudit._wire.failures import from_rpc_error
from plaudit._wire.methods import Method, RequestT, ResponseT


class GrpcAsyncStream(Generic[RequestT, ResponseT]):
    """An `AsyncStream` of gRPC's, with its errors as ours."""

    __slots__ = ("_call", "_is_broken", "_is_cancelled")

    def __init__(self, call: Any) -> None:
        self._call = call
        self._is_broken = False
        self._is_cancelled = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ResponseT:
        try:
            response: Any = await self._call.read()
        except grpc.RpcError as failure:
            if self._is_broken:
                raise UnavailableError("the stream ended while a request was sent") from failure
            raise from_rpc_error(failure) from failure
        except asyncio.CancelledError:
            if not self._is_cancelled or _is_cancelling():
                raise
            raise UnavailableError("the stream was ended here") from None
        if response is grpc.aio.EOF:
            raise StopAsyncIteration
        answer: ResponseT = response
        return answer

    async def send(self, request: RequestT) -> None:
        """Send a request, unless the call is over."""
        try:
            await self._call.write(request)
        except grpc.RpcError:
            # grpc.aio reports an INTERNAL of its own in place of the status that ended the call. On a new stream the
            # server reports the same status again.
            self._is_broken = True
        except asyncio.InvalidStateError:
            return

    async def finish(self) -> None:
        """Say that no request follows."""
        try:
            await self._call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            return

    def cancel(self) -> None:
        """End the call."""
        self._is_cancelled = True
        self._call.cancel()


def _is_cancelling() -> bool:
    """Whether the task itself is cancelled, and not only the call that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class GrpcAsyncTransport:
    """An `AsyncTransport` over one channel, opened by the first call, in the event loop that this call runs in.

    `timeout` is the deadline of a unary call with all its attempts, in seconds. A `channel` given by the caller is used
    as it is, and stays the caller's to close.
    """

    def __init__(
        self,
        target: str = "localhost:50051",
        *,
        api_key: str | None = None,
        timeout: float = 10.0,
        credentials: grpc.ChannelCredentials | None = None,
        channel: grpc.aio.Channel | None = None,
        retry: RetryPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel: LazyChannel[grpc.aio.Channel] = LazyChannel(grpc.aio, target, credentials, channel)
        self._timeout = timeout
        self._metadata = metadata_of(api_key)
        self._retry = retry or RetryPolicy()
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None

    async def unary(self, method: Method[RequestT, ResponseT], request: RequestT, *, retried: bool = True) -> ResponseT:
        """Send one request and return its answer; again while the policy and the deadline allow, if `retried`.

        Raises PlauditError. A task that is cancelled cancels the call.
        """
        attempts = Attempts(self._retry, self._clock() + self._timeout)
        while True:
            try:
                call = self._stub(method, "unary_unary")
                remaining = attempts.remaining(self._clock())
                answer: ResponseT = await call(request, timeout=remaining, metadata=self._metadata)
            except grpc.RpcError as failure:
                error = from_rpc_error(failure)
                delay = attempts.delay_after(error, self._clock(), random.random()) if retried else None
                if delay is None:
                    raise error from failure
            else:
                return answer
            await asyncio.sleep(delay)

    def stream(self, method: Method[RequestT, ResponseT], request: RequestT) -> GrpcAsyncStream[RequestT, ResponseT]:
        """Send one request, once, and return the stream of its answers."""
        return GrpcAsyncStream(self._stub(method, "unary_stream")(request, metadata=self._metadata))

    def both_streams(self, method: Method[RequestT, ResponseT]) -> GrpcAsyncStream[RequestT, ResponseT]:
        """Open a stream in both directions, once."""
        return GrpcAsyncStream(self._stub(method, "stream_stream")(metadata=self._metadata))

    def retry(self, patience: float | None = None) -> Retry:
        """When to open a broken stream again: within `patience` seconds; None: a unary call's deadline; inf: always."""
        seconds = self._timeout if patience is None else patience
        return Retry(self._retry, seconds, sleep=asyncio.sleep, clock=self._clock)

    async def close(self) -> None:
        """Close the channel, unless it is the caller's; calls after this raise RuntimeError."""
        channel = self._channel.close()
        if channel is not None:
            await channel.close()

    def _stub(self, method: Method[Any, Any], kind: Kind) -> Callable[..., Any]:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError("an AsyncClient belongs to the event loop of its first call; make one for each loop")
        return self._channel.stubs.get(method.name) or self._channel.stub(method, kind)
