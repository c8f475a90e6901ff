"""How a status becomes an exception of the client: a call's, with its details, or that of one item of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from plaudit._core.errors import (
    AbortedError,
    AlreadyExistsError,
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    PlauditError,
    ResourceExhaustedError,
    StoreChangedError,
    UnauthenticatedError,
    UnavailableError,
    Violation,
)

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
    # Neither the caller nor a deadline has cancelled it: a server that stops, or a proxy, has dropped the call.
    grpc.StatusCode.CANCELLED: UnavailableError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgumentError,
    grpc.StatusCode.UNKNOWN: InternalError,
    grpc.StatusCode.DATA_LOSS: InternalError,
}
_REASONS: Final[Mapping[str, type[PlauditError]]] = {"STORE_CHANGED": StoreChangedError}
"""Reasons that have a class of their own."""

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def from_status(status: status_pb2.Status) -> PlauditError:
    """The exception for the status of one item of a batch."""
    return from_details(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, status)


def from_details(code: grpc.StatusCode, message: str, status: status_pb2.Status) -> PlauditError:
    """The exception for a code, with what the details of `status` say; a detail that cannot be read is ignored."""
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
    return (_REASONS.get(info.reason) or _CLASSES.get(code, PlauditError))(
        message or code.name,
        code=code,
        reason=info.reason,
        metadata=info.metadata,
        request_id=request.request_id or info.metadata.get("request_id", ""),
        violations=[Violation(v.field, v.description) for v in bad_request.field_violations],
        retry_after=retry_after,
    )
