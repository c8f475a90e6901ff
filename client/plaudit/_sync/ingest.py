"""The blocking line of a bulk write."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

from plaudit import v1
from plaudit._core.batching import Batch
from plaudit._core.errors import PlauditError
from plaudit._core.options import NONE, CallOptions
from plaudit._sync.line import BlockingLine
from plaudit._wire.methods import Method
from plaudit._wire.transport import Transport

RequestT = TypeVar("RequestT", v1.IngestFeedbackRequest, v1.ImportFeedbackRequest)


class BlockingIngestLine(BlockingLine[Any]):
    """Streams that are fed from a queue: a thread of gRPC's takes the requests."""

    ends_at_once: ClassVar[tuple[type[BaseException], ...]] = (GeneratorExit,)

    def __init__(
        self,
        transport: Transport,
        method: Method[RequestT, Any],
        batches: Iterator[Batch[RequestT]],
        options: CallOptions = NONE,
    ) -> None:
        super().__init__(transport, options)
        self._method: Method[Any, Any] = method
        self._batches: Iterator[Batch[Any]] = batches
        self._outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def next_batch(self) -> Batch[Any] | None:
        """The next request of the input."""
        return next(self._batches, None)

    def open(self, requests: Sequence[Any]) -> None:
        """Open a stream, and send these requests."""
        self._outgoing = queue.SimpleQueue()
        for request in requests:
            self._outgoing.put(request)
        sent = iter(self._outgoing.get, None)
        self._answers = self._transport.both_streams(self._method, sent, **self._options.of_stream())

    def send(self, request: Any) -> None:
        """Send a request."""
        self._outgoing.put(request)

    def finish(self) -> None:
        """Say that no request follows, and wait until the server has ended the stream."""
        assert self._answers is not None
        self._outgoing.put(None)
        with suppress(PlauditError):
            for _ in self._answers:
                pass

    def cancel(self) -> None:
        """End the stream, and the thread that waits for requests."""
        if self.is_open:
            self._outgoing.put(None)
        super().cancel()
