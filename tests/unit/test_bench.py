"""The frame of the measurements: rounds, scores, targets, and the report when something is missing or fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.bench.figures import (
    Contender,
    Family,
    Figure,
    Measured,
    NotMeasured,
    Sample,
    Settings,
    Target,
    measure,
    ratio,
    results,
    rotated,
    shared,
    value,
)
from tests.bench.report import markdown

HALF = Figure("half", "half", ("ours", "theirs"), ratio("ours", "theirs"), Target(0.5, "of theirs", at_least=True))
SOLE = Figure("sole", "sole", ("other",), value("other"), Target(10, "ms"))


def family(*contenders: Contender, error: Exception | None = None) -> Family:
    @contextmanager
    def opened(settings: Settings) -> Iterator[Sequence[Contender]]:
        if error is not None:
            raise error
        yield contenders

    return Family("test", (HALF, SOLE), opened)


def counting(name: str, values: Sequence[float], asked: list[str]) -> Contender:
    left = iter(values)

    def take() -> Sample:
        asked.append(name)
        return Sample(next(left), cpu_us=3.0)

    return Contender(name, "calls/s", take)


def settings(rounds: int) -> Settings:
    return Settings(Path("nowhere"), rounds)


def test_the_score_is_the_median_of_the_rounds_and_not_a_ratio_of_medians() -> None:
    asked: list[str] = []
    ours, theirs = counting("ours", [1, 8, 3], asked), counting("theirs", [2, 10, 60], asked)
    measured = measure(family(ours, theirs), settings(3), {"half"})
    found = results(measured, HALF)
    assert found["score"] == {"median": 0.5, "low": 0.05, "high": 0.8, "rounds": [0.5, 0.8, 0.05]}
    assert found["met"] is True
    assert found["contenders"]["theirs"] == {
        "unit": "calls/s", "median": 10, "low": 2, "high": 60, "rounds": [2, 10, 60], "cpu_us": 3.0
    }  # fmt: skip
    assert asked == ["ours", "theirs", "ours", "theirs", "ours", "theirs"]


def test_every_contender_is_first_at_times_and_follows_each_other() -> None:
    contenders = [counting(name, (), []) for name in ("a", "b", "c")]
    orders = ["".join(one.name for one in rotated(contenders, number)) for number in range(6)]
    assert {order[0] for order in orders} == {"a", "b", "c"}
    assert {pair for order in orders for pair in pairwise(order)} == {(x, y) for x in "abc" for y in "abc" if x != y}


def test_what_no_wanted_figure_needs_is_not_measured() -> None:
    asked: list[str] = []
    measure(family(counting("ours", [1], asked), counting("other", [2], asked)), settings(1), {"sole"})
    assert asked == ["other"]


@pytest.mark.parametrize(
    ("target", "score", "met"),
    [
        (Target(0.75, "of echo", at_least=True), 0.75, True),
        (Target(0.75, "of echo", at_least=True), 0.7499, False),
        (Target(10, "ms"), 10, True),
        (Target(10, "ms"), 10.01, False),
    ],
)
def test_targets(target: Target, score: float, met: bool) -> None:
    assert target.met(score) is met


def test_what_is_lacking_is_told_and_no_failure() -> None:
    measured = measure(family(error=NotMeasured("no PostgreSQL")), settings(1), {"half"})
    found = results(measured, HALF)
    assert found["not_measured"] == "no PostgreSQL"
    assert "met" not in found


def test_a_failure_is_told_and_ends_no_run() -> None:
    measured = measure(family(error=RuntimeError("rows are missing")), settings(1), {"half"})
    assert results(measured, HALF)["failed"] == "RuntimeError: rows are missing"


def test_values_of_one_run_are_of_the_same_run() -> None:
    runs = iter(range(10))

    def run() -> dict[str, Sample]:
        number = next(runs)
        return {"low": Sample(number), "high": Sample(100 + number)}

    low, high = shared("ms", ("low", "high"), run)
    assert [high.measure().value, low.measure().value] == [100, 0]
    assert [low.measure().value, high.measure().value] == [1, 101]


def test_markdown_has_a_line_for_each_figure() -> None:
    asked: list[str] = []
    measured = measure(family(counting("ours", [1234.5], asked), counting("theirs", [2], asked)), settings(1), {"half"})
    lacking = Measured(family(), why_not="no disk")
    machine = dict.fromkeys(("processor", "processors", "system", "python", "grpcio", "sqlite", "load"), "x")
    report: dict[str, Any] = {
        "plaudit": "1", "commit": "abc", "date": "2026-11-28T00:00:00", "machine": machine, "rounds": 1,
        "window_seconds": 1.0, "seconds": 1.0, "rows": 1000,
        "figures": {"half": results(measured, HALF), "sole": results(lacking, SOLE)},
    }  # fmt: skip
    lines = markdown(report).splitlines()
    assert lines[-2] == (
        "| half | ≥ 0.5 of theirs | 617 (617 to 617) | met | ours 1,234 calls/s [3 µs]; theirs 2 calls/s [3 µs] |"
    )
    assert lines[-1] == "| sole | ≤ 10 ms |  | not measured | no disk |"
