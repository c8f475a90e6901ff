"""What is asked of feedback: one record, a page, a count, refs, versions and changes, each a value with its steps."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

from plaudit_server.feedback.aliases import target
from plaudit_server.feedback.counted import counters_of
from plaudit_server.feedback.matching import where
from plaudit_server.feedback.records import ChangeKind, Row, Tombstone
from plaudit_server.query.compile.filters import compile_filter
from plaudit_server.query.compile.fragments import Sql
from plaudit_server.query.compile.order import compile_order
from plaudit_server.query.fields import COLUMNS as FIELDS
from plaudit_server.query.tree import Operation, SortKey, SortValue
from plaudit_server.store.base import Read, Statement, Steps
from plaudit_server.store.counters import counted
from plaudit_server.store.ledger import revision
from plaudit_server.store.prepared import Prepared, Traits
from plaudit_server.store.work import Lane

_PAGE_BYTES: Final = 4_000_000
WATCH_SLICE: Final = 10_000
"""How many revisions one read looks at, so that a rare filter does not hold a snapshot for long."""

_REPLACED: Final = int(ChangeKind.REPLACED)
_PURGED: Final = int(ChangeKind.PURGED)


class ReadStatements:
    """The fixed statements of the reads."""

    def __init__(self, traits: Traits) -> None:
        sql = traits.sql
        self.get = sql("SELECT f.head, {payload:f} FROM feedback AS f WHERE f.project = ? AND f.id = ?")
        self.get_version = sql(
            "SELECT f.head, {payload:f} FROM feedback AS f WHERE f.project = ? AND f.id = ? AND f.version = ?"
            " UNION ALL SELECT h.head, {payload:h} FROM feedback_history AS h"
            " WHERE h.project = ? AND h.id = ? AND h.version = ?"
        )
        self.versions = sql(
            "SELECT h.head, {payload:h}, h.version AS version FROM feedback_history AS h"
            " WHERE h.project = ? AND h.id = ? AND h.version > ?"
            " UNION ALL SELECT f.head, {payload:f}, f.version FROM feedback AS f"
            " WHERE f.project = ? AND f.id = ? AND f.version > ? ORDER BY version LIMIT ?"
        )
        self.tombstone = sql(
            "SELECT id, ref, feedback_type, user_id, updated_at, revision FROM feedback_history"
            " WHERE project = ? AND id = ? AND version = 0"
        )


class Page(NamedTuple):
    """Rows in order. `last` is the last row's sort key when more rows may follow, else None.

    `revision` is the project's, read before the rows; `total` counts all matches, if asked for.
    """

    rows: list[Row]
    last: tuple[SortValue, ...] | None
    revision: int
    total: int | None


class RefCount(NamedTuple):
    """A ref, how many records are about it, and when the first and the last were stored (microseconds)."""

    ref: str
    feedback_count: int
    first_created_at: int
    last_created_at: int
    place: int = 0
    """What it is ordered by, in another order than that of URIs."""


class Versions(NamedTuple):
    """Versions of one record, oldest first, and after a purge the tombstone alone."""

    rows: list[Row]
    more: bool
    tombstone: Tombstone | None


class Change(NamedTuple):
    """One step of a project's history: the record as it then became, its tombstone, or what of many records is left.

    The last has a row of its own kind, which like a record's is the part of the message that says what there is.
    """

    revision: int
    kind: ChangeKind
    row: Row | None
    tombstone: Tombstone | None


class Changes(NamedTuple):
    """Changes in revision order; everything up to and including `revision` has been looked at."""

    changes: list[Change]
    revision: int


@dataclass(frozen=True, slots=True)
class Get(Read[Row | None]):
    """One record; version 0 is the newest. None when it is not there (or purged)."""

    project: str
    id: str
    version: int = 0

    @property
    def lane(self) -> Lane:
        """One row by its key."""
        return Lane.POINT

    def steps(self, sql: Prepared) -> Steps[Row | None]:
        """One row by its key, or by another name of it."""
        row = yield from self._get(sql, self.id)
        if row is None:
            other = yield from target(sql, self.project, self.id)
            if other is not None:
                row = yield from self._get(sql, other)
        return row

    def _get(self, sql: Prepared, id: str) -> Steps[Row | None]:
        statements = sql.of(ReadStatements)
        if self.version == 0:
            rows = yield Statement(statements.get, (self.project, id))
        elif self.version > 0:
            key = (self.project, id, self.version)
            rows = yield Statement(statements.get_version, (*key, *key))
        else:
            rows = []
        return Row(*rows[0]) if rows else None


@dataclass(frozen=True, slots=True)
class Select(Read[Page]):
    """A page of a project's records: which of them, in which order, and where it begins.

    `order` ends with `id` (see query.parse.parse_order). `after` is the sort key of the last row seen, as a
    Page gave it. At most `limit` rows and about `max_bytes` encoded bytes are returned, but at least one row.
    """

    project: str
    filter: Operation | None
    order: tuple[SortKey, ...]
    after: tuple[SortValue, ...] | None = None
    offset: int = 0
    limit: int = 1000
    max_bytes: int = 4_000_000
    with_total: bool = False

    @property
    def question(self) -> Hashable:
        """Whatever the page: one takes as long as the next; None for pages that an index has in their order."""
        if self.filter is None and self.order[0].ref == FIELDS["created_at"] and not (self.offset or self.with_total):
            return None
        return Select, self.project, self.filter, self.order, self.offset, self.with_total

    @property
    def snapshot(self) -> bool:
        """The total and the rows must be of one state."""
        return self.with_total

    def steps(self, sql: Prepared) -> Steps[Page]:
        """A page of rows, with the revision and the total of the same snapshot."""
        at = yield from revision(sql, self.project)
        total = (yield from _count(sql, self.project, self.filter)) if self.with_total else None
        if self.limit <= 0:
            return Page([], None, at, total)
        in_time = self.order[0].ref == FIELDS["created_at"]
        matching = yield from where(sql, self.project, self.filter, self.limit if in_time else None)
        order = compile_order(self.order, sql.traits.dialect, "f")
        text = (
            f"SELECT f.head, {sql.traits.text_bytes.format('f.payload')}, {order.columns.text}"
            f" FROM feedback AS f WHERE {matching.text}"
        )
        params = (*order.columns.params, *matching.params)
        if self.after is not None:
            after = order.after(self.after)
            text += f" AND ({after.text})"
            params += after.params
        text += f" ORDER BY {order.order_by.text}" + sql.traits.sql(" LIMIT ? OFFSET ?")
        params += (*order.order_by.params, self.limit + 1, self.offset)
        found = yield Statement(text, params, self.max_bytes)
        kept, more = within(found, self.limit, self.max_bytes)
        rows = [Row(row[0], row[1]) for row in kept]
        return Page(rows, plain_key(kept[-1][2:]) if more else None, at, total)


@dataclass(frozen=True, slots=True)
class Count(Read[int]):
    """How many rows match, by the rows themselves: `counted.Tally` asks the counters, in the lane of few rows."""

    project: str
    filter: Operation | None

    @property
    def question(self) -> Hashable:
        """Itself: it is the same each time."""
        return self

    def steps(self, sql: Prepared) -> Steps[int]:
        """One statement."""
        return _count_rows(sql, self.project, self.filter)


RefOrder = Literal["uri", "count", "last_change"]


class PlacedRef(NamedTuple):
    """Where a ref stands in an order: what it is ordered by, which is 0 in the order of URIs, then the ref."""

    value: int
    ref: str


@dataclass(frozen=True, slots=True)
class SelectRefs(Read[list[RefCount]]):
    """Unique refs of matching rows, those after the place `after`, at most `limit`.

    By URI they are in code point order, by count or last change from the greatest on, then by URI. Only refs that
    start with `prefix`, and of which no row matches `without`, where that is given.
    """

    project: str
    filter: Operation | None
    after: PlacedRef | str | None
    limit: int
    without: Operation | None = None
    prefix: str = ""
    order: RefOrder = "uri"

    @property
    def question(self) -> Hashable:
        """Whatever the page."""
        return SelectRefs, self.project, self.filter, self.without, self.prefix, self.order

    def steps(self, sql: Prepared) -> Steps[list[RefCount]]:
        """One statement."""
        matching = yield from where(sql, self.project, self.filter)
        text, params = matching.text, matching.params
        after = PlacedRef(0, self.after) if isinstance(self.after, str) else self.after
        if self.prefix:
            text += sql.traits.sql(" AND f.ref >= ? AND substr(f.ref, 1, ?) = ?")
            params = (*params, self.prefix, len(self.prefix), self.prefix)
        if self.without is not None:
            excluded = compile_filter(self.without, sql.traits.dialect, "w")
            text += sql.traits.sql(
                " AND NOT EXISTS (SELECT 1 FROM feedback AS w WHERE w.project = ? AND w.ref = f.ref AND "
            )
            text += f"({excluded.text}))"
            params = (*params, self.project, *excluded.params)
        if after is not None and self.order == "uri":
            text += sql.traits.sql(" AND f.ref > ?")
            params = (*params, after.ref)
        value = {"uri": "0", "count": "count(*)", "last_change": "max(f.updated_at)"}[self.order]
        grouped = (
            f"SELECT f.ref AS ref, count(*), min(f.created_at), max(f.created_at), {value} AS value"
            f" FROM feedback AS f WHERE {text} GROUP BY f.ref"
        )
        if self.order == "uri":
            grouped += " ORDER BY f.ref"
        else:
            grouped = f"SELECT * FROM ({grouped}) AS g"
            if after is not None:
                grouped += sql.traits.sql(" WHERE value < ? OR (value = ? AND ref > ?)")
                params = (*params, after.value, after.value, after.ref)
            grouped += " ORDER BY value DESC, ref"
        rows = yield Statement(grouped + sql.traits.sql(" LIMIT ?"), (*params, self.limit))
        return [RefCount(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class SelectVersions(Read[Versions]):
    """The record's versions above `after_version`, or its tombstone; about 4 MB of them at most."""

    project: str
    id: str
    after_version: int
    limit: int

    @property
    def lane(self) -> Lane:
        """A bounded number of rows of one id."""
        return Lane.POINT

    @property
    def snapshot(self) -> bool:
        """The tombstone and the versions must be of one state."""
        return True

    def steps(self, sql: Prepared) -> Steps[Versions]:
        """The tombstone first: after a purge there is nothing else."""
        found = yield from self._versions(sql, self.id)
        if not found.rows and found.tombstone is None:
            other = yield from target(sql, self.project, self.id)
            if other is not None:
                return (yield from self._versions(sql, other))
        return found

    def _versions(self, sql: Prepared, id: str) -> Steps[Versions]:
        statements = sql.of(ReadStatements)
        tombstones = yield Statement(statements.tombstone, (self.project, id))
        if tombstones:
            return Versions([], False, Tombstone(*tombstones[0]))
        key = (self.project, id, max(self.after_version, 0))
        found = yield Statement(statements.versions, (*key, *key, self.limit + 1), _PAGE_BYTES)
        kept, more = within(found, self.limit, _PAGE_BYTES)
        return Versions([Row(row[0], row[1]) for row in kept], more, None)


