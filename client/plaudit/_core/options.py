"""What an operation says of its own calls: deadline and metadata, in place of the client's or in addition to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypedDict

from plaudit._settings import Metadata, Pairs, check_timeout, pairs_of


class CallArguments(TypedDict, total=False):
    """What each operation takes as keywords."""

    timeout: float | None
    """Deadline of each call that the operation makes, with all its attempts, in seconds, counted from when it is sent;
    of a stream: how long a server may be away. None for the client's."""
    metadata: Metadata | None
    """Sent with each call in addition to the client's, such as `{"x-request-id": "…"}`."""


@dataclass(frozen=True, slots=True)
class CallOptions:
    """Options of each call of one operation."""

    timeout: float | None = None
    """Deadline of one call with all its attempts, in seconds; None for the client's."""
    metadata: Pairs = ()
    """Sent in addition to the client's, or in place of what has the same key."""

    @classmethod
    def of(cls, timeout: float | None = None, metadata: Metadata | None = None) -> CallOptions:
        """The options of what a user gives. Raises ValueError for what cannot be sent."""
        if timeout is None and metadata is None:
            return NONE
        return cls(None if timeout is None else check_timeout(timeout), pairs_of(metadata))

    def of_unary(self) -> dict[str, Any]:
        """What is given to a transport's `unary`: nothing for what is not set, so that any transport takes it."""
        return {**self.of_stream(), **({} if self.timeout is None else {"timeout": self.timeout})}

    def of_stream(self) -> dict[str, Any]:
        """What is given to a transport that opens a stream."""
        return {"metadata": self.metadata} if self.metadata else {}

    def over(self, others: CallOptions) -> CallOptions:
        """These options, and for what they leave out the others."""
        if self is NONE:
            return others
        return CallOptions(others.timeout if self.timeout is None else self.timeout, self.metadata or others.metadata)


NONE: Final = CallOptions()
"""Nothing but what the client says."""
