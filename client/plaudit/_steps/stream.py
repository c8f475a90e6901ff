"""A stream that is opened again when it breaks, as bodies see it; the clients' own ones block, or are awaited."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from plaudit._core.errors import PlauditError, UnavailableError

RequestT_contra = TypeVar("RequestT_contra", bound=Message, contravariant=True)
ResponseT_co = TypeVar("ResponseT_co", bound=Message, covariant=True)


class Line(Protocol[RequestT_contra, ResponseT_co]):
    """The way to the server: one stream at a time. What it returns may be an awaitable of the answer."""

    @property
    def is_open(self) -> bool:
        """Whether there is a stream."""

    def open(self, requests: Sequence[RequestT_contra]) -> Awaitable[None] | None:
        """Open a stream, and send these requests."""

    def answer(self) -> ResponseT_co | Awaitable[ResponseT_co | None] | None:
        """The next answer; None when the server has ended the stream. Raises PlauditError."""

    def wait(self, error: PlauditError) -> bool | Awaitable[bool]:
        """Wait until a stream may be opened again; False when the error is final."""

    def succeeded(self) -> None:
        """An answer has come: delays and deadline of `wait` start again."""

    def cancel(self) -> None:
        """End the stream, if there is one, whatever is still unanswered."""


def ended(stream: str) -> UnavailableError:
    """The error when the server has ended a stream in place of an answer."""
    return UnavailableError(f"the server ended the {stream}: it is about to stop")