@dataclass(frozen=True, slots=True)
class SelectChanges(Read[Changes]):
    """Changes above revision `after`; those that pass the filter: on the new or the old version, or a removal.

    One read looks at a bounded number of revisions; the caller repeats it until it has caught up. No snapshot is
    needed: rows that are read after the revision include all up to it.
    """

    project: str
    after: int
    filter: Operation | None
    limit: int
    max_bytes: int = 4_000_000
    most_revisions: int = WATCH_SLICE

    @property
    def lane(self) -> Lane:
        """A slice of what a watch has missed."""
        return Lane.CATCHING_UP

    @property
    def question(self) -> Hashable:
        """The filter, wherever in the project the slice is; without one it is never long."""
        return None if self.filter is None else (SelectChanges, self.project, self.filter)

    def steps(self, sql: Prepared) -> Steps[Changes]:
        """Both tables by revision, merged."""
        newest = yield from revision(sql, self.project)
        upto = min(newest, self.after + self.most_revisions)
        if upto <= self.after or self.limit <= 0:
            return Changes([], min(self.after, newest))
        parts = []
        old = None if self.filter is None else compile_filter(self.filter, sql.traits.dialect, "o")
        for table, alias in (("feedback", "f"), ("feedback_history", "h")):
            passes = _passes(sql, self.project, self.filter, old, alias)
            text = sql.traits.sql(
                f"SELECT {alias}.head, {{payload:{alias}}}, {alias}.revision AS revision, {alias}.kind, {alias}.id,"
                f" {alias}.ref, {alias}.feedback_type, {alias}.user_id, {alias}.updated_at FROM {table} AS {alias}"
                f" WHERE {alias}.project = ? AND {alias}.revision > ? AND {alias}.revision <= ?"
            )
            parts.append(Sql(text + passes.text, (self.project, self.after, upto, *passes.params)))
        found = yield Statement(*sql.traits.merge(parts, "revision", self.limit + 1), self.max_bytes)
        kept, more = within(found, self.limit, self.max_bytes)
        return Changes([change_of(row) for row in kept], kept[-1][2] if more else upto)


