"""How many records become requests: cut by rows and by bytes, in order; nothing here does I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from plaudit import limits, v1
from plaudit._errors import PlauditError
from plaudit._model import to_message

# The tag and the length in front of each record in the request.
_FRAME_BYTES: Final = 6


@dataclass(slots=True)
class Batch:
    """One request, and where its records stand in the input."""

    request: v1.BatchCreateFeedbackRequest
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
    records: Iterable[Mapping[str, Any]],
    project_of: Callable[[v1.Feedback], str],
    *,
    partial: bool,
    refuse: Callable[[int, PlauditError], None],
) -> Iterator[Batch]:
    """Requests of at most 1,000 records of one project and 3 MiB; a larger record goes alone, to be refused.

    A record that no message can hold is given to `refuse` with its position in the input, and left out.
    Reads no more of the input than the request at hand needs, and one record.
    """
    batch: Batch | None = None
    for position, record in enumerate(records):
        try:
            message = to_message(record, f"feedback[{position}]")
        except PlauditError as error:
            refuse(position, error)
            continue
        project = project_of(message)
        if message.project == project:
            message.ClearField("project")  # the request says it once
        size = message.ByteSize() + _FRAME_BYTES
        if batch is None or not batch.has_room(project, size):
            if batch is not None:
                yield batch
            batch = Batch(v1.BatchCreateFeedbackRequest(project=project, partial=partial))
        batch.request.feedback.append(message)
        batch.positions.append(position)
        batch.size += size
    if batch is not None:
        yield batch
