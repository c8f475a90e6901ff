"""The requests of a bulk write that are sent and not answered yet; nothing here does I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

from plaudit import v1
from plaudit._contract import limits
from plaudit._core.batching import Batch, too_large
from plaudit._core.errors import InternalError, PlauditError
from plaudit._core.statuses import from_status
from plaudit._core.writing import Ingested, Refused

RequestT = TypeVar("RequestT", v1.IngestFeedbackRequest, v1.ImportFeedbackRequest)
Response = v1.IngestFeedbackResponse | v1.ImportFeedbackResponse

# The server stores one request while the next ones are on their way.
_REQUESTS: Final = 4


class Window(Generic[RequestT]):
    """Requests on their way, in order: numbered when they are made, dropped when they are answered.

    What the answers say goes into `result`.
    """

    def __init__(self, request: type[RequestT], result: Ingested, options: Mapping[str, Any] | None = None) -> None:
        """`options` are fields that each request has."""
        self._request: type[RequestT] = request
        self._options = options or {}
        self._result = result
        self._sequence = 0
        self._unanswered: deque[Batch[RequestT]] = deque()
        self._end = 0

    def __bool__(self) -> bool:
        return bool(self._unanswered)

    @property
    def is_full(self) -> bool:
        """Whether an answer has to come before the next request is sent."""
        return len(self._unanswered) >= _REQUESTS

    @property
    def position(self) -> int:
        """Where in the input the first record stands whose request is not answered, or was not sent."""
        return self._unanswered[0].positions[0] if self._unanswered else self._end

    def new_request(self, project: str) -> RequestT:
        """An empty request, with its number."""
        self._sequence += 1
        request: RequestT = self._request(project=project, sequence=self._sequence, **self._options)
        return request

    def requests(self) -> list[RequestT]:
        """All that is unanswered, to be sent again on a new stream; the ids make that safe."""
        return [batch.request for batch in self._unanswered]

    def enter(self, batch: Batch[RequestT]) -> bool:
        """Take in the next request to send. False for one too large for any server: its record is refused."""
        self._end = batch.positions[-1] + 1
        size = batch.request.ByteSize()
        if size > limits.REQUEST_BYTES:
            self._refuse(batch, too_large(f"feedback[{batch.positions[0]}]", size))
            return False
        self._unanswered.append(batch)
        self._result.pending += len(batch.positions)
        return True

    def answered(self, response: Response) -> None:
        """Take the answer of the oldest request into the result. Raises InternalError for another one's answer."""
        batch = self._unanswered[0]
        if response.sequence != batch.request.sequence:
            sent = batch.request.sequence
            raise InternalError(f"the server answered message {response.sequence} in place of {sent}")
        self._drop_oldest()
        self._result.stored += response.stored_count
        self._result.revision = response.revision
        if isinstance(response, v1.ImportFeedbackResponse):
            self._result.created += response.created_count
            self._result.updated += response.updated_count
            self._result.kept += response.kept_count
        for item in response.rejected:
            error = from_status(item.status).moved(batch.positions)
            refused = Refused(batch.positions[item.index], batch.request.feedback[item.index].id, error)
            self._result.refused.append(refused)

    def refuse_oldest(self, error: PlauditError) -> None:
        """Refuse all of the oldest request, which the server did not take; those before it were answered."""
        batch = self._drop_oldest()
        self._refuse(batch, error.moved(batch.positions))

    def _drop_oldest(self) -> Batch[RequestT]:
        batch = self._unanswered.popleft()
        self._result.pending -= len(batch.positions)
        return batch

    def _refuse(self, batch: Batch[RequestT], error: PlauditError) -> None:
        for position, item in zip(batch.positions, batch.request.feedback, strict=True):
            self._result.refused.append(Refused(position, item.id, error))
