"""How far two raters agree over the units that both rated; not who they are, nor on what."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import frexp, fsum, isinf, ldexp, sqrt
from typing import Any

from plaudit_server.analytics.ratings import AgreementQuestion
from plaudit_server.analytics.records import Scalar

Rated = list[tuple[Any, Any]]
"""The values of two raters on one unit after the other."""


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Two raters; None for a coefficient that is not defined, or that the scale does not have."""

    rater_a: str
    rater_b: str
    unit_count: int
    agreement: float
    cohen_kappa: float | None
    cohen_kappa_linear: float | None = None
    cohen_kappa_quadratic: float | None = None
    pearson: float | None = None
    spearman: float | None = None
    mae: float | None = None
    rmse: float | None = None
    mean_difference: float | None = None
    confusion: tuple[tuple[Scalar, Scalar, int], ...] = ()


def compare_raters(
    a: str,
    b: str,
    rated: Rated,
    question: AgreementQuestion,
    coordinates: Mapping[Any, float] | None,
    places: Mapping[Any, int],
) -> PairAgreement:
    """All that the scale has for two raters, of one common unit at least."""
    measured: dict[str, Any] = {}
    if coordinates is not None:
        measured["cohen_kappa_linear"] = weighted(rated, coordinates, 1)
        measured["cohen_kappa_quadratic"] = weighted(rated, coordinates, 2)
        at = [(coordinates[x], coordinates[y]) for x, y in rated]
        measured["spearman"] = _pearson(list(zip(*map(_ranks, zip(*at, strict=True)), strict=True)))
        if question.scale != "ordinal":
            measured["pearson"] = _pearson(at)
            measured |= _differences(rated)
    if question.with_confusion:
        cells = sorted(Counter(rated).items(), key=lambda cell: tuple(places[value] for value in cell[0]))
        measured["confusion"] = tuple((x, y, count) for (x, y), count in cells)
    agreement = sum(x == y for x, y in rated) / len(rated)
    return PairAgreement(a, b, len(rated), agreement, cohen(rated), **measured)


def cohen(rated: Rated) -> float | None:
    """Cohen's kappa; None where chance expects no disagreement."""
    count = len(rated)
    agreed = sum(x == y for x, y in rated)
    of_a, of_b = Counter(x for x, _ in rated), Counter(y for _, y in rated)
    by_chance = sum(times * of_b[value] for value, times in of_a.items())
    apart = count * count - by_chance
    return (count * agreed - by_chance) / apart if apart else None


def weighted(rated: Rated, coordinates: Mapping[Any, float], power: int) -> float | None:
    """Cohen's kappa with the distance of coordinates, or its square, as the weight of a disagreement."""
    at = [(coordinates[x], coordinates[y]) for x, y in rated]
    a, b = [x for x, _ in at], [y for _, y in at]
    if len({*a, *b}) == 1:
        return None
    observed = fsum(abs(x - y) ** power for x, y in at) / len(at)
    expected = (_absolute_distances(a, b) if power == 1 else _square_distances(a, b)) / len(at) ** 2
    return 1 - observed / expected if expected else None


def _absolute_distances(a: Sequence[float], b: Sequence[float]) -> float:
    """The distances of each of one list from each of the other, together."""
    ascending = sorted(b)
    sums = [0.0, *accumulate(ascending)]
    count, total = len(b), sums[-1]
    parts = []
    for x in a:
        below = bisect_right(ascending, x)
        parts.append((x * below - sums[below]) + (total - sums[below] - x * (count - below)))
    return fsum(parts)


def _square_distances(a: Sequence[float], b: Sequence[float]) -> float:
    middle = fsum((*a, *b)) / (len(a) + len(b))
    x, y = [value - middle for value in a], [value - middle for value in b]
    squares = len(b) * fsum(value**2 for value in x) + len(a) * fsum(value**2 for value in y)
    return squares - 2 * fsum(x) * fsum(y)


def _differences(rated: Rated) -> dict[str, float | None]:
    """How far the values of two raters are apart; None for what is beyond the doubles."""
    differences = [float(y - x) for x, y in rated]
    largest = max(map(abs, differences))
    if isinf(largest):
        return dict.fromkeys(("mae", "rmse", "mean_difference"))
    # As shares of a power of two near the largest, which loses nothing: neither sums nor squares are too large for a
    # double.
    power = ldexp(1, frexp(largest)[1] - 1)
    shares = [difference / power for difference in differences]
    count = len(shares)
    return {
        "mae": power * (fsum(map(abs, shares)) / count),
        "rmse": power * sqrt(fsum(share**2 for share in shares) / count),
        "mean_difference": power * (fsum(shares) / count),
    }


def _pearson(at: Sequence[tuple[float, float]]) -> float | None:
    """The correlation; None where one of both never varies."""
    a, b = [x for x, _ in at], [y for _, y in at]
    if min(a) == max(a) or min(b) == max(b):
        return None
    mean_a, mean_b = fsum(a) / len(a), fsum(b) / len(b)
    together = fsum((x - mean_a) * (y - mean_b) for x, y in at)
    apart = fsum((x - mean_a) ** 2 for x in a) * fsum((y - mean_b) ** 2 for y in b)
    return max(-1.0, min(1.0, together / sqrt(apart)))


def _ranks(values: Sequence[float]) -> list[float]:
    """The rank of each value; equal ones share the mean of theirs."""
    ranks = {}
    below = 0
    for value, times in sorted(Counter(values).items()):
        ranks[value] = below + (times + 1) / 2
        below += times
    return [ranks[value] for value in values]
