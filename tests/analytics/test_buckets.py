"""Periods of the calendar in time zones, against zones of the standard library, and where the calendar is odd."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from plaudit_server.analytics.buckets import Unit, calendar, first_day, period_of_day
from plaudit_server.analytics.zones import DAY, FIRST, LAST, UnknownZone, offsets_between

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Africa/Cairo",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Pacific/Apia",
    "Pacific/Chatham",
    "America/Sao_Paulo",
    "Asia/Tehran",
)


def micros(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def shown(instant: int) -> str:
    return (EPOCH + timedelta(microseconds=instant)).isoformat().replace("+00:00", "Z")


@cache
def shipped(zone: str) -> ZoneInfo:
    """As `tzdata` has it: that of the machine may be older."""
    with files("tzdata").joinpath("zoneinfo", *zone.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=zone)


def local(instant: int, zone: str) -> datetime:
    return (EPOCH + timedelta(microseconds=instant)).astimezone(shipped(zone))


@pytest.mark.parametrize(
    ("zone", "unit", "instant", "start", "end"),
    [
        # 23 and 25 hours.
        ("Europe/Berlin", "day", "2025-03-30T12:00:00Z", "2025-03-29T23:00:00Z", "2025-03-30T22:00:00Z"),
        ("Europe/Berlin", "day", "2025-10-26T12:00:00Z", "2025-10-25T22:00:00Z", "2025-10-26T23:00:00Z"),
        # No midnight: the day begins at 1:00.
        ("Africa/Cairo", "day", "2025-04-24T22:00:00Z", "2025-04-24T22:00:00Z", "2025-04-25T21:00:00Z"),
        ("America/Sao_Paulo", "day", "2018-11-04T03:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"),
        # 30 December 2011 was skipped in Samoa: the day before ends where the day after begins.
        ("Pacific/Apia", "day", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"),
        ("Pacific/Apia", "day", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"),
        # Clocks went back from 0:01 to 23:01: the date that had begun goes on.
        ("America/St_Johns", "day", "2006-10-29T02:29:59Z", "2006-10-28T02:30:00Z", "2006-10-29T02:30:00Z"),
        ("America/St_Johns", "day", "2006-10-29T03:00:00Z", "2006-10-29T02:30:00Z", "2006-10-30T03:30:00Z"),
        # The first of two midnights.
        ("America/Havana", "day", "2025-11-02T04:30:00Z", "2025-11-02T04:00:00Z", "2025-11-03T05:00:00Z"),
        # An hour that is repeated is two; by half an hour, it is cut where the clocks change.
        ("Europe/Berlin", "hour", "2025-10-26T00:30:00Z", "2025-10-26T00:00:00Z", "2025-10-26T01:00:00Z"),
        ("Europe/Berlin", "hour", "2025-10-26T01:30:00Z", "2025-10-26T01:00:00Z", "2025-10-26T02:00:00Z"),
        ("Australia/Lord_Howe", "hour", "2025-04-05T14:59:59Z", "2025-04-05T14:00:00Z", "2025-04-05T15:00:00Z"),
        ("Australia/Lord_Howe", "hour", "2025-04-05T15:10:00Z", "2025-04-05T15:00:00Z", "2025-04-05T15:30:00Z"),
        # 30 and 45 minutes.
        ("Asia/Kolkata", "hour", "2025-01-01T00:00:00Z", "2024-12-31T23:30:00Z", "2025-01-01T00:30:00Z"),
        ("Asia/Kathmandu", "day", "2025-01-01T00:00:00Z", "2024-12-31T18:15:00Z", "2025-01-01T18:15:00Z"),
        # Weeks over a year's end, and before 1970.
        ("UTC", "week", "2021-01-03T23:59:59.999999Z", "2020-12-28T00:00:00Z", "2021-01-04T00:00:00Z"),
        ("UTC", "week", "1969-12-28T12:00:00Z", "1969-12-22T00:00:00Z", "1969-12-29T00:00:00Z"),
        ("UTC", "quarter", "2024-02-29T12:00:00Z", "2024-01-01T00:00:00Z", "2024-04-01T00:00:00Z"),
        # By a rule that goes on for ever.
        ("Europe/Berlin", "day", "2600-07-01T12:00:00Z", "2600-06-30T22:00:00Z", "2600-07-01T22:00:00Z"),
        # What a Timestamp can hold.
        ("Asia/Tokyo", "year", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-12-31T14:41:01Z"),
        ("Europe/Berlin", "year", "9999-12-31T23:30:00Z", "9999-12-31T23:00:00Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_period_where_the_calendar_is_odd(zone: str, unit: Unit, instant: str, start: str, end: str) -> None:
    at = micros(instant)

    bucket = calendar(unit, zone, at, at).bucket(at)

    assert (shown(bucket.start), shown(bucket.end)) == (start, end)


@pytest.mark.parametrize("zone", ZONES)
def test_a_day_is_the_instants_of_one_local_date(zone: str) -> None:
    days = calendar("day", zone, micros("2005-01-01T00:00:00Z"), micros("2027-01-01T00:00:00Z"))
    chance = random.Random(zone)
    for _ in range(300):
        instant = chance.randrange(micros("2005-01-01T00:00:00Z"), micros("2027-01-01T00:00:00Z"))

        start, end = days.bucket(instant)

        assert start <= instant < end
        first, last = local(start, zone).date(), local(end - 1, zone).date()
        assert local(start - 1, zone).date() < first
        assert first == last == days_date(days.period(instant))


def days_date(day: int) -> date:
    return date(1970, 1, 1) + timedelta(days=day)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("unit", ["minute", "hour", "day", "week", "month", "quarter", "year"])
def test_periods_follow_each_other_without_gap_or_overlap(zone: str, unit: Unit) -> None:
    first = micros("2011-12-20T00:00:00Z")
    last = first + {"minute": DAY // 10, "hour": 20 * DAY, "day": 400 * DAY}.get(unit, 4000 * DAY)
    periods = calendar(unit, zone, first, last)

    buckets = list(periods.between(periods.bucket(first), periods.bucket(last)))

    assert all(one.end == next.start for one, next in pairwise(buckets))
    for bucket in buckets[:500]:
        assert bucket.start < bucket.end
        assert periods.bucket(bucket.start) == periods.bucket(bucket.end - 1) == bucket


@pytest.mark.parametrize("zone", ZONES)
def test_offsets_are_those_of_the_zone_at_every_instant(zone: str) -> None:
    chance = random.Random(zone)
    for low, high in ((-2_000_000_000, 4_000_000_000), (30_000_000_000, 40_000_000_000)):
        offsets = offsets_between(zone, low * 1_000_000, high * 1_000_000)
        for _ in range(300):
            instant = chance.randrange(low, high) * 1_000_000
            expected = local(instant, zone).utcoffset()
            assert expected is not None
            assert offsets.at(instant) == expected // timedelta(microseconds=1), shown(instant)


def test_dates_as_numbers() -> None:
    chance = random.Random(1)
    for _ in range(2000):
        day = chance.randrange(FIRST // DAY, LAST // DAY)
        at = days_date(day)
        assert first_day(period_of_day(day, "week"), "week") == day - at.weekday()
        assert days_date(first_day(period_of_day(day, "month"), "month")) == at.replace(day=1)
        quarter = at.replace(month=(at.month - 1) // 3 * 3 + 1, day=1)
        assert days_date(first_day(period_of_day(day, "quarter"), "quarter")) == quarter
        assert days_date(first_day(period_of_day(day, "year"), "year")) == at.replace(month=1, day=1)


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "+02:00", "europe/berlin", "../zones", "UTC+1", "posixrules"])
def test_only_names_of_the_database_are_zones(name: str) -> None:
    with pytest.raises(UnknownZone):
        offsets_between(name, 0, 0)
