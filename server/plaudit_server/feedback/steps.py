"""The algorithms of every SQL store, as generators that yield statements and are sent rows: protocol without I/O.

A store drives a generator inside one transaction, synchronously or not; what its engine does differently
is data in `Engine`. Values are always bound.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

from plaudit._contract.jsontext import same_content
from plaudit_server.errors import (
    BatchRejected,
    DomainError,
    FeedbackExists,
    FeedbackNotFound,
    FeedbackPurged,
    NotOwner,
    VersionMismatch,
)
from plaudit_server.feedback.records import CONTENT_COLUMNS, Record, Row, content_of, seal
from plaudit_server.query.compile.dialect import Dialect
from plaudit_server.query.compile.filters import compile_filter, compile_indexed
from plaudit_server.query.compile.fragments import Sql
from plaudit_server.query.compile.order import compile_order
from plaudit_server.query.fields import COLUMNS as FIELDS
from plaudit_server.query.indexes.conditions import Indexes
from plaudit_server.query.tree import Operation
from plaudit_server.store import declared
from plaudit_server.store.base import (
    Change,
    ChangeKind,
    Changes,
    Command,
    Create,
    Outcome,
    Page,
    Purge,
    Purged,
    RefCount,
    Replace,
    Select,
    Tombstone,
    Versions,
    WriteFailed,
    Written,
)

T = TypeVar("T")

COLUMNS: Final = (
    "project",
    "id",
    "revision",
    "version",
    "kind",
    "created_at",
    "updated_at",
    *CONTENT_COLUMNS,
    "head",
    "payload",
)
"""The columns of `feedback` and `feedback_history`, in the order of an Insert's rows."""

_PAGE_BYTES: Final = 4_000_000
_WATCH_WINDOW: Final = 10_000  # revisions looked at in one read, so that a rare filter does not hold a snapshot long

# How long a declared index may go unnoticed.
_INDEXES_SECONDS: Final = 5.0
# How many rows are read in the order of time while one is fetched by an index and sorted.
_FETCH_COST: Final = 4

_CREATED: Final = int(ChangeKind.CREATED)
_REPLACED: Final = int(ChangeKind.REPLACED)
_PURGED: Final = int(ChangeKind.PURGED)


class Statement(NamedTuple):
    """A statement to run; the driver sends its rows.

    With a `budget`, the first two columns are bytes, and the driver stops behind the row with which
    their sum passes the budget.
    """

    sql: str
    params: Sequence[Any] = ()
    budget: int | None = None


class Insert(NamedTuple):
    """Rows for a table, in the order of COLUMNS; the driver uses its fastest way."""

    table: str
    rows: list[tuple[Any, ...]]


Steps = Generator[Statement | Insert, list[Any], T]


@dataclass(frozen=True, slots=True)
class Engine:
    """What an engine does in its own way."""

    dialect: Dialect
    in_list: str
    """A condition's right side: one of the texts in a single bound list, as in `id IN (…)`."""
    bind_list: Callable[[Sequence[str]], Any]
    """A list of texts as the value that `in_list` binds."""
    payload_bytes: str
    """The payload column of the table `{}` as bytes."""
    placeholder: str = "?"
    make_project: str | None = None
    """Makes a project's row, and waits for whoever makes it at this moment; None when a transaction writes alone."""
    orders_each: bool = False
    """Whether each part of a union is ordered and bounded by itself, for the engine does not see that it could be."""
    counts_first: bool = False
    """Whether the entries of a declared index are counted before it is used, for the engine does not know how many."""

    def merge(self, parts: Sequence[Sql], order: str, limit: int) -> Sql:
        """The rows of all parts, each of which an index has in `order` (a result column): the first `limit`."""
        tail = self.sql(f" ORDER BY {order} LIMIT ?")
        if self.orders_each:
            parts = [Sql(f"({part.text}{tail})", (*part.params, limit)) for part in parts]
        text = " UNION ALL ".join(part.text for part in parts) + tail
        return Sql(text, (*(param for part in parts for param in part.params), limit))

    def sql(self, text: str) -> str:
        """A statement of this module, which writes `?`, `{in}` and `{payload:alias}`, for this engine."""
        for alias in "fho":
            text = text.replace("{payload:" + alias + "}", self.payload_bytes.format(alias))
        return text.replace("{in}", self.in_list).replace("?", self.placeholder)


