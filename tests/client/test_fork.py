"""The gate between calls and forks: calls do not wait for each other; a fork waits for them, for a limited time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from plaudit._wire.fork import Gate


def test_calls_are_inside_together() -> None:
    gate = Gate()
    both = threading.Barrier(2, timeout=5)

    def call() -> None:
        with gate:
            both.wait()

    with ThreadPoolExecutor(2) as pool:
        for done in (pool.submit(call), pool.submit(call)):
            done.result()


def test_fork_waits_for_the_calls_inside_and_lets_none_in() -> None:
    gate = Gate()
    inside, leave, entered = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with gate:
            inside.set()
            leave.wait(5)

    def second() -> None:
        with gate:
            entered.set()

    with ThreadPoolExecutor(2) as pool:
        pool.submit(first)
        assert inside.wait(5)
        threading.Timer(0.05, leave.set).start()
        assert gate.shut(5)
        assert leave.is_set()
        pool.submit(second)
        assert not entered.wait(0.05)
        gate.open()
        assert entered.wait(5)


def test_fork_does_not_wait_for_ever() -> None:
    gate = Gate()
    with gate:
        assert not gate.shut(0.01)
        gate.open()
    assert gate.shut(0)


def test_forks_follow_each_other() -> None:
    gate = Gate()
    assert gate.shut(1)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(gate.shut, 1)
        assert not other.done()
        gate.open()
        assert other.result(5)
