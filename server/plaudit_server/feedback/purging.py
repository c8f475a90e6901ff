"""A purge as it works through a project: reads find what it removes, and short transactions remove it by id.

No filter is evaluated in a transaction that writes, but for records that changed since they were found.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from plaudit_server.errors import DomainError, Overloaded, QueryTooExpensive, QuotaExceeded
from plaudit_server.feedback.commands import Purge, Purged
from plaudit_server.feedback.errors import NotOwner
from plaudit_server.feedback.matching import opaque, where
from plaudit_server.feedback.records import OWNER
from plaudit_server.query.compile.order import compile_order
from plaudit_server.query.tree import DEFAULT_ORDER, Operation
from plaudit_server.store.base import Engine, Read, Statement, Steps
from plaudit_server.store.prepared import Prepared, Traits
from plaudit_server.store.work import Lane, Work

SLICE_ROWS: Final = 500
"""How many records one transaction removes at most: other writers wait for that."""
SLICE_BYTES: Final = 4 * 1024 * 1024
"""How many bytes of payloads one transaction removes at most, or one record: they are overwritten."""

# A slice is found in the way that serves the filter best. If that takes longer than this part of the remaining time,
# windows of records are read in the order of time instead, however few of them match.
_WHOLE_SHARE: Final = 0.25
# After this part of its time a purge ends, so that the last slice is done before the caller's time is over.
_SHARE: Final = 0.5
_FIRST_WINDOW: Final = 2_000
_LEAST_WINDOW: Final = 50
_LARGEST_WINDOW: Final = 64_000
_SHORT_SECONDS: Final = 0.05  # a window that takes less is followed by a larger one
_LONG_SECONDS: Final = 0.5  # and one that takes more by a smaller one

# As many ids are removed without reading their sizes first: together they fit a slice.
_FEW_IDS: Final = 4

Key = tuple[int, str]
"""Where a record stands in the order of time: its created_at and its id."""


class Match(NamedTuple):
    """A record to remove, as it was found: its revision, and the bytes of all its versions' payloads."""

    id: str
    revision: int
    size: int


class Found(NamedTuple):
    """Matches in the order of time, and the key up to which records were looked at; None means to the end."""

    matches: list[Match]
    reached: Key | None
    until: int


class PurgeStatements:
    """The fixed statements that find what to purge."""

    def __init__(self, traits: Traits) -> None:
        sql = traits.sql
        self.newest = sql("SELECT max(created_at) FROM feedback WHERE project = ?")
        self.by_id = sql(
            "SELECT f.id, f.revision, octet_length(f.payload) + COALESCE((SELECT sum(octet_length(h.payload))"
            " FROM feedback_history AS h WHERE h.project = ? AND h.id = f.id), 0), f.created_at,"
            f" {OWNER} FROM feedback AS f WHERE f.project = ? AND f.id {{in}}"
        )


