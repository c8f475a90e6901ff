"""Where a watch stands: what to ask next, and which changes to give out; nothing here does I/O."""

from __future__ import annotations

from collections import deque

from plaudit import v1
from plaudit._core.changes import Change


class Position:
    """What a watch has given out, what it has read ahead, and what it asks on a new stream."""

    __slots__ = ("_project", "_query", "_read_to", "_ready", "revision", "store_id")

    def __init__(self, project: str, after: int | None, query: v1.Query | None, store_id: str = "") -> None:
        self.revision = after
        """All changes up to this one were given out; None until the server has said which revision is the newest."""
        self.store_id = store_id
        """The id of the store that `revision` is of; empty until the server has said it, for an older one always."""
        self._project = project
        self._query = query
        self._ready: deque[Change] = deque()
        self._read_to: int | None = None

    def request(self) -> v1.WatchFeedbackRequest:
        """What to ask on a new stream."""
        return v1.WatchFeedbackRequest(
            project=self._project, after_revision=self.revision, query=self._query, store_id=self.store_id
        )

    def received(self, response: v1.WatchFeedbackResponse) -> None:
        """Take in an answer of the stream."""
        self.store_id = self.store_id or response.store_id
        if self.revision is None and not response.changes:
            self.revision = response.revision
        # What is of a kind that only a newer server knows is passed over, as what the query left out.
        self._ready.extend(change for change in map(Change.from_proto, response.changes) if change is not None)
        self._read_to = response.revision

    def take(self) -> Change | None:
        """The next change to give out; None when the next answer has to be read first."""
        if self._ready:
            change = self._ready.popleft()
            self.revision = change.revision
            return change
        if self._read_to is not None:
            # Also past changes that the query left out.
            self.revision = max(self.revision or 0, self._read_to)
            self._read_to = None
        return None
