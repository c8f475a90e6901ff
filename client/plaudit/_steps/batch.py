"""Storing a batch: any number of records in as many requests as it takes, one after the other; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from plaudit import v1
from plaudit._core.batching import UNSEEN, Cutter, Reading, cut, what_is_stored
from plaudit._core.errors import PlauditError
from plaudit._core.keys import Key
from plaudit._core.model import Feedback
from plaudit._core.records import id_of
from plaudit._core.retry import is_passing
from plaudit._core.statuses import from_status
from plaudit._core.writing import BatchResult, Refused
from plaudit._steps.step import Call, Steps
from plaudit._wire.methods import BATCH_CREATE


def created(
    records: Iterable[Mapping[str, Any]],
    partial: bool,
    project_of: Callable[[v1.Feedback], str],
    key: Key | None = None,
    reading: Reading = UNSEEN,
) -> Steps[BatchResult[Feedback | PlauditError]]:
    """Store the records. Without `partial` the first error ends it, with a note of what is stored by then."""
    outcomes: dict[int, Feedback | PlauditError] = {}
    refused: list[Refused] = []
    pending = 0
    refusal: PlauditError | None = None

    def refuse(position: int, record: object, error: PlauditError) -> bool:
        nonlocal refusal
        if not partial:
            refusal = _with_note(error, len(outcomes))
            raise error
        outcomes[position] = error
        refused.append(Refused(position, id_of(record), error))
        return True

    def new_request(project: str) -> v1.BatchCreateFeedbackRequest:
        return v1.BatchCreateFeedbackRequest(project=project, partial=partial)

    def note(more: int, position: int) -> str:
        stored = sum(isinstance(outcome, Feedback) for outcome in outcomes.values())
        return what_is_stored(stored, pending + more, position, not cutter.makes_ids)

    cutter = Cutter(project_of, new_request=new_request, refuse=refuse, key=key)
    batches = cut(records, cutter, reading)
    while True:
        try:
            batch = next(batches, None)
        except BaseException as raised:
            if raised is not refusal:  # the input has failed, or was interrupted
                raised.add_note(note(0, cutter.next_position))
            raise
        if batch is None:
            break
        try:
            response = yield from Call(BATCH_CREATE, batch.request)
        except PlauditError as failure:
            error = failure.moved(batch.positions)
            if not partial and is_passing(error):
                error.add_note(note(len(batch.positions), batch.positions[0]))
                raise error from failure.__cause__
            if not partial:
                raise _with_note(error, len(outcomes)) from failure.__cause__
            results: list[Feedback | PlauditError] = [error] * len(batch.positions)
        except BaseException as interrupt:
            interrupt.add_note(note(len(batch.positions), batch.positions[0]))
            raise
        else:
            results = list(map(_outcome, response.results))
        outcomes.update(zip(batch.positions, results, strict=True))
        for index, result in enumerate(results):
            if isinstance(result, PlauditError):
                if is_passing(result):
                    pending += 1
                else:
                    refused.append(Refused(batch.positions[index], batch.request.feedback[index].id, result))
    refused.sort(key=lambda one: one.position)
    return BatchResult([outcomes[position] for position in range(len(outcomes))], refused, pending)


def _outcome(result: v1.BatchCreateFeedbackResult) -> Feedback | PlauditError:
    return from_status(result.status) if result.WhichOneof("result") == "status" else Feedback(result.feedback)


def _with_note(error: PlauditError, stored: int) -> PlauditError:
    if stored:
        earlier = f"The {stored} records before were stored, by earlier requests of this batch"
        error.add_note(f"{earlier}; go on at position {stored}.")
    return error
