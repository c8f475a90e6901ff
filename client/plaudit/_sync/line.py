"""The blocking `Line`: at most one stream of answers at a time, and the delays between streams."""

from __future__ import annotations

from typing import Generic, TypeVar

from google.protobuf.message import Message

from plaudit._core.errors import PlauditError
from plaudit._core.options import NONE, CallOptions
from plaudit._wire.transport import Stream, Transport

ResponseT = TypeVar("ResponseT", bound=Message)


class BlockingLine(Generic[ResponseT]):
    """What streams of either kind have in common; a kind adds how one is opened."""

    def __init__(self, transport: Transport, options: CallOptions = NONE) -> None:
        self._transport = transport
        self._options = options
        self._retry = transport.retry() if options.timeout is None else transport.retry(options.timeout)
        self._answers: Stream[ResponseT] | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a stream."""
        return self._answers is not None

    def answer(self) -> ResponseT | None:
        """The next answer; None when the server has ended the stream."""
        assert self._answers is not None
        return next(self._answers, None)

    def wait(self, error: PlauditError) -> bool:
        """Wait until a stream may be opened again; False when the error is final."""
        return self._retry.wait(error)

    def succeeded(self) -> None:
        """An answer has come: delays and deadline of `wait` start again."""
        self._retry.succeeded()

    def cancel(self) -> None:
        """End the stream, if there is one."""
        answers, self._answers = self._answers, None
        if answers is not None:
            answers.cancel()
