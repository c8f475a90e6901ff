"""What the RPCs about feedback tokens refuse, and the status of each."""

from __future__ import annotations

import grpc

from plaudit.v1 import ErrorReason
from plaudit_server.errors import DomainError
from plaudit_server.rpc.errors import Problem, describe, reason


class TokenUsedUp(DomainError):
    """A feedback token has made all the records, or the versions of one, that it may; `limit` names which."""

    def __init__(self, project: str, limit: str, most: int) -> None:
        super().__init__(f"{limit}: {most}")
        self.project = project
        self.limit = limit
        self.most = most


class NotInToken(DomainError):
    """A feedback token does not allow this; `why` is a sentence of ours that its bearer may read."""

    def __init__(self, project: str, why: str) -> None:
        super().__init__(why)
        self.project = project
        self.why = why


@describe.register
def _token_used_up(error: TokenUsedUp) -> Problem:
    return Problem(
        grpc.StatusCode.FAILED_PRECONDITION,
        reason(ErrorReason.ERROR_REASON_LIMIT_REACHED),
        f"the feedback token has reached its limit {error.limit} of {error.most}",
        {"project": error.project, "limit": error.limit, "most": str(error.most)},
    )


@describe.register
def _not_in_token(error: NotInToken) -> Problem:
    return Problem(
        grpc.StatusCode.PERMISSION_DENIED,
        reason(ErrorReason.ERROR_REASON_PERMISSION_DENIED),
        error.why,
        {"project": error.project, "right": "submit"},
    )
