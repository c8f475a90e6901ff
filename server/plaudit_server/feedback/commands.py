"""What is written to feedback: create, replace and purge, each with its size and the steps that apply it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NamedTuple

from plaudit._contract.jsontext import same_content
from plaudit_server.errors import DomainError, InvalidFields
from plaudit_server.feedback.aliases import target, targets
from plaudit_server.feedback.errors import (
    BatchRejected,
    FeedbackExists,
    FeedbackNotFound,
    FeedbackNotUnique,
    NotOwner,
    UnderHold,
    VersionMismatch,
)
from plaudit_server.feedback.held import Held, again, live, look_up
from plaudit_server.feedback.judging import NOTHING_SAID, Judgement, Stale, Verdict
from plaudit_server.feedback.matching import opaque
from plaudit_server.feedback.places import Places, holder
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
from plaudit_server.store.counters import DAY
from plaudit_server.store.ledger import Flag, Ledger
from plaudit_server.store.prepared import Traits
from plaudit_server.store.work import SERVER, Work

_CREATED: Final = int(ChangeKind.CREATED)
_REPLACED: Final = int(ChangeKind.REPLACED)

_TYPE: Final = CONTENT_COLUMNS.index("feedback_type")
_ROW_TYPE: Final = FEEDBACK.place("feedback_type")
_CREATED_AT: Final = FEEDBACK.place("created_at")

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
        self.purgeable = sql(
            f"SELECT f.id, f.ref, f.feedback_type, {OWNER}, f.created_at, f.revision FROM feedback AS f"
            " WHERE f.project = ? AND f.id {in}"
        )


def bytes_of(records: Sequence[Record]) -> int:
    """The bytes of records, as they count in the line of commands."""
    size = 0
    for record in records:  # no generator: this is asked for every create
        size += len(record.body) + len(record.payload)
    return size


def anyone() -> str | None:
    """The owner where anyone's records may be replaced."""
    return None


@dataclass(slots=True)
class Create(Command[list[Row | DomainError]]):
    """Store records of one project, in order. Outcome: a list of Row or DomainError, one a record.

    With `atomic`, any refusal stores nothing and the outcome is BatchRejected, or InvalidFields where no more than that
    is wrong. A repeat replaces records of `owner()` alone, or anyone's where that is None; it is asked only where
    something would be replaced, perhaps on another thread. The outcome is Stale when the definitions by which the
    records were judged are not those in force.

    It is not frozen, though nothing changes it: to set each field of a frozen one costs a call, for each create.
    """

    kind: ClassVar[str] = "create"
    pipes: ClassVar[bool] = True
    adds: ClassVar[bool] = True

    project: str
    records: Sequence[Record]
    atomic: bool = True
    owner: Callable[[], str | None] = anyone
    judgement: Judgement = NOTHING_SAID
    work: Work = field(default=SERVER, compare=False)

    @property
    def rows(self) -> int:
        """A row for each record."""
        return len(self.records)

    @property
    def size(self) -> int:
        """The bytes of the records."""
        return bytes_of(self.records)

    def stored(self, outcome: Any) -> int:
        """The records that have a row."""
        return sum([type(result) is Row for result in outcome]) if isinstance(outcome, list) else 0

    def steps(self, ledger: Ledger) -> Steps[list[Row | DomainError] | DomainError]:
        """As a part of another command."""
        [outcome] = yield from self.apply(ledger, [self])
        return outcome

    @classmethod
    def apply(cls, ledger: Ledger, commands: Sequence[Create]) -> Steps[list[list[Row | DomainError] | DomainError]]:
        """Creates that follow each other share a look-up and an insert."""
        given = [record.id for create in commands for record in create.records if not record.new_id]
        held = (yield from look_up(ledger, given)) if given else {}
        keys = [_keys(create) for create in commands]
        if any(keys):
            return (yield from _apply_in_places(ledger, commands, held, keys))
        rows: list[tuple[Any, ...]] = []
        outcomes: list[list[Row | DomainError] | DomainError] = [
            _decide(ledger, create, held, rows) for create in commands
        ]
        if rows:
            count_created(ledger, rows)
            yield Insert(FEEDBACK, rows)
        return outcomes


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
        found = yield Statement(ledger.sql.of(WriteStatements).purgeable, (self.project, bind_list(self.ids)))
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
        return (yield Statement(ledger.sql.of(WriteStatements).purgeable, (self.project, bound)))

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


def count_created(ledger: Ledger, rows: Sequence[tuple[Any, ...]]) -> None:
    """Count new rows, which are in the order of their times."""
    last, rest = rows[-1], 0
    if len(rows) > 1 and rows[0][_CREATED_AT] // DAY == last[_CREATED_AT] // DAY:
        types = [row[_ROW_TYPE] for row in rows]  # no call for each row: most are of one type
        if (rest := types.count(last[_ROW_TYPE])) == len(rows):
            ledger.count(last[_ROW_TYPE], last[_CREATED_AT], rest)
            return
    for row in rows:
        ledger.count(row[_ROW_TYPE], row[_CREATED_AT])