class Statements:
    """The fixed statements, written out once for an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.indexes = Indexes()
        self.indexes_read = -math.inf
        columns = ", ".join(COLUMNS)
        content = ", ".join(f"f.{column}" for column in CONTENT_COLUMNS)
        sets = ", ".join(f"{column} = ?" for column in ("revision", "version", "kind", "updated_at", *CONTENT_COLUMNS))
        sql = engine.sql
        # A write on every engine, and no lock by SELECT: on Citus FOR UPDATE does not hold up the move of a distributed
        # table's shard, and what was read under it may be out of date when the transaction first writes.
        self.lock_project = sql(
            "UPDATE project SET revision = revision WHERE project = ? RETURNING revision, last_created_at"
        )
        self.make_project = None if engine.make_project is None else sql(engine.make_project)
        self.raise_project = sql(
            "INSERT INTO project (project, revision, last_created_at) VALUES (?, ?, ?) ON CONFLICT (project)"
            " DO UPDATE SET revision = excluded.revision, last_created_at = excluded.last_created_at"
        )
        self.taken = sql(
            "SELECT id, version FROM feedback WHERE project = ? AND id {in}"
            " UNION ALL SELECT id, version FROM feedback_history WHERE project = ? AND id {in} AND version = 0"
        )
        self.live = sql(
            "SELECT f.head, {payload:f}, f.id, f.version, f.kind, f.created_at, "
            f"{content} FROM feedback AS f WHERE f.project = ? AND f.id {{in}}"
        )
        self.oldest = sql(
            f"SELECT f.id, f.payload, {content} FROM (SELECT id, min(version) AS version FROM feedback_history"
            " WHERE project = ? AND id {in} GROUP BY id) AS first"
            " JOIN feedback_history AS f ON f.project = ? AND f.id = first.id AND f.version = first.version"
        )
        self.to_history = sql(
            f"INSERT INTO feedback_history ({columns}) SELECT {columns} FROM feedback WHERE project = ? AND id = ?"
        )
        self.replace = sql(f"UPDATE feedback SET {sets}, head = ?, payload = ? WHERE project = ? AND id = ?")
        self.purge_live = sql("DELETE FROM feedback WHERE project = ? AND id {in}")
        self.purge_history = sql("DELETE FROM feedback_history WHERE project = ? AND id {in}")
        self.purgeable = sql(
            "SELECT f.id, f.ref, f.feedback_type, f.user_id, f.created_at FROM feedback AS f"
            " WHERE f.project = ? AND f.id {in}"
        )
        self.revision = sql("SELECT revision FROM project WHERE project = ?")
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


# ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────


def write_group(statements: Statements, group: Sequence[Command], clock: Callable[[], int]) -> Steps[Written]:
    """Apply a group in the transaction now open: project by project, and each project's commands in order.

    Projects do not see each other, so their order is free; sorted, writers lock them alike. `clock` gives
    microseconds since 1970 UTC.
    """
    by_project: dict[str, list[int]] = {}
    for index, command in enumerate(group):
        by_project.setdefault(command.project, []).append(index)
    outcomes: list[Outcome | WriteFailed] = [[]] * len(group)
    revisions = {}
    repeated = 0
    for project in sorted(by_project):
        ledger = _Ledger(statements, project, clock())
        yield from ledger.lock()
        yield from ledger.apply(by_project[project], group, outcomes)
        if (yield from ledger.release()):
            revisions[project] = ledger.revision
        repeated += ledger.repeated
    return Written(outcomes, revisions, repeated)


def lock(sql: Statements, project: str) -> Steps[tuple[int, int]]:
    """Keep other writers out of a project until the transaction ends, and read its revision and clock.

    The first statement of every transaction that writes to a project is the first of these.
    """
    rows = yield Statement(sql.lock_project, (project,))
    if not rows and sql.make_project is not None:
        yield Statement(sql.make_project, (project,))
        rows = yield Statement(sql.lock_project, (project,))
    return (rows[0][0], rows[0][1]) if rows else (0, 0)


class _Held(NamedTuple):
    """A record that holds an id: its oldest content, to compare with, and the record as it is now."""

    content: tuple[Any, ...]
    payload: str
    row: Row


class _Live(NamedTuple):
    """A record as stored."""

    row: Row
    id: str
    version: int
    kind: int
    created_at: int
    content: tuple[Any, ...]


class _Ledger:
    """One project inside a transaction: gives out its revisions and times, and applies its commands."""

    def __init__(self, statements: Statements, project: str, now: int) -> None:
        self._sql = statements
        self._list = statements.engine.bind_list
        self._project = project
        self._now = now
        self.revision = 0
        self.repeated = 0
        self._first_revision = 0
        self._time = 0

    def lock(self) -> Steps[None]:
        """Keep other writers out, and read where the project stands."""
        self.revision, self._time = yield from lock(self._sql, self._project)
        self._first_revision = self.revision

    def release(self) -> Steps[bool]:
        """Store where the project stands now, if it has moved."""
        if self.revision == self._first_revision:
            return False
        yield Statement(self._sql.raise_project, (self._project, self.revision, self._time))
        return True

    def apply(
        self, indexes: Sequence[int], group: Sequence[Command], outcomes: list[Outcome | WriteFailed]
    ) -> Steps[None]:
        """Apply the commands at `indexes`; consecutive creates share a look-up and an insert."""
        creates: list[tuple[int, Create]] = []
        for index in indexes:
            command = group[index]
            if isinstance(command, Create):
                creates.append((index, command))
                continue
            if creates:
                yield from self._create(creates, outcomes)
                creates = []
            if isinstance(command, Replace):
                outcomes[index] = yield from self._replace(command)
            else:
                outcomes[index] = yield from self._purge(command)
        if creates:
            yield from self._create(creates, outcomes)

    def _tick(self) -> int:
        """The next time of the project's clock, which never stands still nor goes back."""
        self._time = max(self._now, self._time + 1)
        return self._time

    def _create(self, creates: Sequence[tuple[int, Create]], outcomes: list[Outcome | WriteFailed]) -> Steps[None]:
        given = [record.id for _, create in creates for record in create.records if not record.new_id]
        held = (yield from self._look_up(given)) if given else {}
        rows: list[tuple[Any, ...]] = []
        for index, create in creates:
            outcomes[index] = self._decide(create, held, rows)
        if rows:
            yield Insert("feedback", rows)

    def _decide(
        self, create: Create, held: dict[str, _Held | None], rows: list[tuple[Any, ...]]
    ) -> list[Row | DomainError] | BatchRejected:
        """What becomes of each record; what is to be written is added to `rows`, and to the ids that are held."""
        results: list[Row | DomainError] = []
        before = self.revision, self._time, len(rows)
        repeated = 0
        refused: dict[int, DomainError] = {}
        for record in create.records:
            content = content_of(record)
            result: Row | DomainError
            if record.new_id or record.id not in held:
                result = self._new(record, content, create.imported, rows)
                if not record.new_id:
                    held[record.id] = _Held(content, record.payload, result)
            else:
                result = _again(record, content, held[record.id])
                if isinstance(result, DomainError):
                    refused[len(results)] = result
                else:
                    repeated += 1
            results.append(result)
        if refused and create.atomic:
            self.revision, self._time, length = before
            for row in rows[length:]:
                held.pop(row[1], None)  # one whose id was made here is not in it
            del rows[length:]
            return BatchRejected(refused)
        self.repeated += repeated
        return results

    def _new(self, record: Record, content: tuple[Any, ...], imported: bool, rows: list[tuple[Any, ...]]) -> Row:
        created_at = record.created_at if imported else None
        if created_at is None:
            created_at = self._tick()
        updated_at, version = created_at, 1
        if imported:
            updated_at = created_at if record.updated_at is None else record.updated_at
            version = record.version or 1
        self.revision = revision = self.revision + 1
        row = seal(record.body, record.payload.encode(), created_at, updated_at, version, revision)
        rows.append(
            (
                self._project, record.id, revision, version, _CREATED, created_at, updated_at,
                *content, row.head, record.payload,
            )
        )  # fmt: skip
        return row

    def _look_up(self, ids: Sequence[str]) -> Steps[dict[str, _Held | None]]:
        """Which of the ids are held, and by what; None for a purged one."""
        bound = self._list(ids)
        found = yield Statement(self._sql.taken, (self._project, bound, self._project, bound))
        held: dict[str, _Held | None] = {}
        if not found:
            return held
        live = []
        for id, version in found:
            if version == 0:
                held[id] = None
            else:
                live.append(id)
        replaced = []
        for now in (yield from self._live(live)):
            held[now.id] = _Held(now.content, now.row.payload.decode(), now.row)
            if now.kind == _REPLACED:
                replaced.append(now.id)
        if replaced:
            rows = yield Statement(self._sql.oldest, (self._project, self._list(replaced), self._project))
            for id, payload, *content in rows:
                now_held = held[id]
                assert now_held is not None
                held[id] = _Held(tuple(content), payload, now_held.row)
        return held

    def _live(self, ids: Sequence[str]) -> Steps[list[_Live]]:
        if not ids:
            return []
        rows = yield Statement(self._sql.live, (self._project, self._list(ids)))
        return [
            _Live(Row(head, payload), id, version, kind, created_at, tuple(content))
            for head, payload, id, version, kind, created_at, *content in rows
        ]

    def _replace(self, command: Replace) -> Steps[Row | DomainError]:
        record = command.record
        found = yield from self._live((record.id,))
        if not found:
            return FeedbackNotFound(self._project, record.id)
        now = found[0]
        if command.owner is not None and now.content[0] != command.owner:
            return NotOwner(self._project, record.id)
        expected = command.expected_version
        content = content_of(record)
        # Who stored the content is not part of it here: CONTENT_COLUMNS begins with user_id.
        same = content[1:] == now.content[1:] and same_content(record.payload, now.row.payload.decode())
        if same and expected in (0, now.version, now.version - 1):
            self.repeated += 1
            return now.row
        if expected not in (0, now.version):
            return VersionMismatch(self._project, record.id, expected, now.version)
        updated_at = self._tick()
        version = now.version + 1
        self.revision += 1
        row = seal(record.body, record.payload.encode(), now.created_at, updated_at, version, self.revision)
        yield Statement(self._sql.to_history, (self._project, record.id))
        yield Statement(
            self._sql.replace,
            (
                self.revision, version, _REPLACED, updated_at, *content, row.head, record.payload,
                self._project, record.id,
            ),
        )  # fmt: skip
        return row

    def _purge(self, command: Purge) -> Steps[Purged | DomainError]:
        if command.ids is not None:
            found = yield Statement(self._sql.purgeable, (self._project, self._list(command.ids)))
            found.sort(key=lambda row: (row[4], row[0]))
        else:
            found = yield from self._matching(command)
        if command.owner is not None:
            for id, _, _, user_id, _ in found:
                if user_id != command.owner:
                    return NotOwner(self._project, id)
        more = len(found) > command.limit
        found = found[: command.limit]
        if command.dry_run or not found:
            return Purged(len(found), more)
        ids = self._list([row[0] for row in found])
        yield Statement(self._sql.purge_history, (self._project, ids))
        yield Statement(self._sql.purge_live, (self._project, ids))
        purged_at = self._tick()
        blank = (None,) * (len(CONTENT_COLUMNS) - 3)
        tombstones = []
        for id, ref, feedback_type, _, _ in found:
            self.revision += 1
            tombstones.append(
                (
                    self._project, id, self.revision, 0, _PURGED, purged_at, purged_at,
                    command.user_id, ref, feedback_type, *blank, b"", "{}",
                )
            )  # fmt: skip
        yield Insert("feedback_history", tombstones)
        return Purged(len(found), more)

    def _matching(self, command: Purge) -> Steps[list[Any]]:
        """What a purge by filter would remove, one more than its limit; with an owner, others' rows first."""
        where = yield from _where(self._sql, self._project, command.filter)
        order, params = "f.created_at, f.id", where.params
        if command.owner is not None:
            order = self._sql.engine.sql(f"CASE WHEN f.user_id = ? THEN 1 ELSE 0 END, {order}")
            params = (*params, command.owner)
        return (
            yield Statement(
                f"SELECT f.id, f.ref, f.feedback_type, f.user_id, f.created_at FROM feedback AS f WHERE {where.text}"
                + self._sql.engine.sql(f" ORDER BY {order} LIMIT ?"),
                (*params, command.limit + 1),
            )
        )


