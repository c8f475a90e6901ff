"""What a definition may say: every rule of a Definition message, on both sides of its edge."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from plaudit.v1 import Definition
from plaudit_server.definitions import rules
from plaudit_server.errors import Violation

PROJECT = "acme/chat"


def message(feedback_type: str = "correctness", **fields: Any) -> Definition:
    return ParseDict({"feedback_type": feedback_type, **fields}, Definition())


def breaches(feedback_type: str = "correctness", **fields: Any) -> list[str]:
    out: list[Violation] = []
    made = rules.read(message(feedback_type, **fields), PROJECT, out)
    assert (made is None) == bool(out)
    return [violation.field.removeprefix("definition.") for violation in out]


def categories(*values: str, **of_each: Any) -> list[dict[str, Any]]:
    return [{"value": value, **of_each} for value in values]


ANNOTATION = "wandb.annotation.tone"
SPEC = "weave:///acme/chat/object/tone:d1"


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, []),
        ({"feedback_type": ""}, ["feedback_type"]),
        ({"feedback_type": "x" * 128}, []),
        ({"feedback_type": "x" * 129}, ["feedback_type"]),
        ({"feedback_type": "a\nb"}, ["feedback_type"]),
        ({"feedback_type": "*"}, []),
        ({"feedback_type": "wandb.annotation"}, ["feedback_type"]),
        ({"feedback_type": "wandb.annotation."}, ["feedback_type"]),
        ({"feedback_type": "wandb.runnable_x"}, ["feedback_type"]),
        ({"feedback_type": "wandb.runnable.judge", "value_path": "output"}, []),
        ({"title": "ä" * 128}, []),
        ({"title": "ä" * 129}, ["title"]),
        ({"title": "a\0"}, ["title"]),
        ({"description": "ä\n" * 5_000}, []),
        ({"description": "ä" * 10_001}, ["description"]),
        ({"description": "\0"}, ["description"]),
        ({"state": 7}, ["state"]),
        ({"enforcement": 7}, ["enforcement"]),
        ({"direction": 7}, ["direction"]),
        ({"direction": "DIRECTION_LOWER_IS_BETTER"}, []),
        ({"writers": ["*"] * 20}, []),
        ({"writers": ["*"] * 21}, ["writers"]),
        ({"writers": ["a", ""]}, ["writers[1]"]),
        ({"writers": ["a" * 257]}, ["writers[0]"]),
        ({"unique": {"on_repeat": 9}}, ["unique.on_repeat"]),
        ({"unique": {}}, []),
        ({"value_path": ""}, []),
        ({"value_path": r"a.b\.c.0"}, []),
        ({"value_path": "a..b"}, ["value_path"]),
        ({"value_path": "a\0"}, ["value_path"]),
        ({"value_path": ".".join("a" * 31)}, []),
        ({"value_path": ".".join("a" * 32)}, ["value_path"]),
        ({"feedback_type": ANNOTATION, "value_path": "value"}, []),
        ({"feedback_type": ANNOTATION, "value_path": "score"}, ["value_path"]),
        ({"feedback_type": ANNOTATION, "value_path": ""}, ["value_path"]),
        ({"feedback_type": ANNOTATION, "annotation_ref": SPEC}, []),
        ({"feedback_type": ANNOTATION, "annotation_ref": "no ref"}, ["annotation_ref"]),
        ({"feedback_type": ANNOTATION, "annotation_ref": SPEC.removesuffix(":d1")}, ["annotation_ref"]),
        ({"feedback_type": ANNOTATION, "annotation_ref": SPEC.replace(":d1", ":*")}, ["annotation_ref"]),
        ({"feedback_type": ANNOTATION, "annotation_ref": SPEC.replace("tone", "other")}, ["annotation_ref"]),
        ({"feedback_type": ANNOTATION, "annotation_ref": SPEC.replace("acme", "other")}, ["annotation_ref"]),
        ({"feedback_type": ANNOTATION, "annotation_ref": SPEC.replace("object", "op")}, ["annotation_ref"]),
        ({"annotation_ref": SPEC}, ["annotation_ref"]),
        ({"feedback_type": "*", "annotation_ref": SPEC}, ["annotation_ref"]),
        ({"feedback_type": "wandb.note.1", "boolean": {}}, ["rule"]),
        ({"feedback_type": "wandb.agent_monitor", "reason_required": True}, ["reason_required"]),
        ({"feedback_type": "wandb.reaction.1", "value_path": "x"}, ["value_path"]),
        ({"feedback_type": "wandb.reaction.1", "state": 2, "writers": ["a"], "unique": {"by_value": True}}, []),
    ],
)
def test_fields(fields: dict[str, Any], wrong: list[str]) -> None:
    assert breaches(**fields) == wrong


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ({"min": 0, "max": 1, "step": 0.1}, []),
        ({"min": 1, "max": 1}, []),
        ({"min": 1, "max": 0}, ["max"]),
        ({"min": "NaN"}, ["min"]),
        ({"max": "Infinity"}, ["max"]),
        ({"step": -1}, ["step"]),
        ({"step": "Infinity"}, ["step"]),
        ({"min": 0.2, "max": 0.8, "integer": True}, ["integer"]),
        ({"min": 0.2, "max": 1, "integer": True}, []),
        ({"min": 0.5, "step": 1, "integer": True}, ["integer"]),
        ({"min": 0.5, "step": 0.25, "max": 0.75, "integer": True}, ["integer"]),
        ({"min": 0.5, "step": 0.25, "max": 1, "integer": True}, []),
        ({"min": 0.3, "step": 0.7, "integer": True}, []),
        ({"max": 0.5, "step": 0.3, "integer": True}, []),
    ],
)
def test_numeric(rule: dict[str, Any], wrong: list[str]) -> None:
    assert breaches(numeric=rule) == [f"numeric.{field}" for field in wrong]


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ({"categories": categories("a", "b"), "max_choices": 2}, []),
        ({}, ["categories"]),
        ({"categories": categories(*map(str, range(1_000)))}, []),
        ({"categories": categories(*map(str, range(1_001)))}, ["categories"]),
        ({"categories": categories("a", "a")}, ["categories[1].value"]),
        ({"categories": [{"value": "a", "retired": True}, {"value": "a"}]}, ["categories[1].value"]),
        ({"categories": categories("a", "")}, ["categories[1].value"]),
        ({"categories": categories("ä" * 129)}, ["categories[0].value"]),
        ({"categories": categories("a", label="b" * 257)}, ["categories[0].label"]),
        ({"categories": categories("a", description="b" * 10_001)}, ["categories[0].description"]),
        ({"categories": categories("a", score="NaN")}, ["categories[0].score"]),
        ({"categories": categories("a", "b"), "min_choices": 3, "max_choices": 5}, ["min_choices"]),
        ({"categories": categories("a", "b"), "min_choices": 2}, ["min_choices"]),
        ({"categories": categories("a", "b", "c"), "min_choices": 3, "max_choices": 2}, ["max_choices"]),
        ({"categories": categories("a"), "min_choices": -1}, ["min_choices"]),
        ({"categories": categories("a"), "max_choices": -1}, ["max_choices"]),
    ],
)
def test_categorical(rule: dict[str, Any], wrong: list[str]) -> None:
    assert breaches(categorical=rule) == [f"categorical.{field}" for field in wrong]


@pytest.mark.parametrize(
    ("kind", "rule", "wrong"),
    [
        ("boolean", {"true_label": "yes"}, []),
        ("boolean", {"false_label": "x" * 257}, ["false_label"]),
        ("text", {}, []),
        ("text", {"min_characters": 3, "max_characters": 2}, ["max_characters"]),
        ("text", {"min_characters": 10_001}, ["min_characters"]),
        ("text", {"min_characters": -1}, ["min_characters"]),
        ("text", {"max_characters": 2**20 + 1}, ["max_characters"]),
        ("ranking", {}, []),
        ("ranking", {"min_refs": 3, "max_refs": 2}, ["max_refs"]),
        ("ranking", {"min_refs": 21}, ["min_refs"]),
        ("ranking", {"max_refs": 1_001}, ["max_refs"]),
        ("ranking", {"max_refs": 1}, ["max_refs"]),
        ("spans", {"labels": categories("PER")}, []),
        ("spans", {}, ["labels"]),
        ("spans", {"labels": categories("PER"), "max_spans": -1}, ["max_spans"]),
        ("json_schema", {"schema_json": '{"type": "object"}'}, []),
        ("json_schema", {"schema_json": ""}, ["schema_json"]),
    ],
)
def test_other_kinds(kind: str, rule: dict[str, Any], wrong: list[str]) -> None:
    assert breaches("t", **{kind: rule}) == [f"{kind}.{field}" for field in wrong]


def test_all_breaches_are_reported_together() -> None:
    found = breaches("", title="\n", numeric={"min": 1, "max": 0}, writers=[""])

    assert found == ["feedback_type", "title", "numeric.max", "writers[0]"]


def test_content_is_the_same_however_the_defaults_are_spelled() -> None:
    short = message(unique={"by_rater": True})
    long = message(
        state="DEFINITION_STATE_OPEN",
        enforcement="ENFORCEMENT_ENFORCED",
        value_path="value",
        unique={"by_rater": True, "on_repeat": "ON_REPEAT_REFUSE"},
        annotation_ref="",
        version=7,
        since_revision=9,
        user_id="mallory",
        created_at="2024-01-01T00:00:00Z",
    )

    assert rules.content_of(short) == rules.content_of(long)
    assert rules.content_of(short) != rules.content_of(message(title="x", unique={"by_rater": True}))