def _decide(
    ledger: Ledger, create: Create, held: dict[str, Held | None], rows: list[tuple[Any, ...]]
) -> list[Row | DomainError] | DomainError:
    """The result of each record; rows to write are added to `rows`, and their ids to those that are held."""
    if create.judgement.number != ledger.definitions:
        return Stale(ledger.definitions)
    results: list[Row | DomainError] = []
    before, length = ledger.mark(), len(rows)
    repeated = 0
    refused: dict[int, DomainError] = {}
    for index, record in enumerate(create.records):
        content = content_of(record)
        result: Row | DomainError
        if record.new_id or record.id not in held:
            verdict = create.judgement.of(index)
            if verdict is not None and verdict.refused is not None:
                refused[index] = verdict.refused
                results.append(verdict.refused)
                continue
            result, row = _new(ledger, record, content)
            rows.append(row)
            if not record.new_id:
                held[record.id] = Held(record.id, content, record.payload, result)
        else:
            result = _again(record, content, held[record.id], create.judgement.of(index))
            if isinstance(result, DomainError):
                refused[index] = result
            else:
                repeated += 1
        results.append(result)
    if refused and create.atomic:
        ledger.rewind(before)
        for row in rows[length:]:
            held.pop(row[1], None)  # a record whose id was made here is not in it
        del rows[length:]
        return _rejected(refused)
    ledger.repeated += repeated
    return results


def _rejected(refused: dict[int, DomainError]) -> DomainError:
    """What refuses an atomic batch: all that is wrong in its fields, where no more than that is."""
    invalid = [error for error in refused.values() if isinstance(error, InvalidFields)]
    if len(invalid) < len(refused):
        return BatchRejected(refused)
    return InvalidFields(
        [violation for error in invalid for violation in error.violations], invalid[0].definition_version
    )


def _again(record: Record, content: tuple[Any, ...], held: Held | None, verdict: Verdict | None) -> Row | DomainError:
    """The outcome of a create whose id is held, whatever is said of it by now."""
    result = again(record, content, held)
    if isinstance(result, FeedbackExists) and verdict is not None and verdict.refused is not None:
        return verdict.refused
    return result


def _keys(create: Create) -> Sequence[str | None]:
    """The place that each record would take, or None; nothing where none would take one."""
    if not create.judgement.verdicts:
        return ()
    keys = [
        verdict.key(record.user_id) if verdict is not None and verdict.key is not None else None
        for record, verdict in zip(create.records, create.judgement.verdicts, strict=True)
    ]
    return keys if any(keys) else ()


def _apply_in_places(
    ledger: Ledger, commands: Sequence[Create], held: dict[str, Held | None], keys: Sequence[Sequence[str | None]]
) -> Steps[list[list[Row | DomainError] | DomainError]]:
    """Apply creates of which some take places."""
    places = Places(ledger)
    yield from places.look_up([key for of_create in keys for key in of_create if key is not None])
    outcomes: list[list[Row | DomainError] | DomainError] = []
    for create, of_create in zip(commands, keys, strict=True):
        if create.judgement.number != ledger.definitions:
            outcomes.append(Stale(ledger.definitions))
            continue
        if not create.atomic:
            outcomes.append(_decide_in_places(create, of_create, places, held))
            continue
        before, mark, repeated, held_before = places.copy(), ledger.mark(), ledger.repeated, dict(held)
        results = _decide_in_places(create, of_create, places, held)
        refused = {index: result for index, result in enumerate(results) if isinstance(result, DomainError)}
        if not refused:
            outcomes.append(results)
            continue
        outcomes.append(_rejected(refused))
        places, ledger.repeated = before, repeated
        ledger.rewind(mark)
        held.clear()
        held |= held_before
    yield from places.write()
    return outcomes


def _decide_in_places(
    create: Create, keys: Sequence[str | None], places: Places, held: dict[str, Held | None]
) -> list[Row | DomainError]:
    """What becomes of each record; `keys` are the places that they would take."""
    ledger = places.ledger
    results: list[Row | DomainError] = []
    for index, record in enumerate(create.records):
        content, verdict = content_of(record), create.judgement.of(index)
        if not record.new_id and record.id in held:
            there = held[record.id]
            result = _again(record, content, there, verdict)
            if isinstance(result, Row):
                ledger.repeated += 1
                assert there is not None
                result = places.now.get(there.id, result)
            results.append(result)
            continue
        if verdict is not None and verdict.refused is not None:
            results.append(verdict.refused)
            continue
        key = keys[index] if keys else None
        if key in places.holders:
            assert key is not None
            assert verdict is not None
            if not verdict.yields:
                outcome = places.repeat(record, content, verdict, key, create.owner)
                if isinstance(outcome, DomainError):
                    results.append(outcome)
                    continue
                row, holds = outcome
                results.append(row)
                if not record.new_id:
                    held[record.id] = holds
                continue
            key = None
        row, stored = _new(ledger, record, content, key)
        places.add(stored)
        results.append(row)
        if not record.new_id:
            held[record.id] = Held(record.id, content, record.payload, row)
    return results


def _new(
    ledger: Ledger, record: Record, content: tuple[Any, ...], key: str | None = None
) -> tuple[Row, tuple[Any, ...]]:
    """A record that nothing holds the id of, as it is answered and as it is stored, in the place `key`."""
    created_at = ledger.tick()
    ledger.revision = revision = ledger.revision + 1
    owner = record.user_id
    row = seal(record.body, record.payload.encode(), created_at, created_at, 1, revision, owner)
    return row, (
        ledger.project, record.id, revision, 1, _CREATED, created_at, created_at,
        *content, row.head, record.payload, key, owner,
    )  # fmt: skip
