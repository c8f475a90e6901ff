"""When a stream is reopened: backoff, the server's hint, and a deadline that starts again after each success."""

from __future__ import annotations

import math
import threading

import pytest

import plaudit
from plaudit._core.retry import Retry, RetryPolicy
from tests.client.fakes import Time

POLICY = RetryPolicy(initial_delay=1.0, max_delay=4.0, jitter=0.0)
DOWN = plaudit.UnavailableError("down")


def retry(patience: float = 10.0) -> tuple[Retry, Time]:
    time = Time()
    return Retry(POLICY, patience, sleep=time.sleep, clock=time), time


def test_first_success_must_come_within_the_patience() -> None:
    tried, time = retry()

    assert [tried.wait(DOWN) for _ in range(4)] == [True, True, True, False]
    assert time.naps == [1.0, 2.0, 4.0]


def test_success_begins_delays_and_deadline_anew() -> None:
    tried, time = retry()
    for _ in range(3):
        assert tried.wait(DOWN)
    tried.succeeded()
    time.now += 1000  # a quiet stream has not failed

    assert [tried.wait(DOWN) for _ in range(4)] == [True, True, True, False]
    assert time.naps == [1.0, 2.0, 4.0] * 2


def test_infinite_patience_never_gives_up() -> None:
    tried, time = retry(math.inf)

    assert all(tried.wait(DOWN) for _ in range(1000))
    assert time.naps[-1] == 4.0


def test_remaining_seconds() -> None:
    tried, time = retry()
    assert tried.remaining() == 10.0
    time.now += 4
    assert tried.remaining() == 6.0
    tried.succeeded()
    assert tried.remaining() == math.inf


def test_hint_of_the_server_is_waited_for() -> None:
    tried, time = retry()

    assert tried.wait(plaudit.ResourceExhaustedError("busy", retry_after=3.0))
    assert time.naps[0] >= 3.0


@pytest.mark.parametrize("error", [plaudit.InvalidArgumentError("no"), plaudit.ResourceExhaustedError("no hint")])
def test_final_error_is_not_waited_for(error: plaudit.PlauditError) -> None:
    tried, time = retry()

    assert not tried.wait(error)
    assert time.naps == []


def test_event_ends_the_wait() -> None:
    tried, time = retry()
    stopped = threading.Event()
    stopped.set()

    assert tried.wait(DOWN, stopped)
    assert time.naps == []
