"""examples/analyst.py on real feedback: its numbers are those of pandas over an export.

The data are from the human evaluation of SQuALITY (A. Wang and others, 2022), CC BY 4.0.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from itertools import combinations
from math import isclose, isnan
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import plaudit
import plaudit_server.testing
from tests.shared import FEEDBACK, read_lines

pandas = pytest.importorskip("pandas")

pytestmark = pytest.mark.skipif(
    not read_lines(FEEDBACK),
    reason="squality-feedback.jsonl is not there: it lies beside the repository, in shared/data",
)


@pytest.fixture(scope="module")
def analyst() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "analyst.py"
    spec = importlib.util.spec_from_file_location("analyst", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def client(analyst: ModuleType) -> Iterator[plaudit.Client]:
    with plaudit_server.testing.server() as running:
        client = running.client(project=analyst.PROJECT)
        client.import_records(analyst.records(FEEDBACK))
        yield client


@pytest.fixture(scope="module")
def exported(client: plaudit.Client, tmp_path_factory: pytest.TempPathFactory, analyst: ModuleType) -> Any:
    """Every record as an export has it; local days and weeks by pandas."""
    path = tmp_path_factory.mktemp("export") / "feedback.jsonl"
    client.get_feedback().export(path)
    frame = pandas.read_json(path, lines=True)
    local = pandas.to_datetime(frame["created_at"]).dt.tz_convert(analyst.ZONE)
    frame["day"] = local.dt.date
    frame["week"] = (local.dt.tz_localize(None).dt.to_period("W-SUN").dt.start_time).dt.date
    payload = pandas.json_normalize(frame["payload"].tolist())
    return frame.join(payload)


def local_date(analyst: ModuleType, period: Any) -> Any:
    return pandas.Timestamp(period.start).tz_convert(analyst.ZONE).date()


def test_means_by_model_and_week(analyst: ModuleType, client: plaudit.Client, exported: Any) -> None:
    reviews = exported[exported["feedback_type"] == "squality.review"]
    expected = reviews.groupby(["system", "week"])["overall_rating"].agg(["mean", "count"])

    found = {
        (group["system"], local_date(analyst, group["week"])): (group["rating"], group.value_count("rating"))
        for group in analyst.mean_by_model_and_week(client)
    }

    assert len(expected) > 8
    assert found.keys() == set(expected.index)
    for key, (mean, count) in found.items():
        assert isclose(mean, expected.loc[key, "mean"], rel_tol=1e-12)
        assert count == expected.loc[key, "count"]


def test_top_notes(analyst: ModuleType, client: plaudit.Client, exported: Any) -> None:
    notes = exported[["id", "ref", "comments"]].explode("comments").dropna().drop_duplicates(["id", "comments"])
    by_note = notes.groupby("comments").agg(rows=("id", "size"), refs=("ref", "nunique"))
    by_note = by_note[by_note.index != ""].reset_index().sort_values(["rows", "comments"], ascending=[False, True])

    found = [(group["note"], group.row_count, group["refs"]) for group in analyst.top_notes(client)]

    assert found == [tuple(row) for row in by_note.head(10).itertuples(index=False)]


def test_who_disagrees_with_whom(analyst: ModuleType, client: plaudit.Client, exported: Any) -> None:
    reviews = exported[exported["feedback_type"] == "squality.review"]
    # Of a rater's several reviews of one summary the latest counts.
    rated = reviews.sort_values("created_at").groupby(["ref", "creator"])["overall_rating"].last().unstack()
    expected = {}
    for a, b in combinations(sorted(rated.columns), 2):
        both = rated[[a, b]].dropna()
        if len(both):
            expected[a, b] = (len(both), (both[a] - both[b]).abs().mean(), both[a].corr(both[b]))

    found = analyst.disagreements(client)

    assert {(pair["rater_a"], pair["rater_b"]) for pair in found} == expected.keys()
    assert [pair["mae"] for pair in found] == sorted((pair["mae"] for pair in found), reverse=True)
    for pair in found:
        count, distance, correlation = expected[pair["rater_a"], pair["rater_b"]]
        assert pair["unit_count"] == count
        assert isclose(pair["mae"], distance, rel_tol=1e-12)
        assert isnan(correlation) or isclose(pair["pearson"], correlation, rel_tol=1e-9)


def test_the_share_of_thumbs_by_day_in_berlin(analyst: ModuleType, client: plaudit.Client, exported: Any) -> None:
    thumbs = exported[exported["feedback_type"] == "wandb.reaction.1"]
    expected = thumbs.assign(up=thumbs["emoji"] == "👍").groupby("day")["up"].agg(["mean", "size"])

    groups = list(analyst.thumbs_by_day(client))

    found = {local_date(analyst, group["day"]): (group["up"], group.row_count) for group in groups}
    days = pandas.date_range(min(found), max(found)).date
    assert list(found) == list(days)
    assert {day: value for day, value in found.items() if value[1]}.keys() == set(expected.index)
    for day, (share, count) in found.items():
        if count:
            assert (share, count) == (expected.loc[day, "mean"], expected.loc[day, "size"])
        else:
            assert share is None