def _again(record: Record, content: tuple[Any, ...], held: _Held | None) -> Row | DomainError:
    """The outcome of a create whose id is held: the record as it is now, if the content is that of the first."""
    if held is None:
        return FeedbackPurged(record.project, record.id)
    if content == held.content and (record.payload == held.payload or same_content(record.payload, held.payload)):
        return held.row
    return FeedbackExists(record.project, record.id)


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────


def get(sql: Statements, project: str, id: str, version: int) -> Steps[Row | None]:
    """One record; version 0 is the newest."""
    if version == 0:
        rows = yield Statement(sql.get, (project, id))
    elif version > 0:
        rows = yield Statement(sql.get_version, (project, id, version, project, id, version))
    else:
        rows = []
    return Row(*rows[0]) if rows else None


def revision(sql: Statements, project: str) -> Steps[int]:
    """The project's revision; 0 when nothing was ever written."""
    rows = yield Statement(sql.revision, (project,))
    return int(rows[0][0]) if rows else 0


def select(sql: Statements, select: Select) -> Steps[Page]:
    """A page of rows, with the revision and the total of the same snapshot."""
    at = yield from revision(sql, select.project)
    total = (yield from count(sql, select.project, select.filter)) if select.with_total else None
    if select.limit <= 0:
        return Page([], None, at, total)
    in_time = select.order[0].ref == FIELDS["created_at"]
    where = yield from _where(sql, select.project, select.filter, select.limit if in_time else None)
    order = compile_order(select.order, sql.engine.dialect, "f")
    text = (
        f"SELECT f.head, {sql.engine.payload_bytes.format('f')}, {order.columns.text}"
        f" FROM feedback AS f WHERE {where.text}"
    )
    params = (*order.columns.params, *where.params)
    if select.after is not None:
        after = order.after(select.after)
        text += f" AND ({after.text})"
        params += after.params
    text += f" ORDER BY {order.order_by.text}" + sql.engine.sql(" LIMIT ? OFFSET ?")
    params += (*order.order_by.params, select.limit + 1, select.offset)
    found = yield Statement(text, params, select.max_bytes)
    kept, more = _within(found, select.limit, select.max_bytes)
    rows = [Row(row[0], row[1]) for row in kept]
    return Page(rows, tuple(kept[-1][2:]) if more else None, at, total)


