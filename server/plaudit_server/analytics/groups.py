"""What is done with groups once they are measured: fill, having, order, limit and page; the same for every engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from plaudit._contract import limits
from plaudit_server.analytics.buckets import Bucket, Calendar
from plaudit_server.analytics.errors import AggregateTooLarge
from plaudit_server.analytics.measures import NOTHING, measure, single
from plaudit_server.analytics.records import ROW_COUNT, Aggregate, ByTime, Group, Grouping, Key, Sort
from plaudit_server.query.evaluate import Descending, matches

SortKey = tuple[Any, ...]

FILLED: Final = "aggregate_filled_groups"


class Wanted(NamedTuple):
    """Which of the groups in order are wanted: those after one that sorts by these values, and how many at most."""

    after: tuple[Any, ...] = ()
    most: int | None = None


ALL: Final = Wanted()
"""All groups."""


class Arranged(NamedTuple):
    """Groups in the order asked for, after `having` and `limit`, and how many `having` kept."""

    groups: list[Group]
    group_count: int


def arrange(question: Aggregate, groups: Iterable[Group], calendars: Mapping[int, Calendar]) -> Arranged:
    """Groups as they are answered, of all groups with records, in any order.

    `calendars` has the calendar of each grouping by time, by its place. Raises AggregateTooLarge.
    """
    kept = fill(question, list(groups), calendars)
    if question.having is not None:
        kept = [group for group in kept if matches(question.having, _named(question, group)) is True]
    kept = sorted_groups(question, kept)
    return Arranged(kept if question.limit is None else kept[: question.limit], len(kept))


def arranged_from(
    question: Aggregate, groups: list[Group], calendars: Mapping[int, Calendar], wanted: Wanted
) -> Arranged:
    """The groups that are wanted, of all. Raises AggregateTooLarge."""
    found = arrange(question, groups, calendars)
    return Arranged(groups_after(question, found.groups, wanted.after)[: wanted.most], found.group_count)


def sorted_groups(question: Aggregate, groups: Iterable[Group]) -> list[Group]:
    """The groups in the order asked for."""
    return sorted(groups, key=lambda group: sort_key(question, group))


def groups_after(question: Aggregate, groups: list[Group], values: Sequence[Any]) -> list[Group]:
    """The groups that come after the one that sorts by these values; all of them where there are none."""
    if not values:
        return groups
    last = _directed(question.order, values)
    return [group for group in groups if sort_key(question, group) > last]


def sort_key(question: Aggregate, group: Group) -> SortKey:
    """What groups sort by: by the order, then by their keys; what has no value comes last in both directions."""
    return _directed(question.order, sort_values(question, group))


def sort_values(question: Aggregate, group: Group) -> tuple[Any, ...]:
    """The values that a group sorts by, whatever the directions are: a period by its start, a category by its place."""
    keys = [_comparable(grouping, key) for grouping, key in zip(question.group_by, group.keys, strict=True)]
    return (*(_sorted_by(sort, group, keys) for sort in question.order), *keys)


@lru_cache(maxsize=16)
def _places(categories: tuple[str, ...]) -> Mapping[str, int]:
    return {category: place for place, category in enumerate(categories)}


def _comparable(grouping: Grouping, key: Key) -> Any:
    if isinstance(key, Bucket):
        return key.start
    if key is None or not grouping.categories:
        return key
    places = _places(grouping.categories)
    place = places.get(str(key), len(places))
    return f"{place:04d}{key}"


def fill(question: Aggregate, groups: list[Group], calendars: Mapping[int, Calendar]) -> list[Group]:
    """The groups and, if asked for, one without records for each category or period and combination of other keys."""
    for place, grouping in enumerate(question.group_by):
        if grouping.categories:
            groups = _filled(question, groups, place, list(grouping.categories))
    for place, grouping in enumerate(question.group_by):
        if isinstance(by := grouping.by, ByTime) and by.fill and place in calendars:
            groups = _filled(question, groups, place, _periods(by, calendars[place], groups, place))
    return groups


def _periods(by: ByTime, calendar: Calendar, groups: Sequence[Group], place: int) -> Iterable[Key]:
    """From the first to the last that occurs, or is asked for."""
    buckets = [group.keys[place] for group in groups]
    if by.start is not None:
        buckets.append(calendar.bucket(by.start))
    if by.end is not None:
        buckets.append(calendar.bucket(by.end - 1))
    return calendar.between(min(buckets), max(buckets)) if buckets else ()  # type: ignore[type-var, arg-type]


def _filled(question: Aggregate, groups: Sequence[Group], place: int, keys: Iterable[Key]) -> list[Group]:
    """The groups, and those of these keys in a place that are not among them. Raises AggregateTooLarge."""
    alone = len(question.group_by) == 1
    others = {(): None} if alone else {_without(group.keys, place): None for group in groups}
    there = {group.keys for group in groups}
    nothing = tuple(measure(each, NOTHING) for each in question.measures)
    filled = list(groups)
    for count, key in enumerate(keys, 1):
        if count * len(others) > limits.AGGREGATE_FILLED_GROUPS:
            raise AggregateTooLarge(FILLED, limits.AGGREGATE_FILLED_GROUPS, count * len(others))
        for other in others:
            made = (*other[:place], key, *other[place:])
            if made not in there:
                filled.append(Group(made, 0, nothing))
    return filled


def _without(keys: tuple[Key, ...], place: int) -> tuple[Key, ...]:
    return keys[:place] + keys[place + 1 :]


def _named(question: Aggregate, group: Group) -> dict[str, Any]:
    """A group as a row that conditions see: values by name, a period by its start."""
    row: dict[str, Any] = {ROW_COUNT: group.row_count}
    for grouping, key in zip(question.group_by, group.keys, strict=True):
        row[grouping.name] = key.start if isinstance(key, Bucket) else key
    for asked, measured in zip(question.measures, group.measures, strict=True):
        row[asked.name] = single(measured)
    return row


def _sorted_by(sort: Sort, group: Group, keys: Sequence[Any]) -> Any:
    match sort.of:
        case "row_count":
            return group.row_count
        case "grouping":
            return keys[sort.place]
        case "measure":
            return single(group.measures[sort.place])


def _directed(order: Sequence[Sort], values: Sequence[Any]) -> SortKey:
    parts: list[tuple[bool, Any]] = []
    for place, value in enumerate(values):
        descending = place < len(order) and order[place].descending
        if value is None:
            parts.append((True, 0))
        else:
            parts.append((False, Descending(value) if descending else value))
    return tuple(parts)