def _count(sql: Prepared, project: str, filter: Operation | None) -> Steps[int]:
    """How many rows match: by the counters where they say it, else by the rows."""
    which = counters_of(filter)
    if which is not None and (total := (yield from counted(sql, project, which))) is not None:
        return total
    return (yield from _count_rows(sql, project, filter))


def _count_rows(sql: Prepared, project: str, filter: Operation | None) -> Steps[int]:
    matching = yield from where(sql, project, filter)
    rows = yield Statement(f"SELECT count(*) FROM feedback AS f WHERE {matching.text}", matching.params)
    return int(rows[0][0])


def change_of(row: Sequence[Any]) -> Change:
    """The change in the first nine columns of a row: see SelectChanges."""
    head, payload, revision, kind, id, ref, feedback_type, user_id, at = row[:9]
    if kind == _PURGED:
        return Change(revision, ChangeKind.PURGED, None, Tombstone(id, ref, feedback_type, user_id, at, revision))
    return Change(revision, ChangeKind(kind), Row(head, payload), None)


def _passes(sql: Prepared, project: str, filter: Operation | None, old: Sql | None, alias: str) -> Sql:
    """The filter of a watch, as a further condition: on a version or the one before it; a removal always passes.

    `old` is that on the one before it, in the table `o`.
    """
    if filter is None or old is None:
        return Sql("")
    new = compile_filter(filter, sql.traits.dialect, alias)
    text = (
        f" AND ({alias}.kind >= {_PURGED} OR ({new.text}) OR ({alias}.kind = {_REPLACED} AND EXISTS ("
        f"SELECT 1 FROM feedback_history AS o WHERE o.project = {sql.traits.placeholder} AND o.id = {alias}.id"
        f" AND o.version = {alias}.version - 1 AND ({old.text}))))"
    )
    return Sql(text, (*new.params, project, *old.params))


def within(found: list[Any], limit: int, max_bytes: int) -> tuple[list[Any], bool]:
    """The rows that fit, at least one, and whether there were more."""
    size = 0
    for index, row in enumerate(found[:limit]):
        size += len(row[0]) + len(row[1])
        if size > max_bytes and index:
            return found[:index], True
    return found[:limit], len(found) > limit


def plain_key(key: Sequence[Any]) -> tuple[SortValue, ...]:
    """A sort key as page tokens carry it: a numeric is a whole number of 64 bits, or came from a double."""
    return tuple(map(_plain, key))


def _plain(value: Any) -> SortValue:
    if isinstance(value, Decimal):
        whole = -(2**63) <= value < 2**63 and value == value.to_integral_value()
        return int(value) if whole else float(value)
    plain: SortValue = value
    return plain
