"""Storing a batch: any number of records in as many requests as it takes, one after the other; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from plaudit import v1
from plaudit._core.batching import Cutter, cut, what_is_stored
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
) -> Steps[BatchResult[Feedback | PlauditError]]:
    """Store the records. Without `partial` the first error ends it, with a note of what is stored by then."""
    outcomes: dict[int, Feedback | PlauditError] = {}
    refused: list[Refused] = []
    pending = 0

    def refuse(position: int, record: object, error: PlauditError) -> bool:
        if not partial:
            raise _with_note(error, len(outcomes))
        outcomes[position] = error
        refused.append(Refused(position, id_of(record), error))
        return True

    def new_request(project: str) -> v1.BatchCreateFeedbackRequest:
        return v1.BatchCreateFeedbackRequest(project=project, partial=partial)

    cutter = Cutter(project_of, new_request=new_request, refuse=refuse, key=key)
    batches = cut(records, cutter)
    while True:
        try:
            batch = next(batches, None)
        except PlauditError:
            raise
        except BaseException as raised:
            stored = sum(isinstance(outcome, Feedback) for outcome in outcomes.values())
            raised.add_note(what_is_stored(stored, pending, cutter.next_position, not cutter.makes_ids))
            raise
        if batch is None:
            break
        try:
            response = yield from Call(BATCH_CREATE, batch.request)
        except PlauditError as failure:
            error = failure.moved(batch.positions)
            if not partial:
                raise _with_note(error, len(outcomes)) from failure.__cause__
            results: list[Feedback | PlauditError] = [error] * len(batch.positions)
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
        error.add_note(f"The {stored} records before were stored, by earlier requests of this batch.")
    return error
