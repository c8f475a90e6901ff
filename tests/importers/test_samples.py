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


@pytest.mark.parametrize("is_table", [False, True])
def test_statistics_of_runs_are_stored_as_what_they_are_when_that_is_asked_for(
    new_store: Callable[[str], Store], tmp_path: Path, is_table: bool
) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = json.loads(sample("langsmith/runs_with_feedback_stats.json").read_text("utf-8"))
    rows = [dict(row, end_time="2026-11-28T10:55:01Z") for row in rows]
    path = tmp_path / "runs.json"
    if is_table:  # as a bulk export writes it
        path = tmp_path / "runs.parquet"
        rows.append({"id": "no feedback", "feedback_stats": None, "end_time": None, "session_id": "s", "trace_id": "t"})
        texts = [dict(row, feedback_stats=row["feedback_stats"] and json.dumps(row["feedback_stats"])) for row in rows]
        parquet.write_table(pyarrow.Table.from_pylist(texts), path)
    else:
        path.write_text(json.dumps(rows), "utf-8")
    store = new_store(f"import/statistics-{is_table}")
    refused = store.run(str(path))
    assert (refused.exit_code, "list_feedback" in refused.output) == (2, True)
    for _ in range(2):
        done = store.run(str(path), "--aggregates")
        assert (done.exit_code, "each judgement are lost" in done.output) == (0, True), done.output
    assert store.revision == sum(len(row["feedback_stats"] or ()) for row in rows)
    [record] = store.records
    stats = rows[0]["feedback_stats"]["correctness"]
    assert (record["feedback_type"], record["payload"]["score"]) == ("correctness.stats", stats["avg"])
    assert record["payload"]["value"] == stats
    assert (record["creator"], record["user_id"]) == (None, "langsmith:anonymous")


def in_order(rows: list[Any]) -> list[str]:
    """Rows in one order, as texts: that of the export is not kept."""
    return sorted(json.dumps(comparable(row), sort_keys=True, ensure_ascii=False) for row in rows)
