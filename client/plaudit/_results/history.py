"""What happened to records: versions, changes, and what is left of those that were purged; nothing here does I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from plaudit import v1
from plaudit._core.fields import to_datetime
from plaudit._core.model import Feedback
from plaudit._results.feedbacks import Feedbacks

Kind = Literal["created", "replaced", "purged"]

_KINDS: Final[dict[int, Kind]] = {
    v1.ChangeKind.CHANGE_KIND_CREATED: "created",
    v1.ChangeKind.CHANGE_KIND_REPLACED: "replaced",
    v1.ChangeKind.CHANGE_KIND_PURGED: "purged",
}


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is left of a purged record: nothing of its content."""

    id: str
    """The id, which stays taken."""
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
        """From the message."""
        purged_at = to_datetime(message.purged_at)
        return cls(message.id, message.ref, message.feedback_type, message.user_id, purged_at, message.revision)


class History(Feedbacks):
    """The versions of one record, oldest first; `user_id` and `updated_at` tell who made each, and when.

    After a purge there are none, and `tombstone` is what is left.
    """

    def __init__(self, versions: Iterable[Feedback], tombstone: Tombstone | None = None) -> None:
        super().__init__(show_refs=False, feedbacks=versions)
        self.tombstone = tombstone

    def __eq__(self, other: object) -> bool:
        if isinstance(other, History):
            return self.tombstone == other.tombstone and list(self) == list(other)
        return super().__eq__(other)

    __hash__ = None

    def __repr__(self) -> str:
        return f"History({len(self)} versions, tombstone={self.tombstone!r})"


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a project's history: the record as it became by it, or what is left of a purged one."""

    revision: int
    """The number of the change in the project."""
    kind: Kind
    """What happened: `created`, `replaced` or `purged`."""
    feedback: Feedback | None
    """The record; None for a purge."""
    tombstone: Tombstone | None
    """What is left; None but for a purge."""

    @property
    def id(self) -> str:
        """The record's id."""
        if self.feedback is not None:
            return self.feedback.id
        return "" if self.tombstone is None else self.tombstone.id

    @classmethod
    def from_proto(cls, message: v1.Change) -> Change:
        """From the message, which is taken over."""
        if message.WhichOneof("subject") == "tombstone":
            return cls(message.revision, "purged", None, Tombstone.from_proto(message.tombstone))
        # A kind that a newer server knows is, with a record, something that happened to a record that is there.
        return cls(message.revision, _KINDS.get(message.kind, "replaced"), Feedback(message.feedback), None)
