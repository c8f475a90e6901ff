"""What a request may group by, with a violation at the path of each bad part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

from google.protobuf.timestamp_pb2 import Timestamp

from plaudit._contract import limits
from plaudit.v1 import Grouping as GroupingMessage
from plaudit.v1 import RefPart, TimeUnit
from plaudit.v1 import RefPartOf as RefPartMessage
from plaudit.v1 import TimeBucket as TimeMessage
from plaudit_server.analytics.buckets import Unit
from plaudit_server.analytics.categories import path_of
from plaudit_server.analytics.expressions import Expressions, bounded, check_name
from plaudit_server.analytics.records import ByEach, ByRefPart, ByTime, Grouping, Value
from plaudit_server.analytics.zones import FIRST, LAST, UnknownZone, check_zone
from plaudit_server.errors import Violation
from plaudit_server.query.fields import COLUMNS, Column, FieldRef, MapKey, UnknownField, resolve
from plaudit_server.query.refparts import RefPartName

_UNITS: Final[Mapping[int, Unit]] = {
    number: cast(Unit, name.removeprefix("TIME_UNIT_").lower()) for name, number in TimeUnit.items() if number
}
_PARTS: Final[Mapping[int, RefPartName]] = {
    number: cast(RefPartName, name.removeprefix("REF_PART_").lower()) for name, number in RefPart.items() if number
}
_REFS: Final = ("ref", "annotation_ref", "runnable_ref", "call_ref", "trigger_ref")
_TIMES: Final = ("created_at", "updated_at")


def check_groupings(
    messages: Sequence[GroupingMessage], expressions: Expressions, out: list[Violation]
) -> list[Grouping | None]:
    """The keys of the groups; None in the place of each that is refused."""
    groupings: list[Grouping | None] = []
    each = fills = False
    for index, message in bounded(messages, limits.AGGREGATE_GROUPINGS, "group_by", out):
        at = f"group_by[{index}]"
        grouping = _check_grouping(message, at, expressions, out)
        groupings.append(grouping)
        match grouping:
            case Grouping(by=ByEach()) if each:
                out.append(Violation(f"{at}.each", "is the second of its kind; one grouping at most is by each"))
            case Grouping(by=ByEach()):
                each = True
            case Grouping(by=ByTime(fill=True)) if fills:
                out.append(Violation(f"{at}.time.fill", "is the second of its kind; one grouping at most is filled"))
            case Grouping(by=ByTime(fill=True)):
                fills = True
    return groupings


def _check_grouping(
    message: GroupingMessage, at: str, expressions: Expressions, out: list[Violation]
) -> Grouping | None:
    by: Value | ByTime | ByRefPart | ByEach | None
    default = ""
    match message.WhichOneof("by"):
        case "value":
            by = expressions.value(message.value, f"{at}.value", "text")
            if message.value.WhichOneof("kind") == "field":
                default = message.value.field
        case "time":
            by, default = _check_time(message.time, f"{at}.time", out)
        case "ref_part":
            by, default = _check_ref_part(message.ref_part, f"{at}.ref_part", out)
        case "each":
            by, default = _check_each(message.each, f"{at}.each", out), message.each
        case _:
            out.append(Violation(at, "is by nothing; set value, time, ref_part or each"))
            return None
    name = message.name or default
    if not name:
        out.append(Violation(f"{at}.name", "is required: only a plain field has a name of its own"))
    elif message.name:
        check_name(name, f"{at}.name", out)
    if by is None or not name:
        return None
    grouping = Grouping(name, by, message.fill_categories)
    if message.fill_categories and (path_of(grouping) is None or grouping.kind != "text"):
        out.append(Violation(f"{at}.fill_categories", "needs a path in the payload, or the entries of one"))
    return grouping


def _check_time(message: TimeMessage, at: str, out: list[Violation]) -> tuple[ByTime | None, str]:
    before = len(out)
    field = message.field or _TIMES[0]
    if field not in _TIMES:
        out.append(Violation(f"{at}.field", "is neither created_at nor updated_at"))
    unit = _UNITS.get(message.unit)
    if unit is None:
        out.append(Violation(f"{at}.unit", "is required" if not message.unit else f"{message.unit} is no unit of time"))
    zone = message.time_zone or "UTC"
    try:
        check_zone(zone)
    except UnknownZone:
        out.append(Violation(f"{at}.time_zone", "is no name of the IANA time zone database"))
    start = _check_instant(message, "start", at, out)
    end = _check_instant(message, "end", at, out)
    if start is not None and end is not None and start >= end:
        out.append(Violation(f"{at}.end", "is not after start"))
    if unit is None or len(out) > before:
        return None, field
    return ByTime(COLUMNS[field], unit, zone, message.fill, start, end), field


def _check_instant(message: TimeMessage, name: str, at: str, out: list[Violation]) -> int | None:
    if not message.HasField(name):  # type: ignore[arg-type]
        return None
    stamp: Timestamp = getattr(message, name)
    micros = stamp.seconds * 1_000_000 + stamp.nanos // 1000
    if not (FIRST <= micros <= LAST and 0 <= stamp.nanos < 1_000_000_000):
        out.append(Violation(f"{at}.{name}", "is not within the years 1 to 9999"))
    return micros


def _check_ref_part(message: RefPartMessage, at: str, out: list[Violation]) -> tuple[ByRefPart | None, str]:
    field = message.field or _REFS[0]
    part = _PARTS.get(message.part)
    if field not in _REFS:
        out.append(Violation(f"{at}.field", f"is none of {', '.join(_REFS)}"))
    if part is None:
        out.append(Violation(f"{at}.part", f"{message.part} is no part of a ref" if message.part else "is required"))
    return (ByRefPart(COLUMNS[field], part) if field in _REFS and part else None), field


def _check_each(path: str, at: str, out: list[Violation]) -> ByEach | None:
    try:
        ref: FieldRef = resolve(path)
    except UnknownField as error:
        out.append(Violation(at, str(error)))
        return None
    if isinstance(ref, MapKey) or (isinstance(ref, Column) and ref.kind not in ("array", "map")):
        out.append(Violation(at, "is neither scorer_tags, nor a map, nor a path in the payload"))
        return None
    return ByEach(ref)
