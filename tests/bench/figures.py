"""The frame of every measurement: figures with their targets, contenders measured in turn, rounds in rotated order."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")


class NotMeasured(Exception):
    """What a measurement needs is missing; the message says what. The figure is reported as not measured."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is measured: `seconds` is one measuring window, `rows` and `few_rows` are the sizes of the stores."""

    directory: Path
    rounds: int = 7
    seconds: float = 1.0
    rows: int = 1_000_000
    few_rows: int = 10_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement, in the contender's unit; `cpu_us` is processor time per call or row, in microseconds."""

    value: float
    cpu_us: float | None = None


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that is measured: the server, or a control beside it."""

    name: str
    unit: str
    measure: Callable[[], Sample]


def shared(unit: str, names: Sequence[str], run: Callable[[], Mapping[str, Sample]]) -> list[Contender]:
    """Contenders that are several values of one run: it runs again when one is asked for a second time."""
    left: dict[str, Sample] = {}

    def take(name: str) -> Sample:
        if name not in left:
            left.update(run())
        return left.pop(name)

    return [Contender(name, unit, partial(take, name)) for name in names]


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure's score should be; `of` names what the score is a ratio of, for readers."""

    limit: float
    of: str
    at_least: bool = False

    def met(self, score: float) -> bool:
        return score >= self.limit if self.at_least else score <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.of}"


Score = Callable[[Mapping[str, float]], float]


@dataclass(frozen=True, slots=True)
class Figure:
    """A line of the table: the score of a round from its samples, and the contenders shown, the subject first.

    Without a `target` it is shown for comparison alone.
    """

    key: str
    title: str
    contenders: tuple[str, ...]
    score: Score
    target: Target | None


def ratio(subject: str, control: str) -> Score:
    """The subject's sample over the control's, of the same round."""
    return lambda samples: samples[subject] / samples[control]


def value(subject: str, divisor: float = 1.0) -> Score:
    """The subject's sample itself."""
    return lambda samples: samples[subject] / divisor


@dataclass(frozen=True, slots=True)
class Family:
    """Figures that are measured together: `open` starts what they need, and yields the contenders.

    `rounds` bounds the rounds of what is slow and hardly varies.
    """

    name: str
    figures: tuple[Figure, ...]
    open: Callable[[Settings], AbstractContextManager[Sequence[Contender]]]
    rounds: int | None = None


@dataclass(slots=True)
class Measured:
    """What became of a family: the samples of each contender, round by round, or why there are none.

    `why_not` is what was missing, `failure` what went wrong.
    """

    family: Family
    units: dict[str, str] = field(default_factory=dict)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    why_not: str = ""
    failure: str = ""


def measure(
    family: Family,
    settings: Settings,
    keys: Container[str],
    on_step: Callable[[str], None] = lambda name: None,
) -> Measured:
    """Measure the contenders of the figures with these keys, each round in another order."""
    measured = Measured(family)
    needed = {name for figure in family.figures if figure.key in keys for name in figure.contenders}
    try:
        with family.open(settings) as contenders:
            chosen = [contender for contender in contenders if contender.name in needed]
            measured.units = {contender.name: contender.unit for contender in chosen}
            rounds = min(settings.rounds, family.rounds or settings.rounds)
            for number in range(rounds):
                for contender in rotated(chosen, number):
                    on_step(f"{family.name} {number + 1}/{rounds}: {contender.name}")
                    measured.samples.setdefault(contender.name, []).append(contender.measure())
    except NotMeasured as reason:
        measured.why_not = str(reason)
    except Exception as error:
        # The other families' results are kept; the run as a whole fails at its end.
        logger.exception("%s failed", family.name)
        measured.failure = f"{type(error).__name__}: {error}"
    return measured


def rotated(contenders: Sequence[T], number: int) -> list[T]:
    """Each round begins with another contender, every second round runs backwards: none always follows another."""
    if not contenders:
        return []
    first = number % len(contenders)
    turned = [*contenders[first:], *contenders[:first]]
    return turned if number % 2 == 0 else turned[::-1]


def results(measured: Measured, figure: Figure) -> dict[str, Any]:
    """A figure as JSON: its score round by round, its contenders, and whether the target is met."""
    entry: dict[str, Any] = {
        "title": figure.title,
        "family": measured.family.name,
        "target": None if figure.target is None else str(figure.target),
    }
    if measured.why_not:
        return entry | {"not_measured": measured.why_not}
    if measured.failure:
        return entry | {"failed": measured.failure}
    rounds = len(measured.samples[figure.contenders[0]])
    scores = [
        figure.score({name: samples[number].value for name, samples in measured.samples.items()})
        for number in range(rounds)
    ]
    score = statistics.median(scores)
    return entry | {
        "met": None if figure.target is None else figure.target.met(score),
        "score": spread(scores),
        "contenders": {
            name: {"unit": measured.units[name], **_summary(measured.samples[name])} for name in figure.contenders
        },
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """The median, the smallest, the largest, and every value in the order in which it was measured."""
    return {
        "median": statistics.median(values),
        "low": min(values),
        "high": max(values),
        "rounds": [float(f"{value:.5g}") for value in values],
    }


def _summary(samples: Sequence[Sample]) -> dict[str, Any]:
    summary = spread([sample.value for sample in samples])
    cpu = [sample.cpu_us for sample in samples if sample.cpu_us is not None]
    return summary | ({"cpu_us": statistics.median(cpu)} if cpu else {})
