"""Domain exceptions, each with its own data, and the one mapping of any error to a gRPC status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from plaudit.v1 import ErrorReason

DOMAIN: Final = "plaudit.dev"

# Details travel in the trailers, which break near 8 KiB; base64 makes 4 KiB of them 5.4.
_DETAILS_BYTES: Final = 4096
_MESSAGE_CHARACTERS: Final = 300
_FIELD_CHARACTERS: Final = 160
_DESCRIPTION_CHARACTERS: Final = 240


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: the request's field (`feedback[3].payload.note`), and what is wrong with it."""

    field: str
    description: str


class DomainError(Exception):
    """What the API refuses, and why; everything else is a defect and answers INTERNAL."""


class StartError(Exception):
    """The server can not start as it is told to; the message tells the operator what to do."""


class InvalidFields(DomainError):
    """Fields of a request break rules; all of them, in the order of the request."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__(f"{len(violations)} violations")
        self.violations = tuple(violations)


class InvalidQuery(DomainError):
    """A query breaks the language's rules; `violations` name the nodes by path."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__(f"{len(violations)} violations")
        self.violations = tuple(violations)


class InvalidPageToken(DomainError):
    """The page token was changed, or belongs to another query, store or version."""


class MalformedMessage(DomainError):
    """The bytes are not a message of the method's type."""

    def __init__(self, message_type: str) -> None:
        super().__init__(message_type)
        self.message_type = message_type


class MessageTooLarge(DomainError):
    """The request is larger than the server takes; sizes in bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"{size} > {limit}")
        self.size = size
        self.limit = limit


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


class RevisionOutOfRange(DomainError):
    """A watch was to start above the project's revision."""

    def __init__(self, project: str, after: int, revision: int) -> None:
        super().__init__(project)
        self.project = project
        self.after = after
        self.revision = revision


class WatcherTooSlow(DomainError):
    """A watcher did not take its changes in time; it may go on after `revision`."""

    def __init__(self, project: str, revision: int) -> None:
        super().__init__(project)
        self.project = project
        self.revision = revision


class BatchRejected(DomainError):
    """Records of an atomic batch were refused by the store; nothing was stored. Errors by item index."""

    def __init__(self, errors: dict[int, DomainError]) -> None:
        super().__init__(f"{len(errors)} items")
        self.errors = errors


class AggregateTooLarge(DomainError):
    """What a question needs in memory or in its answer is beyond a limit, which only the data shows.

    `name` is the limit as GetServerInfo lists it; `value` is what was reached when counting stopped.
    """

    def __init__(self, name: str, limit: int, value: int) -> None:
        super().__init__(f"{name}: {value} of {limit}")
        self.name = name
        self.limit = limit
        self.value = value


class Overloaded(DomainError):
    """Too much work is waiting; come back after `retry_delay` seconds."""

    def __init__(self, retry_delay: float) -> None:
        super().__init__(f"retry in {retry_delay} s")
        self.retry_delay = retry_delay


class StoreUnavailable(DomainError):
    """The store can not be reached or written to; nothing of the request was stored."""

    def __init__(self, store: str, retry_delay: float | None = None) -> None:
        super().__init__(store)
        self.store = store
        self.retry_delay = retry_delay


class Unauthenticated(DomainError):
    """No credentials came with the call, or none that hold; `why` is a sentence of ours that the client may read."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class PermissionDenied(DomainError):
    """The principal's role does not include this right on this project (on none, when `project` is empty)."""

    def __init__(self, project: str, right: str) -> None:
        super().__init__(f"{right} on {project}")
        self.project = project
        self.right = right


class QuotaExceeded(DomainError):
    """A quota, named as in the configuration, is used up; come back after `retry_delay` seconds."""

    def __init__(self, quota: str, retry_delay: float) -> None:
        super().__init__(f"{quota}, retry in {retry_delay} s")
        self.quota = quota
        self.retry_delay = retry_delay


