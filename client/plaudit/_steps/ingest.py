"""Bulk writing over one stream: a window of unanswered requests, sent again on a new stream when one breaks; no I/O."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from plaudit import v1
from plaudit._core.batching import Batch, Cutter, what_is_stored
from plaudit._core.errors import InvalidArgumentError, PlauditError
from plaudit._core.keys import Key
from plaudit._core.records import id_of
from plaudit._core.window import Response, Window
from plaudit._core.writing import Existing, Ingested, Progress, Refused
from plaudit._steps.step import Act, Steps
from plaudit._steps.stream import Line, ended

RequestT = TypeVar("RequestT", v1.IngestFeedbackRequest, v1.ImportFeedbackRequest)


_EXISTING: Final[Mapping[str, v1.ExistingFeedback.ValueType]] = {
    "refuse": v1.ExistingFeedback.EXISTING_FEEDBACK_REFUSE,
    "keep": v1.ExistingFeedback.EXISTING_FEEDBACK_KEEP,
    "update": v1.ExistingFeedback.EXISTING_FEEDBACK_UPDATE,
}


def import_options(existing: Existing, skip_definitions: bool) -> Mapping[str, Any]:
    """The fields of each request of an import. Raises ValueError for an unknown word."""
    if existing not in _EXISTING:
        raise ValueError(f"existing is one of {', '.join(_EXISTING)}, not {existing!r}")
    return {"existing": _EXISTING[existing], "skip_definitions": bool(skip_definitions)}


class IngestLine(Line[RequestT, Any], Protocol[RequestT]):
    """A line that sends requests one by one, and reads the input."""

    ends_at_once: ClassVar[tuple[type[BaseException], ...]]
    """What the input raises when nobody waits for the answers any more."""

    def next_batch(self) -> Batch[RequestT] | Awaitable[Batch[RequestT] | None] | None:
        """The next request of the input, or None at its end."""

    def send(self, request: RequestT) -> Awaitable[None] | None:
        """Send a request; the window limits how many there are."""

    def finish(self) -> Awaitable[None] | None:
        """Say that no request follows, and wait until the server has ended the stream."""


@dataclass(slots=True)
class Ingestion(Generic[RequestT]):
    """One bulk write: what is read, on its way, and answered."""

    request: type[RequestT]
    project_of: Callable[[v1.Feedback], str]
    partial: bool
    importing: Mapping[str, Any] | None = None
    """Of an import the fields that each request has; None of an ingest."""
    progress: Progress | None = None
    key: Key | None = None
    result: Ingested = field(default_factory=Ingested)
    window: Window[RequestT] = field(init=False)
    _cutter: Cutter[RequestT] | None = None

    def __post_init__(self) -> None:
        self.window = Window(self.request, self.result, self.importing)

    def cutter(self) -> Cutter[RequestT]:
        """What cuts the input into requests."""
        self._cutter = Cutter(
            self.project_of,
            new_request=self.window.new_request,
            refuse=self._refuse,
            imported=self.importing is not None,
            key=self.key,
        )
        return self._cutter

    def hurry(self, line: IngestLine[RequestT]) -> Steps[None]:
        """Store what a slow input has not filled a request with, while it is waited for: asked again and again.

        An error is left to be met by `run`, or to pass until this is asked again.
        """
        cutter, window = self._cutter, self.window
        overdue = None if cutter is None or window.is_full else cutter.overdue()
        is_new = overdue is not None and window.enter(overdue)
        try:
            if overdue is not None and is_new and line.is_open:
                yield from Act[None](line.send, overdue.request)
            while window:
                yield from self._answered(line)
                line.succeeded()
                self._tell()
        except PlauditError:
            line.cancel()
        if cutter is not None and self.result.refused and not self.partial:
            cutter.is_ended = True

    def _answered(self, line: IngestLine[RequestT]) -> Steps[None]:
        """Take in one answer, on a new stream if there is none."""
        if not line.is_open:
            yield from Act[None](line.open, self.window.requests())
        answer = yield from Act[Response | None](line.answer)
        if answer is None:
            raise ended("stream")
        self.window.answered(answer)

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(self.result)

    def _note(self, has_drained: bool) -> str:
        """What is stored; after the input has failed, all that was read is."""
        cutter, position = self._cutter, self.window.position
        if cutter is not None and has_drained and not self.window:
            position = cutter.next_position
        has_ids = cutter is None or not cutter.makes_ids
        return what_is_stored(self.result.stored, self.result.pending, position, has_ids)

    def _refuse(self, position: int, record: object, error: PlauditError) -> bool:
        self.result.refused.append(Refused(position, id_of(record), error))
        return self.partial

    def run(self, line: IngestLine[RequestT]) -> Steps[Ingested]:
        """Store the records of a line's input, which is read no faster than the server stores. Raises PlauditError.

        Without `partial`, the first refused record ends the reading; what was read before it is still stored, so that
        the numbers in the error's note are exact. So does what the input itself raises.
        """
        partial, result, window = self.partial, self.result, self.window
        reading = True
        failure: BaseException | None = None
        try:
            while True:
                while reading and not window.is_full:
                    try:
                        batch = yield from Act[Batch[RequestT] | None](line.next_batch)
                    except line.ends_at_once:
                        raise
                    except BaseException as error:
                        failure, reading = error, False
                        break
                    reading = batch is not None and (partial or not result.refused)
                    if batch is not None and window.enter(batch) and line.is_open:
                        yield from Act[None](line.send, batch.request)
                if not window:
                    break
                try:
                    yield from self._answered(line)
                except PlauditError as error:
                    line.cancel()
                    if partial and isinstance(error, InvalidArgumentError):
                        window.refuse_oldest(error)
                    elif not (yield from Act[bool](line.wait, error)):
                        raise
                else:
                    line.succeeded()
                    reading = reading and (partial or not result.refused)
                self._tell()
            if line.is_open:
                yield from Act[None](line.finish)
            if failure is not None:
                raise failure
            if result.refused and not partial:
                raise result.refused[0].error
        except BaseException as error:
            error.add_note(self._note(failure is not None))
            raise
        finally:
            line.cancel()
        return result
