"""The glance at single records: what passes is good, what it says of them is what a closer look says."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from plaudit.v1 import Feedback
from plaudit_server.definitions.enforcement import (
    INLINE_COST,
    REQUEST_COST,
    Examination,
    TooExpensive,
    cost_of,
)
from plaudit_server.definitions.glance import Glance
from plaudit_server.definitions.records import ProjectDefinitions
from plaudit_server.feedback import rules
from plaudit_server.feedback.judging import Subject
from plaudit_server.feedback.records import Record
from tests.unit.test_definition_enforcement import MANY, PROJECT, REF, defined, examine

FLOOR = {"numeric": {"min": 0}}
OBJECT = {
    "value_path": "",
    "json_schema": {"schema_json": '{"required": ["a"], "properties": {"a": {"type": "string"}}}'},
}
PAYLOADS: list[dict[str, Any]] = [
    {},
    {"value": 1},
    {"value": 1.5},
    {"value": -1.5},
    {"value": None},
    {"value": "x"},
    {"value": 1.5, "reason": "clear"},
    {"value": 1.5, "reason": ""},
    {"value": 1.5, "reason": None},
    {"value": 1.5, "reason": 7},
    {"value": 1.5, "reason": "x" * 10_001},
    {"value": 1.5, "other": 1},
    {"a": "x"},
    {"a": 1},
    {"a": "x", "reason": ["y"]},
    {"a": {"b": 1.5}},
    {"reason": "why"},
]
DEFINITIONS: dict[str, dict[str, Any]] = {
    "number": FLOOR,
    "schema": OBJECT,
    "null": {**FLOOR, "allow_null": True},
    "no rule": {"unique": {"by_rater": True, "on_repeat": "ON_REPEAT_REPLACE"}},
    "reason": {**FLOOR, "reason_required": True},
    "of reason": {"value_path": "reason", "text": {"max_characters": 3}},
    "deep": {"value_path": "a.b", **FLOOR},
    "closed": {**FLOOR, "state": "DEFINITION_STATE_CLOSED"},
    "advisory": {**FLOOR, "enforcement": "ENFORCEMENT_ADVISORY"},
    "writers": {**FLOOR, "writers": ["bob"]},
    "others": {"feedback_type": "*", **FLOOR},
    "another": {"feedback_type": "another", **FLOOR},
}


def seen(payload: dict[str, Any]) -> Subject:
    message = Feedback(ref=REF, feedback_type="t", payload_json=json.dumps(payload))
    subjects: list[Subject] = []
    rules.new_record(message, PROJECT, "alice", [], subjects=subjects)
    return subjects[0]


def record_of(subject: Subject) -> Record:
    assert isinstance(subject.record, Record)
    return subject.record


def told(definitions: ProjectDefinitions, subject: Subject) -> bool:
    return Glance(definitions).passes(record_of(subject), subject.payload)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_what_passes_breaks_nothing(name: str) -> None:
    definitions = defined({"feedback_type": "t", **DEFINITIONS[name]})
    passed = 0
    for payload in PAYLOADS:
        subject = seen(payload)
        good = examine(definitions, [subject]) == [None]
        assert good or not told(definitions, subject), payload
        passed += told(definitions, subject)
    # Only what is judged by more than its payload, or takes null, never passes.
    assert (passed == 0) is (name in ("closed", "advisory", "writers"))


def test_a_good_value_passes_up_to_a_size_by_which_a_batch_costs_no_more_than_it_may() -> None:
    definitions = defined({"feedback_type": "t", **MANY})
    for count in range(1, 40):
        subject = seen({"value": ["v1"] * count})
        if told(definitions, subject):
            assert cost_of(definitions, [subject]) <= INLINE_COST
    assert told(definitions, seen({"value": ["v1"]}))
    assert not told(definitions, seen({"value": ["v1"] * 39}))
    assert 1_000 * INLINE_COST <= REQUEST_COST


def test_those_that_have_passed_count_for_the_cost_of_a_request() -> None:
    definitions = defined({"feedback_type": "t", **MANY})
    small, large = seen({"value": ["v1"]}), seen({"value": ["v1"] * 100})
    each, most = cost_of(definitions, [large]), REQUEST_COST // cost_of(definitions, [large])
    few = (REQUEST_COST - most * each) // cost_of(definitions, [small])
    subjects: list[Subject | None] = [large] * most + [None] * few
    records = [large.record] * most + [small.record] * few

    assert not any(Examination(definitions, records, subjects).findings())
    with pytest.raises(TooExpensive) as refused:
        Examination(definitions, [*records, small.record], [*subjects, None]).findings()
    assert refused.value.cost == most * each + (few + 1) * cost_of(definitions, [small])


def test_a_place_is_told_of_each_that_has_passed() -> None:
    unique = {"feedback_type": "t", **DEFINITIONS["no rule"]}
    definitions = defined(unique, {"feedback_type": "another", **FLOOR})
    records = [record_of(seen({"value": 1})), record_of(seen({}))._replace(feedback_type="another")]

    judgement = Glance(definitions).judgement(records)

    assert judgement.number == definitions.number
    [first, second] = judgement.verdicts
    assert first is not None
    assert first.key is not None
    assert (first.refused, first.replaces, second) == (None, True, None)
    assert Glance(definitions).judgement(records[1:]) is definitions.nothing


def test_a_batch_keeps_what_has_not_passed_and_another_process_everything() -> None:
    glance = Glance(defined({"feedback_type": "t", **FLOOR}))
    payloads = [{"value": 1.5}, {"value": -1.5}, {"value": 2.5}]

    def kept(glance: Glance | None) -> list[Any]:
        items = [Feedback(ref=REF, feedback_type="t", payload_json=json.dumps(payload)) for payload in payloads]
        checked = rules.new_records(items, None, project=PROJECT, user_id="alice", collects=True, glance=glance)
        return [subject and subject.payload for subject in checked.subjects]

    assert kept(glance) == [None, payloads[1], None]
    assert kept(pickle.loads(pickle.dumps(glance))) == payloads