@dataclass(frozen=True, slots=True)
class Problem:
    """What a client is told of an error: the parts of a `google.rpc.Status`."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str]
    violations: Sequence[Violation] = ()
    retry_delay: float | None = None

    @property
    def short_message(self) -> str:
        """The message, cut to what fits the details."""
        return cut(self.message, _MESSAGE_CHARACTERS)

    def status(self, request_id: str = "", room: int = _DETAILS_BYTES) -> status_pb2.Status:
        """The status with its details, all of them within `room` bytes: as many violations as fit."""
        status = status_pb2.Status(code=self.code.value[0], message=self.short_message)
        metadata = {key: cut(value, 100) for key, value in self.metadata.items()}
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=metadata)
        _pack(status, info)
        if request_id:
            _pack(status, error_details_pb2.RequestInfo(request_id=request_id))
        if self.retry_delay is not None:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(max(1, round(self.retry_delay * 1000)))
            _pack(status, error_details_pb2.RetryInfo(retry_delay=delay))
        if self.violations:
            room -= status.ByteSize() + 80  # the Any around them
            bad_request = error_details_pb2.BadRequest()
            for violation in self.violations:
                shown = error_details_pb2.BadRequest.FieldViolation(
                    field=cut(violation.field, _FIELD_CHARACTERS),
                    description=cut(violation.description, _DESCRIPTION_CHARACTERS),
                )
                room -= shown.ByteSize() + 4
                if room < 0:
                    break
                bad_request.field_violations.append(shown)
            _pack(status, bad_request)
        return status

    def encoded(self, request_id: str) -> bytes:
        """The status with its details, as bytes."""
        if self.violations or self.code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            return _bytes(self.status(request_id))
        # A server that refuses because it has too much to do must not spend its time on that: what was encoded once
        # gets one detail more, for a list of a message goes on where it is found again.
        request = status_pb2.Status()
        _pack(request, error_details_pb2.RequestInfo(request_id=request_id))
        facts = (self.code, self.reason, self.message, tuple(self.metadata.items()), self.retry_delay)
        return _encoded(*facts) + _bytes(request)


def _bytes(status: status_pb2.Status) -> bytes:
    encoded: bytes = status.SerializeToString()
    return encoded


@lru_cache(maxsize=1024)
def _encoded(
    code: grpc.StatusCode,
    reason: str,
    message: str,
    metadata: tuple[tuple[str, str], ...],
    retry_delay: float | None,
) -> bytes:
    return _bytes(Problem(code, reason, message, dict(metadata), (), retry_delay).status())


def cut(text: str, characters: int) -> str:
    """Text for a message, shortened, and safe to put on one line."""
    shown = text if len(text) <= characters else text[: characters - 1] + "…"
    # Most text is printable as it is: to look at each character was a quarter of what the status of a refusal costs.
    return shown if shown.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in shown)


def _pack(status: status_pb2.Status, detail: object) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)  # type: ignore[arg-type]
    status.details.append(packed)


def _reason(value: int) -> str:
    return ErrorReason.Name(value).removeprefix("ERROR_REASON_")  # type: ignore[arg-type]


def _invalid(reason: int, what: str, violations: Sequence[Violation]) -> Problem:
    first = "; ".join(f"{v.field}: {v.description}" for v in violations[:2])
    more = f" (and {len(violations) - 2} more)" if len(violations) > 2 else ""
    return Problem(
        grpc.StatusCode.INVALID_ARGUMENT,
        _reason(reason),
        f"{what}: {first}{more}",
        {"violation_count": str(len(violations))},
        violations,
    )


def _of_record(
    code: grpc.StatusCode, reason: int, message: str, error: FeedbackNotFound | FeedbackExists | FeedbackPurged
) -> Problem:
    return Problem(code, _reason(reason), message, {"project": error.project, "id": error.id})


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


def describe(error: BaseException) -> Problem:
    """Any error as what a client is told; text of drivers and defects stays here."""
    code = grpc.StatusCode
    match error:
        case InvalidFields():
            return _invalid(ErrorReason.ERROR_REASON_INVALID_FIELD, "invalid request", error.violations)
        case InvalidQuery():
            return _invalid(ErrorReason.ERROR_REASON_INVALID_QUERY, "invalid query", error.violations)
        case InvalidPageToken():
            return Problem(
                code.INVALID_ARGUMENT,
                _reason(ErrorReason.ERROR_REASON_INVALID_PAGE_TOKEN),
                "page_token was changed, or is of another query or store; start again without it",
                {"field": "page_token"},
                (Violation("page_token", "is not a token of this query"),),
            )
        case MalformedMessage():
            return Problem(
                code.INVALID_ARGUMENT,
                _reason(ErrorReason.ERROR_REASON_MALFORMED_MESSAGE),
                f"the request is no {error.message_type}",
                {"message_type": error.message_type},
            )
        case MessageTooLarge():
            # The code that grpc itself gives beyond its own limit; without RetryInfo, since no wait would help.
            return Problem(
                code.RESOURCE_EXHAUSTED,
                _reason(ErrorReason.ERROR_REASON_MESSAGE_TOO_LARGE),
                f"the request has {error.size} bytes, the limit is {error.limit}; send less in one request",
                {"size": str(error.size), "limit": str(error.limit)},
            )
        case FeedbackNotFound():
            return _of_record(
                code.NOT_FOUND,
                ErrorReason.ERROR_REASON_FEEDBACK_NOT_FOUND,
                f"no feedback {cut(error.id, 100)} in this project",
                error,
            )
        case FeedbackExists():
            return _of_record(
                code.ALREADY_EXISTS,
                ErrorReason.ERROR_REASON_FEEDBACK_EXISTS,
                f"feedback {error.id} exists with other content",
                error,
            )
        case FeedbackPurged():
            return _of_record(
                code.ALREADY_EXISTS,
                ErrorReason.ERROR_REASON_FEEDBACK_PURGED,
                f"feedback {error.id} was purged; its id is not used again",
                error,
            )
        case VersionMismatch():
            return Problem(
                code.ABORTED,
                _reason(ErrorReason.ERROR_REASON_VERSION_MISMATCH),
                f"feedback {error.id} has version {error.actual}, not {error.expected}; read it and decide again",
                {
                    "project": error.project,
                    "id": error.id,
                    "expected_version": str(error.expected),
                    "version": str(error.actual),
                },
            )
        case NotOwner():
            return Problem(
                code.PERMISSION_DENIED,
                _reason(ErrorReason.ERROR_REASON_PERMISSION_DENIED),
                "the record belongs to another principal; a writer may change only its own",
                {"project": error.project, "right": "edit"},
            )
        case RevisionOutOfRange():
            return Problem(
                code.OUT_OF_RANGE,
                _reason(ErrorReason.ERROR_REASON_REVISION_OUT_OF_RANGE),
                f"after_revision {error.after} is above the project's revision {error.revision}",
                {"project": error.project, "after_revision": str(error.after), "revision": str(error.revision)},
            )
        case WatcherTooSlow():
            return Problem(
                code.RESOURCE_EXHAUSTED,
                _reason(ErrorReason.ERROR_REASON_WATCHER_TOO_SLOW),
                f"the watcher reads too slowly; go on after revision {error.revision}",
                {"project": error.project, "revision": str(error.revision)},
                retry_delay=1.0,
            )
        case BatchRejected():
            return _rejected(error.errors)
        case Overloaded():
            return Problem(
                code.RESOURCE_EXHAUSTED,
                _reason(ErrorReason.ERROR_REASON_OVERLOADED),
                "too many writes are waiting; retry after the delay",
                {"retry_delay_ms": str(round(error.retry_delay * 1000))},
                retry_delay=error.retry_delay,
            )
        case StoreUnavailable():
            return Problem(
                code.UNAVAILABLE,
                _reason(ErrorReason.ERROR_REASON_STORE_UNAVAILABLE),
                "the store can not be reached or written to",
                {"store": error.store},
                retry_delay=error.retry_delay,
            )
        case Unauthenticated():
            return Problem(code.UNAUTHENTICATED, _reason(ErrorReason.ERROR_REASON_UNAUTHENTICATED), error.why, {})
        case PermissionDenied():
            return Problem(
                code.PERMISSION_DENIED,
                _reason(ErrorReason.ERROR_REASON_PERMISSION_DENIED),
                f"the caller's role does not allow to {error.right} in project {cut(error.project, 100)}",
                {"project": error.project, "right": error.right},
            )
        case QuotaExceeded():
            return Problem(
                code.RESOURCE_EXHAUSTED,
                _reason(ErrorReason.ERROR_REASON_QUOTA_EXCEEDED),
                f"the quota {error.quota} is used up; retry after the delay",
                {"quota": error.quota, "retry_delay_ms": str(round(error.retry_delay * 1000))},
                retry_delay=error.retry_delay,
            )
        case _:
            return Problem(code.INTERNAL, _reason(ErrorReason.ERROR_REASON_INTERNAL), "internal error", {})
