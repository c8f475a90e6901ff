"""Questions about many records, answered plainly, record by record: what every engine is compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

from plaudit_server.analytics.arithmetic import plain
from plaudit_server.analytics.buckets import Calendar, calendar
from plaudit_server.analytics.describe import DescribeQuestion, Description, FieldCount
from plaudit_server.analytics.groups import ALL, Arranged, Wanted, arranged_from
from plaudit_server.analytics.measures import measure
from plaudit_server.analytics.overview import Overview, SummaryQuestion
from plaudit_server.analytics.ratings import AgreementQuestion, Ratings, RatingsTable
from plaudit_server.analytics.records import (
    Aggregate,
    ByEach,
    ByRefPart,
    ByTime,
    Group,
    Grouping,
    Key,
    Measure,
    Scalar,
    Value,
)
from plaudit_server.feedback.reactions import fold_reactions, reactions
from plaudit_server.query.evaluate import Numeral, Row, matches, read_as, text_of, walk
from plaudit_server.query.fields import Column
from plaudit_server.query.refparts import ref_part
from plaudit_server.query.tree import Operation


class Aggregated(NamedTuple):
    """The groups of a question, and one more over all records where it asks for that."""

    arranged: Arranged
    total: Group | None


def aggregate(question: Aggregate, rows: Iterable[Row], wanted: Wanted = ALL) -> Aggregated:
    """Answer a question about the rows of one project: the groups wanted of it. Raises AggregateTooLarge."""
    found = newest_of(question.newest_of, _matching(question.filter, rows))
    calendars = calendars_for(question, [(row["created_at"], row["updated_at"]) for row in found])
    grouped: dict[tuple[Key, ...], list[Row]] = {} if question.group_by else {(): []}
    for row in found:
        keys = [_keys(grouping, row, calendars.get(place)) for place, grouping in enumerate(question.group_by)]
        for combination in product(*keys):
            grouped.setdefault(combination, []).append(row)
    groups = [_group(question, keys, members) for keys, members in grouped.items()]
    total = _group(question, (), found) if question.with_total else None
    return Aggregated(arranged_from(question, groups, calendars, wanted), total)


def describe(question: DescribeQuestion, rows: Iterable[Row]) -> tuple[list[FieldCount], int, int]:
    """The fields of the newest matches, how many were looked at, and how many there are. Raises AggregateTooLarge."""
    found = _newest_first(_matching(question.filter, rows))
    scanned = found if question.newest is None else found[: question.newest]
    description = Description()
    for row in scanned:
        description.add(row["feedback_type"], row["payload"], row)
    return description.fields(), len(scanned), len(found)


def summarize(question: SummaryQuestion, rows: Iterable[Row]) -> list[Overview]:
    """What there is on each ref, in the order asked."""
    by_ref: dict[str, list[Row]] = {ref: [] for ref in question.refs}
    for row in _matching(question.filter, rows):
        if row["ref"] in by_ref:
            by_ref[row["ref"]].append(row)
    return [_overview(question, ref, members) for ref, members in by_ref.items()]


def rate(question: AgreementQuestion, rows: Iterable[Row]) -> Ratings:
    """One value by each rater on each unit. Raises AggregateTooLarge."""
    table = RatingsTable(question)
    for row in reversed(_newest_first(_matching(question.filter, rows))):
        rater = value_of(question.rater, row)
        name = None if rater is None else text_of(rater)
        table.add(value_of(question.unit, row), name, value_of(question.value, row))
    return table.ratings()


def newest_of(values: Sequence[Value], rows: list[Row]) -> list[Row]:
    """Of rows that agree in all values only the newest; null agrees with null."""
    if not values:
        return rows
    newest: dict[tuple[Scalar | None, ...], Row] = {}
    for row in reversed(_newest_first(rows)):
        newest[tuple(value_of(value, row) for value in values)] = row
    return list(newest.values())


def value_of(value: Value, row: Row) -> Scalar | None:
    """The value of an expression for a row; None when it has none."""
    read = read_as(value.operand, row, value.kind)
    return plain(read) if value.kind == "number" and read is not None else read  # type: ignore[arg-type]


def calendars_for(question: Aggregate, times: Sequence[tuple[int, int]]) -> dict[int, Calendar]:
    """A calendar for each grouping by time that has an instant, by its place; times are created_at and updated_at."""
    calendars = {}
    for place, grouping in enumerate(question.group_by):
        if isinstance(by := grouping.by, ByTime):
            instants = [updated if by.column.name == "updated_at" else created for created, updated in times]
            instants += [bound for bound in (by.start, by.end) if bound is not None]
            if instants:
                calendars[place] = calendar(by.unit, by.zone, min(instants), max(instants))
    return calendars


def entries(by: ByEach, row: Row) -> list[str]:
    """The entries of a list, or the keys of a map, each once; nothing for what is neither."""
    held = row[by.ref.name] if isinstance(by.ref, Column) else walk(by.ref, row["payload"])
    match held:
        case dict() if isinstance(by.ref, Column):
            return list(held)
        case list():
            texts = (text_of(entry) for entry in held if isinstance(entry, str | bool | Numeral))
            return list(dict.fromkeys(text for text in texts if text is not None))
        case _:
            return []


def _matching(filter: Operation | None, rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if filter is None or matches(filter, row) is True]


def _newest_first(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row["created_at"], row["id"]), reverse=True)


def _overview(question: SummaryQuestion, ref: str, rows: Sequence[Row]) -> Overview:
    newest = _newest_first(rows)
    return Overview(
        ref,
        len(rows),
        tuple(sorted(Counter(row["feedback_type"] for row in rows).items())),
        fold_reactions(reactions(rows), question.viewer, question.any_tone),
        newest[0]["id"] if newest else None,
        tuple(measure(each, Counter(_values(each, rows))) for each in question.measures),
    )


def _keys(grouping: Grouping, row: Row, calendar: Calendar | None) -> Iterable[Key]:
    """The keys under which a row stands: one, except for a grouping by each entry."""
    match grouping.by:
        case Value() as value:
            return (value_of(value, row),)
        case ByTime(column=column):
            assert calendar is not None
            return (calendar.bucket(row[column.name]),)
        case ByRefPart(column=column, part=part):
            return (None if row[column.name] is None else ref_part(row[column.name], part),)
        case ByEach() as by:
            return entries(by, row) or (None,)


def _group(question: Aggregate, keys: tuple[Key, ...], rows: Sequence[Row]) -> Group:
    return Group(keys, len(rows), tuple(measure(each, Counter(_values(each, rows))) for each in question.measures))


def _values(measure: Measure, rows: Iterable[Row]) -> Iterator[Any]:
    for row in rows:
        if measure.where is not None and matches(measure.where, row) is not True:
            continue
        value = True if measure.value is None else value_of(measure.value, row)
        if value is not None:
            yield value
