"""The one mapping of any error to a gRPC status; each resource registers the cases of its own errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, singledispatch
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from plaudit.v1 import ErrorReason
from plaudit_server.errors import (
    InvalidFields,
    InvalidPageToken,
    InvalidQuery,
    MalformedMessage,
    MessageTooLarge,
    Overloaded,
    PermissionDenied,
    QueryTooExpensive,
    QuotaExceeded,
    Stopping,
    StoreChanged,
    StoreUnavailable,
    Unauthenticated,
    UnreadableRequest,
    Violation,
    WriteTooExpensive,
)

DOMAIN: Final = "plaudit.dev"

_PUSHBACK_METADATA: Final = "grpc-retry-pushback-ms"
_STATUS_DETAILS_METADATA: Final = "grpc-status-details-bin"

# Details are sent in the trailers, which fail near 8 KiB; in base64, 4 KiB become 5.4.
_DETAILS_BYTES: Final = 4096
_MESSAGE_CHARACTERS: Final = 300
_FIELD_CHARACTERS: Final = 160
_DESCRIPTION_CHARACTERS: Final = 240


@dataclass(frozen=True, slots=True)
class Problem:
    """What a client gets for an error: the parts of a `google.rpc.Status`."""

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
        """The status with its details, within `room` bytes: violations that do not fit are left out."""
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

    def trailers(self, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
        """The metadata with which a call ends: the status with its details, and when to come back."""
        details = _STATUS_DETAILS_METADATA, self.encoded(request_id)
        if self.retry_delay is None:
            return (details,)
        # RetryInfo for clients whose grpc retries by a service config, which reads this and no details.
        return details, (_PUSHBACK_METADATA, str(max(1, round(self.retry_delay * 1000))))

    def encoded(self, request_id: str) -> bytes:
        """The status with its details, as bytes."""
        if self.violations or self.code is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            return _bytes(self.status(request_id))
        # An overloaded server must not spend its time on refusals: the status is encoded once, and the detail of the
        # request is appended, since a repeated field may occur in several parts of a message.
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
    # Most text is printable as it is; looking at each character was a quarter of the cost of a refusal's status.
    return shown if shown.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in shown)


def _pack(status: status_pb2.Status, detail: object) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)  # type: ignore[arg-type]
    status.details.append(packed)


def reason(value: int) -> str:
    """The name of an ErrorReason as it is sent: without the enum's prefix."""
    return ErrorReason.Name(value).removeprefix("ERROR_REASON_")  # type: ignore[arg-type]


def _invalid(number: int, what: str, violations: Sequence[Violation]) -> Problem:
    first = "; ".join(f"{v.field}: {v.description}" for v in violations[:2])
    more = f" (and {len(violations) - 2} more)" if len(violations) > 2 else ""
    return Problem(
        grpc.StatusCode.INVALID_ARGUMENT,
        reason(number),
        f"{what}: {first}{more}",
        {"violation_count": str(len(violations))},
        violations,
    )


@singledispatch
def describe(error: BaseException) -> Problem:
    """What a client gets for any error; texts of drivers and of defects are never sent.

    A resource adds a case with `@describe.register` and a function of the error's type; errors that have none are
    defects and answer INTERNAL.
    """
    return Problem(grpc.StatusCode.INTERNAL, reason(ErrorReason.ERROR_REASON_INTERNAL), "internal error", {})


@describe.register
def _invalid_fields(error: InvalidFields) -> Problem:
    problem = _invalid(ErrorReason.ERROR_REASON_INVALID_FIELD, "invalid request", error.violations)
    if error.definition_version is None:
        return problem
    return replace(problem, metadata={**problem.metadata, "definition_version": str(error.definition_version)})


@describe.register
def _invalid_query(error: InvalidQuery) -> Problem:
    return _invalid(ErrorReason.ERROR_REASON_INVALID_QUERY, "invalid query", error.violations)


@describe.register
def _invalid_page_token(error: InvalidPageToken) -> Problem:
    return Problem(
        grpc.StatusCode.INVALID_ARGUMENT,
        reason(ErrorReason.ERROR_REASON_INVALID_PAGE_TOKEN),
        "page_token was changed, or is of another query or store; start again without it",
        {"field": "page_token"},
        (Violation("page_token", "is not a token of this query"),),
    )


