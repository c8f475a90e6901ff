"""The exceptions of the client, and how a gRPC error becomes one of them; nothing here does I/O.

Each says what to do about it:

PlauditError
├── InvalidArgumentError (also ValueError)   change the request: `violations` name the fields
├── NotFoundError                            there is no such record
├── AlreadyExistsError                       the id is taken, or was purged
├── AbortedError                             read again and try again
├── PermissionDeniedError                    ask for the right
├── UnauthenticatedError                     send a valid API key
├── ResourceExhaustedError                   come back after `retry_after` seconds
├── UnavailableError                         the server can not be reached, or is stopping
├── DeadlineExceededError                    no answer in time: whether a write was stored is not known
├── InternalError                            a defect of the server: report the `request_id`
└── NotStoredError                           records of a buffer were not stored: `report` tells which

What has no class of its own (a cancelled call, a method that an older server lacks) is a plain PlauditError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Self

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from plaudit._sync.buffered import Report

_STATUS_DETAILS: Final = "grpc-status-details-bin"
_REQUEST_ID: Final = "x-request-id"
_ITEM: Final = re.compile(r"\bfeedback\[(\d+)\]")


class Violation(NamedTuple):
    """One field of a request that breaks a rule: `field` is its path (`feedback[3].payload.note`)."""

    field: str
    description: str


class PlauditError(Exception):
    """Anything that went wrong between this client and its server; the root of the tree.

    `code` is the gRPC status, `reason` a name of `plaudit.v1.ErrorReason` (empty when the server gave none),
    `metadata` the variable parts of the message, `request_id` finds the call in the server's log,
    `violations` name the bad fields, `retry_after` is the server's hint in seconds (None without one).
    """

    default_code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        request_id: str = "",
        violations: Iterable[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code
        self.reason = reason
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.request_id = request_id
        self.violations = tuple(violations)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # A StatusCode pickles by its name; notes and the like are in __dict__.
        state = {name: value for name, value in self.__dict__.items() if name != "code"}
        return _rebuild, (type(self), self.message, self.code.name, state)

    def moved(self, positions: Sequence[int]) -> Self:
        """The same error with each `feedback[i]` in its text and paths as `feedback[positions[i]]`."""

        def position(match: re.Match[str]) -> str:
            i = int(match[1])
            return f"feedback[{positions[i]}]" if i < len(positions) else match[0]

        def move(text: str) -> str:
            return _ITEM.sub(position, text)

        error = type(self)(
            move(self.message),
            code=self.code,
            reason=self.reason,
            metadata=self.metadata,
            request_id=self.request_id,
            violations=[Violation(move(v.field), v.description) for v in self.violations],
            retry_after=self.retry_after,
        )
        error.__cause__ = self.__cause__
        return error


class InvalidArgumentError(PlauditError, ValueError):
    """The request breaks a rule; `violations` name the fields. Sending it again does not help."""

    default_code = grpc.StatusCode.INVALID_ARGUMENT

    @classmethod
    def of(cls, violations: Iterable[Violation]) -> Self:
        """An error found by the client itself, before anything was sent."""
        found = tuple(violations)
        shown = "; ".join(f"{v.field}: {v.description}" for v in found[:2])
        more = f" (and {len(found) - 2} more)" if len(found) > 2 else ""
        return cls(f"not sent: {shown}{more}", violations=found, metadata={"violation_count": str(len(found))})


class NotFoundError(PlauditError):
    """There is no such record, or version of it, in the project."""

    default_code = grpc.StatusCode.NOT_FOUND


class AlreadyExistsError(PlauditError):
    """The id is taken by a record with other content, or was purged."""

    default_code = grpc.StatusCode.ALREADY_EXISTS


class AbortedError(PlauditError):
    """The record has changed since it was read; read it again and try again."""

    default_code = grpc.StatusCode.ABORTED


class PermissionDeniedError(PlauditError):
    """The caller is known, and may not do this."""

    default_code = grpc.StatusCode.PERMISSION_DENIED


class UnauthenticatedError(PlauditError):
    """The caller is not known: the API key is missing, wrong or revoked."""

    default_code = grpc.StatusCode.UNAUTHENTICATED


class ResourceExhaustedError(PlauditError):
    """A limit of the server is reached; with `retry_after` it has room again then."""

    default_code = grpc.StatusCode.RESOURCE_EXHAUSTED


class UnavailableError(PlauditError):
    """The server can not be reached, or cannot serve now; tried again until the deadline, in vain."""

    default_code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceededError(PlauditError):
    """No answer in time. A write may have been stored: sending it again with the same id is safe."""

    default_code = grpc.StatusCode.DEADLINE_EXCEEDED


class InternalError(PlauditError):
    """A defect of the server; its log has more under the `request_id`."""

    default_code = grpc.StatusCode.INTERNAL


class NotStoredError(PlauditError):
    """A buffer was left, and not all that was added to it is stored: `report` tells what became of it."""

    report: Report

    @classmethod
    def of(cls, report: Report) -> Self:
        """The error of a report with something refused, or pending."""
        told = [f"{report.pending} could not be sent"] if report.pending else []
        if report.refused:
            first = report.refused[0]
            told.append(f"{report.refused_count} were refused (first {first.id}: {first.error})")
        error = cls(f"records are not stored: {' and '.join(told)}")
        error.report = report
        return error


_CLASSES: Final[Mapping[grpc.StatusCode, type[PlauditError]]] = {
    **{
        error.default_code: error
        for error in (
            InvalidArgumentError,
            NotFoundError,
            AlreadyExistsError,
            AbortedError,
            PermissionDeniedError,
            UnauthenticatedError,
            ResourceExhaustedError,
            UnavailableError,
            DeadlineExceededError,
            InternalError,
        )
    },
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgumentError,
    grpc.StatusCode.UNKNOWN: InternalError,
    grpc.StatusCode.DATA_LOSS: InternalError,
}
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

# How grpc's core begins what it says of a stream that ended without a status, as when a balancer's server is killed: it
# calls that UNKNOWN, which no server of plaudit ever answers.
_STREAM_LOST: Final = "Stream removed"


def from_rpc_error(error: grpc.RpcError) -> PlauditError:
    """The client's exception for a failed call, with the gRPC error as its cause."""
    code, message, trailers = _parts_of(error)
    if code is grpc.StatusCode.UNKNOWN and message.startswith(_STREAM_LOST):
        code = grpc.StatusCode.UNAVAILABLE
    status = _status_of(trailers)
    if status is None:
        status = status_pb2.Status(code=code.value[0])
    # What the call ended with counts; the details' own message is the same, uncut by proxies.
    made = _make(code, status.message or message, status)
    if not made.request_id:
        made.request_id = next((v for k, v in trailers if k == _REQUEST_ID and isinstance(v, str)), "")
    made.__cause__ = error
    return made


