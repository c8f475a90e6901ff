"""The main use on real data: 4,042 records of human feedback, through the client, across a restart.

The data are from the human evaluation of SQuALITY (A. Wang and others, 2022), CC BY 4.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any
from uuid import UUID

import pytest

import plaudit
from tests.service.process import ServerProcess, server_process
from tests.shared import FEEDBACK, read_lines

PROJECT = "nyu-mll/squality"

pytestmark = pytest.mark.skipif(
    not read_lines(FEEDBACK),
    reason="squality-feedback.jsonl is not there: it lies beside the repository, in shared/data",
)


def lines() -> list[dict[str, Any]]:
    return read_lines(FEEDBACK)


def with_ids() -> list[dict[str, Any]]:
    """The records with ids that are the same each time they are loaded."""
    return [{"id": str(UUID(int=number + (7 << 76) + (1 << 63))), **line} for number, line in enumerate(lines())]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("squality") / "plaudit.db"


@pytest.fixture(scope="module")
def loaded(store: Path) -> Iterator[ServerProcess]:
    with server_process(store) as process, plaudit.Client(PROJECT, target=process.target) as client:
        client.create_batch(with_ids())
    with server_process(store) as restarted:
        yield restarted


@pytest.fixture
def client(loaded: ServerProcess) -> Iterator[plaudit.Client]:
    with plaudit.Client(PROJECT, target=loaded.target) as client:
        yield client


def test_every_record_is_as_its_line(client: plaudit.Client) -> None:
    rows = list(client.get_feedback())
    assert len(rows) == 4042
    for row, line in zip(rows, lines(), strict=True):
        assert (row.ref, row.feedback_type, row.creator) == (line["ref"], line["feedback_type"], line["creator"])
        assert json.dumps(row.payload) == json.dumps(line["payload"])  # key order too


def test_counts(client: plaudit.Client) -> None:
    assert client.count(plaudit.field("feedback_type") == "squality.review") == 900
    assert client.count(plaudit.field("feedback_type") == "squality.highlight") == 3142
    assert len(client.get_feedback().refs()) == 300
    assert len(client.refs()) == 300


def test_mean_rating_by_system(client: plaudit.Client) -> None:
    reviews = client.get_feedback(plaudit.field("feedback_type") == "squality.review")
    ratings: dict[str, list[float]] = {}
    for review in reviews:
        ratings.setdefault(review.payload["system"], []).append(review.payload["overall_rating"])
    means = {system: round(fmean(values), 3) for system, values in ratings.items()}
    assert means == {"bart": 18.137, "bart-dpr": 27.913, "human": 91.260}


def test_a_ref_gives_exactly_its_lines_in_order(client: plaudit.Client) -> None:
    ref = lines()[0]["ref"]
    expected = [line["payload"] for line in lines() if line["ref"] == ref]
    assert [row.payload for row in plaudit.RefFeedbackQuery(ref, client=client)] == expected


def test_loading_again_changes_nothing(client: plaudit.Client) -> None:
    before = [row.to_dict() for row in client.get_feedback()]
    client.create_batch(with_ids())
    assert [row.to_dict() for row in client.get_feedback()] == before
