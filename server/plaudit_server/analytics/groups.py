"""What is done with groups once they are measured: fill, having, order, limit and page; the same for every engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from plaudit._contract import limits
from plaudit_server.analytics.buckets import Bucket, Calendar
from plaudit_server.analytics.errors import AggregateTooLarge
from plaudit_server.analytics.measures import NOTHING, measure, single
from plaudit_server.analytics.records import ROW_COUNT, Aggregate, ByTime, Group, Key, Sort
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
    """Groups in the order asked for, after having and limit, and how many having kept."""

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
    return sorted(groups, key=lambda group: sort_key(question.order, group))


def groups_after(question: Aggregate, groups: list[Group], values: Sequence[Any]) -> list[Group]:
    """The groups that come after the one that sorts by these values; all of them where there are none."""
    if not values:
        return groups
    last = _directed(question.order, values)
    return [group for group in groups if sort_key(question.order, group) > last]


def sort_key(order: Sequence[Sort], group: Group) -> SortKey:
    """What groups sort by: by the order, then by their keys; what has no value comes last in both directions."""
    return _directed(order, sort_values(order, group))


def sort_values(order: Sequence[Sort], group: Group) -> tuple[Any, ...]:
    """The values that a group sorts by, whatever the directions are; a period by its start."""
    keys = [key.start if isinstance(key, Bucket) else key for key in group.keys]
    return (*(_sorted_by(sort, group) for sort in order), *keys)


def fill(question: Aggregate, groups: list[Group], calendars: Mapping[int, Calendar]) -> list[Group]:
    """The groups, and one without records for each period and combination of other keys that is not among them."""
    places = [place for place, grouping in enumerate(question.group_by) if _fills(grouping.by)]
    if not places or places[0] not in calendars:
        return groups
    place, calendar = places[0], calendars[places[0]]
    by = question.group_by[place].by
    assert isinstance(by, ByTime)
    buckets = {group.keys[place] for group in groups}
    if by.start is not None:
        buckets.add(calendar.bucket(by.start))
    if by.end is not None:
        buckets.add(calendar.bucket(by.end - 1))
    others = {(): ()} if len(question.group_by) == 1 else {_without(group.keys, place): None for group in groups}
    if not buckets or not others:
        return groups
    there = {group.keys for group in groups}
    nothing = tuple(measure(each, NOTHING) for each in question.measures)
    filled = list(groups)
    for count, bucket in enumerate(calendar.between(min(buckets), max(buckets)), 1):  # type: ignore[type-var, arg-type]
        if count * len(others) > limits.AGGREGATE_FILLED_GROUPS:
            raise AggregateTooLarge(FILLED, limits.AGGREGATE_FILLED_GROUPS, count * len(others))
        for other in others:
            keys = (*other[:place], bucket, *other[place:])
            if keys not in there:
                filled.append(Group(keys, 0, nothing))
    return filled


def _fills(by: object) -> bool:
    return isinstance(by, ByTime) and by.fill


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


def _sorted_by(sort: Sort, group: Group) -> Any:
    match sort.of:
        case "row_count":
            return group.row_count
        case "grouping":
            key = group.keys[sort.place]
            return key.start if isinstance(key, Bucket) else key
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
