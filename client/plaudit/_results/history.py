"""The versions of one record, as a collection."""

from __future__ import annotations

from collections.abc import Iterable

from plaudit._core.changes import Tombstone
from plaudit._core.model import Feedback
from plaudit._results.feedbacks import Feedbacks
from plaudit._results.view import versions_grid
from plaudit._show.grid import Grid


class History(Feedbacks):
    """The versions of one record, oldest first; `user_id` and `updated_at` say who made each, and when.

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

    def _grid(self) -> Grid:
        """The versions; of a purged record what is left of it."""
        return versions_grid(self) if self.tombstone is None else self.tombstone._grid()

    def __repr__(self) -> str:
        return f"History({len(self)} versions, tombstone={self.tombstone!r})"
