"""Bulk storing over one stream: a window of unanswered requests, sent again on a new stream when one breaks.

`Window` is the protocol without the I/O; `ingest` is the thin shell that sends what it says and gives it the answers.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from plaudit import limits, v1
from plaudit._batch import Batch, cut
from plaudit._errors import InternalError, InvalidArgumentError, PlauditError, UnavailableError, from_status
from plaudit._model import Feedback, canonical_id

if TYPE_CHECKING:
    from plaudit._transport import Method, Stream, Transport

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


def ingest(
    transport: Transport,
    method: Method[RequestT, Any],
    records: Iterable[Mapping[str, Any] | Feedback],
    project_of: Callable[[v1.Feedback], str],
    *,
    partial: bool,
    imported: bool = False,
    progress: Progress | None = None,
) -> Ingested:
    """Store records from any iterable, which is read no faster than the server stores. Raises PlauditError.

    Without `partial`, the first record that is refused ends the reading; what was read before it is still stored, so
    that what the error tells is exact.
    """
    result = Ingested()
    window = Window(method.request, result)

    def refuse(position: int, record: object, error: PlauditError) -> bool:
        result.refused.append(Refused(position, _id_of(record), error))
        return partial

    batches = cut(records, project_of, new_request=window.new_request, refuse=refuse, imported=imported)
    retry = transport.retry()
    stream: _Sending[RequestT] | None = None
    reading = True
    try:
        while True:
            while reading and not window.is_full:
                batch = next(batches, None)
                reading = batch is not None and (partial or not result.refused)
                if batch is not None and window.enter(batch) and stream is not None:
                    stream.send(batch.request)
            if not window:
                break
            try:
                if stream is None:
                    stream = _Sending(transport, method, window.requests())
                window.answered(stream.answer())
            except PlauditError as error:
                if stream is not None:
                    stream.cancel()
                    stream = None
                if partial and isinstance(error, InvalidArgumentError):
                    window.refuse_oldest(error)
                elif not retry.wait(error):
                    raise
            else:
                retry.succeeded()
                reading = reading and (partial or not result.refused)
            if progress is not None:
                progress(result)
        if stream is not None:
            stream.finish()
        if result.refused and not partial:
            raise result.refused[0].error
    except BaseException as error:
        error.add_note(_what_was_stored(result, window.records))
        raise
    finally:
        if stream is not None:
            stream.cancel()
    return result


class _Sending(Generic[RequestT]):
    """One stream to the server, fed from a queue: grpc takes the requests in a thread of its own."""

    def __init__(self, transport: Transport, method: Method[RequestT, Any], unanswered: Iterable[RequestT]) -> None:
        self._outgoing: queue.SimpleQueue[RequestT | None] = queue.SimpleQueue()
        for request in unanswered:
            self._outgoing.put(request)
        self._answers: Stream[Any] = transport.both_streams(method, iter(self._outgoing.get, None))

    def send(self, request: RequestT) -> None:
        """Put a request on its way; the window bounds how many there are."""
        self._outgoing.put(request)

    def answer(self) -> _Response:
        """The next answer. Raises UnavailableError when the server ends the stream instead."""
        response: _Response | None = next(self._answers, None)
        if response is None:
            raise UnavailableError("the server ended the stream: it is about to stop")
        return response

    def finish(self) -> None:
        """Tell the server that all is answered, and wait for its end."""
        self._outgoing.put(None)
        with suppress(PlauditError):
            for _ in self._answers:
                pass

    def cancel(self) -> None:
        """End the stream, whatever is still unanswered, and the thread that waits for requests."""
        self._outgoing.put(None)
        self._answers.cancel()


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