def count(sql: Statements, project: str, filter: Operation | None) -> Steps[int]:
    """How many rows match."""
    where = yield from _where(sql, project, filter)
    rows = yield Statement(f"SELECT count(*) FROM feedback AS f WHERE {where.text}", where.params)
    return int(rows[0][0])


def refs(
    sql: Statements, project: str, filter: Operation | None, after: str | None, limit: int
) -> Steps[list[RefCount]]:
    """Unique refs of matching rows, in code point order."""
    where = yield from _where(sql, project, filter)
    text, params = where.text, where.params
    if after is not None:
        text += sql.engine.sql(" AND f.ref > ?")
        params = (*params, after)
    rows = yield Statement(
        "SELECT f.ref, count(*), min(f.created_at), max(f.created_at) FROM feedback AS f"
        f" WHERE {text} GROUP BY f.ref ORDER BY f.ref" + sql.engine.sql(" LIMIT ?"),
        (*params, limit),
    )
    return [RefCount(*row) for row in rows]


def versions(sql: Statements, project: str, id: str, after_version: int, limit: int) -> Steps[Versions]:
    """The versions of a record above one, or its tombstone."""
    tombstones = yield Statement(sql.tombstone, (project, id))
    if tombstones:
        return Versions([], False, Tombstone(*tombstones[0]))
    key = (project, id, max(after_version, 0))
    found = yield Statement(sql.versions, (*key, *key, limit + 1), _PAGE_BYTES)
    kept, more = _within(found, limit, _PAGE_BYTES)
    return Versions([Row(row[0], row[1]) for row in kept], more, None)


