"""Bulk storing over one stream: a window of unanswered requests, sent again on a new stream when one breaks.

`Window` and `Ingestion` are the protocol without the I/O; a `Line` is the thin shell that sends what they say.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from plaudit import v1
from plaudit._contract import limits
from plaudit._core.batching import Batch, Cutter
from plaudit._core.errors import InternalError, InvalidArgumentError, PlauditError, UnavailableError
from plaudit._core.records import canonical_id
from plaudit._core.statuses import from_status
from plaudit._steps.step import Steps

if TYPE_CHECKING:
    from plaudit._wire.methods import Method
    from plaudit._wire.transport import Stream, Transport

RequestT = TypeVar("RequestT", v1.IngestFeedbackRequest, v1.ImportFeedbackRequest)
_Response = v1.IngestFeedbackResponse | v1.ImportFeedbackResponse

# Unanswered requests: the server commits one while the next ones are on their way.
_WINDOW: Final = 4


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that was not stored."""

    position: int
    """Where it stood in the input, from 0; -1 for what an earlier process has left in a spool."""
    id: str
    """Its id; empty when it has none."""
    error: PlauditError
    """Why."""


@dataclass(slots=True)
class Ingested:
    """What became of the records so far."""

    stored: int = 0
    """How many are stored, and durable; those that were already there included."""
    refused: list[Refused] = field(default_factory=list)
    """Those that were not stored."""
    revision: int = 0
    """The project's revision behind the last answer."""


Progress = Callable[[Ingested], None]
"""Told what became of the records so far, after each answer of the server."""


class Window(Generic[RequestT]):
    """Requests on their way, in order: numbered when they are made, forgotten when they are answered."""

    def __init__(self, request: type[RequestT], result: Ingested) -> None:
        self._request: type[RequestT] = request
        self._result = result
        self._sequence = 0
        self._unanswered: deque[Batch[RequestT]] = deque()

    def __bool__(self) -> bool:
        return bool(self._unanswered)

    @property
    def is_full(self) -> bool:
        """Whether an answer has to come before the next request."""
        return len(self._unanswered) >= _WINDOW

    @property
    def records(self) -> int:
        """How many records are unanswered."""
        return sum(len(batch.positions) for batch in self._unanswered)

    def new_request(self, project: str) -> RequestT:
        """An empty request, with its number."""
        self._sequence += 1
        request: RequestT = self._request(project=project, sequence=self._sequence)
        return request

    def requests(self) -> list[RequestT]:
        """All that is unanswered, to be sent on a new stream: the ids make it safe."""
        return [batch.request for batch in self._unanswered]

    def enter(self, batch: Batch[RequestT]) -> bool:
        """Take in the next request to send; False for one that no server takes, whose record is refused."""
        size = batch.request.ByteSize()
        if size > limits.REQUEST_BYTES:
            self._refuse(batch, too_large(f"feedback[{batch.positions[0]}]", size))
            return False
        self._unanswered.append(batch)
        return True

    def answered(self, response: _Response) -> None:
        """Take the answer of the oldest request into the result."""
        batch = self._unanswered[0]
        if response.sequence != batch.request.sequence:
            sent = batch.request.sequence
            raise InternalError(f"the server answered message {response.sequence} in place of {sent}")
        self._unanswered.popleft()
        self._result.stored += response.stored_count
        self._result.revision = response.revision
        for item in response.rejected:
            error = from_status(item.status).moved(batch.positions)
            refused = Refused(batch.positions[item.index], batch.request.feedback[item.index].id, error)
            self._result.refused.append(refused)

    def refuse_oldest(self, error: PlauditError) -> None:
        """The server did not take the oldest request at all: what came before it was answered."""
        batch = self._unanswered.popleft()
        self._refuse(batch, error.moved(batch.positions))

    def _refuse(self, batch: Batch[RequestT], error: PlauditError) -> None:
        for position, item in zip(batch.positions, batch.request.feedback, strict=True):
            self._result.refused.append(Refused(position, item.id, error))


class Line(Protocol[RequestT]):
    """The way to the server, blocking or awaited: what is `Any` is the answer, or an awaitable of it."""

    @property
    def is_open(self) -> bool:
        """Whether there is a stream."""

    def next_batch(self) -> Any:
        """The next request of the input, or None at its end."""

    def open(self, unanswered: list[RequestT]) -> Any:
        """Open a stream, and send what is unanswered."""

    def send(self, request: RequestT) -> Any:
        """Send a request; the window bounds how many there are."""

    def answer(self) -> Any:
        """The next answer. Raises UnavailableError when the server ends the stream instead."""

    def wait(self, error: PlauditError) -> Any:
        """Wait until a stream may be opened again; False when the error is final."""

    def succeeded(self) -> None:
        """An answer has come: delays and deadline of `wait` begin anew."""

    def finish(self) -> Any:
        """Tell the server that all is answered, and wait for its end."""

    def cancel(self) -> None:
        """End the stream, if there is one, whatever is still unanswered."""


