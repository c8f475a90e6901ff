"""How far raters agree: coefficients from one value by each rater on each unit; not how the values were read.

On every scale but the nominal one a value has a coordinate, from which differences are computed: on an ordinal scale
its place among the categories, on the others its distance from the least value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import fsum, isinf
from typing import Any, Final, Literal

from plaudit._contract import limits
from plaudit_server.analytics.errors import AggregateTooLarge
from plaudit_server.analytics.pairs import PairAgreement, Rated, cohen, compare_raters, weighted
from plaudit_server.analytics.ratings import AgreementQuestion, Ratings
from plaudit_server.analytics.records import Scalar

Reason = Literal["no_pairs", "no_variation", "unequal_raters", "not_two_raters", "wrong_scale"]
Coefficient = float | Reason
"""A value, or why there is none."""

RATERS: Final = "agreement_paired_raters"
RATIO_VALUES: Final = "agreement_ratio_values"


@dataclass(frozen=True, slots=True)
class Agreement:
    """The answer; the fields are those of MeasureAgreementResponse."""

    ratings: Ratings
    value_count: int
    unit_count: int
    paired_unit_count: int
    rater_count: int
    category_count: int
    coefficients: Mapping[str, Coefficient]
    pairs: Sequence[PairAgreement] = ()


def measure_agreement(question: AgreementQuestion, ratings: Ratings) -> Agreement:
    """Every coefficient of the ratings. Raises AggregateTooLarge."""
    by_unit = ratings.by_unit
    units = [Counter(given.values()) for given in by_unit.values()]
    paired = [unit for unit in units if unit.total() > 1]
    raters = sorted({rater for given in by_unit.values() for rater in given})
    categories = question.categories or tuple(sorted(set().union(*units)))
    coordinates = _coordinates(question, categories)
    coefficients: dict[str, Coefficient] = {
        "percent_agreement": _percent_agreement(paired),
        **_cohens(by_unit, raters, coordinates),
        "fleiss_kappa": _fleiss(paired),
        "krippendorff_alpha": _krippendorff(question, paired, categories, coordinates),
        "gwet_ac1": _gwet(units, paired, len(categories), None),
        "gwet_ac2": "wrong_scale" if coordinates is None else _gwet(units, paired, len(categories), coordinates),
    }
    return Agreement(
        ratings,
        sum(unit.total() for unit in units),
        len(units),
        len(paired),
        len(raters),
        len(categories),
        coefficients,
        _pairs(question, by_unit, raters, categories, coordinates) if question.with_pairs else (),
    )


def _coordinates(question: AgreementQuestion, categories: Sequence[Any]) -> dict[Any, float] | None:
    """The coordinate of each value; None on a nominal scale."""
    if question.scale == "nominal":
        return None
    if question.scale == "ordinal":
        return {value: float(place) for place, value in enumerate(categories)}
    # From 0 for the least value to 1 for the greatest: nothing is lost where values are far from zero and near to each
    # other, and no square is too large for a double. Halves, because two doubles may be further apart than any double.
    if not categories:
        return {}
    least, greatest = categories[0], categories[-1]
    span = _half_distance(greatest, least)
    return {value: _half_distance(value, least) / span if span else 0.0 for value in categories}


def _half_distance(a: float, b: float) -> float:
    """Half of a - b; of integers exactly."""
    whole = a - b
    return a / 2 - b / 2 if isinf(whole) else whole / 2


def _percent_agreement(paired: Sequence[Counter[Any]]) -> Coefficient:
    if not paired:
        return "no_pairs"
    return fsum(_agreeing(unit) for unit in paired) / len(paired)


def _agreeing(unit: Counter[Any]) -> float:
    """The share of the pairs of values on a unit that are equal."""
    count = unit.total()
    return sum(times * (times - 1) for times in unit.values()) / (count * (count - 1))


def _cohens(
    by_unit: Mapping[Scalar, Mapping[str, Any]], raters: Sequence[str], coordinates: Mapping[Any, float] | None
) -> dict[str, Coefficient]:
    """Cohen's kappas of two raters, over the units that both rated."""
    names = ("cohen_kappa", "cohen_kappa_linear", "cohen_kappa_quadratic")
    if len(raters) != 2:
        return dict.fromkeys(names, "not_two_raters")
    a, b = raters
    rated = Rated([(given[a], given[b]) for given in by_unit.values() if len(given) == 2])
    values: list[Coefficient | None] = []
    for power in (0, 1, 2):
        if power and coordinates is None:
            values.append("wrong_scale")
        elif not rated:
            values.append("no_pairs")
        else:
            values.append(weighted(rated, coordinates, power) if power and coordinates else cohen(rated))
    return {name: "no_variation" if value is None else value for name, value in zip(names, values, strict=True)}