def changes(
    sql: Statements, project: str, after: int, filter: Operation | None, limit: int, max_bytes: int
) -> Steps[Changes]:
    """Changes above a revision; looks at a bounded number of them, so the caller goes on until it is level."""
    newest = yield from revision(sql, project)
    upto = min(newest, after + _WATCH_WINDOW)
    if upto <= after or limit <= 0:
        return Changes([], min(after, newest))
    parts = []
    for table, alias in (("feedback", "f"), ("feedback_history", "h")):
        passes = _passes(sql, project, filter, alias)
        text = sql.engine.sql(
            f"SELECT {alias}.head, {{payload:{alias}}}, {alias}.revision AS revision, {alias}.kind, {alias}.id,"
            f" {alias}.ref, {alias}.feedback_type, {alias}.user_id, {alias}.updated_at FROM {table} AS {alias}"
            f" WHERE {alias}.project = ? AND {alias}.revision > ? AND {alias}.revision <= ?"
        )
        parts.append(Sql(text + passes.text, (project, after, upto, *passes.params)))
    found = yield Statement(*sql.engine.merge(parts, "revision", limit + 1), max_bytes)
    kept, more = _within(found, limit, max_bytes)
    return Changes([_change(row) for row in kept], kept[-1][2] if more else upto)


def _change(row: Sequence[Any]) -> Change:
    head, payload, revision, kind, id, ref, feedback_type, user_id, at = row
    if kind == _PURGED:
        return Change(revision, ChangeKind.PURGED, None, Tombstone(id, ref, feedback_type, user_id, at, revision))
    return Change(revision, ChangeKind(kind), Row(head, payload), None)


