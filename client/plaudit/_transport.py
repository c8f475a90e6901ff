"""How a request reaches the server and an answer comes back: deadlines, retries, one channel, errors as exceptions.

The rules of retrying are in `RetryPolicy` and `Attempts`, which do no I/O; `GrpcTransport` is the thin shell
around them. Whatever has the methods of `Transport` can take its place: tests pass a fake and count the calls.
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import Message

from plaudit import limits, v1
from plaudit._errors import PlauditError, ResourceExhaustedError, UnavailableError, from_rpc_error

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)

_CHANNEL_OPTIONS: Final[Sequence[tuple[str, Any]]] = (
    # A response may have 4 MiB, which is grpc's own default limit to the byte: leave room.
    ("grpc.max_receive_message_length", limits.GRPC_RECEIVE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A server that restarts is found again in a second, well within one call's deadline.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.primary_user_agent", "plaudit-python"),
)
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
PURGE: Final = Method("PurgeFeedback", v1.PurgeFeedbackRequest, v1.PurgeFeedbackResponse)
SERVER_INFO: Final = Method("GetServerInfo", v1.GetServerInfoRequest, v1.GetServerInfoResponse)


class Transport(Protocol):
    """What a Client needs to reach a server."""

    def unary(self, method: Method[RequestT, ResponseT], request: RequestT) -> ResponseT:
        """One request, one answer, within the deadline. Raises PlauditError."""

    def close(self) -> None:
        """Give back what is open; calls after it raise RuntimeError."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed call is sent again; times in seconds."""

    initial_delay: float = 0.05
    """Before the second attempt; doubled for each one after it."""
    max_delay: float = 1.0
    """The delay grows no further."""
    jitter: float = 0.5
    """The part of a delay that is left to chance, so that clients do not come back together."""

    def delay(self, error: PlauditError, attempt: int, chance: float) -> float | None:
        """Seconds to wait after the failed `attempt` (from 1), or None: do not send it again.

        `chance` is a random number from 0 to 1. A hint of the server is never undercut.
        """
        if not is_retryable(error):
            return None
        full = min(self.max_delay, self.initial_delay * 2.0 ** min(attempt - 1, 30))
        backoff = full * (1 - self.jitter * chance)
        return backoff if error.retry_after is None else error.retry_after + backoff * self.jitter


def is_retryable(error: PlauditError) -> bool:
    """Whether the same request may succeed later; writes too, because their ids are made by the client."""
    return isinstance(error, UnavailableError) or (
        isinstance(error, ResourceExhaustedError) and error.retry_after is not None
    )


class Attempts:
    """The attempts of one call within one deadline; a state machine that neither waits nor calls."""

    __slots__ = ("_deadline", "_failed", "_policy")

    def __init__(self, policy: RetryPolicy, deadline: float) -> None:
        self._policy = policy
        self._deadline = deadline
        self._failed = 0

    def remaining(self, now: float) -> float:
        """Seconds that the next attempt may take."""
        return max(0.0, self._deadline - now)

    def delay_after(self, error: PlauditError, now: float, chance: float) -> float | None:
        """Seconds to wait after an attempt failed, or None: the error is final."""
        self._failed += 1
        delay = self._policy.delay(error, self._failed, chance)
        return None if delay is None or delay >= self.remaining(now) else delay


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
        self._metadata = None if api_key is None else (("authorization", f"Bearer {api_key}"),)
        self._retry = retry or RetryPolicy()
        self._sleep = sleep
        self._clock = clock
        self._given_channel = channel
        self._channel: grpc.Channel | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._calls: dict[str, Callable[..., Any]] = {}
        _open_transports.add(self)

    def unary(self, method: Method[RequestT, ResponseT], request: RequestT) -> ResponseT:
        """One request, one answer, sent again while the policy and the deadline allow. Raises PlauditError."""
        attempts = Attempts(self._retry, self._clock() + self._timeout)
        while True:
            call: Callable[..., ResponseT] = self._call(method, streaming=False)
            try:
                return call(request, timeout=attempts.remaining(self._clock()), metadata=self._metadata)
            except grpc.RpcError as failure:
                error = from_rpc_error(failure)
                delay = attempts.delay_after(error, self._clock(), random.random())
                if delay is None:
                    raise error from failure
            self._sleep(delay)

    def stream(self, method: Method[RequestT, ResponseT], request: RequestT) -> Iterator[ResponseT]:
        """One request, a stream of answers without a deadline; ended by closing the iterator. Raises PlauditError."""
        responses = self._call(method, streaming=True)(request, metadata=self._metadata)
        try:
            yield from responses
        except grpc.RpcError as failure:
            raise from_rpc_error(failure) from failure
        finally:
            responses.cancel()

    def close(self) -> None:
        """Close the channel, unless it is the caller's; calls after it raise RuntimeError."""
        with self._lock:
            channel, self._channel = self._channel, None
            self._closed = True
            self._calls.clear()
        if channel is not None:
            channel.close()

    def _call(self, method: Method[Any, Any], *, streaming: bool) -> Callable[..., Any]:
        call = self._calls.get(method.name)
        if call is not None:
            return call
        with self._lock:
            if self._closed:
                raise RuntimeError("the client is closed")
            channel = self._given_channel or self._channel
            if channel is None:
                channel = self._channel = self._open()
            make = channel.unary_stream if streaming else channel.unary_unary
            call = self._calls[method.name] = make(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            return call

    def _open(self) -> grpc.Channel:
        if self._credentials is None and not self._address.secure:
            return grpc.insecure_channel(self._address.target, _CHANNEL_OPTIONS)
        credentials = self._credentials or grpc.ssl_channel_credentials()
        return grpc.secure_channel(self._address.target, credentials, _CHANNEL_OPTIONS)

    def _forget_parent(self) -> None:
        """In a forked child: the parent's channel is not ours to use, nor to close; the next call opens one."""
        if self._channel is not None:
            _channels_of_parents.append(self._channel)
        self._channel = None
        self._calls = {}
        self._lock = threading.Lock()


_open_transports: weakref.WeakSet[GrpcTransport] = weakref.WeakSet()
# Kept alive: destroying the parent's channel in the child would touch threads that are not there.
_channels_of_parents: list[grpc.Channel] = []


def _forget_parents() -> None:
    for transport in list(_open_transports):
        transport._forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)
