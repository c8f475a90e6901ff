"""How a failed call of gRPC becomes an exception of the client; what the codes mean is in `_core.statuses`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from plaudit._core.errors import PlauditError
from plaudit._core.statuses import from_details

_STATUS_DETAILS: Final = "grpc-status-details-bin"
_REQUEST_ID: Final = "x-request-id"

# The start of the text that gRPC itself gives to a stream that ended without a status, as when the server behind a
# balancer is killed. The code of it is UNKNOWN, which no server of plaudit ever answers.
_STREAM_LOST: Final = "Stream removed"


def from_rpc_error(error: grpc.RpcError) -> PlauditError:
    """The client's exception for a failed call, with the gRPC error as its cause."""
    code, message, trailers = _parts_of(error)
    if code is grpc.StatusCode.UNKNOWN and message.startswith(_STREAM_LOST):
        code = grpc.StatusCode.UNAVAILABLE
    status = _status_of(trailers)
    if status is None:
        status = status_pb2.Status(code=code.value[0])
    # The code is that of the call. The message of the details is the same text, which no proxy has cut.
    made = from_details(code, status.message or message, status)
    if not made.request_id:
        made.request_id = next((v for k, v in trailers if k == _REQUEST_ID and isinstance(v, str)), "")
    made.__cause__ = error
    return made


def _parts_of(error: grpc.RpcError) -> tuple[grpc.StatusCode, str, list[tuple[str, str | bytes]]]:
    """Code, text and trailers of any RpcError; not each of them is a Call that has all three."""
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
                return None  # then the code is all that is known
    return None