def _passes(sql: Statements, project: str, filter: Operation | None, alias: str) -> Sql:
    """The filter of a watch, as a further condition: on a version or the one before it; a purge always passes."""
    if filter is None:
        return Sql("")
    new = compile_filter(filter, sql.engine.dialect, alias)
    old = compile_filter(filter, sql.engine.dialect, "o")
    text = (
        f" AND ({alias}.kind = {_PURGED} OR ({new.text}) OR ({alias}.kind = {_REPLACED} AND EXISTS ("
        f"SELECT 1 FROM feedback_history AS o WHERE o.project = {sql.engine.placeholder} AND o.id = {alias}.id"
        f" AND o.version = {alias}.version - 1 AND ({old.text}))))"
    )
    return Sql(text, (*new.params, project, *old.params))


def _where(sql: Statements, project: str, filter: Operation | None, rows_in_time: int | None = None) -> Steps[Sql]:
    """The condition of every read: the project, then the filter, put for the declared indexes that pay.

    `rows_in_time` is how many matches are wanted in the order of time; None is for all, or for another order.
    """
    mine = sql.engine.sql("f.project = ?")
    if filter is None:
        return Sql(mine, (project,))
    yield from _refresh(sql)
    dialect = sql.engine.dialect
    compiled = compile_indexed(filter, dialect, "f", sql.indexes)
    if compiled.conditions and sql.engine.counts_first:
        pays = _pays((yield from revision(sql, project)), rows_in_time)
        without = []
        for condition in compiled.conditions:
            if condition.is_ordered:  # read in the order of time it ends as early as without an index
                continue
            [[found]] = yield Statement(
                f"SELECT count(*) FROM (SELECT 1 FROM feedback AS f WHERE {mine} AND {condition.sql.text}"
                + sql.engine.sql(" LIMIT ?)"),
                (project, *condition.sql.params, pays),
            )
            if found == pays:
                without.append(condition)
        if without:
            compiled = compile_indexed(filter, dialect, "f", sql.indexes, without)
    return Sql(f"{mine} AND ({compiled.sql.text})", (project, *compiled.sql.params))


def _pays(rows: int, rows_in_time: int | None) -> int:
    """How many matches among `rows` make fetching them by an index as dear as reading rows in the order of time.

    Where that ends after some matches, it reads the fewer rows the more of them match.
    """
    if rows_in_time is None:
        return rows // _FETCH_COST + 1
    return math.isqrt(rows * (rows_in_time + 1) // _FETCH_COST) + 1


def _refresh(sql: Statements) -> Steps[None]:
    """Learn which indexes are declared, now and then."""
    now = time.monotonic()
    if now - sql.indexes_read >= _INDEXES_SECONDS:
        sql.indexes_read = now  # others go on meanwhile with what is known
        sql.indexes = declared.usable(sql.engine.dialect, (yield Statement(declared.READ)))


def _within(found: list[Any], limit: int, max_bytes: int) -> tuple[list[Any], bool]:
    """The rows that fit, at least one, and whether there were more."""
    size = 0
    for index, row in enumerate(found[:limit]):
        size += len(row[0]) + len(row[1])
        if size > max_bytes and index:
            return found[:index], True
    return found[:limit], len(found) > limit


def bounded(rows: Iterable[Any], budget: int) -> list[Any]:
    """Rows up to and with the one that passes a Statement's budget, and one at least behind the first."""
    taken = []
    for row in rows:
        taken.append(row)
        budget -= len(row[0]) + len(row[1])
        if budget < 0 and len(taken) > 1:
            break
    return taken
