"""How a question about groups is asked of a store: its statements in order, and, apart from them, what rows mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from plaudit._contract import limits
from plaudit_server.analytics.buckets import Calendar, calendar
from plaudit_server.analytics.categories import with_categories
from plaudit_server.analytics.columns import Columns, IndexedColumns
from plaudit_server.analytics.counting import Counted, Tail
from plaudit_server.analytics.dialects import DIALECTS
from plaudit_server.analytics.errors import AggregateTooLarge
from plaudit_server.analytics.groups import Arranged, Wanted, arranged_from, sorted_groups
from plaudit_server.analytics.placing import Placing, is_filled, restriction
from plaudit_server.analytics.records import Aggregate, ByTime, Group
from plaudit_server.analytics.serving import serving
from plaudit_server.analytics.statements import EVERYTHING, Prepared, Statements
from plaudit_server.feedback.matching import declared_indexes
from plaudit_server.feedback.matching import where as matching
from plaudit_server.query.compile.fragments import Sql
from plaudit_server.store.base import Statement, Steps
from plaudit_server.store.ledger import revision
from plaudit_server.store.prepared import Prepared as Store

SORTED: Final = "aggregate_sorted_groups"

# Rows of counted values that are fetched before it is known how many groups there are.
_COUNTED_ROWS: Final = 50_000
# An answer of fewer rows is made at once: it takes less than a millisecond.
_FEW_ROWS: Final = 100


class Aggregated(NamedTuple):
    """The groups of a question, one more over all records where it asks for that, and the project's revision."""

    arranged: Arranged
    total: Group | None
    revision: int
    question: Aggregate
    """With the categories that a definition gives."""


@dataclass(frozen=True, slots=True)
class Measuring:
    """Rows of the statements of one question: of all simple measures, and of each expression that is counted."""

    statements: Statements
    prepared: Prepared
    rows: Sequence[Any] | None
    """None where no measure is simple: then the counted values, and the records without one, give everything."""
    counted: list[tuple[Counted, list[Any]]]

    @property
    def row_count(self) -> int:
        """How many rows there are to make groups of."""
        return len(self.rows or ()) + sum(len(rows) for _, rows in self.counted)

    def groups(self, question: Aggregate) -> list[Group]:
        """The groups, in the order of the rows."""
        width = self.prepared.keys
        tails: list[dict[tuple[Any, ...], list[Tail]]] = []
        for _, rows in self.counted:
            # By the keys as they came, which are read once for each group and not for each row.
            by_raw: dict[tuple[Any, ...], list[Tail]] = {}
            for row in rows:
                by_raw.setdefault(tuple(row[:width]), []).append(row[width:])
            tails.append(by_raw)
        groups = []
        for row in self._counts(tails[0]) if self.rows is None else self.rows:
            raw = tuple(row[:width])
            row_count, *parts = row[width:]
            measures: list[Any] = [None if read is None else read(parts) for read in self.prepared.reads]
            for (counted, _), by_raw in zip(self.counted, tails, strict=True):
                mine = by_raw.get(raw, ())
                for place in counted.places:
                    measures[place] = counted.read(question.measures[place], mine)
            groups.append(Group(self.statements.keys(raw), row_count, tuple(measures)))
        return groups

    def _counts(self, tails: Mapping[tuple[Any, ...], list[Tail]]) -> list[tuple[Any, ...]]:
        """The keys of each group, and how many records it has."""
        [counted, _], *_ = self.counted
        if not self.prepared.keys and not tails:
            return [(0,)]
        return [(*raw, counted.row_count(mine)) for raw, mine in tails.items()]


@dataclass(frozen=True, slots=True)
class Unarranged:
    """What a store answered. Making groups of it is work for a thread, because there may be very many rows."""

    question: Aggregate
    wanted: Wanted
    calendars: Mapping[int, Calendar]
    grouped: Measuring
    group_count: int | None
    """How many groups `having` kept, where the engine has put them in order; then only those asked for are here."""
    total: Measuring | None
    revision: int

    @property
    def is_small(self) -> bool:
        """Whether there are so few rows that the groups can be made at once, without a thread."""
        return self.grouped.row_count < _FEW_ROWS

    def answer(self) -> Aggregated:
        """The groups that are wanted, in the order asked for. Raises AggregateTooLarge."""
        total = self.total.groups(self.question)[0] if self.total is not None else None
        groups = self.grouped.groups(self.question)
        if self.group_count is not None:
            arranged = Arranged(sorted_groups(self.question, groups), self.group_count)
        else:
            arranged = arranged_from(self.question, groups, self.calendars, self.wanted)
        return Aggregated(arranged, total, self.revision, self.question)


def aggregate(sql: Store, question: Aggregate, wanted: Wanted) -> Steps[Unarranged]:
    """The rows of every statement that the question needs. Raises AggregateTooLarge."""
    at = yield from revision(sql, question.project)
    question = yield from with_categories(sql, question)
    where = yield from matching(sql, question.project, question.filter)
    calendars = yield from _calendars(sql, question, where)
    columns = columns_of(sql)
    index = serving(question, (yield from declared_indexes(sql)))
    indexed = None if index is None else IndexedColumns(columns.dialect, columns.own, index)
    statements = Statements(columns, question, where, calendars, indexed)
    grouped = yield from _counted_alone(statements, wanted)
    group_count = None
    if grouped is None:
        grouped, group_count = yield from _placed(statements, question, wanted, calendars)
    total = (yield from measuring(statements, grouped=False)) if question.with_total else None
    return Unarranged(question, wanted, calendars, grouped, group_count, total, at)