@describe.register
def _store_changed(error: StoreChanged) -> Problem:
    return Problem(
        grpc.StatusCode.OUT_OF_RANGE,
        reason(ErrorReason.ERROR_REASON_STORE_CHANGED),
        "the store was restored from a backup, or copied, since; read again from the beginning",
        {"store_id": error.store_id},
    )


@describe.register
def _malformed_message(error: MalformedMessage) -> Problem:
    return Problem(
        grpc.StatusCode.INVALID_ARGUMENT,
        reason(ErrorReason.ERROR_REASON_MALFORMED_MESSAGE),
        f"the request is no {error.message_type}",
        {"message_type": error.message_type},
    )


@describe.register
def _unreadable_request(error: UnreadableRequest) -> Problem:
    return Problem(
        next(code for code in grpc.StatusCode if code.value[0] == error.code),
        reason(ErrorReason.ERROR_REASON_MALFORMED_MESSAGE),
        error.why,
        {"message_type": error.message_type},
    )


@describe.register
def _message_too_large(error: MessageTooLarge) -> Problem:
    # The code that grpc itself uses above its own limit; without RetryInfo, since waiting would not help.
    return Problem(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        reason(ErrorReason.ERROR_REASON_MESSAGE_TOO_LARGE),
        f"the request has {error.size} bytes, the limit is {error.limit}; send less in one request",
        {"size": str(error.size), "limit": str(error.limit)},
    )


@describe.register
def _overloaded(error: Overloaded) -> Problem:
    return Problem(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        reason(ErrorReason.ERROR_REASON_OVERLOADED),
        f"too many {error.waiting} are waiting; retry after the delay",
        {"retry_delay_ms": str(round(error.retry_delay * 1000))},
        retry_delay=error.retry_delay,
    )


@describe.register
def _query_too_expensive(error: QueryTooExpensive) -> Problem:
    # Without RetryInfo: the same query would be stopped again.
    seconds = f"{error.seconds:.3g}"
    return Problem(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        reason(ErrorReason.ERROR_REASON_QUERY_TOO_EXPENSIVE),
        f"the query was stopped after {seconds} s; a declared index for its paths, or a narrower filter, would help",
        {"seconds": seconds},
    )


@describe.register
def _write_too_expensive(error: WriteTooExpensive) -> Problem:
    seconds = f"{error.seconds:.3g}"
    return Problem(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        reason(ErrorReason.ERROR_REASON_QUERY_TOO_EXPENSIVE),
        f"the database stopped the write after {seconds} s, and nothing of it was stored; fewer records would help",
        {"seconds": seconds},
    )


@describe.register
def _store_unavailable(error: StoreUnavailable) -> Problem:
    return Problem(
        grpc.StatusCode.UNAVAILABLE,
        reason(ErrorReason.ERROR_REASON_STORE_UNAVAILABLE),
        "the store cannot be reached or written to",
        {"store": error.store},
        retry_delay=error.retry_delay,
    )


@describe.register
def _stopping(error: Stopping) -> Problem:
    return Problem(
        grpc.StatusCode.UNAVAILABLE,
        reason(ErrorReason.ERROR_REASON_SERVER_STOPPING),
        "the server is about to stop; retry after the delay",
        {"retry_delay_ms": str(round(error.retry_delay * 1000))},
        retry_delay=error.retry_delay,
    )


@describe.register
def _unauthenticated(error: Unauthenticated) -> Problem:
    return Problem(grpc.StatusCode.UNAUTHENTICATED, reason(ErrorReason.ERROR_REASON_UNAUTHENTICATED), error.why, {})


@describe.register
def _permission_denied(error: PermissionDenied) -> Problem:
    return Problem(
        grpc.StatusCode.PERMISSION_DENIED,
        reason(ErrorReason.ERROR_REASON_PERMISSION_DENIED),
        f"the caller's role does not allow to {error.right} in project {cut(error.project, 100)}",
        {"project": error.project, "right": error.right},
    )


@describe.register
def _quota_exceeded(error: QuotaExceeded) -> Problem:
    return Problem(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        reason(ErrorReason.ERROR_REASON_QUOTA_EXCEEDED),
        f"the quota {error.quota} is used up; retry after the delay",
        {"quota": error.quota, "retry_delay_ms": str(round(error.retry_delay * 1000))},
        retry_delay=error.retry_delay,
    )
