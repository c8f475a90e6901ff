"""The refs that applications make of ids that they have are those that imports make of exports."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from plaudit import Feedback, refs
from plaudit.importers import Given, Record, open_source
from tests.importers.reverse import target
from tests.importers.test_samples import sample

BUILDERS: dict[str, Callable[..., str]] = {
    "langfuse/scores_v2.json": refs.langfuse,
    "langfuse/scores_v3.json": refs.langfuse,
    "langsmith/list_feedback.json": refs.langsmith,
    "phoenix/span_annotations.json": refs.phoenix,
    "phoenix/trace_annotations.json": refs.phoenix,
    "phoenix/session_annotations.json": refs.phoenix,
    "phoenix/graphql_documents.json": refs.phoenix,
    "mlflow/traces_search.json": refs.mlflow,
    "opik/traces.json": refs.opik,
    "argilla/records_flat.json": refs.argilla,
    "label-studio/export_json.json": refs.label_studio,
    "braintrust/log_row.json": refs.braintrust,
}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_builder_makes_the_refs_of_an_import(name: str) -> None:
    source = open_source(name.partition("/")[0], Given(str(sample(name)), "acme/chat"))
    found = [row.fields.ref for row in source.read() if isinstance(row, Record) and isinstance(row.fields, Feedback)]
    assert found
    for ref in found:
        about = {kind.replace("-", "_"): id for kind, id in target({"ref": ref}).items()}
        project = (
            about.pop("project", "")
            if len(about) > 1 or name != "langsmith/list_feedback.json"
            else about.pop("project")
        )
        assert BUILDERS[name]("default", project, **about) == ref


def test_parts_are_encoded_and_one_target_is_needed() -> None:
    assert refs.langfuse("lf.example.org", "p/1", trace="a b", observation="ö") == (
        "langfuse://lf.example.org/p%2F1/trace/a%20b/observation/%C3%B6"
    )
    for wrong in ({}, {"trace": "1", "session": "2"}, {"trace": ""}):
        with pytest.raises(ValueError, match="one target"):
            refs.langfuse("lf.example.org", "p", **wrong)
