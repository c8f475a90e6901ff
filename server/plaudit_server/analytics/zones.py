"""Time zones as the server ships them: the offsets of a zone over a span of time; never those of an engine or machine.

All instants here are microseconds since 1970 UTC, and so are offsets from UTC.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND

FIRST: Final = -62_135_596_800 * SECOND
"""0001-01-01T00:00:00Z."""
LAST: Final = 253_402_300_800 * SECOND - 1
"""9999-12-31T23:59:59.999999Z."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# The clocks of a rule change at most twice a year, and stay changed for a month at least.
_STEP: Final = 14 * DAY
_CYCLE: Final = 146_097 * DAY  # 400 years


class UnknownZone(ValueError):
    """The name is not one of the time zone database."""


@dataclass(frozen=True, slots=True)
class Offsets:
    """The offsets of a zone from UTC, in segments: `offsets[i]` holds from `starts[i]` up to the next start.

    The first segment has no beginning, its start only stands for it; neighbouring segments have different offsets.
    """

    starts: tuple[int, ...]
    offsets: tuple[int, ...]

    def at(self, instant: int) -> int:
        """The offset at an instant."""
        return self.offsets[max(bisect_right(self.starts, instant) - 1, 0)]

    def first_instant(self, local: int) -> int:
        """The first instant at which the local clock shows `local` or later."""
        # No two offsets of a zone are further apart than 26 hours.
        index = max(bisect_right(self.starts, local - 2 * DAY) - 1, 0)
        while index + 1 < len(self.starts) and self.starts[index + 1] + self.offsets[index] <= local:
            index += 1
        instant = local - self.offsets[index]
        return instant if index == 0 else max(instant, self.starts[index])

    def by_date(self) -> Offsets:
        """The same with clocks whose date never goes back.

        Where clocks go back over a midnight, the date that had begun goes on: until it begins for good, the offset
        from before the change is kept.
        """
        starts, offsets = [self.starts[0]], [self.offsets[0]]
        for start, offset in zip(self.starts[1:], self.offsets[1:], strict=True):
            latest = (start - 1 + offsets[-1]) // DAY
            midnight = latest * DAY - offset
            # Another change before that midnight would have to be within a day of this one.
            begins = midnight if start < midnight else start
            starts.append(begins)
            offsets.append(offset)
        return Offsets(tuple(starts), tuple(offsets))


def check_zone(name: str) -> None:
    """Raises UnknownZone for a name that is not in the time zone database."""
    if name not in _names():
        raise UnknownZone(name)


def offsets_between(name: str, first: int, last: int) -> Offsets:
    """The offsets of a zone from `first` to `last`, and at least a day more on both sides. Raises UnknownZone."""
    check_zone(name)
    low = max(first - DAY, FIRST)
    high = min(last + DAY, LAST)
    # Whole years, so that the next question finds the same answer.
    year = 366 * DAY
    return _offsets(name, low // year * year, -(-high // year) * year)


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


@lru_cache(maxsize=128)
def _zone(name: str) -> tuple[ZoneInfo, Sequence[int], bool]:
    """A zone, the instants at which its file says that something changes, and whether a rule continues from there."""
    path = files("tzdata").joinpath("zoneinfo", *name.split("/"))
    with path.open("rb") as file:
        zone = ZoneInfo.from_file(file, key=name)
    return zone, *_changes(path.read_bytes())


def _changes(data: bytes) -> tuple[Sequence[int], bool]:
    """The times of transition in a TZif file, version 2 or later, and whether its footer has a rule with two halves."""
    block = _block_bytes(data, 0, time_bytes=4)
    counts = _counts(data, block)
    times = struct.unpack_from(f">{counts[3]}q", data, block + 44)
    footer = data[block + _block_bytes(data, block, time_bytes=8) :]
    return [time * SECOND for time in times], b"," in footer


def _counts(data: bytes, at: int) -> tuple[int, ...]:
    """isutcnt, isstdcnt, leapcnt, timecnt, typecnt, charcnt."""
    return struct.unpack_from(">6I", data, at + 20)


def _block_bytes(data: bytes, at: int, time_bytes: int) -> int:
    """How long a header and the block after it are."""
    isutc, isstd, leap, time, type, char = _counts(data, at)
    return 44 + time * (time_bytes + 1) + type * 6 + char + leap * (time_bytes + 4) + isstd + isutc


def _offset(zone: ZoneInfo, instant: int) -> int:
    # A local time must be within the years 1 to 9999 too; near their ends no zone changes.
    bounded = min(max(instant, FIRST + 2 * DAY), LAST - 2 * DAY)
    offset = (_EPOCH + timedelta(microseconds=bounded)).astimezone(zone).utcoffset()
    assert offset is not None
    return offset // timedelta(microseconds=1)


@lru_cache(maxsize=256)
def _offsets(name: str, low: int, high: int) -> Offsets:
    zone, changes, goes_on = _zone(name)
    starts, offsets = [low], [_offset(zone, low)]
    inside = changes[bisect_right(changes, low) : bisect_left(changes, high)]
    last = changes[-1] if changes else low
    found = list(inside)
    if goes_on and high > last:
        found += _changes_by_rule(zone, max(low, last), high)
    for start in found:
        if (offset := _offset(zone, start)) != offsets[-1]:
            starts.append(start)
            offsets.append(offset)
    return Offsets(tuple(starts), tuple(offsets))


def _changes_by_rule(zone: ZoneInfo, low: int, high: int) -> Iterator[int]:
    """The instants after `low` at which the offset changes, to the second."""
    # The calendar, weekdays too, repeats itself.
    first = list(_probed(zone, low, min(high, low + _CYCLE)))
    for shift in range(0, high - low, _CYCLE):
        yield from (change + shift for change in first if change + shift < high)


def _probed(zone: ZoneInfo, low: int, high: int) -> Iterator[int]:
    before = _offset(zone, low)
    while low < high:
        step = min(low + _STEP, high)
        if (after := _offset(zone, step)) != before:
            a, b = low // SECOND, step // SECOND
            while b - a > 1:
                middle = (a + b) // 2
                a, b = (middle, b) if _offset(zone, middle * SECOND) == before else (a, middle)
            yield b * SECOND
        low, before = step, after
