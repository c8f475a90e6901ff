"""How a request reaches the server and an answer comes back: deadlines, retries, one channel, errors as exceptions.

The rules of retrying are in `_retry`, which does no I/O; `GrpcTransport` is the thin shell around them. Whatever
has the methods of `Transport` can take its place: tests pass a fake and count the calls.
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, Protocol, Self, TypeVar
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import Message

from plaudit import v1
from plaudit._contract import limits
from plaudit._core.errors import UnavailableError, from_rpc_error
from plaudit._core.retry import Attempts, Retry, RetryPolicy
from plaudit._wire.fork import Gate

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)
ResponseT_co = TypeVar("ResponseT_co", bound=Message, covariant=True)

CHANNEL_OPTIONS: Final[Sequence[tuple[str, Any]]] = (
    # A response may have 4 MiB, which is grpc's own default limit to the byte: leave room.
    ("grpc.max_receive_message_length", limits.GRPC_RECEIVE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A server that restarts is found again in a second, well within one call's deadline.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # How long one attempt to connect may take: a host that swallows packets must not cost the whole deadline.
    ("grpc.min_reconnect_backoff_ms", 3_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.primary_user_agent", "plaudit-python"),
)
_Kind = Literal["unary_unary", "unary_stream", "stream_stream"]
# A fork waits for calls under way no longer than this; a child made in the middle of one may not work.
_FORK_SECONDS: Final = 2.0
_SECURE_SCHEMES: Final = ("https", "grpcs")
_PLAIN_SCHEMES: Final = ("http", "grpc")


@dataclass(frozen=True, slots=True)
class Method(Generic[RequestT, ResponseT]):
    """One RPC of the service: its name, and the messages that it takes and gives."""

    name: str
    request: type[RequestT]
    response: type[ResponseT]

    @property
    def path(self) -> str:
        """The path on the wire."""
        return f"/plaudit.v1.FeedbackService/{self.name}"


CREATE: Final = Method("CreateFeedback", v1.CreateFeedbackRequest, v1.CreateFeedbackResponse)
BATCH_CREATE: Final = Method("BatchCreateFeedback", v1.BatchCreateFeedbackRequest, v1.BatchCreateFeedbackResponse)
GET: Final = Method("GetFeedback", v1.GetFeedbackRequest, v1.GetFeedbackResponse)
QUERY: Final = Method("QueryFeedback", v1.QueryFeedbackRequest, v1.QueryFeedbackResponse)
COUNT: Final = Method("CountFeedback", v1.CountFeedbackRequest, v1.CountFeedbackResponse)
LIST_REFS: Final = Method("ListRefs", v1.ListRefsRequest, v1.ListRefsResponse)
REPLACE: Final = Method("ReplaceFeedback", v1.ReplaceFeedbackRequest, v1.ReplaceFeedbackResponse)
PURGE: Final = Method("PurgeFeedback", v1.PurgeFeedbackRequest, v1.PurgeFeedbackResponse)
LIST_VERSIONS: Final = Method("ListFeedbackVersions", v1.ListFeedbackVersionsRequest, v1.ListFeedbackVersionsResponse)
INGEST: Final = Method("IngestFeedback", v1.IngestFeedbackRequest, v1.IngestFeedbackResponse)
IMPORT: Final = Method("ImportFeedback", v1.ImportFeedbackRequest, v1.ImportFeedbackResponse)
WATCH: Final = Method("WatchFeedback", v1.WatchFeedbackRequest, v1.WatchFeedbackResponse)
SERVER_INFO: Final = Method("GetServerInfo", v1.GetServerInfoRequest, v1.GetServerInfoResponse)


class Stream(Protocol[ResponseT_co]):
    """The answers of a stream, as an iterator; it has no deadline. Iterating raises PlauditError."""

    def __iter__(self) -> Self:
        """Itself."""

    def __next__(self) -> ResponseT_co:
        """The next answer, when it comes."""

    def cancel(self) -> None:
        """End the call, also from another thread: who waits for an answer gets a PlauditError (CANCELLED)."""


class Transport(Protocol):
    """What a Client needs to reach a server."""

    def unary(self, method: Method[RequestT, ResponseT], request: RequestT, *, retried: bool = True) -> ResponseT:
        """One request, one answer, within the deadline; in one attempt unless `retried`. Raises PlauditError."""

    def stream(self, method: Method[RequestT, ResponseT], request: RequestT) -> Stream[ResponseT]:
        """One request, a stream of answers, in one attempt."""

    def both_streams(self, method: Method[RequestT, ResponseT], requests: Iterator[RequestT]) -> Stream[ResponseT]:
        """A stream of requests, a stream of answers, in one attempt. `requests` is iterated in another thread."""

    def retry(self, patience: float | None = None) -> Retry:
        """When to open a stream again: within `patience` seconds, None for a unary call's deadline, inf for ever."""

    def close(self) -> None:
        """Give back what is open; calls after it raise RuntimeError."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens, and whether the way there is encrypted."""

    target: str
    secure: bool

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `host:port`, `https://host:port`, `grpcs://…`, `http://…`, `grpc://…` or a name of grpc's (`unix:…`).

        Raises ValueError for an address with a path, or without a host.
        """
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in _SECURE_SCHEMES + _PLAIN_SCHEMES:
            if not text:
                raise ValueError("the target is empty; write host:port")
            return cls(text, secure=False)
        parts = urlsplit(text)
        if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(f"not an address of a server: {text!r}; write {scheme}://host:port")
        return cls(rest.rstrip("/"), secure=scheme in _SECURE_SCHEMES)


def metadata_of(api_key: str | None) -> tuple[tuple[str, str]] | None:
    """What is sent with each call."""
    return None if api_key is None else (("authorization", f"Bearer {api_key}"),)


class GrpcStream(Generic[ResponseT]):
    """A `Stream` of grpc's, with its errors as ours. A fork ends it, with an UnavailableError: open it again."""

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
        """End the call, also from another thread: who waits for an answer gets a PlauditError (CANCELLED)."""
        with _gate:
            if not self._is_forked:
                self._call.cancel()

    def end_for_fork(self) -> None:
        """End the call because the process forks: gRPC's own thread must not be at work meanwhile."""
        if not self._ended.is_set():
            self._is_forked = True
            self._call.cancel()

    def wait_for_end(self, seconds: float) -> None:
        """Wait until gRPC's thread has nothing more to do for the call."""
        self._ended.wait(seconds)

    def forget(self) -> Any:
        """In a forked child: what is the parent's, to be kept and not touched."""
        call, self._call, self._is_forked = self._call, None, True
        return call


