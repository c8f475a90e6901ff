"""The changes of a project as an iterator that survives the server's restarts; `Position` is the part without I/O."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self

from plaudit import v1
from plaudit._errors import PlauditError, UnavailableError
from plaudit._model import Feedback, to_datetime
from plaudit._transport import WATCH, is_retryable

if TYPE_CHECKING:
    from plaudit._transport import Transport

Kind = Literal["created", "replaced", "purged"]

_KINDS: Final[dict[int, Kind]] = {
    v1.ChangeKind.CHANGE_KIND_CREATED: "created",
    v1.ChangeKind.CHANGE_KIND_REPLACED: "replaced",
    v1.ChangeKind.CHANGE_KIND_PURGED: "purged",
}


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is left of a purged record."""

    id: str
    ref: str
    feedback_type: str
    user_id: str
    """Who purged it."""
    purged_at: datetime
    revision: int

    @classmethod
    def from_proto(cls, message: v1.Tombstone) -> Tombstone:
        """From the message."""
        purged_at = to_datetime(message.purged_at)
        return cls(message.id, message.ref, message.feedback_type, message.user_id, purged_at, message.revision)


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a project's history: the record as it became by it, or what is left of a purged one."""

    revision: int
    kind: Kind
    feedback: Feedback | None
    tombstone: Tombstone | None

    @property
    def id(self) -> str:
        """The record's id."""
        return self.feedback.id if self.feedback is not None else self.tombstone.id if self.tombstone else ""

    @classmethod
    def from_proto(cls, message: v1.Change) -> Change:
        """From the message."""
        if message.WhichOneof("subject") == "tombstone":
            return cls(message.revision, "purged", None, Tombstone.from_proto(message.tombstone))
        return cls(message.revision, _KINDS.get(message.kind, "created"), Feedback(message.feedback), None)


class Position:
    """Where a watch stands: everything up to `revision` has been given out."""

    def __init__(self, project: str, after: int | None, query: v1.Query | None) -> None:
        self.revision = after
        self._project = project
        self._query = query

    def request(self) -> v1.WatchFeedbackRequest:
        """What to ask on a new stream."""
        return v1.WatchFeedbackRequest(project=self._project, after_revision=self.revision, query=self._query)


class Watch:
    """An endless iterator of Change, in the order of their revisions, each exactly once.

    When the server goes away it comes back by itself and goes on after `revision`; only the first connection must
    succeed within the client's timeout. `close()`, also from another thread, ends it. Iterating raises PlauditError.
    """

    def __init__(self, transport: Transport, position: Position) -> None:
        self._transport = transport
        self._position = position
        self._ready: deque[Change] = deque()
        self._told: int | None = None
        self._responses: Iterator[v1.WatchFeedbackResponse] | None = None
        self._retry = transport.retry()
        self._closed = threading.Event()

    @property
    def revision(self) -> int | None:
        """Give this as `after` to go on later; None until the server has told where a watch from now begins."""
        return self._position.revision

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        while not self._ready:
            if self._told is not None:
                self._position.revision, self._told = self._told, None
            response = self._next_response()
            if response is None:
                raise StopIteration
            self._ready.extend(map(Change.from_proto, response.changes))
            self._told = response.revision
        change = self._ready.popleft()
        self._position.revision = change.revision
        return change

    def close(self) -> None:
        """End the watch; iterating stops."""
        self._closed.set()
        responses = self._responses
        if responses is not None:
            self._transport.cancel(responses)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _next_response(self) -> v1.WatchFeedbackResponse | None:
        while not self._closed.is_set():
            if self._responses is None:
                self._responses = self._transport.stream(WATCH, self._position.request())
            try:
                for response in self._responses:
                    self._retry.succeeded(forever=True)
                    if self._position.revision is None:
                        self._position.revision = response.revision
                    return response
                raise UnavailableError("the server ended the watch")  # it drains, and another takes over
            except PlauditError as error:
                self._responses = None
                if self._closed.is_set():
                    break
                if not is_retryable(error) or not self._retry.wait(error, self._closed):
                    raise
        return None