@dataclass(slots=True)
class Ingestion(Generic[RequestT]):
    """One bulk storing: what is read, on its way, and answered."""

    request: type[RequestT]
    project_of: Callable[[v1.Feedback], str]
    partial: bool
    imported: bool = False
    progress: Progress | None = None
    result: Ingested = field(default_factory=Ingested)
    window: Window[RequestT] = field(init=False)

    def __post_init__(self) -> None:
        self.window = Window(self.request, self.result)

    def cutter(self) -> Cutter[RequestT]:
        """What cuts the input into requests."""
        return Cutter(self.project_of, new_request=self.window.new_request, refuse=self._refuse, imported=self.imported)

    def _refuse(self, position: int, record: object, error: PlauditError) -> bool:
        self.result.refused.append(Refused(position, _id_of(record), error))
        return self.partial

    def run(self, line: Line[RequestT]) -> Steps[Ingested]:
        """Store the records of a line's input, which is read no faster than the server stores. Raises PlauditError.

        Without `partial`, the first record that is refused ends the reading; what was read before it is still
        stored, so that what the error tells is exact.
        """
        partial, result, window = self.partial, self.result, self.window
        reading = True
        try:
            while True:
                while reading and not window.is_full:
                    batch = yield line.next_batch()
                    reading = batch is not None and (partial or not result.refused)
                    if batch is not None and window.enter(batch) and line.is_open:
                        yield line.send(batch.request)
                if not window:
                    break
                try:
                    if not line.is_open:
                        yield line.open(window.requests())
                    window.answered((yield line.answer()))
                except PlauditError as error:
                    line.cancel()
                    if partial and isinstance(error, InvalidArgumentError):
                        window.refuse_oldest(error)
                    elif not (yield line.wait(error)):
                        raise
                else:
                    line.succeeded()
                    reading = reading and (partial or not result.refused)
                if self.progress is not None:
                    self.progress(result)
            if line.is_open:
                yield line.finish()
            if result.refused and not partial:
                raise result.refused[0].error
        except BaseException as error:
            error.add_note(_what_was_stored(result, window.records))
            raise
        finally:
            line.cancel()
        return result


class BlockingLine(Generic[RequestT]):
    """Streams fed from a queue: grpc takes the requests in a thread of its own."""

    def __init__(self, transport: Transport, method: Method[RequestT, Any], batches: Iterator[Batch[RequestT]]) -> None:
        self._transport = transport
        self._method: Method[RequestT, Any] = method
        self._batches: Iterator[Batch[RequestT]] = batches
        self._retry = transport.retry()
        self._outgoing: queue.SimpleQueue[RequestT | None] = queue.SimpleQueue()
        self._answers: Stream[Any] | None = None
        self.succeeded = self._retry.succeeded
        self.wait = self._retry.wait

    @property
    def is_open(self) -> bool:
        """Whether there is a stream."""
        return self._answers is not None

    def next_batch(self) -> Batch[RequestT] | None:
        """The next request of the input."""
        return next(self._batches, None)

    def open(self, unanswered: list[RequestT]) -> None:
        """Open a stream, and send what is unanswered."""
        self._outgoing = queue.SimpleQueue()
        for request in unanswered:
            self._outgoing.put(request)
        self._answers = self._transport.both_streams(self._method, iter(self._outgoing.get, None))

    def send(self, request: RequestT) -> None:
        """Put a request on its way."""
        self._outgoing.put(request)

    def answer(self) -> _Response:
        """The next answer."""
        assert self._answers is not None
        return answered(next(self._answers, None))

    def finish(self) -> None:
        """Tell the server that all is answered, and wait for its end."""
        assert self._answers is not None
        self._outgoing.put(None)
        with suppress(PlauditError):
            for _ in self._answers:
                pass

    def cancel(self) -> None:
        """End the stream, and the thread that waits for requests."""
        if self._answers is not None:
            self._outgoing.put(None)
            self._answers.cancel()
            self._answers = None


def answered(response: _Response | None) -> _Response:
    """The answer, if there is one. Raises UnavailableError for the end of the stream."""
    if response is None:
        raise UnavailableError("the server ended the stream: it is about to stop")
    return response


def _id_of(record: object) -> str:
    """The id that a record has, if it has one."""
    id = record.get("id") if isinstance(record, Mapping) else None
    return canonical_id(id) if isinstance(id, str) else ""


def too_large(path: str, size: int) -> InvalidArgumentError:
    """The error of a record that no server takes, because its request would have `size` bytes."""
    return InvalidArgumentError(
        f"not sent: {path} has {size} bytes, a request has at most {limits.REQUEST_BYTES}",
        reason="MESSAGE_TOO_LARGE",
        metadata={"size": str(size), "limit": str(limits.REQUEST_BYTES)},
    )


def _what_was_stored(result: Ingested, unanswered: int) -> str:
    unclear = f", {unanswered} more may be" if unanswered else ""
    return f"{result.stored} records are stored{unclear}; sending them again with the same ids is safe."