def _fleiss(paired: Sequence[Counter[Any]]) -> Coefficient:
    if not paired:
        return "no_pairs"
    sizes = {unit.total() for unit in paired}
    if len(sizes) > 1:
        return "unequal_raters"
    counts = _together(paired)
    if len(counts) == 1:
        return "no_variation"
    total = counts.total()
    observed = fsum(_agreeing(unit) for unit in paired) / len(paired)
    expected = sum(times * times for times in counts.values()) / (total * total)
    return (observed - expected) / (1 - expected)


def _krippendorff(
    question: AgreementQuestion,
    paired: Sequence[Counter[Any]],
    categories: Sequence[Any],
    coordinates: Mapping[Any, float] | None,
) -> Coefficient:
    """1 - observed / expected disagreement; the squared distances are those of the scale."""
    if not paired:
        return "no_pairs"
    counts = _together(paired)
    if len(counts) == 1:
        return "no_variation"
    if question.scale == "ratio" and len(counts) > limits.AGREEMENT_RATIO_VALUES:
        raise AggregateTooLarge(RATIO_VALUES, limits.AGREEMENT_RATIO_VALUES, len(counts))
    if question.scale == "ordinal":
        coordinates = _middle_ranks(counts, categories)
    distances = _ratio_distances if question.scale == "ratio" else _squared_distances
    observed = fsum(distances(unit, coordinates) / (unit.total() - 1) for unit in paired)
    expected = distances(counts, coordinates) / (counts.total() - 1)
    return 1 - observed / expected if expected else "no_variation"


def _gwet(
    units: Sequence[Counter[Any]],
    paired: Sequence[Counter[Any]],
    categories: int,
    coordinates: Mapping[Any, float] | None,
) -> Coefficient:
    """AC1, or with coordinates AC2 under quadratic weights; units with one value count for what chance expects."""
    if not paired:
        return "no_pairs"
    if categories < 2:
        return "no_variation"
    shares: dict[Any, list[float]] = {}
    for unit in units:
        for value, times in unit.items():
            shares.setdefault(value, []).append(times / unit.total())
    mean_shares = [fsum(each) / len(units) for each in shares.values()]
    spread = fsum(share * (1 - share) for share in mean_shares)
    if coordinates is None:
        agreed = fsum(_agreeing(unit) for unit in paired) / len(paired)
        weights = float(categories)
    else:
        span = max(coordinates.values()) - min(coordinates.values())
        apart = fsum(_squared_distances(unit, coordinates) / (unit.total() * (unit.total() - 1)) for unit in paired)
        agreed = 1 - apart / span**2 / len(paired)
        weights = categories**2 - _squared_distances(Counter(list(coordinates)), coordinates) / span**2
    expected = weights * spread / (categories * (categories - 1))
    return (agreed - expected) / (1 - expected)


def _together(units: Iterable[Counter[Any]]) -> Counter[Any]:
    counts: Counter[Any] = Counter()
    for unit in units:
        counts.update(unit)
    return counts


def _middle_ranks(counts: Counter[Any], categories: Sequence[Any]) -> dict[Any, float]:
    """Krippendorff's ordinal distance of two values is the difference of these."""
    below = 0.0
    ranks = {}
    for value in categories:
        ranks[value] = below + counts[value] / 2
        below += counts[value]
    return ranks


def _squared_distances(counts: Counter[Any], coordinates: Mapping[Any, float] | None) -> float:
    """The squared distances of all ordered pairs of values together; without coordinates 1 where they differ."""
    total = counts.total()
    if coordinates is None:
        return float(total * total - sum(times * times for times in counts.values()))
    mean = fsum(coordinates[value] * times for value, times in counts.items()) / total
    return 2 * total * fsum((coordinates[value] - mean) ** 2 * times for value, times in counts.items())


def _ratio_distances(counts: Counter[Any], _: Mapping[Any, float] | None) -> float:
    # Halves, because the sum of two doubles may be larger than any double.
    halves = [(value / 2, times) for value, times in counts.items()]
    return 2 * fsum(((a - b) / (a + b)) ** 2 * m * n for (a, m), (b, n) in combinations(halves, 2))


def _pairs(
    question: AgreementQuestion,
    by_unit: Mapping[Scalar, Mapping[str, Any]],
    raters: Sequence[str],
    categories: Sequence[Any],
    coordinates: Mapping[Any, float] | None,
) -> list[PairAgreement]:
    """Each two raters who rated a unit in common, by name."""
    if len(raters) > limits.AGREEMENT_PAIRED_RATERS:
        raise AggregateTooLarge(RATERS, limits.AGREEMENT_PAIRED_RATERS, len(raters))
    common: dict[tuple[str, str], list[tuple[Any, Any]]] = {}
    for given in by_unit.values():
        for a, b in combinations(sorted(given), 2):
            common.setdefault((a, b), []).append((given[a], given[b]))
    places = {value: place for place, value in enumerate(categories)}
    return [compare_raters(*pair, Rated(common[pair]), question, coordinates, places) for pair in sorted(common)]
