"""How long the records of a project are kept: its rules, and what they would remove."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, Self, TypeVar, overload

from plaudit import v1
from plaudit._core.fields import to_datetime
from plaudit._show.grid import Column, Grid, cell, shown_time
from plaudit._show.shown import Shown

T = TypeVar("T")

_UNDER_HOLD: Final = "the project is under a legal hold: nothing is removed"
_RULE_COLUMNS: Final = (
    Column("Type", 60, 8),
    Column("Days", 8, 4),
    Column("Acts from", 22, 20),
    Column("Put by", 40, 8),
)
_DUE_COLUMNS: Final = (
    Column("Type", 60, 8),
    Column("Days", 8, 4),
    Column("Records", 16, 7),
    Column("Oldest", 22, 20),
    Column("Acts from", 22, 20),
)


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """For how long records of a type are kept; `*` is every type that has no rule of its own."""

    feedback_type: str
    """The type, or `*`."""
    days: int
    """A record is removed when this many days have passed since its `created_at`; 0: there is no such rule."""
    user_id: str
    """Who put it."""
    put_at: datetime
    """When it was put, in UTC."""
    acts_at: datetime
    """From when on it removes records, in UTC: 24 hours after it was put."""

    @classmethod
    def from_proto(cls, message: v1.RetentionRule) -> Self:
        """A rule of an answer."""
        put_at, acts_at = to_datetime(message.put_at), to_datetime(message.acts_at)
        return cls(message.feedback_type, message.days, message.user_id, put_at, acts_at)


@dataclass(frozen=True, slots=True)
class RetentionDue:
    """What a rule would remove now, also if it does not act yet."""

    rule: RetentionRule
    """The rule."""
    before: datetime
    """Records that were created before this time, in UTC, are past their days."""
    record_count: int
    """How many there are."""
    oldest_created_at: datetime | None
    """When the oldest of them was created, in UTC; None when there are none."""

    @classmethod
    def from_proto(cls, message: v1.RetentionDue) -> Self:
        """What an answer says of a rule."""
        oldest = to_datetime(message.oldest_created_at) if message.HasField("oldest_created_at") else None
        rule = RetentionRule.from_proto(message.rule)
        return cls(rule, to_datetime(message.before), message.record_count, oldest)


class _Listed(Shown, Sequence[T], Generic[T]):
    """Some of these, and whether a legal hold keeps anything from being removed."""

    def __init__(self, found: Iterable[T], under_hold: bool) -> None:
        self._found = tuple(found)
        self.under_hold = under_hold
        """Whether the project is under a legal hold, so that nothing is removed."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        """By position. Raises IndexError."""
        return self._found[index]

    def __iter__(self) -> Iterator[T]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self._found)!r}{', under_hold=True' if self.under_hold else ''})"


class RetentionRules(_Listed[RetentionRule]):
    """The rules of a project, by type."""

    def _grid(self) -> Grid:
        """A row for each rule."""
        rows = [
            [cell(rule.feedback_type, 200), str(rule.days), shown_time(rule.acts_at), cell(rule.user_id, 200)]
            for rule in self
        ]
        return Grid(_RULE_COLUMNS, rows, _UNDER_HOLD if self.under_hold else "")


class RetentionCheck(_Listed[RetentionDue]):
    """What each rule of a project would remove now, by type."""

    def _grid(self) -> Grid:
        """A row for each rule."""
        rows = [
            [
                cell(due.rule.feedback_type, 200),
                str(due.rule.days),
                str(due.record_count),
                "" if due.oldest_created_at is None else shown_time(due.oldest_created_at),
                shown_time(due.rule.acts_at),
            ]
            for due in self
        ]
        return Grid(_DUE_COLUMNS, rows, _UNDER_HOLD if self.under_hold else "")
