"""Domain exceptions, each with its own data, and the one mapping of any error to a gRPC status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: the request's field (`feedback[3].payload.note`), and what is wrong with it."""

    field: str
    description: str


class DomainError(Exception):
    """What the API refuses, and why; everything else is a defect and answers INTERNAL."""


class InvalidFields(DomainError):
    """Fields of a request break rules; all of them, in the order of the request."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__(f"{len(violations)} violations")
        self.violations = tuple(violations)


class InvalidQuery(DomainError):
    """A query breaks the language's rules; `violations` name the nodes by path."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__(f"{len(violations)} violations")
        self.violations = tuple(violations)


class InvalidPageToken(DomainError):
    """The page token was changed, or belongs to another query, store or version."""


class FeedbackNotFound(DomainError):
    """No record of the project has this id, or this version."""

    def __init__(self, project: str, id: str) -> None:
        super().__init__(id)
        self.project = project
        self.id = id


class FeedbackExists(DomainError):
    """The id is taken by a record with other content."""

    def __init__(self, project: str, id: str) -> None:
        super().__init__(id)
        self.project = project
        self.id = id


class FeedbackPurged(DomainError):
    """The id was purged and is not used again."""

    def __init__(self, project: str, id: str) -> None:
        super().__init__(id)
        self.project = project
        self.id = id


class VersionMismatch(DomainError):
    """A replace expected another version than the one stored."""

    def __init__(self, project: str, id: str, expected: int, actual: int) -> None:
        super().__init__(id)
        self.project = project
        self.id = id
        self.expected = expected
        self.actual = actual


class NotOwner(DomainError):
    """The record belongs to another principal, and the caller may change only its own."""

    def __init__(self, project: str, id: str) -> None:
        super().__init__(id)
        self.project = project
        self.id = id


class RevisionOutOfRange(DomainError):
    """A watch was to start above the project's revision."""

    def __init__(self, project: str, after: int, revision: int) -> None:
        super().__init__(project)
        self.project = project
        self.after = after
        self.revision = revision


class BatchRejected(DomainError):
    """Records of an atomic batch were refused by the store; nothing was stored. Errors by item index."""

    def __init__(self, errors: dict[int, DomainError]) -> None:
        super().__init__(f"{len(errors)} items")
        self.errors = errors


class Overloaded(DomainError):
    """Too much work is waiting; come back after `retry_delay` seconds."""

    def __init__(self, retry_delay: float) -> None:
        super().__init__(f"retry in {retry_delay} s")
        self.retry_delay = retry_delay


class StoreUnavailable(DomainError):
    """The store can not be reached or written to; nothing of the request was stored."""

    def __init__(self, store: str, retry_delay: float | None = None) -> None:
        super().__init__(store)
        self.store = store
        self.retry_delay = retry_delay
