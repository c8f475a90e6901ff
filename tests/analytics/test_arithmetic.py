"""Sums, means, variances and percentiles: equal to fractions, rounded once, over numbers of every size."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit_server.analytics import arithmetic
from plaudit_server.analytics.arithmetic import Counted, plain

numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-3, 3),
    st.sampled_from([0.1, 0.5, 1e154, 1e155, -1.7976931348623157e308, 5e-324, 2.0**53, 2**53 + 1, 1e-200]),
)
exact = settings(deadline=None)
samples = st.lists(numbers, min_size=1, max_size=8)


def counted(values: list[int | float]) -> list[Counted]:
    return sorted(Counter(map(plain, values)).items())


def as_double(exact: Fraction) -> float | None:
    try:
        return float(exact)
    except OverflowError:
        return None


@exact
@given(samples)
def test_sum_and_mean_are_the_nearest_doubles(values: list[int | float]) -> None:
    exact = sum(map(Fraction, values), Fraction())

    total, mean = arithmetic.total(counted(values)), arithmetic.mean(counted(values))

    is_whole = all(isinstance(plain(value), int) for value in values)
    assert total == (exact if is_whole and -(2**63) <= exact < 2**63 else as_double(exact))
    assert isinstance(total, int) == (is_whole and -(2**63) <= exact < 2**63)
    assert mean == as_double(exact / len(values))


@exact
@given(st.lists(numbers, min_size=2, max_size=8))
def test_variance_is_that_of_a_sample(values: list[int | float]) -> None:
    variance, deviation = arithmetic.variance(counted(values)), arithmetic.deviation(counted(values))

    if any(abs(value) > 1e154 for value in values):
        assert variance is deviation is None
        return
    exact = statistics.variance(map(Fraction, values))
    assert variance == as_double(exact)
    assert deviation is not None
    if exact:
        assert abs(Fraction(deviation) ** 2 / exact - 1) < Fraction(1, 2**50) or exact < Fraction(1, 10**600)
    else:
        assert deviation == 0


@exact
@given(samples, st.one_of(st.integers(0, 100), st.floats(0, 100)))
def test_percentile_is_linear_between_ranks(values: list[int | float], percent: float) -> None:
    ascending = sorted(map(Fraction, values))
    position = Fraction(percent) / 100 * (len(values) - 1)
    low, high = ascending[math.floor(position)], ascending[math.ceil(position)]

    found = arithmetic.percentile(counted(values), percent)

    assert found == as_double(low + (high - low) * (position - math.floor(position)))


@pytest.mark.parametrize(
    ("value", "expected"), [(5.0, 5), (-0.0, 0), (5.5, 5.5), (2.0**63, 2.0**63), (-(2.0**63), -(2**63)), (1e300, 1e300)]
)
def test_a_whole_number_within_64_bits_is_an_integer(value: float, expected: int | float) -> None:
    assert plain(value) == expected
    assert type(plain(value)) is type(expected)


def test_of_nothing_there_is_nothing() -> None:
    assert arithmetic.mean([]) is None
    assert arithmetic.variance([]) is None
    assert arithmetic.deviation([(1, 1)]) is None
    assert arithmetic.percentile([], 50) is None


def test_variance_keeps_what_squares_lose() -> None:
    assert arithmetic.variance([(2**60, 1), (2**60 + 1, 1), (2**60 + 2, 1)]) == 1.0
