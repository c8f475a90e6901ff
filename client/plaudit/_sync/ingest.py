"""The blocking line of a bulk write."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, TypeVar

from plaudit import v1
from plaudit._core.batching import Batch, cut
from plaudit._core.errors import PlauditError
from plaudit._core.model import Feedback
from plaudit._core.options import NONE, CallOptions
from plaudit._steps.ingest import Ingestion
from plaudit._sync.interrupts import Interrupts, Reading
from plaudit._sync.run import finish
from plaudit._sync.stream import BlockingLine
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
        ingestion: Ingestion[RequestT],
        records: Iterable[Mapping[str, Any] | Feedback],
        interrupts: Interrupts,
        options: CallOptions = NONE,
    ) -> None:
        super().__init__(transport, options)
        self._method: Method[Any, Any] = method
        self._ingestion: Ingestion[Any] = ingestion
        self._input = _Input(interrupts, self.cancel)
        self._batches: Iterator[Batch[Any]] = cut(records, ingestion.cutter(), self._input)
        self._outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()

    @contextmanager
    def lingering(self, seconds: float) -> Iterator[None]:
        """Within this, records of a slow input wait at most the given number of seconds for others."""
        ended = threading.Event()

        def tick() -> None:
            while not ended.wait(seconds / 2):
                with self._input.waited_for() as is_waited_for:
                    if is_waited_for and not ended.is_set():
                        finish(self._ingestion.hurry(self), self._transport)

        thread = threading.Thread(target=tick, name="plaudit-linger", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def next_batch(self) -> Batch[Any] | None:
        """The next request of the input."""
        try:
            batch = next(self._batches, None)
        except BaseException:
            self._input.end()
            raise
        if batch is None:
            self._input.end()
        return batch

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


class _Input(Reading):
    """Whether the input is waited for: only then another thread may touch what was read. Entered around each record."""

    def __init__(self, interrupts: Interrupts, cancel: Callable[[], None]) -> None:
        super().__init__(interrupts)
        self._cancel = cancel
        self._others = threading.Lock()
        self._others.acquire()
        self._are_kept_out = True
        self._failure: BaseException | None = None

    def __enter__(self) -> None:
        self._are_kept_out = False
        self._others.release()
        super().__enter__()

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.end()
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """It is not waited for any more, also after an interrupt at any point. An interrupt of this ends the others."""
        if self._are_kept_out:
            return
        try:
            self._others.acquire()
        except BaseException:
            self._cancel()
            self._others.acquire()
            raise
        finally:
            self._are_kept_out = True

    @contextmanager
    def waited_for(self) -> Iterator[bool]:
        """Whether it is; if so, it stays so within this: a record that comes meanwhile is taken after it.

        What is raised within this is raised where the input is read.
        """
        is_waited_for = self._failure is None and self._others.acquire(blocking=False)
        try:
            yield is_waited_for
        except BaseException as error:
            self._failure = error
        finally:
            if is_waited_for:
                self._others.release()
