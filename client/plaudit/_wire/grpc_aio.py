"""The transport of asyncio: the deadlines, retries and errors of `_transport`, over one channel of one event loop."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, Generic, Protocol, Self, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from plaudit._core.errors import UnavailableError, from_rpc_error
from plaudit._core.retry import Attempts, Retry, RetryPolicy
from plaudit._wire.grpc import CHANNEL_OPTIONS, Address, Method, metadata_of

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)
RequestT_contra = TypeVar("RequestT_contra", bound=Message, contravariant=True)
ResponseT_co = TypeVar("ResponseT_co", bound=Message, covariant=True)


class AsyncStream(Protocol[RequestT_contra, ResponseT_co]):
    """A stream of answers, and of requests where the method takes them; it has no deadline."""

    def __aiter__(self) -> Self:
        """Itself."""

    async def __anext__(self) -> ResponseT_co:
        """The next answer, when it comes. Raises PlauditError."""

    async def send(self, request: RequestT_contra) -> None:
        """Send a request. When the call is over already this does nothing: the next answer tells why."""

    async def finish(self) -> None:
        """Say that no request follows."""

    def cancel(self) -> None:
        """End the call: who waits for an answer gets a PlauditError."""


class AsyncTransport(Protocol):
    """What an AsyncClient needs to reach a server; as `_transport.Transport`, awaited."""

    async def unary(self, method: Method[RequestT, ResponseT], request: RequestT, *, retried: bool = True) -> ResponseT:
        """One request, one answer, within the deadline; in one attempt unless `retried`. Raises PlauditError."""

    def stream(self, method: Method[RequestT, ResponseT], request: RequestT) -> AsyncStream[RequestT, ResponseT]:
        """One request, a stream of answers, in one attempt."""

    def both_streams(self, method: Method[RequestT, ResponseT]) -> AsyncStream[RequestT, ResponseT]:
        """A stream of requests, a stream of answers, in one attempt."""

    def retry(self, patience: float | None = None) -> Retry:
        """When to open a stream again: within `patience` seconds, None for a unary call's deadline, inf for ever."""

    async def close(self) -> None:
        """Give back what is open; calls after it raise RuntimeError."""


class GrpcAsyncStream(Generic[RequestT, ResponseT]):
    """An `AsyncStream` of grpc's, with its errors as ours."""

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
            # grpc.aio puts an INTERNAL of its own in the place of what the call ended with: on a new stream the server
            # says it again.
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
    """Whether it is the task that is cancelled, and not only the call that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class GrpcAsyncTransport:
    """Calls over one grpc.aio channel, opened by the first call, in the event loop that it finds there.

    `timeout` is the deadline of a unary call with all its attempts, in seconds. A `channel` given by the caller is used
    as it is, and is the caller's to close.
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
        self._address = Address.parse(target)
        self._credentials = credentials
        self._timeout = timeout
        self._metadata = metadata_of(api_key)
        self._retry = retry or RetryPolicy()
        self._clock = clock
        self._given_channel = channel
        self._channel: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._calls: dict[str, Callable[..., Any]] = {}

    async def unary(self, method: Method[RequestT, ResponseT], request: RequestT, *, retried: bool = True) -> ResponseT:
        """One request, one answer, sent again while the policy and the deadline allow, unless told not to.

        Raises PlauditError; a cancelled task cancels the call.
        """
        attempts = Attempts(self._retry, self._clock() + self._timeout)
        while True:
            try:
                call = self._call(method, "unary_unary")
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
        """One request, a stream of answers, in one attempt."""
        return GrpcAsyncStream(self._call(method, "unary_stream")(request, metadata=self._metadata))

    def both_streams(self, method: Method[RequestT, ResponseT]) -> GrpcAsyncStream[RequestT, ResponseT]:
        """A stream of requests, a stream of answers, in one attempt."""
        return GrpcAsyncStream(self._call(method, "stream_stream")(metadata=self._metadata))

    def retry(self, patience: float | None = None) -> Retry:
        """When to open a stream again: within `patience` seconds, None for a unary call's deadline, inf for ever."""
        seconds = self._timeout if patience is None else patience
        return Retry(self._retry, seconds, sleep=asyncio.sleep, clock=self._clock)

    async def close(self) -> None:
        """Close the channel, unless it is the caller's; calls after it raise RuntimeError."""
        channel, self._channel = self._channel, None
        self._closed = True
        self._calls.clear()
        if channel is not None:
            await channel.close()

    def _call(self, method: Method[Any, Any], kind: str) -> Callable[..., Any]:
        if self._closed:
            raise RuntimeError("the client is closed")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError("an AsyncClient belongs to the event loop of its first call; make one for each loop")
        call = self._calls.get(method.name)
        if call is None:
            channel = self._given_channel or self._channel
            if channel is None:
                channel = self._channel = self._open()
            call = self._calls[method.name] = getattr(channel, kind)(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
        return call

    def _open(self) -> grpc.aio.Channel:
        if self._credentials is None and not self._address.secure:
            return grpc.aio.insecure_channel(self._address.target, CHANNEL_OPTIONS)
        credentials = self._credentials or grpc.ssl_channel_credentials()
        return grpc.aio.secure_channel(self._address.target, credentials, CHANNEL_OPTIONS)
