"""What definitions say of records: refusals, places, costs, trials; and the worked cases that need no store."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from plaudit.v1 import Definition as Message
from plaudit_server.definitions import rules
from plaudit_server.definitions.enforcement import REQUEST_COST, Examination, Finding, TooExpensive, cost_of
from plaudit_server.definitions.records import Defined, ProjectDefinitions, Version
from plaudit_server.definitions.trial import Trial
from plaudit_server.definitions.uniqueness import key_of, unique_of
from plaudit_server.errors import Violation
from plaudit_server.feedback.judging import Description, Subject, subject_of
from tests.shared import DEFINITIONS, as_parameters, read_lines

PROJECT = "acme/chat"
REF = "weave:///acme/chat/call/c1"
SPEC = "weave:///acme/chat/object/tone:d"


def defined(*messages: dict[str, Any]) -> ProjectDefinitions:
    made = ProjectDefinitions()
    for message in messages:
        out: list[Violation] = []
        definition = rules.read(ParseDict(message, Message()), PROJECT, out)
        assert definition is not None, out
        known = made.by_type.get(definition.feedback_type)
        made = made.with_version(Version(definition, 1 + len(known.versions if known else ()), 0, "root", 0))
    return made


def subject(payload: dict[str, Any] | str, feedback_type: str = "t", **fields: Any) -> Subject:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    given = {"ref": REF, "user_id": "alice", "creator": None, "annotation_ref": None, **fields}
    return Subject(Description(feedback_type, payload=text, **given), json.loads(text))


def test_a_subject_from_another_process_is_not_decoded() -> None:
    sent = subject({"value": [1, None]}, creator="c")
    came = pickle.loads(pickle.dumps(sent))
    assert sent.is_decoded
    assert not came.is_decoded
    assert subject_of(came.record) == sent


def examine(definitions: ProjectDefinitions, subjects: Sequence[Subject]) -> list[Finding | None]:
    return Examination(definitions, [subject.record for subject in subjects], subjects).findings()


def finding(definitions: ProjectDefinitions, record: Subject) -> Finding | None:
    return examine(definitions, [record])[0]


def wrong(definition: dict[str, Any], payload: dict[str, Any], **fields: Any) -> list[str]:
    found = finding(defined({"feedback_type": "t", **definition}), subject(payload, **fields))
    return [breach.path for breach in found.breaches] if found else []


UNIT = {"numeric": {"min": 0, "max": 1}}


@pytest.mark.parametrize(
    ("definition", "payload", "places"),
    [
        (UNIT, {"value": 0.5}, []),
        (UNIT, {}, ["payload.value"]),
        (UNIT, {"value": None}, ["payload.value"]),
        ({**UNIT, "allow_null": True}, {"value": None}, []),
        ({**UNIT, "allow_null": True}, {}, ["payload.value"]),
        ({**UNIT, "value_path": "a.b"}, {"a": {"b": 2}}, ["payload.a.b"]),
        ({**UNIT, "value_path": r"a\.b"}, {"a.b": 2}, [r"payload.a\.b"]),
        ({**UNIT, "value_path": "a.1"}, {"a": [2, 0.5]}, []),
        ({**UNIT, "value_path": "a.1"}, {"a": {"1": 0.5}}, []),
        ({**UNIT, "value_path": "a.01"}, {"a": [2, 0.5]}, ["payload.a.01"]),
        ({**UNIT, "value_path": "a.9"}, {"a": [2, 0.5]}, ["payload.a.9"]),
        ({**UNIT, "value_path": "a.b"}, {"a": "b"}, ["payload.a.b"]),
        (UNIT, {"value": 0.5, "reason": "good"}, []),
        (UNIT, {"value": 0.5, "reason": ""}, ["payload.reason"]),
        (UNIT, {"value": 0.5, "reason": "x" * 10_000}, []),
        (UNIT, {"value": 0.5, "reason": "x" * 10_001}, ["payload.reason"]),
        (UNIT, {"value": 0.5, "reason": None}, ["payload.reason"]),
        ({**UNIT, "reason_required": True}, {"value": 7}, ["payload.value", "payload.reason"]),
        ({"reason_required": True}, {}, ["payload.reason"]),
        ({"reason_required": True}, {"reason": "x"}, []),
        ({**UNIT, "value_path": "reason", "reason_required": True}, {"reason": 0.5}, []),
        ({**UNIT, "refuse_other_keys": True}, {"value": 1, "reason": "x", "a.b": 1}, [r"payload.a\.b"]),
        (
            {"text": {}, "value_path": "a.b", "refuse_other_keys": True},
            {"a": {"b": "x", "c": 1}, "d": 1},
            ["payload.d"],
        ),
        ({"json_schema": {"schema_json": '{"required": ["a"]}'}, "value_path": ""}, {}, ["payload"]),
        (
            {"json_schema": {"schema_json": '{"properties": {"a": {"type": "null"}}}'}, "value_path": ""},
            {"a": 1},
            ["payload.a"],
        ),
        ({**UNIT, "state": 2}, {"value": 7}, ["feedback_type", "payload.value"]),
        ({**UNIT, "state": 2, "enforcement": 2, "writers": ["nobody"]}, {"value": 7}, []),
    ],
)
def test_payload(definition: dict[str, Any], payload: dict[str, Any], places: list[str]) -> None:
    assert wrong(definition, payload) == places


def test_other_keys_that_are_reported_are_bounded() -> None:
    payload = {"value": 1, **{str(number): 1 for number in range(2_000)}}

    assert len(wrong({**UNIT, "refuse_other_keys": True}, payload)) == 100


def test_a_type_of_its_own_goes_before_all_others() -> None:
    definitions = defined({"feedback_type": "*", "state": 2}, {"feedback_type": "t", **UNIT})

    assert finding(definitions, subject({"value": 1})) is None
    assert finding(definitions, subject({"value": 1}, "T")) is not None
    assert finding(definitions, subject({"note": "x"}, "wandb.note.1")) is None
    assert finding(definitions, subject({"output": 1}, "wandb.runnable.x")) is not None


def test_the_value_of_an_annotation_is_in_value_whatever_is_said_of_all_others() -> None:
    definitions = defined({"feedback_type": "*", "value_path": "score", **UNIT})

    assert finding(definitions, subject({"score": 1})) is None
    assert finding(definitions, subject({"value": 1}, "wandb.annotation.tone", annotation_ref=SPEC + "1")) is None


def test_a_definition_of_a_built_in_type_says_nothing_of_its_payload() -> None:
    definitions = defined({"feedback_type": "wandb.note.1", "unique": {"by_rater": True}})

    assert finding(definitions, subject({"note": "x", "reason": 7}, "wandb.note.1")) is None


def test_the_spec_that_a_record_names_picks_the_version_that_checks() -> None:
    tone = "wandb.annotation.tone"
    definitions = defined(
        {"feedback_type": tone, **UNIT, "annotation_ref": SPEC + "1"},
        {"feedback_type": tone, "boolean": {}, "annotation_ref": SPEC + "2"},
        {"feedback_type": tone, "title": "Tone"},
    )

    def look(value: Any, digest: str) -> tuple[int, list[str]] | None:
        found = finding(definitions, subject({"value": value}, tone, annotation_ref=SPEC + digest))
        return found and (found.version, [breach.path for breach in found.breaches])

    assert look(0.5, "1") is None
    assert look(True, "2") is None
    assert look(True, "1") == (1, ["payload.value"])
    assert look(0.5, "2") == (2, ["payload.value"])
    assert look(0.5, "3") == (3, ["annotation_ref"])


@pytest.mark.parametrize(
    ("pattern", "name", "named"),
    [
        ("*", "", True),
        ("judge-*", "judge-2", True),
        ("judge-*", "judge-", True),
        ("judge-*", "Judge-2", False),
        ("*@acme", "a/b@acme", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c", False),
        ("a*a", "a", False),
        ("ab*ba", "aba", False),
        ("**", "x", True),
        ("alice", "alice2", False),
        ("a.c", "abc", False),
        ("*a" * 60 + "b", "a" * 256, False),
    ],
)
def test_writers_are_patterns(pattern: str, name: str, named: bool) -> None:
    found = finding(defined({"feedback_type": "t", "writers": ["nobody", pattern]}), subject({}, user_id=name))

    assert (found is None or not found.denied) == named


def test_a_creator_proves_nothing() -> None:
    found = finding(defined({"feedback_type": "t", "writers": ["judge-*"]}), subject({}, creator="judge-1"))

    assert found is not None
    assert found.denied


# --- places


def places(unique: dict[str, Any], *records: Subject, **definition: Any) -> int:
    definitions = defined({"feedback_type": "t", "unique": unique, **definition})
    by = unique_of(definitions, "t")
    return 0 if by is None else len({key_of(by, record.record, record.record.user_id) for record in records})


def test_what_is_named_makes_places() -> None:
    one = subject({"value": 1})
    other_user, other_creator, other_value, other_ref = (
        subject({"value": 1}, user_id="bob"),
        subject({"value": 1}, creator=""),
        subject({"value": 2}),
        subject({"value": 1}, ref=REF + "2"),
    )
    everything = one, other_user, other_creator, other_value, other_ref

    assert places({}, *everything) == 2
    assert places({"by_rater": True}, *everything) == 3
    assert places({"by_creator": True}, *everything) == 3
    assert places({"by_value": True}, *everything) == 3
    assert places({"by_rater": True, "by_creator": True, "by_value": True}, *everything) == 5
    assert places({"by_rater": True}, one, other_user, enforcement=2) == 0


@pytest.mark.parametrize(
    ("payloads", "count"),
    [
        (['{"value": 5}', '{"value": 5.0}', '{"value": 5.00}', '{"value": "5"}'], 1),
        (['{"value": 5}', '{"value": 5e0}', '{"value": 5.5}'], 3),
        (['{"value": true}', '{"value": "true"}'], 1),
        (['{"value": null}', '{"value": "null"}', "{}", '{"value": ""}', '{"value": []}'], 5),
        (['{"value": {"a": 1, "b": 2}}', '{"value": {"b": 2.0, "a": 1}}'], 1),
        (['{"value": ["a"]}', '{"value": "[\\"a\\"]"}'], 2),
        (['{"value": "a", "x": 1}', '{"value": "a"}'], 1),
    ],
)
def test_values_are_one_when_their_text_is(payloads: list[str], count: int) -> None:
    assert places({"by_value": True}, *map(subject, payloads)) == count


def test_a_reaction_in_any_spelling_is_one_value() -> None:
    heart = ({"emoji": "❤", "alias": ":red_heart:"}, {"emoji": "❤️", "alias": ":red_heart:"})
    records = [subject(payload, "wandb.reaction.1") for payload in heart]
    definitions = defined({"feedback_type": "wandb.reaction.1", "unique": {"by_value": True, "on_repeat": 2}})

    by = unique_of(definitions, "wandb.reaction.1")
    assert by is not None
    assert by.unique is not None
    assert by.unique.replaces
    assert len({key_of(by, record.record, "alice") for record in records}) == 1


def test_keys_are_those_of_records_that_are_stored() -> None:
    every = {"by_rater": True, "by_creator": True, "by_value": True}
    record = subject({"value": 5.0}, creator='"é"')

    keys = []
    for unique in ({}, {"by_rater": True}, every):
        by = unique_of(defined({"feedback_type": "t", **UNIT, "unique": unique}), "t")
        assert by is not None
        keys += [key_of(by, one.record, "alice") for one in (record, subject({}))]
    assert {key[:-32] for key in keys} == {REF[:13]}
    assert [key[-32:] for key in keys] == [
        "0388999357912b0b60f0b91b1cc4ec34",
        "0388999357912b0b60f0b91b1cc4ec34",
        "8cf26785508869591c673f7659d1c725",
        "8cf26785508869591c673f7659d1c725",
        "b4d5be7c46c06f69a78b53852389444f",
        "e444644a98415a94355a636fb6ae8f4d",
    ]


# --- cost


MANY = {"json_schema": {"schema_json": json.dumps({"items": {"anyOf": [{"const": f"v{n}"} for n in range(900)]}})}}


def test_a_request_that_would_cost_too_much_is_refused_before_it_is_looked_at() -> None:
    definitions = defined({"feedback_type": "t", **MANY})
    record = subject({"value": ["x"] * 100})
    each = cost_of(definitions, [record])

    assert each > len(record.record.payload) * 900
    most = REQUEST_COST // each
    assert all(examine(definitions, [record] * most))
    with pytest.raises(TooExpensive) as refused:
        examine(definitions, [record] * (most + 1))
    assert refused.value.cost == each * (most + 1)


def test_a_value_too_large_for_its_schema_is_a_breach() -> None:
    found = finding(defined({"feedback_type": "t", **MANY}), subject({"value": ["v1"] * 5_000}))

    assert found is not None
    assert [breach.path for breach in found.breaches] == ["payload.value"]
    assert "too large" in found.breaches[0].description


def test_a_request_that_breaks_much_is_answered_less_exactly() -> None:
    definitions = defined({"feedback_type": "t", **MANY})
    record = subject({"value": ["x"] * 100})
    count = REQUEST_COST // cost_of(definitions, [record])

    found = examine(definitions, [record] * count)

    reported = [breach.path for item in found if item for breach in item.breaches]
    assert reported[0] == "payload.value[0]"
    assert reported[-1] == "payload.value"
    assert len(reported) == count


def test_what_is_wrong_is_said_of_as_many_records_as_a_request_may_cost() -> None:
    """The library writes what is broken into the error: the names of branches that matter not, all of a list."""
    long = {"json_schema": {"schema_json": json.dumps({"items": {"enum": [f"{n:060}" for n in range(900)]}})}}

    for definition, least, most in ((MANY, 1_000, 1_000), (long, 10, 100)):
        found = examine(defined({"feedback_type": "t", **definition}), [subject({"value": ["x"]})] * 1_000)

        paths = [breach.path for item in found if item for breach in item.breaches]
        assert len(paths) == 1_000
        assert least <= paths.count("payload.value[0]") <= most


GOOD, BAD, HEAVY = subject({"value": 1}), subject({"value": "x"}), subject({"value": 1, "z": "x" * 50_000})


@pytest.mark.parametrize(
    ("records", "nanoseconds", "costs_little"),
    [
        ([GOOD] * 100, 10**12, True),
        ([GOOD] * 100, 0, False),
        ([GOOD, BAD], 10**12, True),
        ([GOOD] + [BAD] * 50, 10**12, False),
        ([GOOD, HEAVY], 10**12, False),
        ([HEAVY] * 300, 10**12, False),
    ],
)
def test_good_records_are_skimmed_and_what_is_left_is_looked_at(
    records: list[Subject], nanoseconds: int, costs_little: bool
) -> None:
    definitions = defined({"feedback_type": "t", "json_schema": {"schema_json": '{"type": "integer"}'}})
    examination = Examination(definitions, [record.record for record in records], records)

    examination.skim(nanoseconds)

    assert examination.costs_little() is costs_little
    assert [found is not None for found in examination.findings()] == [record is BAD for record in records]


def test_a_cost_is_never_above_that_of_its_characters() -> None:
    rules: list[dict[str, Any]] = [{"ranking": {}}, {"spans": {"labels": [{"value": "a"}]}}, UNIT, {"text": {}}, MANY]
    schemas: list[dict[str, Any]] = [{"type": "integer"}, {"items": {"minimum": 0.5, "multipleOf": 0.1}}]
    for rule in [*rules, *({"json_schema": {"schema_json": json.dumps(schema)}} for schema in schemas)]:
        definitions = defined({"feedback_type": "t", **rule})
        values: list[Any] = [[], [[]] * 30, [["x"]] * 30, [{}] * 30, [1e-300] * 30, "é" * 30, "\U0001f600,[{"]
        for value in values:
            record = subject(json.dumps({"value": value}, ensure_ascii=False, separators=(",", ":")))
            assert cost_of(definitions, [record]) <= definitions.cost_per_character * len(record.record.payload)


def test_refs_and_spans_cost() -> None:
    ranking = defined({"feedback_type": "t", "ranking": {"max_refs": 1_000}})
    ranked = subject({"value": [[f"x:{number}"] for number in range(1_000)]})
    spans = defined({"feedback_type": "t", "spans": {"labels": [{"value": "a"}]}})

    assert finding(ranking, ranked) is None
    assert 10**6 < cost_of(ranking, [ranked]) < 10**7
    assert cost_of(ranking, [subject({"value": 7})]) == 0
    assert cost_of(spans, [subject({"value": [{}] * 900})]) > 10**5
    assert cost_of(defined({"feedback_type": "t", **UNIT}), [subject({"value": 1})]) == 0


# --- trials


def test_a_trial_counts_what_breaks_where() -> None:
    definitions = defined(
        {
            "feedback_type": "t",
            "categorical": {"categories": [{"value": "a"}, {"value": "b", "retired": True}], "max_choices": 9},
            "unique": {"by_rater": True},
            "writers": ["nobody"],
            "state": 2,
        }
    )
    trial = Trial(definitions.by_type["t"])

    broken = [
        trial.add(f"f{n}", subject({"value": value}), "alice") for n, value in enumerate(["b", ["b"], ["a", "x", "y"]])
    ]
    broken += [trial.add(f"g{n}", subject({}, ref=f"{REF}/{n}"), "alice") for n in range(12)]

    assert broken == [True, False, True] + [True] * 12
    assert (trial.checked, trial.breaking, trial.repeated) == (15, 14, 1)
    assert [(found.path, found.records, len(found.ids)) for found in trial.breakages()] == [
        ("payload.value", 12, 10),
        ("payload.value", 1, 1),
        ("payload.value", 1, 1),
    ]


def test_a_trial_of_an_annotation_looks_at_the_records_that_it_would_check() -> None:
    tone = "wandb.annotation.tone"
    before = defined({"feedback_type": tone, **UNIT, "annotation_ref": SPEC + "1"}).by_type[tone].versions
    tried = defined({"feedback_type": tone, "boolean": {}, "annotation_ref": SPEC + "2"}).by_type[tone].versions
    trial = Trial(Defined.of((*before, *tried)))

    found = [trial.add(digest, subject({"value": 0.5}, tone, annotation_ref=SPEC + digest), "x") for digest in "123"]

    assert found == [False, True, True]
    assert {found.path for found in trial.breakages()} == {"payload.value", "annotation_ref"}


def test_a_trial_knows_when_it_has_cost_enough() -> None:
    trial = Trial(defined({"feedback_type": "t", **MANY}).by_type["t"])
    record = subject({"value": ["v1"] * 500})
    looked = 0
    while not trial.exhausted:
        trial.add(str(looked), record, "alice")
        looked += 1

    assert 10 < looked < 100


# --- the worked cases


def _is_pure(case: Any) -> bool:
    """Whether a case is of nothing but definitions and new records, each looked at by itself."""
    steps = [*case["given"], *case["when"]]
    if not all(isinstance(step, dict) and step["op"] in ("put_definition", "create") for step in steps):
        return False
    of_the_store = ("checked_revision", "expected_version")
    if any("unique" in step.get("definition", {}) or any(name in step for name in of_the_store) for step in steps):
        return False
    ids = [step["feedback"]["id"] for step in steps if step["op"] == "create"]
    return len(ids) == len(set(ids))


def read_definition(given: dict[str, Any]) -> tuple[Message, list[Violation]]:
    fields = dict(given)
    for kind, rule in fields.pop("rule", {}).items():
        fields[kind] = dict(rule)
    if "spans" in fields:
        fields["spans"]["labels"] = [{"value": label} for label in fields["spans"]["labels"]]
    if "json_schema" in fields:
        fields["json_schema"] = {"schema_json": json.dumps(fields["json_schema"]["schema"])}
    if "state" in fields:
        fields["state"] = f"DEFINITION_STATE_{fields['state']}"
    if "enforcement" in fields:
        fields["enforcement"] = f"ENFORCEMENT_{fields['enforcement']}"
    return ParseDict(fields, Message()), []


@pytest.mark.parametrize("case", as_parameters([case for case in read_lines(DEFINITIONS) if _is_pure(case)]))
def test_worked_case(case: dict[str, Any]) -> None:
    definitions = ProjectDefinitions()
    outcomes: list[dict[str, Any]] = []
    for step in [*case["given"], *case["when"]]:
        if step["op"] == "put_definition":
            message, out = read_definition(step["definition"])
            definition = rules.read(message, PROJECT, out)
            if definition is None:
                outcomes.append({"code": "INVALID_ARGUMENT", "fields": [violation.field for violation in out]})
                continue
            known = definitions.by_type.get(definition.feedback_type)
            version = known.newest.version + 1 if known else 1
            if known is None or known.newest.definition.content != definition.content:
                definitions = definitions.with_version(Version(definition, version, 0, "root", 0))
            outcomes.append({"code": "OK", "version": definitions.by_type[definition.feedback_type].newest.version})
        else:
            given = step["feedback"]
            record = subject(
                given["payload"],
                given["feedback_type"],
                user_id=step["user"],
                creator=given.get("creator"),
                annotation_ref=given.get("annotation_ref"),
                ref=given["ref"],
            )
            found = finding(definitions, record)
            if found is None:
                outcomes.append({"code": "OK"})
            elif found.denied:
                outcomes.append({"code": "PERMISSION_DENIED"})
            else:
                paths = [f"feedback.{breach.path}" for breach in found.breaches]
                outcomes.append({"code": "INVALID_ARGUMENT", "fields": paths})
    expected = case["expect"] if isinstance(case["expect"], list) else [case["expect"]]
    for outcome, expect in zip(outcomes[-len(case["when"]) :], expected, strict=True):
        for key in outcome.keys() & expect.keys():
            assert outcome[key] == expect[key], (key, outcome, expect)
