"""The blocking transport: calls over gRPC's channels, with deadlines and retries, errors as exceptions of the client.

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

from plaudit._core.errors import PlauditError, UnavailableError
from plaudit._core.retry import Attempts, Retry, RetryPolicy
from plaudit._settings import Pairs, Settings
from plaudit._wire import fork
from plaudit._wire.channel import CALLS, Channel, Channels, Kind, closed
from plaudit._wire.credentials import CallMetadata
from plaudit._wire.failures import from_rpc_error, quick
from plaudit._wire.methods import Method, RequestT, ResponseT
from plaudit._wire.outage import Outage


class GrpcStream(Generic[ResponseT]):
    """A `Stream` of gRPC's, with its errors as ours. A fork ends it with an UnavailableError: open it again."""

    __slots__ = ("__weakref__", "_call", "_ended", "_error_of", "_is_forked")

    def __init__(self, call: Any, error_of: Callable[[Exception], PlauditError], ended: Callable[[], None]) -> None:
        self._call = call
        self._error_of = error_of
        self._is_forked = False
        self._ended = event = threading.Event()

        def end() -> None:
            ended()
            event.set()

        if not call.add_callback(end):
            end()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ResponseT:
        try:
            if self._is_forked:
                raise _ended_by_fork()
            response: ResponseT = next(self._call)
        except grpc.RpcError as failure:
            if self._is_forked:
                raise _ended_by_fork() from None
            raise self._error_of(failure) from failure
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
    """A `Transport` over channels that calls open. Safe between threads, and after a fork.

    The deadline of a unary call with all its attempts is counted from when it is sent first; before that it may wait
    for other calls. A `channel` given by the caller is used as it is, and stays the caller's to close.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        channel: grpc.Channel | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = settings or Settings()
        self._channels: Channels[grpc.Channel] = Channels(grpc, settings, channel)
        self._timeout = settings.timeout
        self._metadata = CallMetadata(settings)
        self._policy = settings.retry or RetryPolicy()
        self._sleep = sleep
        self._clock = clock
        self._outage = Outage(clock)
        self._streams: weakref.WeakSet[GrpcStream[Any]] = weakref.WeakSet()
        # Guards the channels, their numbers of calls, and the streams. Not held during a call.
        self._changed = threading.Condition(threading.Lock())
        self._calls = 0
        fork.watch_forks(self)

    def unary(
        self,
        method: Method[RequestT, ResponseT],
        request: RequestT,
        *,
        retried: bool = True,
        timeout: float | None = None,
        metadata: Pairs = (),
    ) -> ResponseT:
        """Send one request and return its answer; again while the policy and the deadline allow, if `retried`.

        Raises PlauditError.
        """
        attempts: Attempts | None = None
        while True:
            channel = self._enter()
            try:
                sent = self._metadata.blocking(metadata)
                if attempts is None:
                    attempts = Attempts(self._policy, self._clock() + (timeout or self._timeout))
                with fork.gate:
                    call: Callable[..., ResponseT] = channel.stub(method, "unary_unary")
                    return call(request, timeout=attempts.remaining(self._clock()), metadata=sent)
            except (grpc.RpcError, ValueError) as failure:
                if isinstance(failure, ValueError) and not self._channels.is_closed:
                    raise  # gRPC has this error for a call on a closed channel
                error = self._error_of(failure)
                delay = attempts.delay_after(error, self._clock(), random.random()) if attempts and retried else None
                if delay is None:
                    raise error from failure
                self._outage.retried(error, delay)
            finally:
                self._leave(channel)
            self._sleep(quick(delay, error))

    def stream(
        self, method: Method[RequestT, ResponseT], request: RequestT, *, metadata: Pairs = ()
    ) -> GrpcStream[ResponseT]:
        """Send one request, once, and return the stream of its answers. Iterating raises PlauditError."""
        return self._streamed(method, "unary_stream", request, metadata)

    def both_streams(
        self, method: Method[RequestT, ResponseT], requests: Iterator[RequestT], *, metadata: Pairs = ()
    ) -> GrpcStream[ResponseT]:
        """Send a stream of requests, once, and return that of the answers; another thread iterates `requests`."""
        return self._streamed(method, "stream_stream", requests, metadata)

    def retry(self, patience: float | None = None) -> Retry:
        """When to open a broken stream again: within `patience` seconds; None: a unary call's deadline; inf: always."""
        seconds = self._timeout if patience is None else patience
        return Retry(self._policy, seconds, sleep=self._sleep, clock=self._clock, notice=self._outage.retried)

    def close(self) -> None:
        """Close the channels, but for the caller's own; calls in progress and after this get a ClientClosedError."""
        with self._changed:
            channels = self._channels.close()
            self._changed.notify_all()
        with fork.gate:
            for channel in channels:
                channel.close()

    def open_streams(self) -> list[GrpcStream[Any]]:
        """The streams that may still be in progress."""
        return list(self._streams)

    def forget_parent(self) -> list[Any]:
        """In a forked child: drop the parent's channels and streams, and return them; the next call opens a channel."""
        dropped = [stream.forget() for stream in self.open_streams()]
        self._streams = weakref.WeakSet()
        self._changed = threading.Condition(threading.Lock())
        self._calls = 0
        return [*dropped, *self._channels.forget()]

    def _enter(self) -> Channel[grpc.Channel]:
        """Wait for a place among the calls on their way, and take a channel."""
        with self._changed:
            while self._calls >= CALLS and not self._channels.is_closed:
                self._changed.wait()
            channel = self._channels.take()
            self._calls += 1
            return channel

    def _leave(self, channel: Channel[grpc.Channel]) -> None:
        with self._changed:
            self._calls -= 1
            channel.calls -= 1
            self._changed.notify()

    def _error_of(self, failure: Exception) -> PlauditError:
        """The client's exception for a failed call."""
        if self._channels.is_closed or not isinstance(failure, grpc.RpcError):
            error: PlauditError = closed()
            error.__cause__ = failure
            return error
        return from_rpc_error(failure, self._channels.target, self._channels.proxy)

    def _streamed(self, method: Method[Any, Any], kind: Kind, sent: Any, metadata: Pairs) -> GrpcStream[Any]:
        pairs = self._metadata.blocking(metadata)
        # Not kept waiting: a stream may never end.
        with self._changed:
            channel = self._channels.take()
        changed = self._changed

        def ended() -> None:
            with changed:
                channel.calls -= 1

        try:
            with fork.gate:
                stream = GrpcStream[Any](channel.stub(method, kind)(sent, metadata=pairs), self._error_of, ended)
                with changed:
                    self._streams.add(stream)
        except ValueError as failure:
            if not self._channels.is_closed:
                raise
            raise closed() from failure
        return stream
