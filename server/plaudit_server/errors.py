"""What the API refuses, as exceptions that carry their data, and why a server does not start; no gRPC here.

A resource adds its own in its folder; `rpc.errors` turns each into a status.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: the request's field (`feedback[3].payload.note`), and what is wrong with it."""

    field: str
    description: str


class DomainError(Exception):
    """A request that the API refuses, and why. Every other exception is a defect, and its call ends with INTERNAL."""

    counted_as: ClassVar[str] = ""
    """The limit for which it refuses a call, by its name in metrics; empty when there is none."""


class StartError(Exception):
    """The server cannot start with these settings; the message says what the operator should do."""


class InvalidFields(DomainError):
    """Fields of a request break rules; `violations` lists all of them, in the order of the request.

    `definition_version` is that of the definition that some of the rules are from.
    """

    def __init__(self, violations: Sequence[Violation], definition_version: int | None = None) -> None:
        super().__init__(f"{len(violations)} violations")
        self.violations = tuple(violations)
        self.definition_version = definition_version


class InvalidQuery(DomainError):
    """A query breaks the language's rules; `violations` name the nodes by path."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__(f"{len(violations)} violations")
        self.violations = tuple(violations)


class InvalidPageToken(DomainError):
    """The page token was changed, or belongs to another query, store or version."""


class StoreChanged(DomainError):
    """A page token, or a watch's position, belongs to what the store was before a restore or a copy."""

    def __init__(self, store_id: str) -> None:
        super().__init__(store_id)
        self.store_id = store_id


class MalformedMessage(DomainError):
    """The bytes are not a message of the method's type."""

    def __init__(self, message_type: str) -> None:
        super().__init__(message_type)
        self.message_type = message_type


class UnreadableRequest(DomainError):
    """A request over HTTP whose protocol or JSON cannot be read: `why` is a sentence of ours that the client may read.

    `code` is the number of the gRPC status that Connect's specification asks for.
    """

    def __init__(self, message_type: str, code: int, why: str) -> None:
        super().__init__(why)
        self.message_type = message_type
        self.code = code
        self.why = why


class MessageTooLarge(DomainError):
    """The request is larger than the server takes; sizes in bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"{size} > {limit}")
        self.size = size
        self.limit = limit


class Overloaded(DomainError):
    """Too many writes, or reads (`waiting`), wait; the client should try again after `retry_delay` seconds."""

    def __init__(self, retry_delay: float, waiting: str = "writes") -> None:
        super().__init__(f"too many {waiting}, retry in {retry_delay} s")
        self.retry_delay = retry_delay
        self.waiting = waiting


class Stopping(DomainError):
    """The server is about to stop and takes no new calls; the client should try again after `retry_delay` seconds."""

    def __init__(self, retry_delay: float) -> None:
        super().__init__(f"retry in {retry_delay} s")
        self.retry_delay = retry_delay


class QueryTooExpensive(DomainError):
    """A query was stopped since it was not done within its `seconds`; the same would take as long again."""

    counted_as = "query_too_expensive"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"stopped after {seconds:g} s")
        self.seconds = seconds


class WriteTooExpensive(QueryTooExpensive):
    """A write was stopped by the store since it was not done within its `seconds`; nothing of it was stored."""


class StoreUnavailable(DomainError):
    """The store cannot be reached or written to; nothing of the request was stored."""

    def __init__(self, store: str, retry_delay: float | None = None) -> None:
        super().__init__(store)
        self.store = store
        self.retry_delay = retry_delay


class Unauthenticated(DomainError):
    """The call has no credentials, or invalid ones; `why` is the sentence that is sent to the client."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class PermissionDenied(DomainError):
    """The principal's role does not include this right in this project; empty for a call that is about no project."""

    def __init__(self, project: str, right: str) -> None:
        super().__init__(f"{right} on {project}")
        self.project = project
        self.right = right


class QuotaExceeded(DomainError):
    """A quota, named as in the settings, is used up; the client should try again after `retry_delay` seconds."""

    def __init__(self, quota: str, retry_delay: float) -> None:
        super().__init__(f"{quota}, retry in {retry_delay} s")
        self.quota = quota
        self.retry_delay = retry_delay
