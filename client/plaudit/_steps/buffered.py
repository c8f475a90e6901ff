"""Storing what a buffered writer holds: by project, and around records that spoil their request; no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from plaudit import v1
from plaudit._contract import limits
from plaudit._core.buffer import Item
from plaudit._core.errors import InternalError, InvalidArgumentError, PlauditError
from plaudit._core.retry import is_passing, is_retryable
from plaudit._core.statuses import from_status
from plaudit._steps.step import Call, Steps
from plaudit._wire.methods import BATCH_CREATE

ROOM: Final = limits.REQUEST_BYTES - 512
"""The bytes that a request has for records: the rest is for the project and a flag."""

Settle = Callable[[Sequence[Item], Sequence[tuple[Item, PlauditError]]], None]
"""Called with items that the server has answered, and with those among them that it has refused."""


def stored(items: Sequence[Item], position: Callable[[Item], int], settle: Settle) -> Steps[None]:
    """Store items. Raises PlauditError when the server is away or busy; what is not settled then is to be kept."""
    by_project: dict[str, list[Item]] = {}
    for item in items:
        by_project.setdefault(item.project, []).append(item)
    for project, some in by_project.items():
        yield from _stored_in(project, some, position, settle)


def _stored_in(project: str, items: Sequence[Item], position: Callable[[Item], int], settle: Settle) -> Steps[None]:
    request = v1.BatchCreateFeedbackRequest(project=project, partial=True, feedback=[item.message for item in items])
    try:
        response = yield from Call(BATCH_CREATE, request, retried=False)
    except PlauditError as error:
        if is_passing(error):
            raise
        if len(items) > 1 and isinstance(error, InvalidArgumentError | InternalError):
            # One of them is the cause, and must not take the others with it.
            middle = len(items) // 2
            yield from _stored_in(project, items[:middle], position, settle)
            yield from _stored_in(project, items[middle:], position, settle)
        else:
            settle(items, [(item, error.moved([position(item)])) for item in items])
        return
    positions = [position(item) for item in items]
    failed = [
        (item, from_status(result.status).moved(positions))
        for item, result in zip(items, response.results, strict=True)
        if result.WhichOneof("result") == "status"
    ]
    again = {item.number: error for item, error in failed if is_retryable(error)}
    refused = [(item, error) for item, error in failed if item.number not in again]
    settle([item for item in items if item.number not in again], refused)
    if again:
        raise next(iter(again.values()))
