"""Create: what becomes of each of its records, with those that take places and those that are there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeVar

from plaudit_server.errors import DomainError, InvalidFields
from plaudit_server.feedback.errors import BatchRejected, FeedbackExists
from plaudit_server.feedback.held import Held, again, look_up
from plaudit_server.feedback.judging import NOTHING_SAID, Judgement, Stale, Verdict
from plaudit_server.feedback.places import Places, holders_of
from plaudit_server.feedback.records import FEEDBACK, ChangeKind, Record, Row, content_of, seal
from plaudit_server.store.base import Command, Insert, Steps
from plaudit_server.store.counters import DAY
from plaudit_server.store.ledger import Ledger
from plaudit_server.store.work import SERVER, Work

T_co = TypeVar("T_co", covariant=True)

_CREATED: Final = int(ChangeKind.CREATED)
_ROW_TYPE: Final = FEEDBACK.place("feedback_type")
_CREATED_AT: Final = FEEDBACK.place("created_at")


class OfRecords(Command[T_co]):
    """What commands that store given records have in common."""

    __slots__ = ()

    records: Sequence[Record]

    @property
    def rows(self) -> int:
        """A row for each record."""
        return len(self.records)

    @property
    def size(self) -> int:
        """The bytes of the records."""
        size = 0
        for record in self.records:  # no generator: this is asked for every create
            size += len(record.body) + len(record.payload)
        return size


def anyone() -> str | None:
    """The owner where anyone's records may be replaced."""
    return None


@dataclass(slots=True)
class Create(OfRecords[list[Row | DomainError]]):
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
        wanted: list[str] = []
        keys = [_keys(create, wanted) if create.judgement.verdicts else () for create in commands]
        if wanted:
            holders = yield from holders_of(ledger, wanted)
            if holders or len(set(wanted)) < len(wanted):
                return (yield from _apply_in_places(Places(ledger, holders), commands, held, keys))
        rows: list[tuple[Any, ...]] = []
        outcomes: list[list[Row | DomainError] | DomainError] = [
            _decide(ledger, create, held, rows, of_create) for create, of_create in zip(commands, keys, strict=True)
        ]
        if rows:
            _count_created(ledger, rows)
            yield Insert(FEEDBACK, rows)
        return outcomes


def _count_created(ledger: Ledger, rows: Sequence[tuple[Any, ...]]) -> None:
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
    ledger: Ledger,
    create: Create,
    held: dict[str, Held | None],
    rows: list[tuple[Any, ...]],
    keys: Sequence[str | None],
) -> list[Row | DomainError] | DomainError:
    """The result of each record; rows to write are added to `rows`, and their ids to those that are held.

    `keys` are the places that the records take, which are free; it is empty where none takes one.
    """
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
            result, row = _new(ledger, record, content, keys[index] if keys else None)
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


def _keys(create: Create, wanted: list[str]) -> Sequence[str | None]:
    """The place that each record would take, or None; those are added to `wanted`."""
    keys: list[str | None] = []
    for record, verdict in zip(create.records, create.judgement.verdicts, strict=True):
        key = None
        if verdict is not None and verdict.key is not None:
            key = verdict.key(record.user_id)
            wanted.append(key)
        keys.append(key)
    return keys


def _apply_in_places(
    places: Places, commands: Sequence[Create], held: dict[str, Held | None], keys: Sequence[Sequence[str | None]]
) -> Steps[list[list[Row | DomainError] | DomainError]]:
    """Apply creates of which some want places that are taken, or that another of them wants."""
    ledger = places.ledger
    outcomes: list[list[Row | DomainError] | DomainError] = []
    for create, of_create in zip(commands, keys, strict=True):
        if create.judgement.number != ledger.definitions:
            outcomes.append(Stale(ledger.definitions))
            continue
        if not create.atomic:
            outcomes.append(_decide_in_places(create, of_create, places, held))
            continue
        if len(create.records) == 1:  # one that is refused has changed nothing
            [result] = results = _decide_in_places(create, of_create, places, held)
            outcomes.append(_rejected({0: result}) if isinstance(result, DomainError) else results)
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