def from_status(status: status_pb2.Status) -> PlauditError:
    """The client's exception for the status of one item of a batch."""
    return _make(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, status)


def _parts_of(error: grpc.RpcError) -> tuple[grpc.StatusCode, str, list[tuple[str, str | bytes]]]:
    """Code, text and trailers of any RpcError, also of one that is no Call."""
    code, details, trailers = (
        read() if callable(read := getattr(error, name, None)) else None
        for name in ("code", "details", "trailing_metadata")
    )
    return (
        code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN,
        details or str(error),
        [(key, value) for key, value in trailers or ()],
    )


def _status_of(trailers: Iterable[tuple[str, str | bytes]]) -> status_pb2.Status | None:
    for key, value in trailers:
        if key == _STATUS_DETAILS and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None  # the code alone has to do
    return None


def _make(code: grpc.StatusCode, message: str, status: status_pb2.Status) -> PlauditError:
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    request = error_details_pb2.RequestInfo()
    retry_after: float | None = None
    for detail in status.details:
        try:
            if detail.Unpack(retry):
                retry_after = max(0.0, retry.retry_delay.ToTimedelta().total_seconds())
            else:
                _ = detail.Unpack(info) or detail.Unpack(bad_request) or detail.Unpack(request)
        except DecodeError:
            continue
    return _CLASSES.get(code, PlauditError)(
        message or code.name,
        code=code,
        reason=info.reason,
        metadata=info.metadata,
        request_id=request.request_id or info.metadata.get("request_id", ""),
        violations=[Violation(v.field, v.description) for v in bad_request.field_violations],
        retry_after=retry_after,
    )


def _rebuild(kind: type[PlauditError], message: str, code: str, state: Mapping[str, Any]) -> PlauditError:
    error = kind(message, code=grpc.StatusCode[code])
    error.__dict__.update(state)
    return error
