"""A rule of retention as a value, those of a whole project, and which of them acts on a type; nothing is read here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from plaudit_server.store.base import Placement, Table

ALL_OTHERS: Final = "*"
"""The type of the rule for every type that has none of its own."""

DAY: Final = 24 * 3600 * 1_000_000
"""A day in microseconds."""
DELAY: Final = DAY
"""How long after it was put a rule acts, in microseconds."""
LONGEST_DAYS: Final = 36_500
MOST_RULES: Final = 100
"""How many rules a project may have."""


class Rule(NamedTuple):
    """A row of `retention_rule` without its project; `put_at` in microseconds since 1970 UTC.

    With 0 days the type has had no rule of its own since then.
    """

    feedback_type: str
    days: int
    user_id: str
    put_at: int

    @property
    def acts_at(self) -> int:
        """From when on it removes records, in microseconds since 1970 UTC."""
        return self.put_at + DELAY

    def before(self, now: int) -> int:
        """Records that were created before this time are past their days, `now` and it in microseconds."""
        return now - self.days * DAY


RULE: Final = Table(
    name="retention_rule",
    title="rules of retention",
    columns=("project", *Rule._fields),
    placement=Placement.BY_PROJECT,
    order=("feedback_type",),
    types={"days": "int8", "put_at": "int8"},
)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a project, and whether it is under a legal hold."""

    by_type: Mapping[str, Rule]
    held: bool = False

    @classmethod
    def of(cls, rules: Iterable[Rule], *, held: bool = False) -> Rules:
        """From the rows that are stored."""
        return cls({rule.feedback_type: rule for rule in rules}, held)

    @property
    def put(self) -> list[Rule]:
        """The rules that there are, by type."""
        return [rule for _, rule in sorted(self.by_type.items()) if rule.days]

    @property
    def own_types(self) -> list[str]:
        """The types that have a rule of their own."""
        return [rule.feedback_type for rule in self.put if rule.feedback_type != ALL_OTHERS]

    def with_rule(self, rule: Rule) -> Rules:
        """The same with another rule for its type."""
        return Rules({**self.by_type, rule.feedback_type: rule}, self.held)

    def acting_on(self, feedback_type: str, now: int) -> Rule | None:
        """The rule by which records of a type are removed now; None when nothing of it is.

        A record's type may be written `*`, too: it has no rule of its own.
        """
        own = self.by_type.get(feedback_type) if feedback_type != ALL_OTHERS else None
        if own is not None and (own.days or own.acts_at > now):
            # Also where its own rule was removed: what acts on the type then has to wait as long.
            return own if own.acts_at <= now else None
        others = self.by_type.get(ALL_OTHERS)
        return others if others is not None and others.days and others.acts_at <= now else None
