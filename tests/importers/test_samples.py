"""Exports of other systems: in, out and equal by reverse; a second time nothing changes; what loses data is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import grpc
import pytest
from click.testing import CliRunner

import plaudit
import plaudit_server.testing
from plaudit._cli.main import cli
from plaudit.v1 import FeedbackServiceStub, QueryFeedbackRequest
from tests.importers.originals import original
from tests.importers.reverse import REVERSES, comparable, stored

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


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    """A server for this module's tests, each of which has a project of its own."""
    with plaudit_server.testing.server() as running:
        yield running.target


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project that no other test uses; Weave's refs are of the project that they name."""
    id = request.node.callspec.id
    return "acme/chat" if id == "weave/feedback_query.json" else f"import/{id.replace('/', '.')}"


class Done(NamedTuple):
    """How a command ended, and all that it wrote."""

    exit_code: int
    output: str


def run(target: str, project: str, *arguments: str) -> Done:
    """`plaudit import` with these arguments, into a project of the server."""
    variables = {"PLAUDIT_TARGET": target, "PLAUDIT_PROJECT": project, "PLAUDIT_CONFIG_FILE": os.devnull}
    done = CliRunner().invoke(cli, ["import", *arguments], env=variables, standalone_mode=False)
    if isinstance(done.exception, click.UsageError):
        return Done(2, done.exception.message)
    if done.exception is not None:
        raise done.exception
    return Done(int(done.return_value or 0), done.output)


def records(target: str, project: str) -> list[Any]:
    """What is stored."""
    with plaudit.Client(project, target=target) as client:
        return [stored(record.payload_json, record.to_dict()) for record in client.get_feedback()]


def revision(target: str, project: str) -> int:
    """The project's revision."""
    with grpc.insecure_channel(target) as channel:
        request = QueryFeedbackRequest(project=project, page_size=1)
        return FeedbackServiceStub(channel).QueryFeedback(request).revision


@pytest.mark.parametrize("name", REVERSES)
def test_an_export_comes_out_as_it_went_in_and_a_second_import_changes_nothing(
    target: str, project: str, name: str
) -> None:
    path = sample(name)
    first = run(target, project, str(path))
    assert first.exit_code == 0, first.output
    found = records(target, project)
    expected = [comparable(row) for row in original(path)]
    made = [comparable(row) for row in REVERSES[name](found)]
    assert in_order(made) == in_order(expected)
    before = revision(target, project)
    second = run(target, project, str(path))
    assert second.exit_code == 0, second.output
    assert revision(target, project) == before
    assert f"there {len(found)}" in second.output


@pytest.mark.parametrize("name", REFUSED)
def test_a_form_that_loses_data_is_refused_with_the_right_one(target: str, project: str, name: str) -> None:
    done = run(target, project, str(sample(name)))
    assert done.exit_code == 2
    assert REFUSED[name] in done.output
    assert not records(target, project)


def in_order(rows: list[Any]) -> list[str]:
    """Rows in one order, as texts: that of the export is not kept."""
    return sorted(json.dumps(row, sort_keys=True, ensure_ascii=False) for row in rows)
