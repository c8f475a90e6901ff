"""How a question about groups is asked of a store: its statements in order, and, apart from them, what rows mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from plaudit_server.analytics.buckets import Calendar, calendar
from plaudit_server.analytics.columns import Columns
from plaudit_server.analytics.dialects import DIALECTS
from plaudit_server.analytics.groups import Arranged, arrange
from plaudit_server.analytics.measures import NOTHING, measure
from plaudit_server.analytics.records import Aggregate, ByTime, Group, Key
from plaudit_server.analytics.statements import Prepared as PreparedGroups
from plaudit_server.analytics.statements import Read as ReadMeasure
from plaudit_server.analytics.statements import Statements
from plaudit_server.feedback.matching import where as matching
from plaudit_server.query.compile.fragments import Sql
from plaudit_server.store.base import Statement, Steps
from plaudit_server.store.ledger import revision
from plaudit_server.store.prepared import Prepared


class Aggregated(NamedTuple):
    """The groups of a question, one more over all records where it asks for that, and the project's revision."""

    arranged: Arranged
    total: Group | None
    revision: int


@dataclass(frozen=True, slots=True)
class Measuring:
    """Rows of the statements of one question: of all simple measures, and of each expression that is counted."""

    statements: Statements
    prepared: PreparedGroups
    reads: list[ReadMeasure | None]
    rows: list[Any] | None
    """None where no measure is simple: the rows of what is counted, with those that have no value, are all there is."""
    counted: list[tuple[list[int], PreparedGroups, list[Any]]]

    def groups(self, question: Aggregate) -> list[Group]:
        """The groups, in any order."""
        counted: dict[int, dict[tuple[Key, ...], Mapping[Any, int]]] = {}
        for places, prepared, rows in self.counted:
            # By the keys as they came, which are read once for each group and not for each row.
            by_raw: dict[tuple[Any, ...], list[tuple[Any, int]]] = {}
            for row in rows:
                if row[-2] is not None:
                    by_raw.setdefault(tuple(row[: prepared.keys]), []).append((row[-2], row[-1]))
            for place in places:
                asked = question.measures[place]
                counted[place] = {
                    self.statements.keys(raw): self.statements.values(asked, held) for raw, held in by_raw.items()
                }
        groups = []
        for row in self._counts() if self.rows is None else self.rows:
            keys = self.statements.keys(row[: self.prepared.keys])
            row_count, *parts = row[self.prepared.keys :]
            measures = tuple(
                measure(question.measures[place], counted[place].get(keys, NOTHING)) if read is None else read(parts)
                for place, read in enumerate(self.reads)
            )
            groups.append(Group(keys, row_count, measures))
        return groups

    def _counts(self) -> list[tuple[Any, ...]]:
        """The keys of each group, and how many records it has."""
        _, prepared, rows = self.counted[0]
        counts: dict[tuple[Any, ...], int] = {} if prepared.keys else {(): 0}
        for row in rows:
            raw = tuple(row[: prepared.keys])
            counts[raw] = counts.get(raw, 0) + row[-1]
        return [(*raw, count) for raw, count in counts.items()]


@dataclass(frozen=True, slots=True)
class Unarranged:
    """What a store answered. To make groups of it is work for a thread: there may be a great many rows."""

    question: Aggregate
    calendars: Mapping[int, Calendar]
    grouped: Measuring
    total: Measuring | None
    revision: int

    def answer(self) -> Aggregated:
        """The groups in the order asked for. Raises AggregateTooLarge."""
        total = self.total.groups(self.question)[0] if self.total is not None else None
        arranged = arrange(self.question, self.grouped.groups(self.question), self.calendars)
        return Aggregated(arranged, total, self.revision)


def aggregate(sql: Prepared, question: Aggregate) -> Steps[Unarranged]:
    """The rows of every statement that the question needs."""
    at = yield from revision(sql, question.project)
    where = yield from matching(sql, question.project, question.filter)
    calendars = yield from _calendars(sql, question, where)
    statements = Statements(columns_of(sql), question, where, calendars)
    grouped = yield from measuring(statements, grouped=True)
    total = (yield from measuring(statements, grouped=False)) if question.with_total else None
    return Unarranged(question, calendars, grouped, total, at)


def measuring(statements: Statements, *, grouped: bool) -> Steps[Measuring]:
    """The rows of the measures by group; not grouped, of all records."""
    prepared, reads = statements.groups(grouped)
    # Where every measure is counted, one of these statements also counts the records: a pass over them less.
    alone = bool(reads) and all(read is None for read in reads)
    rows = None if alone else (yield Statement(*prepared.sql))
    counted = []
    for places, one in statements.counted(grouped, with_nulls=alone):
        counted.append((places, one, (yield Statement(*one.sql))))
    return Measuring(statements, prepared, reads, rows, counted)


def columns_of(sql: Prepared) -> Columns:
    """The columns of an engine."""
    dialect = sql.traits.dialect
    return Columns(dialect, DIALECTS[dialect.name])


def _calendars(sql: Prepared, question: Aggregate, where: Sql) -> Steps[dict[int, Calendar]]:
    """A calendar for each grouping by time that has an instant, by its place."""
    calendars = {}
    for place, grouping in enumerate(question.group_by):
        if not isinstance(by := grouping.by, ByTime):
            continue
        instants = [bound for bound in (by.start, by.end) if bound is not None]
        if by.column.name == "created_at":
            # Of the whole project, for an index has its first and its last record.
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
