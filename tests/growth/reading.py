"""The same questions to a small and a large store, in turns: how many times as long each takes, and whether it may."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.growth.questions import POINT, QUESTIONS, Asked, Question
from tests.growth.stores import Stores
from tests.service.process import server_process

HEAD: Final = (
    "| engine | question | {small:,} rows, ms | {large:,} rows, ms | times | at most |\n|---|---|---|---|---|---|"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question took in each round, in milliseconds, beside what it is compared with."""

    engine: str
    question: Question
    small: list[float]
    large: list[float]
    compared: list[float]
    """As many as `large`: the small store's, or the large store's point reads."""

    def times(self, *, best: bool = False) -> float:
        """How many times as long as it is compared with: the median of the rounds, or the best of them."""
        ratios = [one / other for one, other in zip(self.large, self.compared, strict=True)]
        return min(ratios) if best else median(ratios)

    def line(self) -> str:
        """A row of the table."""
        of = " of a point read" if self.question.of_point else ""
        cells = f"{median(self.small):.2f}", f"{median(self.large):.2f}", f"{self.times():.2f}"
        return f"| {self.engine} | {self.question.name} | {' | '.join(cells)} | {self.question.limit:g}{of} |"


def measure(stores: Stores, engine: str, counts: tuple[int, int], rounds: int, seconds: float) -> list[Answer]:
    """Ask both stores of an engine, one after the other in each round; each question for `seconds` in each."""
    with ExitStack() as opened:
        both = []
        for count in counts:
            server = opened.enter_context(server_process(stores.url(engine, count)))
            both.append(opened.enter_context(closing(Asked(server.target, count, counts[0]))))
        taken: dict[tuple[str, int], list[float]] = {}
        for round in range(rounds + 1):
            for question in QUESTIONS:
                for place in (0, 1) if round % 2 else (1, 0):
                    found = both[place].milliseconds(question.name, seconds if round else 0)
                    if round:  # in the one before the first, what is read from the disk gets into memory
                        taken.setdefault((question.name, place), []).append(found)
    return [
        Answer(
            engine,
            question,
            taken[question.name, 0],
            taken[question.name, 1],
            taken[POINT, 1] if question.of_point else taken[question.name, 0],
        )
        for question in QUESTIONS
    ]
