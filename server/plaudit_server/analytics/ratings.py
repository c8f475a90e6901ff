"""Who rated what, and how: one value by each rater on each unit, taken from records; not how far raters agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from plaudit._contract import limits
from plaudit_server.analytics import arithmetic
from plaudit_server.analytics.errors import AggregateTooLarge
from plaudit_server.analytics.records import Scalar, Value
from plaudit_server.query.tree import Operation

Scale = Literal["nominal", "ordinal", "interval", "ratio"]
Repeats = Literal["latest", "first", "mean"]

VALUES: Final = "agreement_values"


@dataclass(frozen=True, slots=True)
class AgreementQuestion:
    """A question about raters of one project. `categories` and `raters` restrict only where they are given."""

    project: str
    filter: Operation | None
    value: Value
    unit: Value
    rater: Value
    scale: Scale = "nominal"
    categories: tuple[Scalar, ...] = ()
    repeats: Repeats = "latest"
    raters: frozenset[str] = frozenset()
    with_pairs: bool = False
    with_confusion: bool = False


@dataclass(frozen=True, slots=True)
class Ratings:
    """One value by each rater on each unit, and how many records did not become one."""

    row_count: int
    missing_count: int
    excluded_count: int
    repeated_count: int
    by_unit: Mapping[Scalar, Mapping[str, Scalar]]


class RatingsTable:
    """Takes in the records that match a question, from the oldest to the newest."""

    def __init__(self, question: AgreementQuestion) -> None:
        self._question = question
        self._categories = frozenset(question.categories)
        self._rows = self._missing = self._excluded = self._repeated = self._kept = 0
        self._given: dict[Scalar, dict[str, list[Any]]] = {}

    def add(self, unit: Scalar | None, rater: str | None, value: Scalar | None) -> None:
        """One record; None for what it does not have. Raises AggregateTooLarge."""
        self._rows += 1
        if unit is None or rater is None or value is None:
            self._missing += 1
        elif self._excludes(rater, value):
            self._excluded += 1
        else:
            self._keep(self._given.setdefault(unit, {}).setdefault(rater, []), value)

    def ratings(self) -> Ratings:
        """What was taken in."""
        by_unit = {
            unit: {rater: _one(values) for rater, values in given.items()} for unit, given in self._given.items()
        }
        return Ratings(self._rows, self._missing, self._excluded, self._repeated, by_unit)

    def _excludes(self, rater: str, value: Any) -> bool:
        question = self._question
        return bool(
            (question.raters and rater not in question.raters)
            or (self._categories and value not in self._categories)
            or (question.scale == "ratio" and value < 0)
        )

    def _keep(self, given: list[Any], value: Any) -> None:
        """Add a value of one rater on one unit, who may have given others before."""
        if given:
            self._repeated += 1
        if not given or self._question.repeats == "mean":
            self._kept += 1
            if self._kept > limits.AGREEMENT_VALUES:
                raise AggregateTooLarge(VALUES, limits.AGREEMENT_VALUES, self._kept)
            given.append(value)
        elif self._question.repeats == "latest":
            given[0] = value


def _one(values: Sequence[Any]) -> Any:
    """The value, or the mean of several numbers."""
    if len(values) == 1:
        return values[0]
    mean = arithmetic.mean([(value, 1) for value in values])
    assert mean is not None
    return arithmetic.plain(mean)
