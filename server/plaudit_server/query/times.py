"""Time literals, read as microseconds; the times of records are integers already."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

_RFC3339: Final = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[Tt ](?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<fraction>\d+))?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<zone_hour>\d\d):(?P<zone_minute>\d\d))?)?",
    re.ASCII,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MICROS: Final = -62_135_596_800_000_000  # 0001-01-01T00:00:00Z
_LAST_MICROS: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z


def time_micros(value: str | int | float) -> int:
    """A time literal in microseconds since 1970 UTC: RFC 3339 text, a bare date, or Unix seconds. Raises ValueError.

    Digits of a text beyond microseconds are cut off; seconds as a double are rounded to the closest microsecond.
    """
    if isinstance(value, str):
        micros = _text_micros(value)
    elif isinstance(value, int):
        micros = value * 1_000_000
    else:
        # A double holds microseconds, but not exactly; it is split first, so that little is lost.
        fraction, seconds = math.modf(value)
        micros = int(seconds) * 1_000_000 + round(fraction * 1_000_000)
    if not _FIRST_MICROS <= micros <= _LAST_MICROS:
        raise ValueError("is not within the years 1 to 9999")
    return micros


def _text_micros(text: str) -> int:
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("is no time; write RFC 3339, a date, or Unix seconds")
    part = match.groupdict(default="0")
    offset = timedelta(hours=int(part["zone_hour"]), minutes=int(part["zone_minute"]))
    leap = part["second"] == "60"  # becomes the next second, as on every clock without leap seconds
    try:
        if int(part["zone_minute"]) > 59:
            raise ValueError
        local = datetime(
            int(part["year"]),
            int(part["month"]),
            int(part["day"]),
            int(part["hour"]),
            int(part["minute"]),
            59 if leap else int(part["second"]),
            tzinfo=timezone(-offset if part["sign"] == "-" else offset),
        )
    except ValueError:
        raise ValueError("is no time of the calendar") from None
    # Subtracting never leaves the calendar, converting to UTC may.
    return (local - _EPOCH) // timedelta(microseconds=1) + leap * 1_000_000 + int(part["fraction"][:6].ljust(6, "0"))
