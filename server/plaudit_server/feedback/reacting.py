"""Making a reaction on a ref be there, or not: two commands, each in one step, so that a retry changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from plaudit_server.errors import DomainError
from plaudit_server.feedback.commands import Purge
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.held import live
from plaudit_server.feedback.judging import NOTHING_SAID, Judgement
from plaudit_server.feedback.reactions import (
    EMOJI,
    REACTION_TYPES,
    Reacted,
    ReactionSummary,
    Viewer,
    is_same,
    reaction_on,
)
from plaudit_server.feedback.records import OWNER, Record, Row
from plaudit_server.query.compile.paths import Paths
from plaudit_server.store.base import Command, Statement, Steps
from plaudit_server.store.ledger import Ledger
from plaudit_server.store.work import SERVER, Work


@dataclass(frozen=True, slots=True)
class Reaction:
    """An emoji on a ref, and whose it is; with `any_tone` its skin tones count as one."""

    project: str
    ref: str
    emoji: str
    viewer: Viewer
    any_tone: bool = False

    def mine(self, reacted: Iterable[Reacted]) -> list[Reacted]:
        """Those of the reactions that are this one, from the oldest on."""
        return [
            each
            for each in sorted(reacted, key=lambda each: (each.first_created_at, each.first_id))
            if self.viewer.owns(each) and is_same(each.emoji, self.emoji, self.any_tone)
        ]

    def summary(self, reacted: Iterable[Reacted]) -> ReactionSummary:
        """How often the emoji is on the ref, by whomever."""
        return reaction_on(reacted, self.emoji, self.viewer, self.any_tone)


class Reacting(NamedTuple):
    """Whether a reaction had to be changed, how often it is there now, its record if it is, the project's revision."""

    changed: bool
    summary: ReactionSummary
    row: Row | None
    revision: int


@dataclass(frozen=True, slots=True)
class React(Command[Reacting]):
    """Make a reaction be there, as `record`, unless there is one. Outcome: Reacting, or why the record is refused."""

    kind: ClassVar[str] = "react"
    adds: ClassVar[bool] = True

    reaction: Reaction
    record: Record
    judgement: Judgement = NOTHING_SAID
    work: Work = field(default=SERVER, compare=False)

    @property
    def project(self) -> str:  # type: ignore[override]
        """That of the reaction."""
        return self.reaction.project

    @property
    def size(self) -> int:
        """The bytes of the record."""
        return len(self.record.body) + len(self.record.payload)

    def stored(self, outcome: Any) -> int:
        """One: the record that was made, or was there."""
        return int(isinstance(outcome, Reacting))

    def steps(self, ledger: Ledger) -> Steps[Reacting | DomainError]:
        """Look at what is there, and create the record if it is not."""
        reacted = yield from _reacted(ledger, self.reaction)
        mine = self.reaction.mine(reacted)
        if mine:
            [held] = yield from live(ledger, [mine[0].first_id])
            ledger.repeated += 1
            return Reacting(False, self.reaction.summary(reacted), held.row, ledger.revision)
        viewer = self.reaction.viewer
        create = Create(
            self.project, (self.record,), atomic=False, owner=lambda: viewer.owner, judgement=self.judgement
        )
        outcome = yield from create.steps(ledger)
        if isinstance(outcome, DomainError):
            return outcome
        [row] = outcome
        if isinstance(row, DomainError):
            return row
        reacted = yield from _reacted(ledger, self.reaction)
        return Reacting(True, self.reaction.summary(reacted), row, ledger.revision)


@dataclass(frozen=True, slots=True)
class ClearReaction(Command[Reacting]):
    """Make a reaction not be there: every record of the viewer with this emoji is purged. Outcome: Reacting."""

    kind: ClassVar[str] = "clear_reaction"
    adds: ClassVar[bool] = False

    reaction: Reaction
    work: Work = field(default=SERVER, compare=False)

    @property
    def project(self) -> str:  # type: ignore[override]
        """That of the reaction."""
        return self.reaction.project

    @property
    def size(self) -> int:
        """The bytes of the ref."""
        return len(self.reaction.ref)

    def removed(self, outcome: Any) -> int:
        """One, if there was one."""
        return int(isinstance(outcome, Reacting) and outcome.changed)

    def steps(self, ledger: Ledger) -> Steps[Reacting | DomainError]:
        """Look at what is there, and purge what is the viewer's."""
        reacted = yield from _reacted(ledger, self.reaction)
        ids = [each.first_id for each in self.reaction.mine(reacted)]
        if ids:
            purged = yield from Purge(self.project, self.reaction.viewer.owner, ids).steps(ledger)
            if isinstance(purged, DomainError):
                return purged
        left = [each for each in reacted if each.first_id not in ids]
        return Reacting(bool(ids), self.reaction.summary(left), None, ledger.revision)


def _reacted(ledger: Ledger, reaction: Reaction) -> Steps[Sequence[Reacted]]:
    """Every reaction on the ref, each by itself."""
    traits = ledger.sql.traits
    emoji = Paths(traits.dialect, "f").value(EMOJI, "text")
    text = traits.sql(
        f"SELECT {{emoji}}, {OWNER}, f.creator, f.created_at, f.id FROM feedback AS f"
        " WHERE f.project = ? AND f.ref = ? AND f.feedback_type {in}"
    ).replace("{emoji}", emoji.text)
    bound = (*emoji.params, reaction.project, reaction.ref, traits.bind_list(list(REACTION_TYPES)))
    rows = yield Statement(text, bound)
    return [Reacted(emoji, owner, creator, 1, at, id) for emoji, owner, creator, at, id in rows if emoji is not None]
