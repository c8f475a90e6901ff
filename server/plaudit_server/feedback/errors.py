"""What feedback's RPCs refuse, and the status of each."""

from __future__ import annotations

from collections.abc import Mapping

import grpc

from plaudit.v1 import ErrorReason
from plaudit_server.errors import DomainError, Violation
from plaudit_server.rpc.errors import Problem, cut, describe, reason


class FeedbackNotFound(DomainError):
    """No record of the project has this id, or this version."""

    def __init__(self, project: str, id: str) -> None:
        super().__init__(id)
        self.project = project
        self.id = id


class FeedbackExists(DomainError):
    """The id is taken by a record with other content."""

    def __init__(self, project: str, id: str) -> None:
        super().__init__(id)
        self.project = project
        self.id = id


class FeedbackPurged(DomainError):
    """The id was purged and is not used again."""

    def __init__(self, project: str, id: str) -> None:
        super().__init__(id)
        self.project = project
        self.id = id


class FeedbackNotUnique(DomainError):
    """Another record has the place; `id` is its, or None where the caller may not know it."""

    def __init__(self, project: str, feedback_type: str, id: str | None) -> None:
        super().__init__(feedback_type)
        self.project = project
        self.feedback_type = feedback_type
        self.id = id


class VersionMismatch(DomainError):
    """A replace expected another version than the one stored."""

    def __init__(self, project: str, id: str, expected: int, actual: int) -> None:
        super().__init__(id)
        self.project = project
        self.id = id
        self.expected = expected
        self.actual = actual


class NotOwner(DomainError):
    """The record belongs to another principal, and the caller may change only its own."""

    def __init__(self, project: str, id: str) -> None:
        super().__init__(id)
        self.project = project
        self.id = id


class UnderHold(DomainError):
    """The project is under a legal hold: nothing that is stored in it may be removed or replaced."""

    def __init__(self, project: str) -> None:
        super().__init__(project)
        self.project = project


class RevisionOutOfRange(DomainError):
    """A watch was to start above the project's revision."""

    def __init__(self, project: str, after: int, revision: int) -> None:
        super().__init__(project)
        self.project = project
        self.after = after
        self.revision = revision


class WatcherTooSlow(DomainError):
    """A watcher did not read its changes in time; it may continue after `revision`."""

    counted_as = "slow_watcher"

    def __init__(self, project: str, revision: int) -> None:
        super().__init__(project)
        self.project = project
        self.revision = revision


class BatchRejected(DomainError):
    """Records of an atomic batch were refused by the store; nothing was stored. Errors by item index."""

    def __init__(self, errors: dict[int, DomainError]) -> None:
        super().__init__(f"{len(errors)} items")
        self.errors = errors


@describe.register
def _feedback_not_found(error: FeedbackNotFound) -> Problem:
    return _of_record(
        grpc.StatusCode.NOT_FOUND,
        ErrorReason.ERROR_REASON_FEEDBACK_NOT_FOUND,
        f"no feedback {cut(error.id, 100)} in this project",
        error,
    )


@describe.register
def _feedback_exists(error: FeedbackExists) -> Problem:
    return _of_record(
        grpc.StatusCode.ALREADY_EXISTS,
        ErrorReason.ERROR_REASON_FEEDBACK_EXISTS,
        f"feedback {error.id} exists with other content",
        error,
    )


@describe.register
def _feedback_purged(error: FeedbackPurged) -> Problem:
    return _of_record(
        grpc.StatusCode.ALREADY_EXISTS,
        ErrorReason.ERROR_REASON_FEEDBACK_PURGED,
        f"feedback {error.id} was removed; its id is not used again",
        error,
    )


@describe.register
def _feedback_not_unique(error: FeedbackNotUnique) -> Problem:
    metadata = {"project": error.project, "feedback_type": error.feedback_type}
    return Problem(
        grpc.StatusCode.ALREADY_EXISTS,
        reason(ErrorReason.ERROR_REASON_FEEDBACK_NOT_UNIQUE),
        f"there is a record of {cut(error.feedback_type, 100)} where only one may be",
        metadata if error.id is None else metadata | {"id": error.id},
    )


@describe.register
def _version_mismatch(error: VersionMismatch) -> Problem:
    return Problem(
        grpc.StatusCode.ABORTED,
        reason(ErrorReason.ERROR_REASON_VERSION_MISMATCH),
        f"feedback {error.id} has version {error.actual}, not {error.expected}; read it and decide again",
        {
            "project": error.project,
            "id": error.id,
            "expected_version": str(error.expected),
            "version": str(error.actual),
        },
    )


@describe.register
def _not_owner(error: NotOwner) -> Problem:
    return Problem(
        grpc.StatusCode.PERMISSION_DENIED,
        reason(ErrorReason.ERROR_REASON_PERMISSION_DENIED),
        "the record belongs to another principal; a writer may change only its own",
        {"project": error.project, "right": "edit"},
    )


@describe.register
def _under_hold(error: UnderHold) -> Problem:
    return Problem(
        grpc.StatusCode.FAILED_PRECONDITION,
        reason(ErrorReason.ERROR_REASON_UNDER_HOLD),
        "the project is under a legal hold: nothing in it may be removed or replaced until an operator lifts it",
        {"project": error.project},
    )


@describe.register
def _revision_out_of_range(error: RevisionOutOfRange) -> Problem:
    return Problem(
        grpc.StatusCode.OUT_OF_RANGE,
        reason(ErrorReason.ERROR_REASON_REVISION_OUT_OF_RANGE),
        f"after_revision {error.after} is above the project's revision {error.revision}",
        {"project": error.project, "after_revision": str(error.after), "revision": str(error.revision)},
    )


@describe.register
def _watcher_too_slow(error: WatcherTooSlow) -> Problem:
    return Problem(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        reason(ErrorReason.ERROR_REASON_WATCHER_TOO_SLOW),
        f"the watcher reads too slowly; continue after revision {error.revision}",
        {"project": error.project, "revision": str(error.revision)},
        retry_delay=1.0,
    )


@describe.register
def _batch_rejected(error: BatchRejected) -> Problem:
    return _rejected(error.errors)


def _of_record(
    code: grpc.StatusCode, number: int, message: str, error: FeedbackNotFound | FeedbackExists | FeedbackPurged
) -> Problem:
    return Problem(code, reason(number), message, {"project": error.project, "id": error.id})


def _rejected(errors: Mapping[int, DomainError]) -> Problem:
    """An atomic batch: the status of its first bad item, and every bad item named by its index."""
    problems = {index: describe(error) for index, error in errors.items()}
    first_index, first = next(iter(problems.items()))
    return Problem(
        first.code,
        first.reason,
        f"feedback[{first_index}]: {first.message}; nothing of the batch was stored",
        {**first.metadata, "violation_count": str(len(problems))},
        tuple(Violation(f"feedback[{index}]", problem.message) for index, problem in problems.items()),
    )
