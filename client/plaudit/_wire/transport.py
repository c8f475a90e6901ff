"""What a client needs to reach a server, as protocols; `grpc` and `grpc_aio` fulfil them over gRPC.

Anything with the methods of `Transport` can take its place: a test gives the client a transport of its own, and counts
the calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, Self, TypeVar

from google.protobuf.message import Message

from plaudit._core.retry import Retry
from plaudit._settings import Pairs
from plaudit._wire.methods import Method, RequestT, ResponseT

RequestT_contra = TypeVar("RequestT_contra", bound=Message, contravariant=True)
ResponseT_co = TypeVar("ResponseT_co", bound=Message, covariant=True)


class Stream(Protocol[ResponseT_co]):
    """The answers of a stream as an iterator, which raises PlauditError. A stream has no deadline."""

    def __iter__(self) -> Self:
        """Itself."""

    def __next__(self) -> ResponseT_co:
        """The next answer, as soon as there is one."""

    def cancel(self) -> None:
        """End the call, from any thread: a thread that waits for an answer gets a PlauditError (CANCELLED)."""


class Transport(Protocol):
    """What a `Client` needs to reach a server."""

    def unary(
        self,
        method: Method[RequestT, ResponseT],
        request: RequestT,
        *,
        retried: bool = True,
        timeout: float | None = None,
        metadata: Pairs = (),
    ) -> ResponseT:
        """Send one request and return its answer, within the deadline; once only if not `retried`.

        `timeout` (seconds) and `metadata` are those of an operation that has its own; they are given only then.
        Raises PlauditError.
        """

    def stream(
        self, method: Method[RequestT, ResponseT], request: RequestT, *, metadata: Pairs = ()
    ) -> Stream[ResponseT]:
        """Send one request, once, and return the stream of its answers."""

    def both_streams(
        self, method: Method[RequestT, ResponseT], requests: Iterator[RequestT], *, metadata: Pairs = ()
    ) -> Stream[ResponseT]:
        """Send a stream of requests, once, and return that of the answers; another thread iterates `requests`."""

    def retry(self, patience: float | None = None) -> Retry:
        """When to open a broken stream again: within `patience` seconds; None: a unary call's deadline; inf: always."""

    def close(self) -> None:
        """Close what is open; calls in progress and after this get a ClientClosedError."""


class AsyncStream(Protocol[RequestT_contra, ResponseT_co]):
    """A stream of answers, and of requests where the method takes a stream of them. It has no deadline."""

    def __aiter__(self) -> Self:
        """Itself."""

    async def __anext__(self) -> ResponseT_co:
        """The next answer, as soon as there is one. Raises PlauditError."""

    async def send(self, request: RequestT_contra) -> None:
        """Send a request. After the end of the call this does nothing: the next answer says why it ended."""

    async def finish(self) -> None:
        """Say that no request follows."""

    def cancel(self) -> None:
        """End the call: a task that waits for an answer gets a PlauditError."""


class AsyncTransport(Protocol):
    """What an `AsyncClient` needs to reach a server: a `Transport`, awaited."""

    async def unary(
        self,
        method: Method[RequestT, ResponseT],
        request: RequestT,
        *,
        retried: bool = True,
        timeout: float | None = None,
        metadata: Pairs = (),
    ) -> ResponseT:
        """As `Transport.unary`."""

    def stream(
        self, method: Method[RequestT, ResponseT], request: RequestT, *, metadata: Pairs = ()
    ) -> AsyncStream[RequestT, ResponseT]:
        """As `Transport.stream`."""

    def both_streams(
        self, method: Method[RequestT, ResponseT], *, metadata: Pairs = ()
    ) -> AsyncStream[RequestT, ResponseT]:
        """Open a stream in both directions, once; its requests are sent by `AsyncStream.send`."""

    def retry(self, patience: float | None = None) -> Retry:
        """As `Transport.retry`."""

    async def close(self) -> None:
        """As `Transport.close`."""
