"""Agreement equals the packages that people know, to 1e-9: on the worked cases, and on tables made at random.

Run by `make test-reference`, in an environment that has these packages.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import krippendorff
import numpy as np
import pandas as pd
import pytest
from irrCAC.raw import CAC
from scipy import stats
from sklearn import metrics
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa

from plaudit_server.analytics import evaluate
from plaudit_server.analytics.agreement import Agreement, measure_agreement
from plaudit_server.analytics.agreement_rules import check_agreement
from plaudit_server.analytics.ratings import AgreementQuestion, Ratings, Scale
from plaudit_server.analytics.records import Value
from plaudit_server.query.fields import COLUMNS
from plaudit_server.query.tree import Field
from tests.analytics import cases

SCALES: Sequence[Scale] = ("nominal", "ordinal", "interval", "ratio")
ANY = Value(Field(COLUMNS["ref"]), "text")
EXACT = 1e-9


def worked() -> list[Any]:
    """The question and the ratings of each worked case that has some."""
    found = []
    for case in cases.analytics_cases("measure_agreement"):
        question = check_agreement(cases.agreement_request(case["when"]), [])
        rows = [cases.evaluator_row(given, revision) for revision, given in enumerate(case["given"], 1)]
        if question is not None and rows:
            found.append(pytest.param(question, evaluate.rate(question, rows), id=case["id"]))
    assert len(found) > 10, "the worked cases are not there"
    return found


def made(seed: int) -> tuple[AgreementQuestion, Ratings]:
    """A table with gaps, of few or many raters, units and values, some of them far from zero."""
    chance = random.Random(seed)
    scale = SCALES[seed % 4]
    raters = [f"r{n}" for n in range(chance.choice([2, 2, 3, 5]))]
    shift = chance.choice([0, 0, 10**6]) if scale == "interval" else 1
    pool: list[Any] = [shift + n * chance.choice([1, 0.5]) for n in range(chance.choice([2, 3, 7]))]
    if scale == "nominal":
        pool = [f"c{value}" for value in pool]
    gaps = chance.choice([0, 0, 0.2, 0.5])
    by_unit: dict[Any, dict[str, Any]] = {}
    for unit in range(chance.choice([4, 10, 40])):
        base = chance.choice(pool)
        given = {r: base if chance.random() < 0.5 else chance.choice(pool) for r in raters if chance.random() >= gaps}
        if given:
            by_unit[f"u{unit}"] = given
    question = AgreementQuestion("a/b", None, ANY, ANY, ANY, scale, with_pairs=True)
    return question, Ratings(0, 0, 0, 0, by_unit)


TABLES = [*worked(), *(pytest.param(*made(seed), id=f"made-{seed}") for seed in range(200))]


class Table:
    """Ratings as the packages take them."""

    def __init__(self, question: AgreementQuestion, ratings: Ratings) -> None:
        self.scale = question.scale
        self.by_unit: Mapping[Any, Mapping[str, Any]] = ratings.by_unit
        values = {value for given in self.by_unit.values() for value in given.values()}
        self.categories = list(question.categories) or sorted(values)
        self.raters = sorted({rater for given in self.by_unit.values() for rater in given})
        place = {value: float(index) for index, value in enumerate(self.categories)}
        if self.scale in ("interval", "ratio"):
            place = {value: float(value) for value in self.categories}
        self.coordinates = [place[value] for value in self.categories]
        self.matrix = np.array(
            [[place[given[r]] if r in given else np.nan for r in self.raters] for given in self.by_unit.values()]
        )
        self.paired = [given for given in self.by_unit.values() if len(given) > 1]


def assert_equal(found: Any, expected: float, what: str) -> None:
    """Found is a coefficient of ours; NaN of theirs stands for one of ours that is not defined."""
    if isinstance(found, str | None):
        assert found in (None, "no_variation"), what
        assert not np.isfinite(expected) or what == "krippendorff", (what, found, expected)
    else:
        assert found == pytest.approx(expected, rel=EXACT, abs=EXACT), what


@pytest.mark.parametrize(("question", "ratings"), TABLES)
@pytest.mark.filterwarnings("ignore")
def test_coefficients_of_all_raters(question: AgreementQuestion, ratings: Ratings) -> None:
    table, found = Table(question, ratings), measure_agreement(question, ratings).coefficients
    if not table.paired or len(table.categories) < 2:
        assert all(isinstance(value, str) or name == "percent_agreement" for name, value in found.items())
        return

    used = {value for given in table.paired for value in given.values()}
    if len(used) > 1:
        alpha = krippendorff.alpha(reliability_data=table.matrix.T, level_of_measurement=table.scale)
        assert_equal(found["krippendorff_alpha"], alpha, "krippendorff")
    frame = pd.DataFrame(table.matrix)
    ac1 = CAC(frame, categories=table.coordinates, digits=15).gwet()["est"]
    assert_equal(found["percent_agreement"], ac1["pa"], "percent")
    assert_equal(found["gwet_ac1"], ac1["coefficient_value"], "ac1")
    if table.scale != "nominal":
        ac2 = CAC(frame, weights="quadratic", categories=table.coordinates, digits=15).gwet()["est"]
        assert_equal(found["gwet_ac2"], ac2["coefficient_value"], "ac2")
    sizes = {len(given) for given in table.paired}
    if len(sizes) == 1:
        counts = [Counter(given.values()) for given in table.paired]
        rows = [[each[value] for value in table.categories] for each in counts]
        assert_equal(found["fleiss_kappa"], fleiss_kappa(np.array(rows)), "fleiss")
    else:
        assert found["fleiss_kappa"] == "unequal_raters"


@pytest.mark.parametrize(("question", "ratings"), TABLES)
@pytest.mark.filterwarnings("ignore")
def test_coefficients_of_pairs(question: AgreementQuestion, ratings: Ratings) -> None:
    table, agreement = Table(question, ratings), measure_agreement(question, ratings)
    for pair in agreement.pairs:
        both = [given for given in table.by_unit.values() if pair.rater_a in given and pair.rater_b in given]
        a = [table.categories.index(given[pair.rater_a]) for given in both]
        b = [table.categories.index(given[pair.rater_b]) for given in both]
        assert pair.unit_count == len(both)
        labels = range(len(table.categories))
        varies = len({*a, *b}) > 1
        if varies:
            assert_equal(pair.cohen_kappa, metrics.cohen_kappa_score(a, b, labels=labels), "kappa")
        else:
            assert pair.cohen_kappa is pair.cohen_kappa_linear is pair.cohen_kappa_quadratic is None
        if table.scale != "nominal":
            check_distances(table, pair, a, b, varies)
        check_two_raters(agreement, pair)


def check_distances(table: Table, pair: Any, a: list[int], b: list[int], varies: bool) -> None:
    if varies:
        cells = np.zeros((len(table.categories),) * 2)
        for cell in zip(a, b, strict=True):
            cells[cell] += 1
        at = np.array(table.coordinates)
        for weights, found in (("linear", pair.cohen_kappa_linear), ("quadratic", pair.cohen_kappa_quadratic)):
            expected = cohens_kappa(cells, weights=at, wt=weights, return_results=False)
            assert_equal(found, float(expected), weights)
            if table.scale == "ordinal":
                by_place = metrics.cohen_kappa_score(a, b, labels=range(len(at)), weights=weights)
                assert_equal(found, by_place, weights)
    x, y = [table.coordinates[value] for value in a], [table.coordinates[value] for value in b]
    if len(set(x)) > 1 and len(set(y)) > 1:
        assert_equal(pair.spearman, stats.spearmanr(x, y).statistic, "spearman")
        if table.scale != "ordinal":
            assert_equal(pair.pearson, stats.pearsonr(x, y).statistic, "pearson")
    else:
        assert pair.spearman is pair.pearson is None
    if table.scale != "ordinal":
        assert_equal(pair.mae, metrics.mean_absolute_error(x, y), "mae")
        assert_equal(pair.rmse, metrics.root_mean_squared_error(x, y), "rmse")
        assert_equal(pair.mean_difference, float(np.mean(np.array(y) - np.array(x))), "mean difference")


def check_two_raters(agreement: Agreement, pair: Any) -> None:
    """Of exactly two raters the coefficients of the whole are those of the pair."""
    for name in ("cohen_kappa", "cohen_kappa_linear", "cohen_kappa_quadratic"):
        whole, of_pair = agreement.coefficients[name], getattr(pair, name)
        if agreement.rater_count != 2:
            assert whole == "not_two_raters"
        elif of_pair is None:
            assert whole in ("no_variation", "wrong_scale")
        else:
            assert whole == of_pair
