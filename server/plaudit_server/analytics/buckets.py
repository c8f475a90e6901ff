"""Periods of the calendar in a time zone: which one an instant is in, where it starts and ends, which one is next.

All instants are microseconds since 1970 UTC.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from plaudit_server.analytics.zones import DAY, FIRST, LAST, SECOND, Offsets, offsets_between

Unit = Literal["minute", "hour", "day", "week", "month", "quarter", "year"]

MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE

_MONTHS: Final[dict[Unit, int]] = {"month": 1, "quarter": 3, "year": 12}


class Bucket(NamedTuple):
    """A period: from `start` up to `end`, which is not in it. Within the years 1 to 9999, and ordered by its start."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """The periods of one unit in one zone, over a span of time; instants outside it may be given a wrong period."""

    unit: Unit
    offsets: Offsets

    def bucket(self, instant: int) -> Bucket:
        """The period that an instant is in."""
        if self.unit in ("minute", "hour"):
            return self._clock_bucket(instant)
        period = self.period(instant)
        return _bounded(self._start(period), self._start(period + 1))

    def period(self, instant: int) -> int:
        """The number of the period, of a day or longer, that an instant is in; numbers grow with time."""
        return period_of_day((instant + self.offsets.at(instant)) // DAY, self.unit)

    def bucket_of_period(self, period: int) -> Bucket:
        """The period, of a day or longer, that has a number; one that was skipped ends where it starts."""
        return _bounded(self._start(period), self._start(period + 1))

    def label(self, start: int) -> int:
        """The number by which SQL groups the records of the period that starts at an instant."""
        return start if self.unit in ("minute", "hour") else self.period(start)

    def between(self, first: Bucket, last: Bucket) -> Iterator[Bucket]:
        """The periods from one to another, both included."""
        bucket = first
        yield bucket
        while bucket.start < last.start:
            bucket = self.bucket(bucket.end)
            yield bucket

    def _clock_bucket(self, instant: int) -> Bucket:
        """A minute or hour of the local clock, cut where the offset changes."""
        length = MINUTE if self.unit == "minute" else HOUR
        starts, offset = self.offsets.starts, self.offsets.at(instant)
        start = (instant + offset) // length * length - offset
        end = start + length
        change = bisect_right(starts, instant)
        if change > 1:
            start = max(start, starts[change - 1])
        if 0 < change < len(starts):
            end = min(end, starts[change])
        return _bounded(start, end)

    def _start(self, period: int) -> int:
        return self.offsets.first_instant(first_day(period, self.unit) * DAY)


def calendar(unit: Unit, zone: str, first: int, last: int) -> Calendar:
    """The calendar of a zone for the instants from `first` to `last`. Raises UnknownZone."""
    margin = {"minute": DAY, "hour": DAY, "day": 5 * DAY, "week": 12 * DAY}.get(unit, 400 * DAY)
    offsets = offsets_between(zone, first - margin, last + margin)
    return Calendar(unit, offsets if unit in ("minute", "hour") else offsets.by_date())


def period_of_day(day: int, unit: Unit) -> int:
    """The number of the day, week, month, quarter or year that a date is in; the date as days since 1970-01-01."""
    match unit:
        case "day":
            return day
        case "week":
            return (day + 3) // 7  # 1970-01-01 was a Thursday
        case _:
            return _month_of_day(day) // _MONTHS[unit]


def first_day(period: int, unit: Unit) -> int:
    """The first date of a period, as days since 1970-01-01."""
    match unit:
        case "day":
            return period
        case "week":
            return 7 * period - 3
        case _:
            return _first_day_of_month(period * _MONTHS[unit])


def _month_of_day(day: int) -> int:
    """Months since January of the year 0, by Hinnant's algorithm: unlike datetime it does not end with year 9999."""
    era, day_of_era = divmod(day + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    return 12 * (year_of_era + 400 * era) + month_from_march + 2


def _first_day_of_month(month: int) -> int:
    year, month_from_march = divmod(month - 2, 12)
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * month_from_march + 2) // 5
    day_of_era = 365 * year_of_era + year_of_era // 4 - year_of_era // 100 + day_of_year
    return 146_097 * era + day_of_era - 719_468


def _bounded(start: int, end: int) -> Bucket:
    """A period, cut to what a Timestamp can hold: the ends of the first and last one may lie outside."""
    return Bucket(max(start, FIRST), min(end, LAST))
