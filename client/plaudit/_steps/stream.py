"""Streams as bodies see them: the line to the server, and the records of a query over one of its streams; no I/O."""

from __future__ import annotations

from abc import ABC
from collections.abc import Awaitable, Iterator, Sequence
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from plaudit import v1
from plaudit._core.errors import PlauditError, UnavailableError
from plaudit._core.model import Feedback
from plaudit._steps.step import Act, Steps

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


class Streamed(ABC):
    """What both clients share of a stream of records: the message at hand, and how it is opened."""

    _line: Line[v1.StreamFeedbackRequest, v1.StreamFeedbackResponse]

    def __init__(self, request: v1.StreamFeedbackRequest) -> None:
        self._request = request
        self._rows: Iterator[v1.Feedback] = iter(())
        self._read = 0
        self._has_begun = self._has_ended = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._read} records read{', ended' if self._has_ended else ''})"

    def _next_row(self) -> Feedback | None:
        """The next record of the message at hand; None when there is none."""
        row = next(self._rows, None)
        if row is None:
            return None
        self._read += 1
        return Feedback(row)

    def _end(self) -> None:
        """Read no more."""
        self._has_ended = True
        self._rows = iter(())
        self._line.cancel()

    def _receive(self) -> Steps[None]:
        """Take the next message, or note the end. Until the first one has come, a stream is opened again."""
        line = self._line
        while not self._has_ended:
            try:
                if not line.is_open:
                    yield from Act[None](line.open, [self._request])
                answer = yield from Act[v1.StreamFeedbackResponse | None](line.answer)
            except PlauditError as error:
                line.cancel()
                if self._has_ended:
                    return
                if self._has_begun or not (yield from Act[bool](line.wait, error)):
                    self._end()
                    if self._read:
                        error.add_note(f"{self._read} records were read before; read again, or go on by pages.")
                    raise
            else:
                self._has_begun = True
                line.succeeded()
                if answer is None:
                    self._end()
                else:
                    self._rows = iter(answer.feedback)
                return
