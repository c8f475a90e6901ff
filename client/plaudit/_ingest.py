"""Bulk storing over one stream: a window of unanswered requests, sent again on a new stream when one breaks.

`Window` is the protocol without the I/O; `ingest` is the thin shell that sends what it says and gives it the answers.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from plaudit import v1
from plaudit._batch import Batch, cut
from plaudit._errors import PlauditError, UnavailableError, from_status
from plaudit._transport import INGEST, is_retryable

if TYPE_CHECKING:
    from plaudit._transport import Transport

# Unanswered requests: the server commits one while the next ones are on their way.
_WINDOW: Final = 4


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that was not stored: its position in the input, its id, and why."""

    position: int
    id: str
    error: PlauditError


@dataclass(slots=True)
class Ingested:
    """What became of the records so far. `stored` counts those that were already there; all of them are durable."""

    stored: int = 0
    refused: list[Refused] = field(default_factory=list)
    revision: int = 0
    """The project's revision behind the last answer."""


Progress = Callable[[Ingested], None]
"""Told after each answer of the server."""


class Window:
    """Requests on their way, in order: numbered when they enter, forgotten when they are answered."""

    def __init__(self, result: Ingested) -> None:
        self._unanswered: deque[tuple[v1.IngestFeedbackRequest, list[int]]] = deque()
        self._result = result
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._unanswered)

    @property
    def is_full(self) -> bool:
        """Whether an answer has to come before the next request."""
        return len(self._unanswered) >= _WINDOW

    def requests(self) -> list[v1.IngestFeedbackRequest]:
        """All that is unanswered, to be sent on a new stream: the ids make it safe."""
        return [request for request, _ in self._unanswered]

    def enter(self, batch: Batch) -> v1.IngestFeedbackRequest:
        """The next request, to be sent."""
        self._sequence += 1
        request = v1.IngestFeedbackRequest(
            project=batch.request.project, sequence=self._sequence, feedback=batch.request.feedback
        )
        self._unanswered.append((request, batch.positions))
        return request

    def answered(self, response: v1.IngestFeedbackResponse) -> list[Refused]:
        """Take the answer of the oldest request into the result; the records that it refuses."""
        request, positions = self._unanswered.popleft()
        if response.sequence != request.sequence:
            raise RuntimeError(f"the server answered message {response.sequence} in place of {request.sequence}")
        self._result.stored += response.stored_count
        self._result.revision = max(self._result.revision, response.revision)
        refused = [
            Refused(positions[item.index], request.feedback[item.index].id, from_status(item.status).moved(positions))
            for item in response.rejected
        ]
        self._result.refused += refused
        return refused


def ingest(
    transport: Transport,
    records: Iterable[Mapping[str, Any]],
    project_of: Callable[[v1.Feedback], str],
    *,
    partial: bool,
    progress: Progress | None,
) -> Ingested:
    """Store records from any iterable, which is read no faster than the server stores. Raises PlauditError."""
    result = Ingested()
    window = Window(result)

    def refuse(position: int, error: PlauditError) -> None:
        result.refused.append(Refused(position, "", error))
        if not partial:
            raise _noted(error, result)

    batches = cut(records, project_of, partial=True, refuse=refuse)
    retry = transport.retry()
    exhausted = False
    while not exhausted or window:
        stream = _Stream(transport, window.requests())
        try:
            while not exhausted or window:
                while not exhausted and not window.is_full:
                    batch = next(batches, None)
                    exhausted = batch is None
                    if batch is not None:
                        stream.send(window.enter(batch))
                if not window:
                    break
                refused = window.answered(stream.answer())
                retry.succeeded()
                if progress is not None:
                    progress(result)
                if refused and not partial:
                    raise _noted(refused[0].error, result)
        except PlauditError as error:
            if not is_retryable(error) or not retry.wait(error):
                raise _noted(error, result) from error.__cause__
        finally:
            stream.close()
    return result


class _Stream:
    """One stream to the server, fed from a queue: grpc takes the requests on a thread of its own."""

    def __init__(self, transport: Transport, unanswered: Iterable[v1.IngestFeedbackRequest]) -> None:
        self._outgoing: queue.SimpleQueue[v1.IngestFeedbackRequest | None] = queue.SimpleQueue()
        for request in unanswered:
            self._outgoing.put(request)
        self._answers: Iterator[v1.IngestFeedbackResponse] = transport.both_streams(
            INGEST, iter(self._outgoing.get, None)
        )

    def send(self, request: v1.IngestFeedbackRequest) -> None:
        """Put a request on its way; the window bounds how many there are."""
        self._outgoing.put(request)

    def answer(self) -> v1.IngestFeedbackResponse:
        """The next answer. Raises UnavailableError when the server ends the stream instead."""
        for answer in self._answers:
            return answer
        raise UnavailableError("the server ended the stream; it may be about to restart")

    def close(self) -> None:
        """End the stream, whatever is still unanswered."""
        self._outgoing.put(None)
        close = getattr(self._answers, "close", None)
        if close is not None:
            close()


def _noted(error: PlauditError, result: Ingested) -> PlauditError:
    error.add_note(f"{result.stored} records were stored before; sending them again with the same ids is safe.")
    return error