@dataclass(frozen=True, slots=True)
class FindMatches(Read[Found]):
    """The oldest matches above `after`, at most `limit`.

    Records created after `until` (microseconds) are not looked at; None is for the newest that is there now. With
    `not_of`, only records of another owner match. With `window`, that many records are looked at, whatever the
    filter, so that its cost is bounded.
    """

    project: str
    filter: Operation | None
    after: Key | None = None
    until: int | None = None
    limit: int = SLICE_ROWS
    not_of: str | None = None
    window: int | None = None

    @property
    def question(self) -> Hashable:
        """Whatever the slice, or the window."""
        return FindMatches, self.project, self.filter, self.not_of, self.window is None

    def steps(self, sql: Prepared) -> Steps[Found]:
        """Where to end, and then the matches before it."""
        statements, traits = sql.of(PurgeStatements), sql.traits
        until = self.until
        if until is None:
            [[until]] = yield Statement(statements.newest, (self.project,))
            if until is None:
                return Found([], None, 0)
        # With the sign it is no range of an index, which the planner would prefer to the index that serves the filter.
        beyond = traits.sql(" AND +f.created_at <= ?")
        params: tuple[Any, ...] = (until,)
        if self.after is not None:
            after = compile_order(DEFAULT_ORDER, traits.dialect, "f").after(self.after)
            beyond += f" AND ({after.text})"
            params = (*params, *after.params)
        order = " ORDER BY f.created_at, f.id" + traits.sql(" LIMIT ?")
        reached: Key | None = None
        if self.window is not None:
            found = yield Statement(
                traits.sql("SELECT f.created_at, f.id FROM feedback AS f WHERE f.project = ?")
                + beyond
                + order
                + traits.sql(" OFFSET ?"),
                (self.project, *params, 1, self.window - 1),
            )
            if found:
                reached = found[0][0], found[0][1]
                beyond += traits.sql(" AND (f.created_at, f.id) <= (?, ?)")
                params = (*params, *reached)
            matching = opaque(sql, self.project, self.filter)
        else:
            matching = yield from where(sql, self.project, self.filter, self.limit)
        if self.not_of is not None:
            beyond += traits.sql(f" AND {OWNER} <> ?")
            params = (*params, self.not_of)
        rows = yield Statement(
            f"SELECT f.id, f.revision, f.created_at FROM feedback AS f WHERE {matching.text}{beyond}{order}",
            (*matching.params, *params, self.limit + 1),
        )
        if len(rows) > self.limit:
            rows = rows[: self.limit]
            reached = rows[-1][2], rows[-1][0]
        if not rows:
            return Found([], reached, until)
        ids = traits.bind_list([row[0] for row in rows])
        sizes = {row[0]: row[2] for row in (yield Statement(statements.by_id, (self.project, self.project, ids)))}
        return Found([Match(id, revision, sizes.get(id, 0)) for id, revision, _ in rows], reached, until)


@dataclass(frozen=True, slots=True)
class FindIds(Read[list[Match] | DomainError]):
    """The ids that are there, in the order of time; or NotOwner, if one does not belong to the `owner`."""

    project: str
    ids: Sequence[str]
    owner: str | None = None

    @property
    def lane(self) -> Lane:
        """Rows by their keys."""
        return Lane.POINT

    def steps(self, sql: Prepared) -> Steps[list[Match] | DomainError]:
        """Rows by their keys."""
        ids = sql.traits.bind_list(self.ids)
        rows = yield Statement(sql.of(PurgeStatements).by_id, (self.project, self.project, ids))
        rows.sort(key=lambda row: (row[3], row[0]))
        for row in rows:
            if self.owner is not None and row[4] != self.owner:
                return NotOwner(self.project, row[0])
        return [Match(*row[:3]) for row in rows]


class Progress(NamedTuple):
    """How far a purge by query has got: what its page token holds.

    `until` and the key are as in FindMatches. `checked` is whether no match is another's. `window` is the number of
    records to look at in one read; 0 is for whatever serves the filter best.
    """

    until: int | None = None
    checked: bool = False
    window: int = 0
    created_at: int = 0
    id: str = ""

    @classmethod
    def of(cls, values: Sequence[Any]) -> Progress:
        """As it was before its token was made."""
        return cls(*values)

    @property
    def after(self) -> Key | None:
        """The last key that was looked at."""
        return (self.created_at, self.id) if self.id else None


