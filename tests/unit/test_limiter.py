"""Quotas with a clock of the test's own: exact delays, fair projects, bounded memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit_server.errors import QuotaExceeded
from plaudit_server.rpc.admission import Places
from plaudit_server.rpc.errors import describe
from plaudit_server.rpc.quotas import ProjectQuotas, Quota


def refused(quotas: ProjectQuotas, project: str, rows: int, now: float) -> QuotaExceeded:
    with pytest.raises(QuotaExceeded) as caught:
        quotas.admit(project, rows, now)
    return caught.value


def test_a_burst_passes_and_then_the_rate() -> None:
    quotas = ProjectQuotas(calls_per_second=10, rows_per_second=0, burst_seconds=2)
    for _ in range(20):
        quotas.admit("a/b", 1, now=100.0)
    error = refused(quotas, "a/b", 1, now=100.0)
    assert (error.quota, error.retry_delay) == ("calls_per_second", 0.1)
    quotas.admit("a/b", 1, now=100.1)
    assert refused(quotas, "a/b", 1, now=100.15).retry_delay == 0.05


def test_rows_count_as_many_as_they_are() -> None:
    quotas = ProjectQuotas(calls_per_second=0, rows_per_second=100, burst_seconds=1)
    quotas.admit("a/b", 80, now=0.0)
    error = refused(quotas, "a/b", 30, now=0.0)
    assert (error.quota, error.retry_delay) == ("rows_per_second", 0.1)
    quotas.admit("a/b", 20, now=0.0)
    quotas.admit("a/b", 0, now=0.0)


def test_a_request_above_the_burst_passes_with_a_full_bucket_and_leaves_a_debt() -> None:
    quotas = ProjectQuotas(calls_per_second=0, rows_per_second=100, burst_seconds=1)
    quotas.admit("a/b", 1000, now=0.0)
    assert refused(quotas, "a/b", 1, now=0.0).retry_delay == 9.01
    assert refused(quotas, "a/b", 1000, now=5.0).retry_delay == 5.0
    quotas.admit("a/b", 1000, now=10.0)


def test_a_refused_call_is_charged_to_no_quota() -> None:
    quotas = ProjectQuotas(calls_per_second=1, rows_per_second=100, burst_seconds=1)
    quotas.admit("a/b", 100, now=0.0)
    for _ in range(50):
        assert refused(quotas, "a/b", 100, now=0.5).retry_delay == 0.5
    quotas.admit("a/b", 100, now=1.0)


def test_one_project_takes_nothing_from_another() -> None:
    quotas = ProjectQuotas(calls_per_second=1, rows_per_second=0, burst_seconds=1)
    quotas.admit("a/b", 1, now=0.0)
    refused(quotas, "a/b", 1, now=0.0)
    quotas.admit("a/c", 1, now=0.0)


def test_without_rates_everything_passes() -> None:
    quotas = ProjectQuotas(0, 0, 1)
    for _ in range(1000):
        quotas.admit("a/b", 1_000_000, now=0.0)


def test_a_slow_rate_still_lets_one_call_pass() -> None:
    quotas = ProjectQuotas(calls_per_second=0.1, rows_per_second=0, burst_seconds=1)
    quotas.admit("a/b", 1, now=0.0)
    assert refused(quotas, "a/b", 1, now=0.0).retry_delay == 10.0
    quotas.admit("a/b", 1, now=10.0)


@given(
    rate=st.floats(0.01, 1e6),
    burst=st.floats(0.1, 3600),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(1, 3000)), max_size=30),
    cost=st.integers(1, 3000),
)
def test_whoever_waits_the_told_delay_is_admitted_and_not_long_before(
    rate: float, burst: float, steps: list[tuple[float, int]], cost: int
) -> None:
    quota, now = Quota("q", rate, burst), 1000.0
    for pause, used in steps:
        now += pause
        if quota.delay("a/b", used, now) == 0.0:
            quota.take("a/b", used, now)
    delay = quota.delay("a/b", cost, now)
    assert delay * 1000 == pytest.approx(round(delay * 1000))
    if delay > 0.003:
        assert quota.delay("a/b", cost, now + delay - 0.002) > 0.0
    # A microsecond for the rounding error of adding floats to a clock.
    assert quota.delay("a/b", cost, now + delay + 1e-6) == 0.0


def test_memory_is_bounded_and_the_longest_unused_is_forgotten() -> None:
    quota = Quota("q", 1.0, 1.0, buckets=3)
    for project in ("a/1", "a/2", "a/3"):
        quota.take(project, 1, now=0.0)
    assert quota.delay("a/1", 1, now=0.0) == 1.0
    quota.take("a/4", 1, now=0.0)
    assert len(quota) == 3
    assert quota.delay("a/1", 1, now=0.0) == 1.0
    assert quota.delay("a/2", 1, now=0.0) == 0.0


def test_names_too_long_to_be_projects_share_one_bucket() -> None:
    quota = Quota("q", 1.0, 1.0)
    quota.take("x" * 3_000_000, 1, now=0.0)
    assert quota.delay("y" * 3_000_000, 1, now=0.0) == 1.0
    assert len(quota) == 1


def test_calls_in_flight_are_counted_in_and_out() -> None:
    flight = Places("in_flight_calls", 2)
    flight.enter(0.0)
    flight.enter(0.0)
    with pytest.raises(QuotaExceeded) as caught:
        flight.enter(0.0)
    assert caught.value.quota == "in_flight_calls"
    assert flight.running == 2
    flight.leave()
    flight.enter(0.0)


def test_those_refused_come_back_one_after_the_other() -> None:
    flight = Places("in_flight_calls", 1, retry_delay=0.1, retry_spacing=0.02)
    flight.enter(0.0)

    def delay(now: float) -> float:
        with pytest.raises(QuotaExceeded) as caught:
            flight.enter(now)
        return caught.value.retry_delay

    assert [delay(7.0) for _ in range(4)] == pytest.approx([0.1, 0.12, 0.14, 0.16], abs=0.011)
    # Later, when nobody is expected, the delay is the shortest again; with many callers it is at most the longest.
    assert delay(9.0) == pytest.approx(0.1, abs=0.011)
    assert max(delay(9.0) for _ in range(1000)) == pytest.approx(5.0, abs=0.011)
    assert delay(9.5) == pytest.approx(4.52, abs=0.011)


def test_a_quota_exceeded_tells_its_delay_on_the_wire() -> None:
    problem = describe(QuotaExceeded("rows_per_second", 0.08))
    assert (problem.reason, problem.retry_delay) == ("QUOTA_EXCEEDED", 0.08)
    assert dict(problem.metadata) == {"quota": "rows_per_second", "retry_delay_ms": "80"}
    assert math.isclose(problem.retry_delay or 0.0, 0.08)