def measuring(statements: Statements, *, grouped: bool) -> Steps[Measuring]:
    """The rows of the measures by group; not grouped, of all records."""
    prepared = statements.groups(grouped)
    rows = yield Statement(*prepared.sql)
    return Measuring(statements, prepared, rows, (yield from _counted(statements, EVERYTHING, grouped)))


def columns_of(sql: Store) -> Columns:
    """The columns of an engine."""
    dialect = sql.traits.dialect
    return Columns(dialect, DIALECTS[dialect.name])


def _counted_alone(statements: Statements, wanted: Wanted) -> Steps[Measuring | None]:
    """Where every measure is counted, their statements also count the records, which saves a pass over them.

    None where a measure is simple, or there turn out to be many groups.
    """
    prepared = statements.groups(grouped=True)
    if not prepared.reads or any(read is not None for read in prepared.reads):
        return None
    found = []
    for counted in statements.counted():
        text, params = counted.sql(statements.base(True, counted), EVERYTHING)
        rows = yield Statement(f"{text} limit {_COUNTED_ROWS}", params)
        if len(rows) == _COUNTED_ROWS:
            return None
        found.append((counted, rows))
    return Measuring(statements, prepared, None, found)


def _placed(
    statements: Statements, question: Aggregate, wanted: Wanted, calendars: Mapping[int, Calendar]
) -> Steps[tuple[Measuring, int | None]]:
    """Groups that the engine has put in order, and how many `having` kept; or, with None, all of them in no order."""
    prepared = statements.groups(grouped=True)
    placing = Placing(statements.dialect, question, prepared.terms)
    having = None if is_filled(question) else placing.having()
    kept = having or EVERYTHING
    text, params = f"{prepared.sql.text}", prepared.sql.params
    if having is not None and placing.is_ordered and wanted.most is not None:
        if having != EVERYTHING or question.with_group_count:
            counting = ", count(*) over () as group_count" if question.with_group_count else ""
            text = f"select t.*{counting} from ({text}) as t where {kept.text}"
            params = (*params, *kept.params)
        after = placing.after(wanted.after, calendars)
        text = f"select * from ({text}) as t where {after.text}{placing.order_by()} limit {wanted.most}"
        rows = yield Statement(text, (*params, *after.params))
        count = 0
        if question.with_group_count:
            count, rows = (rows[0][-1] if rows else 0), [row[:-1] for row in rows]
            if not rows and (wanted.after or not wanted.most):
                all_groups = f"select count(*) from ({prepared.sql.text}) as t where {kept.text}"
                [(count,)] = yield Statement(all_groups, (*prepared.sql.params, *kept.params))
        is_part = True
    else:
        most = limits.AGGREGATE_SORTED_GROUPS
        text = f"select * from ({text}) as t where {kept.text} limit {most + 1}"
        rows = yield Statement(text, (*params, *kept.params))
        if len(rows) > most:
            raise AggregateTooLarge(SORTED, most, len(rows))
        count, is_part = None, kept != EVERYTHING
    only = EVERYTHING
    if is_part and question.group_by:
        only = restriction(statements.dialect, question.group_by, rows)
    counted = yield from _counted(statements, only, grouped=True)
    return Measuring(statements, prepared, rows, counted), count


def _counted(statements: Statements, only: Sql, grouped: bool) -> Steps[list[tuple[Counted, list[Any]]]]:
    """The rows of all counted measures, of the groups whose keys meet a condition."""
    found: list[tuple[Counted, list[Any]]] = []
    for counted in statements.counted():
        rows = yield Statement(*counted.sql(statements.base(grouped, counted), only))
        found.append((counted, rows))
    return found


def _calendars(sql: Store, question: Aggregate, where: Sql) -> Steps[dict[int, Calendar]]:
    """A calendar for each grouping by time that has an instant, by its place."""
    calendars = {}
    for place, grouping in enumerate(question.group_by):
        if not isinstance(by := grouping.by, ByTime):
            continue
        instants = [bound for bound in (by.start, by.end) if bound is not None]
        if by.column.name == "created_at":
            # Of the whole project, because an index has its first and its last record.
            each = "select created_at from feedback where project = ? order by created_at"
            text = f"select * from ({each} limit 1) as a union all select * from ({each} desc limit 1) as b"
            found = yield Statement(sql.traits.sql(text), (question.project, question.project))
            instants += [instant for (instant,) in found]
        else:
            text = f"select min(f.updated_at), max(f.updated_at) from feedback as f where {where.text}"
            [ends] = yield Statement(text, where.params)
            instants += [instant for instant in ends if instant is not None]
        if instants:
            calendars[place] = calendar(by.unit, by.zone, min(instants), max(instants))
    return calendars