class Purging:
    """Purges what was asked for, slice by slice; `removed` counts what was removed (with `dry_run`, what would be).

    `submit` applies a command. `told` gets the number of records of each slice that was removed. A purge by filter ends
    when this `share` of the time of its `work` is over, so that its answer comes in time.
    """

    def __init__(
        self,
        store: Engine,
        submit: Callable[[Purge], Awaitable[Purged | DomainError]],
        *,
        project: str,
        user_id: str,
        owner: str | None,
        dry_run: bool,
        work: Work,
        told: Callable[[int], None] | None = None,
        share: float = _SHARE,
    ) -> None:
        self._store = store
        self._submit = submit
        self._project = project
        self._user_id = user_id
        self._owner = owner
        self._dry_run = dry_run
        self._work = work
        self._told = told
        self._share = share
        self.removed = 0

    async def ids(self, ids: Sequence[str]) -> None:
        """Purge by ids, all of them. Raises NotOwner, before anything is removed, if one is another principal's."""
        if len(ids) <= _FEW_IDS and not self._dry_run:
            await self._remove(Purge(self._project, self._user_id, ids, owner=self._owner, work=self._work))
            return
        matches = await self._store.read(FindIds(self._project, ids, self._owner), self._work)
        if isinstance(matches, DomainError):
            raise matches
        for some in slices(matches):
            await self._take(some, None)

    async def matches(self, filter: Operation | None, start: Progress, limit: int) -> Progress | None:
        """Purge by filter, at most `limit` records. Returns where to continue, or None when all is done.

        Raises NotOwner before anything is removed, if a match is another's; a record that another replaced while
        the purge runs ends it there.
        """
        ends = self._share_of_time(self._share, time.monotonic())
        progress = start._replace(checked=start.checked or self._owner is None)
        while True:
            rows = min(limit - self.removed, SLICE_ROWS) if progress.checked else 1
            try:
                found, window = await self._find(filter, progress, rows)
            except (QueryTooExpensive, Overloaded):
                if progress.window == _LEAST_WINDOW:
                    raise
                return progress._replace(window=max((progress.window or _FIRST_WINDOW) // 8, _LEAST_WINDOW))
            if not progress.checked and found.matches:
                raise NotOwner(self._project, found.matches[0].id)
            for some in slices(found.matches):
                try:
                    await self._take(some, filter)
                except QuotaExceeded:  # it was not its turn in time; what is removed is not found again
                    if not self.removed:
                        raise
                    return progress
            if found.reached is not None:
                progress = Progress(found.until, progress.checked, window, *found.reached)
            elif progress.checked:
                return None
            else:
                progress = Progress(found.until, checked=True, window=window)
            if self.removed >= limit or time.monotonic() >= ends:
                return progress

    def _share_of_time(self, share: float, now: float) -> float:
        """The time at which this part of the remaining time is over."""
        deadline = self._work.deadline
        return math.inf if deadline is None else now + (deadline - now) * share

    async def _find(self, filter: Operation | None, progress: Progress, rows: int) -> tuple[Found, int]:
        """The next slice, and how many records to look at for the one after it."""
        not_of = None if progress.checked else self._owner
        window = progress.window
        question = FindMatches(self._project, filter, progress.after, progress.until, rows, not_of)
        began = time.monotonic()
        if not window and (soon := self._share_of_time(_WHOLE_SHARE, began)) > began:
            try:
                return await self._store.read(question, self._work._replace(deadline=soon)), 0
            except (QueryTooExpensive, Overloaded):
                began = time.monotonic()
        window = window or _FIRST_WINDOW
        found = await self._store.read(replace(question, window=window), self._work)
        took = time.monotonic() - began
        if took < _SHORT_SECONDS:
            window = min(2 * window, _LARGEST_WINDOW)
        elif took > _LONG_SECONDS:
            window = max(window // 2, _LEAST_WINDOW)
        return found, window

    async def _take(self, matches: Sequence[Match], filter: Operation | None) -> None:
        """Remove a slice, or with `dry_run` count it."""
        if self._dry_run:
            self.removed += len(matches)
            return
        ids, revisions = [match.id for match in matches], [match.revision for match in matches]
        await self._remove(Purge(self._project, self._user_id, ids, revisions, filter, self._owner, self._work))

    async def _remove(self, purge: Purge) -> None:
        outcome = await self._submit(purge)
        if isinstance(outcome, DomainError):
            raise outcome
        self.removed += outcome.purged
        if self._told is not None:
            self._told(outcome.purged)


def slices(
    matches: Sequence[Match], rows: int = SLICE_ROWS, most_bytes: int = SLICE_BYTES
) -> Iterator[Sequence[Match]]:
    """Cut matches so that each part has at most the given numbers of rows and bytes, or one row."""
    start, size = 0, 0
    for index, match in enumerate(matches):
        size += match.size
        if index > start and (index - start >= rows or size > most_bytes):
            yield matches[start:index]
            start, size = index, match.size
    if start < len(matches):
        yield matches[start:]
