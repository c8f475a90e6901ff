"""The blocking transport: calls over one gRPC channel, with deadlines and retries, errors as exceptions of the client.

When to retry is decided in `_core.retry`; what a fork does to it in `fork`.
"""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, Self

import grpc

from plaudit._core.errors import UnavailableError
from plaudit._core.retry import Attempts, Retry, RetryPolicy
from plaudit._wire import fork
from plaudit._wire.channel import Kind, LazyChannel
from plaudit._wire.credentials import metadata_of
from plaudit._wire.failures import from_rpc_error
from plaudit._wire.methods import Method, RequestT, ResponseT


class GrpcStream(Generic[ResponseT]):
    """A `Stream` of gRPC's, with its errors as ours. A fork ends it with an UnavailableError: open it again."""

    __slots__ = ("__weakref__", "_call", "_ended", "_is_forked")

    def __init__(self, call: Any) -> None:
        self._call = call
        self._is_forked = False
        self._ended = threading.Event()
        if not call.add_callback(self._ended.set):
            self._ended.set()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ResponseT:
        try:
            if self._is_forked:
                raise _ended_by_fork()
            response: ResponseT = next(self._call)
        except grpc.RpcError as failure:
            if self._is_forked:
                raise _ended_by_fork() from failure
            raise from_rpc_error(failure) from failure
        return response

    def cancel(self) -> None:
        """End the call, from any thread: a thread that waits for an answer gets a PlauditError (CANCELLED)."""
        with fork.gate:
            if not self._is_forked:
                self._call.cancel()

    def end_for_fork(self) -> None:
        """End the call because the process forks: no thread of gRPC's may be at work meanwhile."""
        if not self._ended.is_set():
            self._is_forked = True
            self._call.cancel()

    def wait_for_end(self, seconds: float) -> None:
        """Wait until gRPC's thread has nothing more to do for the call."""
        self._ended.wait(seconds)

    def forget(self) -> Any:
        """In a forked child: drop the call, which is the parent's, and return it; it must stay alive, untouched."""
        call, self._call, self._is_forked = self._call, None, True
        return call


def _ended_by_fork() -> UnavailableError:
    return UnavailableError("the stream was ended by a fork of the process; open it again")


class GrpcTransport:
    """A `Transport` over one channel, opened by the first call. Safe between threads, and after a fork.

    `timeout` is the deadline of a unary call with all its attempts, in seconds. A `channel` given by the caller is
    used as it is, and stays the caller's to close.
    """

    def __init__(
        self,
        target: str = "localhost:50051",
        *,
        api_key: str | None = None,
        timeout: float = 10.0,
        credentials: grpc.ChannelCredentials | None = None,
        channel: grpc.Channel | None = None,
        retry: RetryPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel: LazyChannel[grpc.Channel] = LazyChannel(grpc, target, credentials, channel)
        self._timeout = timeout
        self._metadata = metadata_of(api_key)
        self._retry = retry or RetryPolicy()
        self._sleep = sleep
        self._clock = clock
        self._lock = threading.Lock()
        self._streams: weakref.WeakSet[GrpcStream[Any]] = weakref.WeakSet()
        fork.watch_forks(self)

    def unary(self, method: Method[RequestT, ResponseT], request: RequestT, *, retried: bool = True) -> ResponseT:
        """Send one request and return its answer; again while the policy and the deadline allow, if `retried`.

        Raises PlauditError.
        """
        attempts = Attempts(self._retry, self._clock() + self._timeout)
        while True:
            try:
                with fork.gate:
                    call: Callable[..., ResponseT] = self._stub(method, "unary_unary")
                    return call(request, timeout=attempts.remaining(self._clock()), metadata=self._metadata)
            except grpc.RpcError as failure:
                error = from_rpc_error(failure)
                delay = attempts.delay_after(error, self._clock(), random.random()) if retried else None
                if delay is None:
                    raise error from failure
            self._sleep(delay)

    def stream(self, method: Method[RequestT, ResponseT], request: RequestT) -> GrpcStream[ResponseT]:
        """Send one request, once, and return the stream of its answers. Iterating raises PlauditError."""
        return self._streamed(method, "unary_stream", request)

    def both_streams(self, method: Method[RequestT, ResponseT], requests: Iterator[RequestT]) -> GrpcStream[ResponseT]:
        """Send a stream of requests, once, and return that of the answers; another thread iterates `requests`."""
        return self._streamed(method, "stream_stream", requests)

    def retry(self, patience: float | None = None) -> Retry:
        """When to open a broken stream again: within `patience` seconds; None: a unary call's deadline; inf: always."""
        seconds = self._timeout if patience is None else patience
        return Retry(self._retry, seconds, sleep=self._sleep, clock=self._clock)

    def close(self) -> None:
        """Close the channel, unless it is the caller's; calls after this raise RuntimeError."""
        with self._lock:
            channel = self._channel.close()
        if channel is not None:
            with fork.gate:
                channel.close()

    def open_streams(self) -> list[GrpcStream[Any]]:
        """The streams that may still be in progress."""
        return list(self._streams)

    def forget_parent(self) -> list[Any]:
        """In a forked child: drop the parent's channel and streams, and return them; the next call opens a channel."""
        dropped = [stream.forget() for stream in self.open_streams()]
        self._streams = weakref.WeakSet()
        self._lock = threading.Lock()
        return [*dropped, self._channel.forget()]

    def _stub(self, method: Method[Any, Any], kind: Kind) -> Callable[..., Any]:
        stub = self._channel.stubs.get(method.name)
        if stub is not None:
            return stub
        with self._lock:
            return self._channel.stub(method, kind)

    def _streamed(self, method: Method[Any, Any], kind: Kind, sent: Any) -> GrpcStream[Any]:
        with fork.gate:
            stream = GrpcStream[Any](self._stub(method, kind)(sent, metadata=self._metadata))
            with self._lock:
                self._streams.add(stream)
        return stream
