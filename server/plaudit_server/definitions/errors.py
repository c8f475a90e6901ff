"""What is refused because of definitions, and the status of each."""

from __future__ import annotations

import grpc

from plaudit.v1 import ErrorReason
from plaudit_server.errors import DomainError
from plaudit_server.rpc.errors import Problem, cut, describe, reason


class DefinitionNotFound(DomainError):
    """The type has no definition in the project, or not this version of it."""

    def __init__(self, project: str, feedback_type: str) -> None:
        super().__init__(feedback_type)
        self.project = project
        self.feedback_type = feedback_type


class DefinitionBreaksStored(DomainError):
    """Stored records break a definition that was to be made; `id` is one of them."""

    def __init__(self, project: str, feedback_type: str, count: int, id: str) -> None:
        super().__init__(feedback_type)
        self.project = project
        self.feedback_type = feedback_type
        self.count = count
        self.id = id


class DefinitionChanged(DomainError):
    """A put expected another version than the newest."""

    def __init__(self, project: str, feedback_type: str, expected: int, actual: int) -> None:
        super().__init__(feedback_type)
        self.project = project
        self.feedback_type = feedback_type
        self.expected = expected
        self.actual = actual


class CheckedTooEarly(DomainError):
    """Too much was written since the stored records were checked; `revision` is the project's now."""

    def __init__(self, project: str, checked: int, revision: int) -> None:
        super().__init__(project)
        self.project = project
        self.checked = checked
        self.revision = revision


class LimitReached(DomainError):
    """A project has the greatest number of something already."""

    def __init__(self, project: str, limit: str, most: int) -> None:
        super().__init__(limit)
        self.project = project
        self.limit = limit
        self.most = most


class ValidationTooExpensive(DomainError):
    """Checking the records of a request would cost more than is allowed; roughly in nanoseconds."""

    def __init__(self, cost: int, limit: int) -> None:
        super().__init__(f"{cost} > {limit}")
        self.cost = cost
        self.limit = limit


@describe.register
def _definition_not_found(error: DefinitionNotFound) -> Problem:
    return Problem(
        grpc.StatusCode.NOT_FOUND,
        reason(ErrorReason.ERROR_REASON_DEFINITION_NOT_FOUND),
        f"no such definition of {cut(error.feedback_type, 100)} in this project",
        {"project": error.project, "feedback_type": error.feedback_type},
    )


@describe.register
def _definition_breaks_stored(error: DefinitionBreaksStored) -> Problem:
    return Problem(
        grpc.StatusCode.FAILED_PRECONDITION,
        reason(ErrorReason.ERROR_REASON_DEFINITION_BREAKS_STORED),
        f"{error.count} stored records break the definition, such as {error.id}; CheckDefinition lists what breaks",
        {
            "project": error.project,
            "feedback_type": error.feedback_type,
            "count": str(error.count),
            "id": error.id,
        },
    )


@describe.register
def _definition_changed(error: DefinitionChanged) -> Problem:
    return Problem(
        grpc.StatusCode.ABORTED,
        reason(ErrorReason.ERROR_REASON_VERSION_MISMATCH),
        f"the definition has version {error.actual}, not {error.expected}; read it and decide again",
        {
            "project": error.project,
            "feedback_type": error.feedback_type,
            "expected_version": str(error.expected),
            "version": str(error.actual),
        },
    )


@describe.register
def _checked_too_early(error: CheckedTooEarly) -> Problem:
    return Problem(
        grpc.StatusCode.ABORTED,
        reason(ErrorReason.ERROR_REASON_VERSION_MISMATCH),
        f"too much was written after revision {error.checked}; check again, and put again",
        {
            "project": error.project,
            "checked_revision": str(error.checked),
            "revision": str(error.revision),
        },
    )


@describe.register
def _limit_reached(error: LimitReached) -> Problem:
    return Problem(
        grpc.StatusCode.FAILED_PRECONDITION,
        reason(ErrorReason.ERROR_REASON_LIMIT_REACHED),
        f"the project has as many {error.limit} as it may have: {error.most}",
        {"project": error.project, "limit": error.limit, "most": str(error.most)},
    )


@describe.register
def _validation_too_expensive(error: ValidationTooExpensive) -> Problem:
    # No RetryInfo: waiting does not help.
    return Problem(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        reason(ErrorReason.ERROR_REASON_VALIDATION_TOO_EXPENSIVE),
        "checking the records against their definitions costs too much; send fewer in one request, or smaller ones",
        {"cost": str(error.cost), "limit": str(error.limit)},
    )
