"""How many records become requests: cut by rows and by bytes, in order; nothing here does I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from plaudit import limits, v1
from plaudit._errors import PlauditError
from plaudit._model import Feedback, to_message

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


def cut(
    records: Iterable[Mapping[str, Any] | Feedback],
    project_of: Callable[[v1.Feedback], str],
    *,
    new_request: Callable[[str], RequestT],
    refuse: Refuse,
    imported: bool = False,
) -> Iterator[Batch[RequestT]]:
    """Requests of at most 1,000 records of one project and 3 MiB; a larger record goes alone, to be refused.

    `new_request` makes an empty request for a project. A record that no message can hold is given to `refuse` and
    left out; it ends the input when `refuse` says so. What only the server sets is left out too, unless `imported`.
    Reads no more of the input than the request at hand needs, and one record.
    """
    batch: Batch[RequestT] | None = None
    for position, record in enumerate(records):
        try:
            message = to_message(record, f"feedback[{position}]", imported=imported)
        except PlauditError as error:
            if refuse(position, record, error):
                continue
            break
        project = project_of(message)
        if message.project == project:
            message.ClearField("project")  # the request says it once
        size = message.ByteSize() + FRAME_BYTES
        if batch is None or not batch.has_room(project, size):
            if batch is not None:
                yield batch
            batch = Batch(new_request(project))
        batch.request.feedback.append(message)
        batch.positions.append(position)
        batch.size += size
    if batch is not None:
        yield batch
