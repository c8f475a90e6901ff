"""One state of a project out of many reads: a scan, then what changed while it ran; asks by the client that it gets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Final, Protocol

from plaudit import v1
from plaudit._contract import limits
from plaudit._core.changes import Change, Tombstone
from plaudit._core.errors import PlauditError, UnavailableError
from plaudit._core.expr import Expr, Query, all_of, field
from plaudit._core.model import Feedback

if TYPE_CHECKING:
    from datetime import datetime

_ROUNDS: Final = 50
_IDS: Final = 500


class Reader(Protocol):
    """What an export asks of a client, about one project."""

    def revision(self) -> int:
        """The project's revision."""

    def pages(self, query: Query | None) -> Iterator[Sequence[v1.Feedback]]:
        """The records that match, by created_at and id; as many at once as one message of the server has."""

    def changes(self, after: int, until: int, query: Query | None) -> Iterator[Change]:
        """The changes above one revision, up to another."""


class UnsettledError(PlauditError):
    """Records change faster than they can be read: there is no state to write."""


Redo = dict[str, Feedback | Tombstone | None]
"""What became of records by id: the record as it is; what is left of it; None for one that does not match any more."""


def scan(reader: Reader, query: Query | None, after: v1.Feedback | None = None) -> Iterator[Sequence[v1.Feedback]]:
    """The records that match, by created_at and id, in pages; those after a record, to go on with a scan.

    A replace does not move a record in this order, so none is missed, and none comes twice. When the connection breaks,
    it goes on after the last record, as long as each connection gives some. Raises PlauditError.
    """
    while True:
        has_moved = False
        try:
            for page in reader.pages(_after(query, after) if after is not None else query):
                if page:
                    after, has_moved = page[-1], True
                    yield page
            return
        except UnavailableError:
            if not has_moved:
                raise


def redo(reader: Reader, query: Query | None, since: int) -> tuple[int, Redo]:
    """What the scan may have missed that began at revision `since`: a later revision, and what makes it that state.

    Raises UnsettledError when the same records change again and again while they are read.
    """
    until = reader.revision()
    changed: Redo = {}
    _note(changed, reader.changes(since, until, None))
    if query is None or not changed:
        return until, changed
    # Which of them match only the server can say; and it says so of how they are now.
    ids = set(changed)
    for _ in range(_ROUNDS):
        pages = [page for some in _parts(sorted(ids)) for page in reader.pages(_among(query, some))]
        found = {message.id: Feedback(message) for page in pages for message in page}
        now = reader.revision()
        later = {change.id for change in reader.changes(until, now, None) if change.id} if now > until else set()
        if not later & ids:
            kept = {id: changed[id] for id in ids if isinstance(changed.get(id), Tombstone)}
            return until, {id: found.get(id) or kept.get(id) for id in ids}
        ids |= later
        until = now
        _note(changed, reader.changes(since, until, None))
    raise UnsettledError(f"records change faster than they can be read: no state after {_ROUNDS} attempts")


def _note(changed: Redo, changes: Iterable[Change]) -> None:
    """Remember the last state of each record. What retention removed meanwhile is named by no change: it stays."""
    for change in changes:
        if change.retained is None:
            changed[change.id] = change.feedback or change.tombstone


def _after(query: Query | None, last: v1.Feedback) -> Query:
    created_at: datetime = last.created_at.ToDatetime(UTC)
    place = (field("created_at") > created_at) | ((field("created_at") == created_at) & (field("id") > last.id))
    return Query(place if query is None else all_of([query.expr, place]))


def _among(query: Query, ids: Iterable[str]) -> Query:
    among: Expr = field("id").in_(list(ids))
    return Query(all_of([query.expr, among]))


def _parts(ids: list[str]) -> Iterator[list[str]]:
    size = min(_IDS, limits.BATCH_ITEMS)
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
