"""What is written to feedback beside new records: replace and purge, each with its size and the steps that apply it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NamedTuple

from plaudit._contract.jsontext import same_content
from plaudit_server.errors import DomainError
from plaudit_server.feedback.aliases import target, targets
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.errors import (
    FeedbackNotFound,
    FeedbackNotUnique,
    NotOwner,
    UnderHold,
    VersionMismatch,
)
from plaudit_server.feedback.held import live
from plaudit_server.feedback.judging import NOTHING_SAID, Judgement, Stale
from plaudit_server.feedback.matching import opaque
from plaudit_server.feedback.places import holder
from plaudit_server.feedback.records import (
    CONTENT_COLUMNS,
    FEEDBACK,
    HISTORY,
    OWNER,
    ChangeKind,
    Record,
    Row,
    content_of,
    renamed,
    seal,
)
from plaudit_server.query.tree import Operation
from plaudit_server.store.base import Command, Insert, Statement, Steps
from plaudit_server.store.ledger import Flag, Ledger
from plaudit_server.store.prepared import Traits
from plaudit_server.store.work import SERVER, Work

_REPLACED: Final = int(ChangeKind.REPLACED)

_TYPE: Final = CONTENT_COLUMNS.index("feedback_type")

# What a row without content has in the other columns of content than user_id, ref and feedback_type.
_BLANK: Final = (None,) * (len(CONTENT_COLUMNS) - 3)

ID_BYTES: Final = 64
"""The cost of an id to remove while it waits."""


class WriteStatements:
    """The fixed statements of the commands."""

    def __init__(self, traits: Traits) -> None:
        columns = ", ".join(FEEDBACK.columns)
        sets = ", ".join(f"{column} = ?" for column in ("revision", "version", "kind", "updated_at", *CONTENT_COLUMNS))
        sql = traits.sql
        self.to_history = sql(
            f"INSERT INTO feedback_history ({columns}) SELECT {columns} FROM feedback WHERE project = ? AND id = ?"
        )
        self.replace = sql(
            f"UPDATE feedback SET {sets}, head = ?, payload = ?, unique_key = ? WHERE project = ? AND id = ?"
        )
        self.purge_live = sql("DELETE FROM feedback WHERE project = ? AND id {in}")
        self.purge_history = sql("DELETE FROM feedback_history WHERE project = ? AND id {in}")
        self.purgeable = traits.asking + traits.asked(
            "feedback", f"f.id, f.ref, f.feedback_type, {OWNER}, f.created_at, f.revision"
        )


@dataclass(frozen=True, slots=True)
class Replace(Command[Row]):
    """Swap a record's content. Outcome: Row, or FeedbackNotFound, VersionMismatch, NotOwner, FeedbackNotUnique, Stale,
    UnderHold.

    `expected_version` 0 means any. With `owner`, only a record of that owner is replaced. What the judgement refuses
    is the outcome, unless the content is there already.
    """

    kind: ClassVar[str] = "replace"
    pipes: ClassVar[bool] = True
    adds: ClassVar[bool] = True

    project: str
    record: Record
    expected_version: int = 0
    owner: str | None = None
    judgement: Judgement = NOTHING_SAID
    work: Work = field(default=SERVER, compare=False)

    @property
    def size(self) -> int:
        """The bytes of the record."""
        return len(self.record.body) + len(self.record.payload)

    def stored(self, outcome: Any) -> int:
        """One, if it was replaced or already had this content."""
        return int(type(outcome) is Row)

    def steps(self, ledger: Ledger) -> Steps[Row | DomainError]:
        """Compare with the record as it is, then swap it."""
        record, project = self.record, self.project
        if self.judgement.number != ledger.definitions:
            return Stale(ledger.definitions)
        found = yield from live(ledger, (record.id,))
        if not found:
            other = yield from target(ledger.sql, project, record.id)
            found = (yield from live(ledger, (other,))) if other is not None else []
        if not found:
            return FeedbackNotFound(project, record.id)
        now = found[0]
        if self.owner is not None and now.owner != self.owner:
            return NotOwner(project, record.id)
        expected = self.expected_version
        content = content_of(record)
        # Who stored the content is not part of it here: CONTENT_COLUMNS begins with user_id.
        same = content[1:] == now.content[1:] and same_content(record.payload, now.row.payload.decode())
        if same and expected in (0, now.version, now.version - 1):
            ledger.repeated += 1
            return now.row
        if expected not in (0, now.version):
            return VersionMismatch(project, record.id, expected, now.version)
        verdict, key = self.judgement.of(0), None
        if verdict is not None and verdict.refused is not None:
            return verdict.refused
        if verdict is not None and verdict.key is not None:
            key = verdict.key(now.owner)
            there = yield from holder(ledger, key)
            if there not in (None, now.id):
                return FeedbackNotUnique(project, record.feedback_type, there)
        if ledger.flags & Flag.HELD:
            return UnderHold(project)
        updated_at = ledger.tick()
        version = now.version + 1
        ledger.revision = revision = ledger.revision + 1
        body = record.body if now.id == record.id else renamed(record.body, now.id)
        row = seal(body, record.payload.encode(), now.created_at, updated_at, version, revision, now.owner)
        sql = ledger.sql.of(WriteStatements)
        if (before := now.content[_TYPE]) != record.feedback_type:
            ledger.count(before, now.created_at, -1)
            ledger.count(record.feedback_type, now.created_at)
        yield Statement(sql.to_history, (project, now.id))
        yield Statement(
            sql.replace,
            (revision, version, _REPLACED, updated_at, *content, row.head, record.payload, key, project, now.id),
            proof=(FEEDBACK, (now.id, revision, updated_at, row.head)),
        )
        return row


class Purged(NamedTuple):
    """How many records were purged."""

    purged: int


@dataclass(frozen=True, slots=True)
class Purge(Command[Purged]):
    """Remove records by their ids. Outcome: Purged, NotOwner, or UnderHold.

    `user_id` is who purges. `revisions` are those at which the records were found to match `filter`; a record with
    another one is removed if it matches still. With `owner`, a record of another owner refuses the whole. An id that
    is not there counts nothing.
    """

    kind: ClassVar[str] = "purge"
    pipes: ClassVar[bool] = True
    adds: ClassVar[bool] = False

    project: str
    user_id: str
    ids: Sequence[str]
    revisions: Sequence[int] = ()
    filter: Operation | None = None
    owner: str | None = None
    work: Work = field(default=SERVER, compare=False)

    @property
    def rows(self) -> int:
        """One for each id."""
        return len(self.ids)

    @property
    def size(self) -> int:
        """The bytes of the ids."""
        return ID_BYTES * len(self.ids)

    def removed(self, outcome: Any) -> int:
        """The purged records."""
        return outcome.purged if isinstance(outcome, Purged) else 0

    def steps(self, ledger: Ledger) -> Steps[Purged | DomainError]:
        """Remove what is still there and still matches, and leave a tombstone for each record."""
        bind_list = ledger.sql.traits.bind_list
        found = yield Statement(ledger.sql.of(WriteStatements).purgeable, (bind_list(self.ids), self.project))
        found += yield from self._by_other_names(ledger, {row[0] for row in found})
        if self.filter is not None:
            found = yield from self._still_matching(ledger, found)
        found.sort(key=lambda row: (row[4], row[0]))
        if self.owner is not None:
            for row in found:
                if row[3] != self.owner:
                    return NotOwner(self.project, row[0])
        if not found:
            return Purged(0)
        if ledger.flags & Flag.HELD:
            return UnderHold(self.project)
        yield from erase(ledger, [row[0] for row in found])
        purged_at = ledger.tick()
        tombstones = []
        for id, ref, feedback_type, _, created_at, _ in found:
            ledger.count(feedback_type, created_at, -1)
            ledger.revision += 1
            tombstones.append(
                bare_row(ledger, id, ChangeKind.PURGED, purged_at, self.user_id, ref, feedback_type, payload="{}")
            )
        yield Insert(HISTORY, tombstones)
        return Purged(len(found))

    def _by_other_names(self, ledger: Ledger, there: set[str]) -> Steps[list[Any]]:
        """The records of which the ids that are not there are other names."""
        missing = [id for id in self.ids if id not in there]
        named = set((yield from targets(ledger.sql, self.project, missing)).values()) - there
        if not named:
            return []
        bound = ledger.sql.traits.bind_list(sorted(named))
        return (yield Statement(ledger.sql.of(WriteStatements).purgeable, (bound, self.project)))

    def _still_matching(self, ledger: Ledger, found: list[Any]) -> Steps[list[Any]]:
        """What was found, without records that were replaced since then and no longer match."""
        revisions = dict(zip(self.ids, self.revisions, strict=False))
        still = []
        for row in found:
            if row[5] != revisions.get(row[0]):
                matching = opaque(ledger.sql, self.project, self.filter)
                # One by one, and they are few: so they are found by their key, whatever the filter.
                text = f"SELECT f.id FROM feedback AS f WHERE {matching.text}" + ledger.sql.traits.sql(" AND f.id = ?")
                if not (yield Statement(text, (*matching.params, row[0]))):
                    continue
            still.append(row)
        return still


COMMANDS: Final = (Create, Replace, Purge)


def erase(ledger: Ledger, ids: Sequence[str]) -> Steps[None]:
    """Remove records with all their versions."""
    sql, bound = ledger.sql.of(WriteStatements), ledger.sql.traits.bind_list(ids)
    yield Statement(sql.purge_history, (ledger.project, bound))
    yield Statement(sql.purge_live, (ledger.project, bound))
    ledger.erased = True


def bare_row(
    ledger: Ledger,
    id: str,
    kind: ChangeKind,
    at: int,
    user_id: str,
    ref: str,
    feedback_type: str,
    head: bytes = b"",
    payload: str = "",
) -> tuple[Any, ...]:
    """The row of the history for the newest change, made at `at`, of which no content is kept."""
    return (
        ledger.project, id, ledger.revision, 0, int(kind), at, at,
        user_id, ref, feedback_type, *_BLANK, head, payload, None, None,
    )  # fmt: skip
