"""What happened to records: changes, and what is left of records that were removed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final, Literal

from plaudit import v1
from plaudit._core.fields import to_datetime
from plaudit._core.model import Feedback
from plaudit._show.grid import FIELD_COLUMNS, Grid, field_row
from plaudit._show.shown import Shown

Kind = Literal["created", "replaced", "purged", "retained"]

_KINDS: Final[dict[int, Kind]] = {
    v1.ChangeKind.CHANGE_KIND_CREATED: "created",
    v1.ChangeKind.CHANGE_KIND_REPLACED: "replaced",
    v1.ChangeKind.CHANGE_KIND_PURGED: "purged",
    v1.ChangeKind.CHANGE_KIND_RETAINED: "retained",
}


@dataclass(frozen=True, slots=True)
class Tombstone(Shown):
    """What is left of a purged record: nothing of its content."""

    id: str
    """The id, which is never free again."""
    ref: str
    """The ref that the record was about."""
    feedback_type: str
    """The type that the record had."""
    user_id: str
    """Who purged it."""
    purged_at: datetime
    """When, in UTC."""
    revision: int
    """The number of the purge in the project."""

    @classmethod
    def from_proto(cls, message: v1.Tombstone) -> Tombstone:
        """Made from the message."""
        purged_at = to_datetime(message.purged_at)
        return cls(message.id, message.ref, message.feedback_type, message.user_id, purged_at, message.revision)

    def _grid(self) -> Grid:
        """Name and value of each field."""
        return Grid(FIELD_COLUMNS, [field_row(field.name, getattr(self, field.name)) for field in fields(self)])


@dataclass(frozen=True, slots=True)
class Retained(Shown):
    """What is left of records that a rule of retention removed: how many of which type, and not which."""

    feedback_type: str
    """The type of all of them; `*`: any, since the whole project was deleted."""
    before: datetime
    """All of them were created before this time, in UTC; others that were may still be there."""
    count: int
    """How many records were removed."""
    removed_at: datetime
    """When, in UTC."""

    @classmethod
    def from_proto(cls, message: v1.Retained) -> Retained:
        """Made from the message."""
        before, removed_at = to_datetime(message.before), to_datetime(message.removed_at)
        return cls(message.feedback_type, before, message.count, removed_at)

    def _grid(self) -> Grid:
        """Name and value of each field."""
        return Grid(FIELD_COLUMNS, [field_row(field.name, getattr(self, field.name)) for field in fields(self)])


@dataclass(frozen=True, slots=True)
class Change(Shown):
    """One change in a project: the record as the change left it, or what is left of removed ones."""

    revision: int
    """The number of the change in the project."""
    kind: Kind
    """What happened: `created`, `replaced`, `purged`, or `retained`: records were removed at the end of their time."""
    feedback: Feedback | None
    """The record; None where records were removed."""
    tombstone: Tombstone | None
    """What is left of a purged record; None for any other change."""
    retained: Retained | None = None
    """What is left of records that were removed at the end of their time; None for any other change."""

    @property
    def id(self) -> str:
        """The record's id; empty for a change that is about many records."""
        if self.feedback is not None:
            return self.feedback.id
        return "" if self.tombstone is None else self.tombstone.id

    def _grid(self) -> Grid:
        """What happened, and the fields of the record or of what is left of it."""
        subject = self.feedback or self.tombstone or self.retained
        rows = [] if subject is None else [row for row in subject._grid().rows if row[0] != "revision"]
        return Grid(FIELD_COLUMNS, [field_row("revision", self.revision), field_row("change", self.kind), *rows])

    @classmethod
    def from_proto(cls, message: v1.Change) -> Change | None:
        """Made from the message, parts of which it keeps; None for a kind of change that only a newer server knows."""
        kind, subject = _KINDS.get(message.kind), message.WhichOneof("subject")
        if kind is None or subject is None:
            return None
        if subject == "tombstone":
            return cls(message.revision, kind, None, Tombstone.from_proto(message.tombstone))
        if subject == "retained":
            return cls(message.revision, kind, None, None, Retained.from_proto(message.retained))
        return cls(message.revision, kind, Feedback(message.feedback), None)
