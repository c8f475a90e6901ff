"""What is written about retention: a rule, and the removal of what a rule that is still in force makes due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from plaudit_server.definitions.errors import LimitReached
from plaudit_server.errors import DomainError
from plaudit_server.feedback.retaining import Removal, Removed, Retain
from plaudit_server.retention.reads import RetentionStatements, rules_of
from plaudit_server.retention.records import MOST_RULES, Rule, Rules
from plaudit_server.store.base import Command, Statement, Steps
from plaudit_server.store.ledger import Flag, Ledger
from plaudit_server.store.work import SERVER, Work


@dataclass(frozen=True, slots=True)
class PutRule(Command[Rule]):
    """Set a rule, or with 0 days remove it. Outcome: the rule as it is stored, or LimitReached.

    What changes nothing leaves the rule as it was put before. `now` is in microseconds since 1970 UTC.
    """

    kind: ClassVar[str] = "put_retention_rule"
    adds: ClassVar[bool] = True

    project: str
    feedback_type: str
    days: int
    user_id: str
    now: int
    work: Work = field(default=SERVER, compare=False)

    @property
    def size(self) -> int:
        """The bytes of the type."""
        return len(self.feedback_type)

    def stored(self, outcome: Any) -> int:
        """One, if it is there now."""
        return int(type(outcome) is Rule)

    def steps(self, ledger: Ledger) -> Steps[Rule | DomainError]:
        """Compare with what there is, then write it."""
        there = Rules.of((yield from rules_of(ledger.sql, self.project)))
        before = there.by_type.get(self.feedback_type)
        rule = Rule(self.feedback_type, self.days, self.user_id, self.now)
        if before is None and not self.days:
            ledger.repeated += 1
            return rule
        if before is not None and before.days == self.days:
            ledger.repeated += 1
            return before
        if self.days and (before is None or not before.days) and len(there.put) >= MOST_RULES:
            return LimitReached(self.project, "retention_rules", MOST_RULES)
        yield Statement(ledger.sql.of(RetentionStatements).put, (self.project, *rule))
        yield from ledger.raise_flag(Flag.RULES)
        return rule


@dataclass(frozen=True, slots=True)
class ApplyRule(Removal):
    """Remove those of some records of a type that are past the days of a rule, if it still acts. See Retain.

    `now` is when they were found to be, in microseconds since 1970 UTC.
    """

    project: str
    feedback_type: str
    rule: Rule
    now: int
    ids: Sequence[str]
    work: Work = field(default=SERVER, compare=False)

    def steps(self, ledger: Ledger) -> Steps[Removed | DomainError]:
        """Look at the rules again, which may have been changed since the records were found."""
        rules = Rules.of((yield from rules_of(ledger.sql, self.project)))
        if rules.acting_on(self.feedback_type, self.now) != self.rule:
            return Removed(0)
        retain = Retain(self.project, self.feedback_type, self.rule.before(self.now), self.ids, self.work)
        return (yield from retain.steps(ledger))


COMMANDS: Final = (PutRule,)
"""ApplyRule is counted as a Retain."""
