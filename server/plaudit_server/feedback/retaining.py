"""The removal of records at the end of their time: their ids alone are kept, and one change says how many there were.

What decides that their time is over is not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NamedTuple
from uuid import UUID

from plaudit import v1 as wire
from plaudit_server.errors import DomainError
from plaudit_server.feedback.commands import ID_BYTES, WriteStatements, bare_row, erase
from plaudit_server.feedback.errors import UnderHold
from plaudit_server.feedback.purging import Key, Match, PurgeStatements
from plaudit_server.feedback.records import GONE, HISTORY, ChangeKind, Retained, Row
from plaudit_server.rpc.wire import set_timestamp
from plaudit_server.store.base import Command, Insert, Read, Statement, Steps
from plaudit_server.store.ledger import Flag, Ledger
from plaudit_server.store.prepared import Prepared, Traits
from plaudit_server.store.work import SERVER, Lane, Work

_ANY: Final = "*"


class Removed(NamedTuple):
    """How many records were removed."""

    rows: int


class Due(NamedTuple):
    """Records whose time is over, oldest first; `reached` is the key of the last when more may follow."""

    matches: list[Match]
    reached: Key | None


FIRST: Final[Key] = (-(2**62), "")
"""Stands before every record."""


class RetainStatements:
    """The fixed statements about records whose time is over."""

    def __init__(self, traits: Traits) -> None:
        sql = traits.sql
        oldest = (
            "SELECT f.id, f.revision, f.created_at FROM feedback AS f{} WHERE f.project = ?{} AND f.created_at < ?"
            " AND f.created_at >= ? AND (f.created_at > ? OR f.id > ?) ORDER BY f.created_at, f.id LIMIT ?"
        )
        self.oldest = sql(oldest.format("", ""))
        self.oldest_of_type = sql(oldest.format(traits.by_type, " AND f.feedback_type = ?"))


@dataclass(frozen=True, slots=True)
class FindDue(Read[Due]):
    """The oldest records above `after` of a type, None for any, that were created before a time; at most `limit`."""

    project: str
    feedback_type: str | None
    before: int
    limit: int
    after: Key = FIRST

    @property
    def lane(self) -> Lane:
        """A bounded number of rows from the beginning of an index."""
        return Lane.POINT

    def steps(self, sql: Prepared) -> Steps[Due]:
        """Their ids, and then their sizes."""
        statements = sql.of(RetainStatements)
        bound = self.before, self.after[0], *self.after, self.limit
        if self.feedback_type is None:
            rows = yield Statement(statements.oldest, (self.project, *bound))
        else:
            rows = yield Statement(statements.oldest_of_type, (self.project, self.feedback_type, *bound))
        if not rows:
            return Due([], None)
        ids = sql.traits.bind_list([row[0] for row in rows])
        sized = yield Statement(sql.of(PurgeStatements).by_id, (self.project, self.project, ids))
        sizes = {row[0]: row[2] for row in sized}
        matches = [Match(id, revision, sizes.get(id, 0)) for id, revision, _ in rows]
        return Due(matches, (rows[-1][2], rows[-1][0]) if len(rows) == self.limit else None)


class Removal(Command[Removed]):
    """What commands that remove records by their ids have in common."""

    __slots__ = ()

    kind: ClassVar[str] = "retain"
    adds: ClassVar[bool] = False

    ids: Sequence[str]

    @property
    def rows(self) -> int:
        """One for each id."""
        return len(self.ids)

    @property
    def size(self) -> int:
        """The bytes of the ids."""
        return ID_BYTES * len(self.ids)

    def removed(self, outcome: Any) -> int:
        """The removed records."""
        return outcome.rows if isinstance(outcome, Removed) else 0


@dataclass(frozen=True, slots=True)
class Retain(Removal):
    """Remove records whose time is over, for good, with one change. Outcome: Removed, or UnderHold.

    Of the `ids` only those are removed that are there, were created before `before` (microseconds since 1970 UTC), and
    are of the type; None is any.
    """

    project: str
    feedback_type: str | None
    before: int
    ids: Sequence[str]
    work: Work = field(default=SERVER, compare=False)

    def steps(self, ledger: Ledger) -> Steps[Removed | DomainError]:
        """Remove what is still there and still due, and keep the ids."""
        # As for a purge: were all its columns in one index, SQLite would read that index through, and no id by its key.
        there = ledger.sql.of(WriteStatements).purgeable
        rows = yield Statement(there, (ledger.sql.traits.bind_list(self.ids), self.project))
        found = [(id, type, at) for id, _, type, _, at, _ in rows]
        due = [(id, type, at) for id, type, at in found if self.feedback_type in (type, None) and at < self.before]
        ids = sorted(id for id, _, _ in due)
        if not ids:
            return Removed(0)
        if ledger.flags & Flag.HELD:
            return UnderHold(self.project)
        for _, type, created_at in due:
            ledger.count(type, created_at, -1)
        yield from erase(ledger, ids)
        yield from keep_taken(ledger, ids)
        yield note_of(ledger, Retained(self.feedback_type, self.before, len(ids), ledger.tick()))
        return Removed(len(ids))


def keep_taken(ledger: Ledger, ids: Sequence[str]) -> Steps[None]:
    """Keep the ids of records that are gone from being used again."""
    if ids:
        yield Insert(GONE, [(ledger.project, UUID(id).bytes) for id in ids])
        yield from ledger.raise_flag(Flag.GONE)


def note_of(ledger: Ledger, retained: Retained) -> Insert:
    """The row of the change that says what was removed; it is about no one record, so that its id is none of a record.

    Like every row it holds what watchers get: here field 5 of a Change.
    """
    ledger.revision += 1
    id, type, head = str(ledger.revision), retained.feedback_type or _ANY, wire_form(retained).head
    return Insert(HISTORY, [bare_row(ledger, id, ChangeKind.RETAINED, retained.at, "", "", type, head)])


def wire_form(retained: Retained) -> Row:
    """What was removed, as the part of a Change."""
    message = wire.Retained(feedback_type=retained.feedback_type or _ANY, count=retained.rows)
    set_timestamp(message.before, retained.before)
    set_timestamp(message.removed_at, retained.at)
    return Row(wire.Change(retained=message).SerializeToString(), b"")
