"""Imports: records that keep their own times, author and version, and what becomes of those that are there already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, ClassVar, Final, NamedTuple

from plaudit._contract.jsontext import same_content
from plaudit_server.errors import DomainError
from plaudit_server.feedback.aliases import targets
from plaudit_server.feedback.creating import Create, OfRecords
from plaudit_server.feedback.errors import FeedbackExists, FeedbackNotUnique, FeedbackPurged, UnderHold
from plaudit_server.feedback.held import Held, again, look_up, taken
from plaudit_server.feedback.judging import NOTHING_SAID, Judgement, Stale, Verdict
from plaudit_server.feedback.places import Places, Stored, content_in, holders_of, owner_of, row_of
from plaudit_server.feedback.records import FEEDBACK, ChangeKind, Record, Row, content_of, seal
from plaudit_server.store.base import Statement, Steps
from plaudit_server.store.ledger import Flag, Ledger
from plaudit_server.store.prepared import Traits
from plaudit_server.store.work import SERVER, Work

_CREATED: Final = int(ChangeKind.CREATED)

_ID: Final = FEEDBACK.place("id")
_VERSION: Final = FEEDBACK.place("version")
_UPDATED_AT: Final = FEEDBACK.place("updated_at")
_PAYLOAD: Final = FEEDBACK.place("payload")
_KEY: Final = FEEDBACK.place("unique_key")


class Existing(IntEnum):
    """What becomes of a record whose id is there with other content; the numbers are those of the wire."""

    REFUSE = 1
    KEEP = 2
    UPDATE = 3


class Fate(Enum):
    """What became of a record."""

    CREATED = "created"
    UPDATED = "updated"
    KEPT = "kept"
    """What is there has other content, and stays."""
    THERE = "there"
    """What is there has this content."""


class Imported(NamedTuple):
    """What became of a record, and the record as it is now."""

    fate: Fate
    row: Row


class ImportStatements:
    """The fixed statement of imports."""

    def __init__(self, traits: Traits) -> None:
        columns = ", ".join(f"f.{column}" for column in FEEDBACK.columns)
        self.rows = traits.asking + traits.asked("feedback", columns)


@dataclass(frozen=True, slots=True)
class Import(OfRecords[list[Imported | DomainError]]):
    """Store records with their own created_at, updated_at, version and author. Outcome: one Imported or error a record.

    The project's clock does not move. Of a record whose id is there, `existing` decides: REFUSE takes what agrees with
    the oldest version, KEEP changes nothing, UPDATE makes a new version of what differs from the newest version and was
    changed later. The outcome is Stale when the definitions by which records were judged are not those in force.
    """

    kind: ClassVar[str] = Create.kind  # in metrics an import is a create
    adds: ClassVar[bool] = True

    project: str
    records: Sequence[Record]
    existing: Existing = Existing.REFUSE
    judgement: Judgement = NOTHING_SAID
    work: Work = field(default=SERVER, compare=False)

    def stored(self, outcome: Any) -> int:
        """The records that are there now, in whatever content."""
        return sum(isinstance(result, Imported) for result in outcome) if isinstance(outcome, list) else 0

    def steps(self, ledger: Ledger) -> Steps[list[Imported | DomainError] | DomainError]:
        """Decide about one record after the other, in memory, then write what changes."""
        if self.judgement.number != ledger.definitions:
            return Stale(ledger.definitions)
        deciding = _Deciding(self, Places(ledger))
        yield from deciding.look_up()
        results = [deciding.decide(index, record) for index, record in enumerate(self.records)]
        yield from deciding.places.write()
        return results


class _Deciding:
    """The decisions of one import, in the order of its records: each sees what the ones before it did."""

    def __init__(self, command: Import, places: Places) -> None:
        self.places = places
        self._command = command
        self._ledger = places.ledger
        self._names: dict[str, str] = {}  # the ids of records by their other names
        self._rows: dict[str, Stored] = {}
        self._held: dict[str, Held | None] = {}  # for REFUSE: what holds an id, and its oldest content
        self._gone: set[str] = set()

    def look_up(self) -> Steps[None]:
        """Find what is there of all records."""
        command, ledger = self._command, self._ledger
        ids = [record.id for record in command.records]
        if command.existing is Existing.REFUSE:
            self._held = yield from look_up(ledger, ids)
        else:
            yield from self._look_up_rows(ids)
        keys = {
            verdict.key(self._owner(record))
            for index, record in enumerate(command.records)
            if (verdict := command.judgement.of(index)) is not None and verdict.key is not None
        }
        if keys:
            self.places.holders = yield from holders_of(self.places.ledger, sorted(keys))

    def _look_up_rows(self, ids: Sequence[str]) -> Steps[None]:
        ledger, project = self._ledger, self._command.project
        found = yield from taken(ledger, ids)
        alive = {id for id, version in found if version > 0}
        self._gone = {id for id, version in found if version == 0}
        self._names = yield from targets(ledger.sql, project, [id for id, version in found if version < 0])
        alive |= set(self._names.values())
        if alive:
            bound = ledger.sql.traits.bind_list(sorted(alive))
            rows = yield Statement(ledger.sql.of(ImportStatements).rows, (bound, project))
            self._rows = {row[_ID]: tuple(row) for row in rows}
        self._gone |= {name for name, id in self._names.items() if id not in self._rows}

    def _owner(self, record: Record) -> str:
        there = self._there(record)
        return record.user_id if there is None else owner_of(there)

    def _there(self, record: Record) -> Stored | None:
        return self._rows.get(self._names.get(record.id, record.id))

    def decide(self, index: int, record: Record) -> Imported | DomainError:
        """What becomes of a record."""
        verdict = self._command.judgement.of(index)
        if record.id in self._gone:
            return FeedbackPurged(record.project, record.id)
        if record.id in self._held:
            return self._repeated(record, verdict)
        there = self._there(record)
        if there is None:
            return self._created(record, verdict)
        content = content_of(record)
        # Who stored the content is not part of it here: CONTENT_COLUMNS begins with user_id.
        if content[1:] == content_in(there)[1:] and same_content(record.payload, there[_PAYLOAD]):
            self._ledger.repeated += 1
            return Imported(Fate.THERE, row_of(there))
        later = record.updated_at is not None and record.updated_at > there[_UPDATED_AT]
        if self._command.existing is Existing.KEEP or not later:
            self._ledger.repeated += 1
            return Imported(Fate.KEPT, row_of(there))
        return self._updated(there, record, content, verdict)

    def _repeated(self, record: Record, verdict: Verdict | None) -> Imported | DomainError:
        result = again(record, content_of(record), self._held[record.id])
        if isinstance(result, Row):
            self._ledger.repeated += 1
            return Imported(Fate.THERE, result)
        if isinstance(result, FeedbackExists) and verdict is not None and verdict.refused is not None:
            return verdict.refused
        return result

    def _created(self, record: Record, verdict: Verdict | None) -> Imported | DomainError:
        key = self._place(record, verdict, record.user_id, None)
        if isinstance(key, DomainError):
            return key
        content = content_of(record)
        row, stored = self._row(record, content, key)
        self.places.add(stored)
        if self._command.existing is Existing.REFUSE:
            self._held[record.id] = Held(record.id, content, record.payload, row)
        else:
            self._rows[record.id] = stored
        return Imported(Fate.CREATED, row)

    def _row(self, record: Record, content: tuple[Any, ...], key: str | None) -> tuple[Row, Stored]:
        ledger = self._ledger
        created_at = ledger.tick() if record.created_at is None else record.created_at
        updated_at = created_at if record.updated_at is None else record.updated_at
        version, owner = record.version or 1, record.user_id
        ledger.revision = revision = ledger.revision + 1
        row = seal(record.body, record.payload.encode(), created_at, updated_at, version, revision, owner)
        return row, (
            ledger.project, record.id, revision, version, _CREATED, created_at, updated_at,
            *content, row.head, record.payload, key, owner,
        )  # fmt: skip

    def _updated(
        self, there: Stored, record: Record, content: tuple[Any, ...], verdict: Verdict | None
    ) -> Imported | DomainError:
        key = self._place(record, verdict, owner_of(there), there[_ID])
        if isinstance(key, DomainError):
            return key
        assert record.updated_at is not None
        if self._ledger.flags & Flag.HELD:
            return UnderHold(record.project)
        version = max(there[_VERSION] + 1, record.version or 1)
        row, after = self.places.swap(there, record, content, record.updated_at, version, key)
        self._rows[there[_ID]] = after
        return Imported(Fate.UPDATED, row)

    def _place(self, record: Record, verdict: Verdict | None, owner: str, id: str | None) -> str | DomainError | None:
        """The place that content of this owner takes, for the record `id` or a new one; or why it may not be stored."""
        if verdict is None:
            return None
        if verdict.refused is not None:
            return verdict.refused
        if verdict.key is None:
            return None
        key = verdict.key(owner)
        holder = self.places.holders.get(key)
        if holder is None or holder[_ID] == id:
            return key
        if verdict.yields:
            return None
        return FeedbackNotUnique(record.project, record.feedback_type, holder[_ID])
