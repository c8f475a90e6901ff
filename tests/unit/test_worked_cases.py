"""The worked cases of refs, types and creates, as far as the pure rules decide them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plaudit._contract.refs import parse_ref
from plaudit.v1 import Feedback
from plaudit_server.errors import Violation
from plaudit_server.feedback import rules
from plaudit_server.feedback.records import Record
from tests.shared import as_parameters, worked_cases

COLUMNS = {"project_id": "project", "weave_ref": "ref", "wb_user_id": "user_id"}
# Only the store knows whether an id is taken.
UNDECIDED = {"already_exists", "not_found"}


def load(*areas: str) -> list[Any]:
    return as_parameters(
        [case for case in worked_cases() if case["area"] in areas and case["expect"].get("error") not in UNDECIDED]
    )


def written_out(value: Any) -> Any:
    """The value with `$repeat` written out."""
    match value:
        case {"$repeat": [text, times]}:
            return text * times
        case dict():
            return {key: written_out(child) for key, child in value.items()}
        case _:
            return value


def create(req: dict[str, Any], user: str) -> tuple[Record | None, list[Violation]]:
    fields = {COLUMNS.get(name, name): value for name, value in written_out(req).items()}
    if "span_status_code" in fields:
        fields["span_status_code"] = f"SPAN_STATUS_CODE_{fields['span_status_code']}"
    payload = json.dumps(fields.pop("payload", {}), ensure_ascii=False)
    out: list[Violation] = []
    rules.check_project(fields["project"], out)
    return rules.new_record(Feedback(payload_json=payload, **fields), fields["project"], user, out), out


@pytest.mark.parametrize("case", load("types", "create"))
def test_a_create_is_taken_or_refused_as_the_case_says(case: dict[str, Any]) -> None:
    when, expect = case["when"], case["expect"]
    results = [create(req, when["user"]) for req in when.get("batch") or [when["req"]]]
    if "error" in expect:
        assert expect["error"] == "invalid_argument"
        assert any(out for _, out in results)
        return
    records = [record for record, out in results if not out]
    assert len(records) == len(results)
    [*_, record] = records
    assert record is not None
    payload = json.loads(record.payload)
    assert payload == written_out(expect.get("stored_payload", payload))
    assert payload | expect.get("stored_payload_subset", {}) == payload
    for name, value in expect.get("stored_subset", {}).items():
        assert getattr(record, COLUMNS.get(name, name)) == value


@pytest.mark.parametrize("case", load("ref"))
def test_a_ref_has_the_parts_that_the_case_says(case: dict[str, Any]) -> None:
    uri, expect = case["when"]["uri"], case["expect"]
    if "error" in expect:
        with pytest.raises(ValueError):  # noqa: PT011
            parse_ref(uri)
        return
    ref = parse_ref(uri)
    assert {name: getattr(ref, name) for name in expect} == expect
