"""How many records become requests: cut by rows and by bytes, in order; nothing here does I/O."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from plaudit import v1
from plaudit._contract import limits
from plaudit._core.errors import PlauditError
from plaudit._core.model import Feedback
from plaudit._core.records import to_message

RequestT = TypeVar("RequestT", v1.BatchCreateFeedbackRequest, v1.IngestFeedbackRequest, v1.ImportFeedbackRequest)
Refuse = Callable[[int, object, PlauditError], bool]
"""Told of a record that no message can hold: its position in the input, the record, and why; whether to go on."""

FRAME_BYTES: Final = 6
"""The tag and the length in front of each record in a request."""


@dataclass(slots=True)
class Batch(Generic[RequestT]):
    """One request, and where its records stand in the input."""

    request: RequestT
    positions: list[int] = field(default_factory=list)
    size: int = 0

    def __post_init__(self) -> None:
        self.size = self.request.ByteSize()

    def has_room(self, project: str, size: int) -> bool:
        """Whether a record of this project and size in bytes still fits."""
        return (
            project == self.request.project
            and len(self.positions) < limits.BATCH_ITEMS
            and self.size + size <= limits.REQUEST_BYTES
        )


class Cutter(Generic[RequestT]):
    """Cuts records into requests of at most 1,000 records of one project and 3 MiB; a larger record goes alone.

    `new_request` makes an empty request for a project. A record that no message can hold is given to `refuse` and
    left out; it ends the input when `refuse` says so. What only the server sets is left out too, unless `imported`.
    """

    def __init__(
        self,
        project_of: Callable[[v1.Feedback], str],
        *,
        new_request: Callable[[str], RequestT],
        refuse: Refuse,
        imported: bool = False,
    ) -> None:
        self._project_of = project_of
        self._new_request: Callable[[str], RequestT] = new_request
        self._refuse = refuse
        self._imported = imported
        self._position = -1
        self.batch: Batch[RequestT] | None = None
        """The request that still has room; None when no record has come."""
        self.is_ended = False
        """Whether a refused record has ended the input."""

    def add(self, record: Mapping[str, Any] | Feedback) -> Batch[RequestT] | None:
        """Take in the next record; the request that was full before it, if it was."""
        self._position += 1
        try:
            message = to_message(record, f"feedback[{self._position}]", imported=self._imported)
        except PlauditError as error:
            self.is_ended = not self._refuse(self._position, record, error)
            return None
        project = self._project_of(message)
        if message.project == project:
            message.ClearField("project")  # the request says it once
        size = message.ByteSize() + FRAME_BYTES
        full, batch = None, self.batch
        if batch is None or not batch.has_room(project, size):
            full, batch = batch, Batch(self._new_request(project))
            self.batch = batch
        batch.request.feedback.append(message)
        batch.positions.append(self._position)
        batch.size += size
        return full


def cut(records: Iterable[Mapping[str, Any] | Feedback], cutter: Cutter[RequestT]) -> Iterator[Batch[RequestT]]:
    """The requests of an iterable, read no further than the request at hand needs, and one record."""
    for record in records:
        full = cutter.add(record)
        if full is not None:
            yield full
        if cutter.is_ended:
            break
    if cutter.batch is not None:
        yield cutter.batch


async def cut_async(
    records: AsyncIterable[Mapping[str, Any] | Feedback], cutter: Cutter[RequestT]
) -> AsyncIterator[Batch[RequestT]]:
    """The same of an asynchronous iterable."""
    async for record in records:
        full = cutter.add(record)
        if full is not None:
            yield full
        if cutter.is_ended:
            break
    if cutter.batch is not None:
        yield cutter.batch
