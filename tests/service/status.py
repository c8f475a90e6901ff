"""Reading the details of a refused call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2


class Refusal:
    """A call's status with its details; `violations` maps field to description."""

    def __init__(self, error: BaseException) -> None:
        assert isinstance(error, grpc.Call)
        self.code: grpc.StatusCode = error.code()
        self.message = error.details() or ""
        self.trailers: dict[str, Any] = {key: value for key, value in error.trailing_metadata() or ()}  # noqa: C416
        self.reason = ""
        self.metadata: dict[str, str] = {}
        self.violations: dict[str, str] = {}
        self.retry_seconds: float | None = None
        raw = self.trailers.get("grpc-status-details-bin")
        self.details_bytes = len(raw or b"")
        status = status_pb2.Status.FromString(raw or b"")
        for packed in status.details:
            self._read(packed)

    def _read(self, packed: Any) -> None:
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if packed.Unpack(info):
            assert info.domain == "plaudit.dev"
            self.reason = info.reason
            self.metadata = dict(info.metadata)
        elif packed.Unpack(bad_request):
            self.violations = {v.field: v.description for v in bad_request.field_violations}
        elif packed.Unpack(retry):
            self.retry_seconds = retry.retry_delay.ToMicroseconds() / 1e6


def refusal(call: Callable[[], Any]) -> Refusal:
    """The refusal of a call, which must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return Refusal(caught.value)
