"""What a feedback token writes: submitting and retracting, each in one step, on the ids that belong to the token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple

from plaudit._contract.jsontext import same_content
from plaudit_server.errors import DomainError
from plaudit_server.feedback.commands import ID_BYTES, Purge, Purged, Replace
from plaudit_server.feedback.creating import Create, OfRecords
from plaudit_server.feedback.held import live, look_up
from plaudit_server.feedback.judging import NOTHING_SAID, Judgement, Stale
from plaudit_server.feedback.records import Record, Row, content_of
from plaudit_server.store.base import Command, Steps
from plaudit_server.store.ledger import Ledger
from plaudit_server.store.work import SERVER, Work
from plaudit_server.tokens.errors import TokenUsedUp

VERSIONS: Final = 20
"""How many versions of a record a token may make."""


@dataclass(frozen=True, slots=True)
class Submit(OfRecords[Row]):
    """Store a record under the first of the slots that was not purged, or replace what is there.

    `records` are the same record under each id that it may have, in their order. Outcome: Row, TokenUsedUp, or
    what the judgement of the record refuses.
    """

    kind: ClassVar[str] = "submit"
    adds: ClassVar[bool] = True

    project: str
    records: Sequence[Record]
    judgement: Judgement = NOTHING_SAID
    work: Work = field(default=SERVER, compare=False)

    @property
    def rows(self) -> int:
        """One, under whichever of its ids."""
        return 1

    def stored(self, outcome: Any) -> int:
        """One, if it is stored, now or before."""
        return int(type(outcome) is Row)

    def steps(self, ledger: Ledger) -> Steps[Row | DomainError]:
        """Create, or replace, under the ids in turn."""
        if self.judgement.number != ledger.definitions:
            return Stale(ledger.definitions)
        held = yield from look_up(ledger, [record.id for record in self.records])
        for record in self.records:
            if record.id not in held:
                owner = partial(str, record.user_id)
                create = Create(self.project, (record,), atomic=False, owner=owner, judgement=self.judgement)
                rows = yield from create.steps(ledger)
                assert isinstance(rows, list)
                return rows[0]
            if held[record.id] is not None:
                return (yield from self._replaced(ledger, record))
        return TokenUsedUp(self.project, "token_records", len(self.records))

    def _replaced(self, ledger: Ledger, record: Record) -> Steps[Row | DomainError]:
        [now] = yield from live(ledger, (record.id,))
        if now.version >= VERSIONS:
            # The same again changes nothing, and is answered however many versions there are.
            same = content_of(record)[1:] == now.content[1:]
            if same and same_content(record.payload, now.row.payload.decode()):
                ledger.repeated += 1
                return now.row
            return TokenUsedUp(self.project, "token_versions", VERSIONS)
        outcomes = yield from Replace.apply(ledger, [Replace(self.project, record, judgement=self.judgement)])
        outcome: Row | DomainError = outcomes[0]
        return outcome


class Retracted(NamedTuple):
    """How many records were purged, and how many more may be made."""

    purged: int
    remaining: int


@dataclass(frozen=True, slots=True)
class Retract(Command[Retracted]):
    """Purge what a token has sent of a type, under whichever of its `slots` it is. Outcome: Retracted."""

    kind: ClassVar[str] = "retract"
    adds: ClassVar[bool] = False

    project: str
    user_id: str
    slots: Sequence[str]
    work: Work = field(default=SERVER, compare=False)

    @property
    def size(self) -> int:
        """The bytes of the ids."""
        return ID_BYTES * len(self.slots)

    def removed(self, outcome: Any) -> int:
        """The purged records."""
        return outcome.purged if isinstance(outcome, Retracted) else 0

    def steps(self, ledger: Ledger) -> Steps[Retracted]:
        """Find out which ids exist, and purge those."""
        held = yield from look_up(ledger, self.slots)
        alive = [id for id in self.slots if held.get(id) is not None]
        if alive:
            [purged] = yield from Purge.apply(ledger, [Purge(self.project, self.user_id, ids=alive)])
            assert isinstance(purged, Purged)
        return Retracted(len(alive), len([id for id in self.slots if id not in held]))


COMMANDS: Final = (Submit, Retract)
