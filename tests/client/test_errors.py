"""A gRPC error, with or without details, becomes the exception that says what to do."""

from __future__ import annotations

import pickle
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

import plaudit
from plaudit._core.errors import Violation
from plaudit._core.statuses import from_status
from plaudit._wire.failures import from_rpc_error

Trailers = tuple[tuple[str, str | bytes], ...]

CLASSES = {
    grpc.StatusCode.INVALID_ARGUMENT: plaudit.InvalidArgumentError,
    grpc.StatusCode.OUT_OF_RANGE: plaudit.InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: plaudit.NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: plaudit.AlreadyExistsError,
    grpc.StatusCode.ABORTED: plaudit.AbortedError,
    grpc.StatusCode.PERMISSION_DENIED: plaudit.PermissionDeniedError,
    grpc.StatusCode.UNAUTHENTICATED: plaudit.UnauthenticatedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: plaudit.ResourceExhaustedError,
    grpc.StatusCode.UNAVAILABLE: plaudit.UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: plaudit.DeadlineExceededError,
    grpc.StatusCode.INTERNAL: plaudit.InternalError,
    grpc.StatusCode.UNKNOWN: plaudit.InternalError,
    grpc.StatusCode.DATA_LOSS: plaudit.InternalError,
    grpc.StatusCode.CANCELLED: plaudit.UnavailableError,
    grpc.StatusCode.UNIMPLEMENTED: plaudit.PlauditError,
    grpc.StatusCode.FAILED_PRECONDITION: plaudit.PlauditError,
}


class FailedCall(grpc.RpcError):
    """What grpc raises: an error that is a call."""

    def __init__(self, code: grpc.StatusCode, details: str = "bad", trailers: Trailers | None = ()) -> None:
        super().__init__()
        self._code, self._details, self._trailers = code, details, trailers

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._trailers


def status(code: grpc.StatusCode, *details: Any, message: str = "told") -> status_pb2.Status:
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code.value[0], message=message, details=packed)


def failed(code: grpc.StatusCode, *details: Any) -> FailedCall:
    return FailedCall(code, trailers=(("grpc-status-details-bin", status(code, *details).SerializeToString()),))


FULL = (
    error_details_pb2.ErrorInfo(reason="INVALID_FIELD", domain="plaudit.dev", metadata={"violation_count": "7"}),
    error_details_pb2.BadRequest(
        field_violations=[error_details_pb2.BadRequest.FieldViolation(field="feedback[1].ref", description="is wrong")]
    ),
    error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=250_000_000)),
    error_details_pb2.RequestInfo(request_id="r-1"),
)


@pytest.mark.parametrize("code", CLASSES)
def test_code_decides_the_class(code: grpc.StatusCode) -> None:
    error = from_rpc_error(FailedCall(code))

    assert type(error) is CLASSES[code]
    assert isinstance(error, plaudit.PlauditError)
    assert error.code is code
    assert str(error) == "bad"


def test_details_are_read() -> None:
    error = from_rpc_error(failed(grpc.StatusCode.INVALID_ARGUMENT, *FULL))

    assert str(error) == "told"
    assert error.reason == "INVALID_FIELD"
    assert error.metadata == {"violation_count": "7"}
    assert error.violations == (Violation("feedback[1].ref", "is wrong"),)
    assert error.retry_after == 0.25
    assert error.request_id == "r-1"


def test_grpc_error_is_the_cause() -> None:
    call = failed(grpc.StatusCode.NOT_FOUND, *FULL)

    assert from_rpc_error(call).__cause__ is call


def test_invalid_argument_is_a_value_error() -> None:
    assert isinstance(from_rpc_error(FailedCall(grpc.StatusCode.INVALID_ARGUMENT)), ValueError)


@pytest.mark.parametrize(
    "trailers",
    [
        None,
        (),
        (("grpc-status-details-bin", b"\xff\xff no status"),),
        (
            (
                "grpc-status-details-bin",
                status_pb2.Status(details=[any_pb2.Any(type_url="x/unknown")]).SerializeToString(),
            ),
        ),
    ],
)
def test_works_without_usable_details(trailers: Trailers | None) -> None:
    error = from_rpc_error(FailedCall(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large", trailers))

    assert isinstance(error, plaudit.ResourceExhaustedError)
    assert (str(error), error.reason, error.violations, error.retry_after) == ("too large", "", (), None)


def test_broken_detail_does_not_hide_the_others() -> None:
    info = any_pb2.Any(type_url="type.googleapis.com/google.rpc.BadRequest", value=b"\xff")
    made = status(grpc.StatusCode.INVALID_ARGUMENT, FULL[0])
    made.details.insert(0, info)

    assert from_status(made).reason == "INVALID_FIELD"


def test_request_id_of_the_trailers_will_do() -> None:
    error = from_rpc_error(FailedCall(grpc.StatusCode.INTERNAL, trailers=(("x-request-id", "r-2"),)))

    assert error.request_id == "r-2"


def test_stream_that_went_with_its_connection_is_unavailable() -> None:
    said = "Stream removed (Data frame with END_STREAM flag received)"
    error = from_rpc_error(FailedCall(grpc.StatusCode.UNKNOWN, said))
    assert (type(error), error.code) == (plaudit.UnavailableError, grpc.StatusCode.UNAVAILABLE)
    assert type(from_rpc_error(FailedCall(grpc.StatusCode.UNKNOWN, "gone"))) is plaudit.InternalError


def test_rpc_error_that_is_no_call() -> None:
    assert isinstance(from_rpc_error(grpc.RpcError("odd")), plaudit.InternalError)


def test_status_of_an_item() -> None:
    error = from_status(status(grpc.StatusCode.ALREADY_EXISTS, FULL[0]))

    assert isinstance(error, plaudit.AlreadyExistsError)
    assert (str(error), error.reason) == ("told", "INVALID_FIELD")


@pytest.mark.parametrize("code", CLASSES)
def test_pickling_keeps_everything_but_the_cause(code: grpc.StatusCode) -> None:
    error = from_rpc_error(failed(code, *FULL))
    error.add_note("seen")

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert again.__dict__ == error.__dict__
    assert str(again) == str(error)
    assert again.code is code


def test_positions_of_a_batch_are_moved() -> None:
    error = plaudit.InvalidArgumentError(
        "feedback[1]: bad; feedback[9]: other", violations=[Violation("feedback[0].ref", "is wrong")], reason="R"
    )

    moved = error.moved([5, 8])

    assert str(moved) == "feedback[8]: bad; feedback[9]: other"
    assert moved.violations == (Violation("feedback[5].ref", "is wrong"),)
    assert (type(moved), moved.reason) == (plaudit.InvalidArgumentError, "R")
