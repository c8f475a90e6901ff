"""How records become requests: cut by number and by bytes, in order; nothing here does I/O."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from plaudit import v1
from plaudit._contract import limits
from plaudit._core.errors import InvalidArgumentError, PlauditError
from plaudit._core.keys import Key, set_id
from plaudit._core.model import Feedback
from plaudit._core.records import to_message

RequestT = TypeVar("RequestT", v1.BatchCreateFeedbackRequest, v1.IngestFeedbackRequest, v1.ImportFeedbackRequest)
Refuse = Callable[[int, object, PlauditError], bool]
"""Called for a record that no message can hold: its position in the input, the record, and why. Whether to go on."""

FRAME_BYTES: Final = 6
"""What a request adds to each record: the tag and the length before it."""


Reading = AbstractContextManager[object]
"""Entered while the next record of an input is waited for, and for each again."""

AsyncReading = AbstractAsyncContextManager[object]

UNSEEN: Final = nullcontext()


@dataclass(slots=True)
class Batch(Generic[RequestT]):
    """One request, and where its records stand in the input."""

    request: RequestT
    positions: list[int] = field(default_factory=list)
    size: int = 0

    def __post_init__(self) -> None:
        self.size = self.request.ByteSize()

    def has_room(self, project: str, size: int) -> bool:
        """Whether one more record, of this project and of `size` bytes, fits in."""
        return (
            project == self.request.project
            and len(self.positions) < limits.BATCH_ITEMS
            and self.size + size <= limits.REQUEST_BYTES
        )


class Cutter(Generic[RequestT]):
    """Cuts records into requests of at most 1,000 records of one project and 3 MiB; a larger record goes alone.

    `new_request` makes an empty request for a project. A record that no message can hold is passed to `refuse` and
    left out; if `refuse` returns False, it ends the input. Fields that only the server sets are left out too, unless
    `imported`. A `key` gives ids to records that have none.
    """

    def __init__(
        self,
        project_of: Callable[[v1.Feedback], str],
        *,
        new_request: Callable[[str], RequestT],
        refuse: Refuse,
        imported: bool = False,
        key: Key | None = None,
    ) -> None:
        self._project_of = project_of
        self._new_request: Callable[[str], RequestT] = new_request
        self._refuse = refuse
        self._imported = imported
        self._key = key
        self._position = -1
        self._batch: Batch[RequestT] | None = None
        self._seen: Batch[RequestT] | None = None
        self.is_ended = False
        """Whether a refused record has ended the input."""
        self.makes_ids = False
        """Whether a record came without an id, so that sending it again would store it twice."""

    @property
    def next_position(self) -> int:
        """The position of the first record that was not read."""
        return self._position + 1

    def add(self, record: Mapping[str, Any] | Feedback) -> Sequence[Batch[RequestT]]:
        """Take in the next record; returns the request that had no room for it, or nothing."""
        self._position += 1
        try:
            path = f"feedback[{self._position}]"
            message = to_message(record, path, imported=self._imported)
            is_repeatable = set_id(self._key, record, message, path)
        except PlauditError as error:
            self.is_ended = not self._refuse(self._position, record, error)
            return ()
        self.makes_ids = self.makes_ids or not is_repeatable
        project = self._project_of(message)
        size = measured(message)
        full: Sequence[Batch[RequestT]] = ()
        batch = self._batch
        if batch is None or not batch.has_room(project, size):
            full = self.rest()
            batch = self._batch = Batch(self._new_request(project))
        batch.request.feedback.append(message)
        batch.positions.append(self._position)
        batch.size += size
        return full

    def rest(self) -> Sequence[Batch[RequestT]]:
        """The request that still has room, or nothing when no record waits in one."""
        return () if self._batch is None else (self._batch,)

    def overdue(self) -> Batch[RequestT] | None:
        """The request that has room since the last time that this was asked, taken to be sent as it is; else None."""
        seen, self._seen = self._seen, self._batch
        if self._batch is None or self._batch is not seen:
            return None
        self._batch = self._seen = None
        return seen


def measured(message: v1.Feedback) -> int:
    """The bytes of a record in a request for a project, which then does not stand in the record as well."""
    message.ClearField("project")
    return message.ByteSize() + FRAME_BYTES


def cut(
    records: Iterable[Mapping[str, Any] | Feedback], cutter: Cutter[RequestT], reading: Reading = UNSEEN
) -> Iterator[Batch[RequestT]]:
    """The requests of an iterable, which is read one record further than the current request needs, within `reading`.

    What the iterable raises comes after the request of what was read before it.
    """
    failure: BaseException | None = None
    source = iter(records)
    while not cutter.is_ended:
        try:
            with reading:
                record = next(source)
        except StopIteration:
            break
        except BaseException as error:
            failure = error
            break
        yield from cutter.add(record)
    yield from cutter.rest()
    if failure is not None:
        raise failure


async def cut_async(
    records: AsyncIterable[Mapping[str, Any] | Feedback], cutter: Cutter[RequestT], reading: AsyncReading = UNSEEN
) -> AsyncIterator[Batch[RequestT]]:
    """The requests of an asynchronous iterable, which is read as by `cut`; what is cancelled ends at once."""
    failure: Exception | None = None
    source = aiter(records)
    while not cutter.is_ended:
        try:
            async with reading:
                record = await anext(source)
        except StopAsyncIteration:
            break
        except Exception as error:
            failure = error
            break
        for batch in cutter.add(record):
            yield batch
    for batch in cutter.rest():
        yield batch
    if failure is not None:
        raise failure


def what_is_stored(stored: int, pending: int, position: int, has_ids: bool) -> str:
    """The note of an error that ended a bulk write: what is stored, where to go on, whether repeating all is safe."""
    unclear = f", {pending} more may be" if pending else ""
    safe = (
        "Sending all again with the same ids is safe."
        if has_ids
        else "Some came without an id: sending these again stores them twice."
    )
    return f"{stored} records are stored{unclear}; go on at position {position}. {safe}"


def too_large(path: str, size: int) -> InvalidArgumentError:
    """The error of a record that no server takes, because its request would have `size` bytes."""
    return InvalidArgumentError(
        f"not sent: {path} has {size} bytes, a request has at most {limits.REQUEST_BYTES}",
        reason="MESSAGE_TOO_LARGE",
        metadata={"size": str(size), "limit": str(limits.REQUEST_BYTES)},
    )
