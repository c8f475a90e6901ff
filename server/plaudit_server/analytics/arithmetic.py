"""Exact arithmetic over integers of 64 bits and finite doubles; each result is the double that is closest to it.

Numbers come as distinct values with how often each occurs. Every double is a whole multiple of 2^-1074, so sums and
squares are done in integers, and rounded once. A result beyond the doubles is None.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import isqrt
from operator import itemgetter
from typing import Final

Number = int | float
Counted = tuple[Number, int]
"""A value, and how often it occurs."""

FIRST_INTEGER: Final = -(2**63)
LAST_INTEGER: Final = 2**63 - 1

_SCALE: Final = 1074

VARIABLE: Final = 1e154
"""The square of a larger one, let alone a sum of such squares, is near the largest double."""


def plain(value: Number) -> Number:
    """A number as it is reported: an integer when it is whole and within 64 bits, however it was written."""
    if isinstance(value, float) and value.is_integer() and FIRST_INTEGER <= value <= LAST_INTEGER:
        return int(value)
    return value


def total(counted: Iterable[Counted]) -> int | float | None:
    """The sum: an integer if every value is whole and within 64 bits and so is the sum, else a double."""
    values = list(counted)
    if all(isinstance(plain(value), int) for value, _ in values):
        whole = sum(int(value) * count for value, count in values)
        return whole if FIRST_INTEGER <= whole <= LAST_INTEGER else nearest(whole, 1)
    return nearest(_scaled_sum(values), 1 << _SCALE)


def mean(counted: Sequence[Counted]) -> float | None:
    """The mean; None of no values."""
    count = _count(counted)
    return nearest(_scaled_sum(counted), count << _SCALE) if count else None


def variance(counted: Sequence[Counted]) -> float | None:
    """The variance of a sample; None for fewer than two values, or where one is beyond 1e154."""
    squares, divisor = _variance(counted)
    return nearest(squares, divisor) if divisor else None


def deviation(counted: Sequence[Counted]) -> float | None:
    """The standard deviation of a sample; None where there is no variance."""
    squares, divisor = _variance(counted)
    return root(squares, divisor) if divisor else None


def percentile(ascending: Sequence[Counted], percent: float) -> float | None:
    """The number at position percent/100 (n - 1), linear between the two nearest ranks; None of no values."""
    ends = list(accumulate(count for _, count in ascending))
    ranked = [(end - count, value, count) for end, (value, count) in zip(ends, ascending, strict=True)]
    return percentile_of_ranks(ranked, ends[-1] if ends else 0, percent)


def percentile_of_ranks(ranked: Sequence[tuple[int, Number, int]], count: int, percent: float) -> float | None:
    """The same of `count` values, of which at least those at the ranks that are needed are given, ascending.

    Each is the rank of the first of equal values, the value, and how often it occurs.
    """
    if not count:
        return None
    numerator, denominator = float(percent).as_integer_ratio()
    denominator *= 100
    rank, rest = divmod(numerator * (count - 1), denominator)
    low = _scaled(_at(ranked, rank))
    high = _scaled(_at(ranked, rank + 1)) if rest else low
    return nearest(low * (denominator - rest) + high * rest, denominator << _SCALE)


def _at(ranked: Sequence[tuple[int, Number, int]], rank: int) -> Number:
    start, value, times = ranked[bisect_right(ranked, rank, key=itemgetter(0)) - 1]
    assert start <= rank < start + times, "the values at this rank were not given"
    return value


def nearest(numerator: int, denominator: int) -> float | None:
    """The double nearest to a fraction; None when that is beyond the doubles."""
    try:
        return numerator / denominator
    except OverflowError:
        return None


def root(numerator: int, denominator: int) -> float | None:
    """The square root of a fraction that is not negative."""
    # Enough bits for a double after the root was taken, and an even number of them.
    shift = max(0, 64 + (denominator.bit_length() - numerator.bit_length()) // 2 + 1)
    return nearest(isqrt((numerator << 2 * shift) // denominator), 1 << shift)


def _count(counted: Iterable[Counted]) -> int:
    return sum(count for _, count in counted)


def _scaled(value: Number) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator << (_SCALE + 1 - denominator.bit_length())


def _scaled_sum(counted: Iterable[Counted]) -> int:
    return sum(_scaled(value) * count for value, count in counted)


def _variance(counted: Sequence[Counted]) -> tuple[int, int]:
    """The variance as a fraction; its denominator is 0 when there is none."""
    count = _count(counted)
    if count < 2 or any(abs(value) > VARIABLE for value, _ in counted):
        return 0, 0
    scaled = [(_scaled(value), times) for value, times in counted]
    # From the least value, the squares are small where the values are far from zero and near to each other.
    least = min(value for value, _ in scaled)
    sum_ = sum((value - least) * times for value, times in scaled)
    squares = sum((value - least) ** 2 * times for value, times in scaled)
    return count * squares - sum_**2, (count * (count - 1)) << 2 * _SCALE
