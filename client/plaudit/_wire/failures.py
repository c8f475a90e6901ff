"""How a failed call of gRPC becomes an exception of the client; what the codes mean is in `_core.statuses`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from plaudit._core.errors import PlauditError, UnavailableError
from plaudit._core.statuses import from_details

_STATUS_DETAILS: Final = "grpc-status-details-bin"
_REQUEST_ID: Final = "x-request-id"

# The start of the text that gRPC itself gives to a stream that ended without a status, as when the server behind a
# balancer is killed. The code of it is UNKNOWN, which no server of plaudit ever answers.
_STREAM_LOST: Final = "Stream removed"

# Parts of the texts with which gRPC says that there is no connection at all.
_NOT_REACHED: Final = ("failed to connect", "resolution failed", "connections to all backends failing", "empty address")
_UNREACHED_SECONDS: Final = 0.2


def from_rpc_error(error: grpc.RpcError, target: str = "", proxy: str = "") -> PlauditError:
    """The client's exception for a failed call, with the gRPC error as its cause.

    What gRPC says by itself, without an answer of a server, names `target` and `proxy`, and what to do.
    """
    code, message, trailers = _parts_of(error)
    if code is grpc.StatusCode.UNKNOWN and message.startswith(_STREAM_LOST):
        code = grpc.StatusCode.UNAVAILABLE
    status = _status_of(trailers)
    request_id = next((v for k, v in trailers if k == _REQUEST_ID and isinstance(v, str)), "")
    if status is None:
        status = status_pb2.Status(code=code.value[0])
        if target and not request_id:
            message = _explained(code, message, target, f" through {proxy}" if proxy else "")
    # The code is that of the call. The message of the details is the same text, which no proxy has cut.
    made = from_details(code, status.message or message, status)
    made.request_id = made.request_id or request_id
    made.__cause__ = error
    return made


def quick(delay: float, error: PlauditError) -> float:
    """The delay before the next attempt: shorter when no server was reached, so that the attempt cost nobody anything.

    A server that restarts is back for only a moment, as callers see it, when it restarts again.
    """
    if isinstance(error, UnavailableError) and isinstance(error.__cause__, grpc.RpcError):
        message = _parts_of(error.__cause__)[1].lower()
        if any(part in message for part in _NOT_REACHED):
            return min(delay, _UNREACHED_SECONDS)
    return delay


def _explained(code: grpc.StatusCode, message: str, target: str, way: str) -> str:
    """What gRPC says by itself, for somebody who does not know gRPC."""
    if code is grpc.StatusCode.UNAVAILABLE:
        if any(part in message.lower() for part in _NOT_REACHED):
            return (
                f"no server can be reached at {target}{way}: start one (plaudit-server serve), or name another with "
                f"target= or PLAUDIT_TARGET ({message})"
            )
        return f"the connection to {target}{way} has failed: {message}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer from {target}{way} in time ({message})"
    if code is grpc.StatusCode.CANCELLED:
        return f"the call of {target}{way} was ended, and not by its caller ({message})"
    return message


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
