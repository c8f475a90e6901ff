"""The starts of periods equal PostgreSQL's date_trunc, in 12 zones, for thousands of instants."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from plaudit_server.analytics.buckets import Unit, calendar
from tests.postgres.cluster import Database

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Zones with offsets of halves and quarters, with and without changes of clocks, on both sides of the date line. The
# database has them from its machine: they have to be such that every version of the last years has them alike. None
# changes its clocks at a midnight, or at no full hour: there date_trunc gives an instant that is not the first of its
# date, or one from before the change; tests/analytics/test_buckets.py has what plaudit does.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Halifax",
    "America/Los_Angeles",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Australia/Adelaide",
    "Pacific/Apia",
    "Pacific/Auckland",
)
INSTANTS = 3000
FIRST, LAST = datetime(1995, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("unit", ["minute", "hour", "day", "week", "month", "quarter", "year"])
def test_periods_start_where_the_database_truncates_to(database: Database, unit: Unit) -> None:
    chance = random.Random(unit)
    span = (LAST - FIRST) // timedelta(microseconds=1)
    instants = [FIRST + timedelta(microseconds=chance.randrange(span)) for _ in range(INSTANTS)]
    micros = [(instant - EPOCH) // timedelta(microseconds=1) for instant in instants]
    differ: list[Any] = []
    for zone in ZONES:
        query = "SELECT date_trunc(%s, at, %s) FROM unnest(%s::timestamptz[]) WITH ORDINALITY AS i (at, n) ORDER BY n"
        truncated = [start for (start,) in database.execute(query, (unit, zone, instants))]
        periods = calendar(unit, zone, min(micros), max(micros))

        starts = [EPOCH + timedelta(microseconds=periods.bucket(at).start) for at in micros]

        differ += [
            (zone, instant, mine, theirs)
            for instant, mine, theirs in zip(instants, starts, truncated, strict=True)
            if mine != theirs
        ]
    assert differ == []
