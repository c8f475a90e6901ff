"""Exports of other systems: in, out and equal by reverse; a second time nothing changes; what loses data is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.importers.conftest import Store
from tests.importers.originals import original
from tests.importers.reverse import REVERSES, comparable, weave

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"

REFUSED = {
    "weave/feedback_query_fields.json": "/feedback/query",
    "weave/calls_with_feedback.jsonl": "/feedback/query",
    "langsmith/runs_with_feedback_stats.json": "list_feedback",
    "phoenix/dataframe.json": "span_annotations",
    "mlflow/dataframe.json": "traces/search",
    "argilla/records.json": "flatten=True",
    "label-studio/export_json_min.json": "export as JSON",
    "label-studio/export_csv.csv": "export as JSON",
    "label-studio/export_tsv.tsv": "export as JSON",
}
"""Forms that lose data, and what the line that refuses them names."""


def sample(name: str) -> Path:
    """The path of a sample; without it the test is skipped, and fails in CI."""
    path = SAMPLES / name
    if not path.exists():
        if os.environ.get("CI"):
            raise FileNotFoundError(f"CI needs {name}, which lies beside the repository, in shared/samples")
        pytest.skip("the samples are not there: shared/samples lies beside the repository")
    return path


@pytest.fixture
def store(request: pytest.FixtureRequest, new_store: Callable[[str], Store]) -> Store:
    """A project for a sample; Weave's refs are of the project that they name."""
    id = request.node.callspec.id
    return new_store("acme/chat" if id == "weave/feedback_query.json" else f"import/{id.replace('/', '.')}")


@pytest.mark.parametrize("name", REVERSES)
def test_an_export_comes_out_as_it_went_in_and_a_second_import_changes_nothing(store: Store, name: str) -> None:
    path = sample(name)
    first = store.run(str(path))
    assert first.exit_code == 0, first.output
    found = store.records
    assert in_order(REVERSES[name](found)) == in_order(original(path))
    before = store.revision
    second = store.run(str(path))
    assert second.exit_code == 0, second.output
    assert store.revision == before
    assert f"there {len(found)}" in second.output


@pytest.mark.parametrize("name", REFUSED)
def test_a_form_that_loses_data_is_refused_with_the_right_one(store: Store, name: str) -> None:
    done = store.run(str(sample(name)))
    assert done.exit_code == 2
    assert REFUSED[name] in done.output
    assert not store.records


def test_feedback_in_calls_of_weave_has_ids_made_of_it_when_that_is_asked_for(
    new_store: Callable[[str], Store],
) -> None:
    path = sample("weave/calls_with_feedback.jsonl")
    store = new_store("acme/calls")
    done = store.run(str(path), "--derived-ids", "--rename", "acme/chat=acme/calls")
    assert done.exit_code == 0, done.output
    assert "never import the same by its own ids" in done.output
    calls = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    given = [row for call in calls for row in call["summary"]["weave"].get("feedback", ())]
    given = [{**row, "creator": row["creator"] or None} for row in given]  # an empty one is none here, and reported
    found = weave(store.records)
    assert len({row["id"] for row in found}) == len(given) > 10
    for row in found:
        del row["id"], row["project_id"]
    assert sorted(text.replace("acme/calls", "acme/chat") for text in in_order(found)) == in_order(given)
    before = store.revision
    assert store.run(str(path), "--derived-ids", "--rename", "acme/chat=acme/calls").exit_code == 0
    assert store.revision == before


def in_order(rows: list[Any]) -> list[str]:
    """Rows in one order, as texts: that of the export is not kept."""
    return sorted(json.dumps(comparable(row), sort_keys=True, ensure_ascii=False) for row in rows)
