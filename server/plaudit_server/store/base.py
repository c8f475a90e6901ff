"""The interface of a store: commands in groups, and reads; no SQL and no protobuf here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, NamedTuple

from plaudit_server.errors import DomainError
from plaudit_server.feedback.records import Record, Row
from plaudit_server.query.tree import Operation, SortKey


class StoreError(Exception):
    """The store can not be used as it is; the message tells the operator what to do."""


class ChangeKind(IntEnum):
    """What a change did; the numbers are stored."""

    CREATED = 1
    REPLACED = 2
    PURGED = 3


class Tombstone(NamedTuple):
    """What is left of a purged record. `purged_at` in microseconds since 1970 UTC."""

    id: str
    ref: str
    feedback_type: str
    user_id: str
    purged_at: int
    revision: int


class Change(NamedTuple):
    """One step of a project's history: the record as it then became, or its tombstone."""

    revision: int
    kind: ChangeKind
    row: Row | None
    tombstone: Tombstone | None


@dataclass(frozen=True, slots=True)
class Create:
    """Store records of one project, in order. Outcome: a list of Row or DomainError, one a record.

    With `atomic`, any refusal stores nothing and the outcome is BatchRejected. With `imported`, the
    records' own created_at, updated_at and version are kept, and the project's clock does not move.
    """

    project: str
    records: Sequence[Record]
    atomic: bool = True
    imported: bool = False


@dataclass(frozen=True, slots=True)
class Replace:
    """Swap a record's content. Outcome: Row, or FeedbackNotFound, VersionMismatch, NotOwner.

    `expected_version` 0 means any. With `owner`, only a record of that user_id is replaced.
    """

    project: str
    record: Record
    expected_version: int = 0
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Purge:
    """Remove records, by ids or by filter, at most `limit`. Outcome: Purged, or NotOwner.

    `user_id` is who purges. With `owner`, a match of another user_id refuses the whole.
    """

    project: str
    user_id: str
    ids: Sequence[str] | None = None
    filter: Operation | None = None
    limit: int = 10_000
    dry_run: bool = False
    owner: str | None = None


class Purged(NamedTuple):
    """How many records were purged, and whether more match."""

    purged: int
    more: bool


class WriteFailed(Exception):
    """The engine refused this one command for a reason that no rule foresees: a defect, not a DomainError."""


Command = Create | Replace | Purge
Outcome = list[Row | DomainError] | Row | Purged | DomainError


def rows_in(outcome: Outcome | WriteFailed) -> int:
    """How many rows an outcome answers."""
    if type(outcome) is list:
        return sum([type(result) is Row for result in outcome])
    return int(type(outcome) is Row)


@dataclass(frozen=True, slots=True)
class Written:
    """A committed group: an outcome for each command, and each touched project's revision.

    `repeated` counts the rows among the outcomes that a create or a replace found there as it would have made them.
    """

    outcomes: list[Outcome | WriteFailed]
    revisions: dict[str, int] = field(default_factory=dict)
    repeated: int = 0


SortValue = str | int | float | None
"""One part of a row's sort key, as page tokens carry it."""


@dataclass(frozen=True, slots=True)
class Select:
    """Which rows of a project, in which order, and where to go on.

    `order` ends with `id` (see query.parse.parse_order). `after` is the sort key of the last row seen, as a
    Page gave it. At most `limit` rows and about `max_bytes` encoded bytes come back, but one row at least.
    """

    project: str
    filter: Operation | None
    order: tuple[SortKey, ...]
    after: tuple[SortValue, ...] | None = None
    offset: int = 0
    limit: int = 1000
    max_bytes: int = 4_000_000
    with_total: bool = False


class Page(NamedTuple):
    """Rows in order. `last` is the last row's sort key when more rows may follow, else None.

    `revision` is the project's, read before the rows; `total` counts all matches, if asked for.
    """

    rows: list[Row]
    last: tuple[SortValue, ...] | None
    revision: int
    total: int | None


class RefCount(NamedTuple):
    """A ref, how many records are about it, and when the first and the last were stored (microseconds)."""

    ref: str
    feedback_count: int
    first_created_at: int
    last_created_at: int


class Versions(NamedTuple):
    """Versions of one record, oldest first, and after a purge the tombstone alone."""

    rows: list[Row]
    more: bool
    tombstone: Tombstone | None


class Changes(NamedTuple):
    """Changes in revision order; everything up to and including `revision` has been looked at."""

    changes: list[Change]
    revision: int


class Store(ABC):
    """A place for feedback. All methods are called on one event loop; none blocks it.

    Failures of the engine itself are raised as StoreUnavailable; their text is logged, never sent.
    """

    name: ClassVar[str]

    poll_seconds: ClassVar[float | None] = None
    """How often to look for what other servers wrote; None when no other server can."""

    store_id: bytes
    """Random, made with the store: what page tokens are bound to."""

    @abstractmethod
    async def open(self) -> None:
        """Connect; create or migrate the schema. Raises StoreError with a line for the operator."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what runs and release everything. Safe to call twice."""

    @abstractmethod
    async def write(self, group: Sequence[Command]) -> Written:
        """Apply commands durably, each project's in order and in one transaction; a refused command changes nothing."""

    @abstractmethod
    async def get(self, project: str, id: str, version: int = 0) -> Row | None:
        """One record; version 0 is the newest. None when it is not there (or purged)."""

    @abstractmethod
    async def select(self, select: Select) -> Page:
        """Rows in order."""

    @abstractmethod
    async def count(self, project: str, filter: Operation | None) -> int:
        """How many rows match."""

    @abstractmethod
    async def refs(self, project: str, filter: Operation | None, after: str | None, limit: int) -> list[RefCount]:
        """Unique refs of matching rows in code point order, those above `after`."""

    @abstractmethod
    async def versions(self, project: str, id: str, after_version: int, limit: int) -> Versions:
        """The record's versions above `after_version`."""

    @abstractmethod
    async def changes(
        self, project: str, after: int, filter: Operation | None, limit: int, max_bytes: int = 4_000_000
    ) -> Changes:
        """Changes above revision `after`; those that pass the filter: on the new or the old version, or a purge."""

    @abstractmethod
    async def revision(self, project: str) -> int:
        """The project's revision; 0 when nothing was ever written."""

    @abstractmethod
    async def check(self) -> None:
        """Prove that the store can be written to; raises StoreUnavailable."""

    @property
    def erasure_pending(self) -> bool:
        """Whether purged bytes may still be in the store's files."""
        return False
