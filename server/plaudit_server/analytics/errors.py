"""What questions about many records refuse, and the status of each."""

from __future__ import annotations

import grpc

from plaudit.v1 import ErrorReason
from plaudit_server.errors import DomainError
from plaudit_server.rpc.errors import Problem, describe, reason


class AggregateTooLarge(DomainError):
    """What a question needs in memory or in its answer is above a limit, which only the data shows.

    `name` is the limit as GetServerInfo lists it; `value` is what was reached when counting stopped.
    """

    def __init__(self, name: str, limit: int, value: int) -> None:
        super().__init__(f"{name}: {value} of {limit}")
        self.name = name
        self.limit = limit
        self.value = value


@describe.register
def _aggregate_too_large(error: AggregateTooLarge) -> Problem:
    # Without RetryInfo: the same question would be too large again.
    return Problem(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        reason(ErrorReason.ERROR_REASON_AGGREGATE_TOO_LARGE),
        f"the answer needs {error.value} or more, the limit {error.name} is {error.limit}; ask for less at once",
        {"limit": str(error.limit), "value": str(error.value)},
    )