def _ended_by_fork() -> UnavailableError:
    return UnavailableError("the stream was ended by a fork of the process; open it again")


class GrpcTransport:
    """Calls over one gRPC channel, opened by the first call; safe between threads and after a fork.

    `timeout` is the deadline of a unary call with all its attempts, in seconds. A `channel` given by the
    caller is used as it is, and is the caller's to close.
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
        self._address = Address.parse(target)
        self._credentials = credentials
        self._timeout = timeout
        self._metadata = metadata_of(api_key)
        self._retry = retry or RetryPolicy()
        self._sleep = sleep
        self._clock = clock
        self._given_channel = channel
        self._channel: grpc.Channel | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._calls: dict[str, Callable[..., Any]] = {}
        self._streams: weakref.WeakSet[GrpcStream[Any]] = weakref.WeakSet()
        _open_transports.add(self)

    def unary(self, method: Method[RequestT, ResponseT], request: RequestT, *, retried: bool = True) -> ResponseT:
        """One request, one answer, sent again while the policy and the deadline allow, unless told not to.

        Raises PlauditError.
        """
        attempts = Attempts(self._retry, self._clock() + self._timeout)
        while True:
            try:
                with _gate:
                    call: Callable[..., ResponseT] = self._call(method, "unary_unary")
                    return call(request, timeout=attempts.remaining(self._clock()), metadata=self._metadata)
            except grpc.RpcError as failure:
                error = from_rpc_error(failure)
                delay = attempts.delay_after(error, self._clock(), random.random()) if retried else None
                if delay is None:
                    raise error from failure
            self._sleep(delay)

    def stream(self, method: Method[RequestT, ResponseT], request: RequestT) -> GrpcStream[ResponseT]:
        """One request, a stream of answers, in one attempt. Iterating raises PlauditError."""
        return self._opened(method, "unary_stream", request)

    def both_streams(self, method: Method[RequestT, ResponseT], requests: Iterator[RequestT]) -> GrpcStream[ResponseT]:
        """A stream of requests, a stream of answers, in one attempt. `requests` is iterated in another thread."""
        return self._opened(method, "stream_stream", requests)

    def retry(self, patience: float | None = None) -> Retry:
        """When to open a stream again: within `patience` seconds, None for a unary call's deadline, inf for ever."""
        seconds = self._timeout if patience is None else patience
        return Retry(self._retry, seconds, sleep=self._sleep, clock=self._clock)

    def close(self) -> None:
        """Close the channel, unless it is the caller's; calls after it raise RuntimeError."""
        with self._lock:
            channel, self._channel = self._channel, None
            self._closed = True
            self._calls.clear()
        if channel is not None:
            with _gate:
                channel.close()

    def _call(self, method: Method[Any, Any], kind: _Kind) -> Callable[..., Any]:
        call = self._calls.get(method.name)
        if call is not None:
            return call
        with self._lock:
            if self._closed:
                raise RuntimeError("the client is closed")
            channel = self._given_channel or self._channel
            if channel is None:
                channel = self._channel = self._open()
            made: Callable[..., Any] = getattr(channel, kind)(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            self._calls[method.name] = made
            return made

    def _opened(self, method: Method[Any, Any], kind: _Kind, sent: Any) -> GrpcStream[Any]:
        with _gate:
            stream = GrpcStream[Any](self._call(method, kind)(sent, metadata=self._metadata))
            with self._lock:
                self._streams.add(stream)
        return stream

    def _open(self) -> grpc.Channel:
        if self._credentials is None and not self._address.secure:
            return grpc.insecure_channel(self._address.target, CHANNEL_OPTIONS)
        credentials = self._credentials or grpc.ssl_channel_credentials()
        return grpc.secure_channel(self._address.target, credentials, CHANNEL_OPTIONS)

    def _forget_parent(self) -> None:
        """In a forked child: the parent's channel is not ours to use, nor to close; the next call opens one."""
        _of_parents.extend(stream.forget() for stream in list(self._streams))
        self._streams = weakref.WeakSet()
        if self._channel is not None:
            _of_parents.append(self._channel)
        self._channel = None
        self._calls = {}
        self._lock = threading.Lock()


_gate = Gate()
_open_transports: weakref.WeakSet[GrpcTransport] = weakref.WeakSet()
# Kept alive: destroying the parent's channels and streams in the child would touch threads that are not there.
_of_parents: list[Any] = []


def _before_fork() -> None:
    """Wait for the calls under way, and end the streams: those who read them open them again, and miss nothing."""
    _gate.shut(_FORK_SECONDS)
    streams = [stream for transport in list(_open_transports) for stream in list(transport._streams)]
    for stream in streams:
        stream.end_for_fork()
    for stream in streams:
        stream.wait_for_end(_FORK_SECONDS)


def _after_fork_in_child() -> None:
    global _gate  # noqa: PLW0603
    _gate = Gate()  # the parent's may be held by a thread that is not there
    for transport in list(_open_transports):
        transport._forget_parent()


def _after_fork_in_parent() -> None:
    _gate.open()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
