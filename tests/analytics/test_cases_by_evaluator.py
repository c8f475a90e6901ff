"""Every worked case of analytics that reads, by the rules and the plain evaluator alone: no store, no server."""

from __future__ import annotations

from typing import Any

import pytest

from plaudit.v1 import AggregateFeedbackResponse, DescribeFeedbackResponse, SummarizeRefsResponse
from plaudit_server.analytics import answers, evaluate
from plaudit_server.analytics.agreement import measure_agreement
from plaudit_server.analytics.agreement_rules import check_agreement
from plaudit_server.analytics.overview_rules import check_describe, check_summary
from plaudit_server.analytics.rules import check_aggregate
from plaudit_server.errors import Violation
from tests.analytics import cases
from tests.shared import as_parameters


def rows_of(case: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [cases.evaluator_row(given, revision) for revision, given in enumerate(case["given"], 1)]
    return [row for row in rows if row["project"] == case["when"]["project_id"]]


@pytest.mark.parametrize("case", as_parameters(cases.analytics_cases("aggregate")))
def test_aggregate(case: dict[str, Any]) -> None:
    out: list[Violation] = []
    question = check_aggregate(cases.aggregate_request(case["when"]), out)
    if "error" in case["expect"]:
        assert out
        assert question is None
        return
    assert question is not None, out

    answer = evaluate.aggregate(question, rows_of(case))

    response = AggregateFeedbackResponse(
        groups=[answers.group_message(question, group) for group in answer.arranged.groups],
        total=answers.group_message(question, answer.total) if answer.total else None,
        group_count=answer.arranged.group_count if question.with_group_count else None,
    )
    assert cases.differences(case["expect"], cases.aggregate_answer(case["when"], response)) == []


@pytest.mark.parametrize("case", as_parameters(cases.analytics_cases("describe")))
def test_describe(case: dict[str, Any]) -> None:
    question = check_describe(cases.describe_request(case["when"]), [])
    assert question is not None

    fields, scanned, found = evaluate.describe(question, rows_of(case))

    messages = [answers.field_message(field) for field in fields]
    response = DescribeFeedbackResponse(fields=messages, scanned_row_count=scanned, row_count=found)
    assert cases.differences(case["expect"], cases.describe_answer(response)) == []


@pytest.mark.parametrize("case", as_parameters(cases.analytics_cases("summarize_refs")))
def test_summarize_refs(case: dict[str, Any]) -> None:
    question = check_summary(cases.summary_request(case["when"]), case["when"]["user"], [])
    assert question is not None

    overviews = evaluate.summarize(question, rows_of(case))

    response = SummarizeRefsResponse(refs=[answers.overview_message(each, question.measures) for each in overviews])
    assert cases.differences(case["expect"], cases.summary_answer(case["when"], response)) == []


@pytest.mark.parametrize("case", as_parameters(cases.analytics_cases("measure_agreement")))
def test_measure_agreement(case: dict[str, Any]) -> None:
    out: list[Violation] = []
    question = check_agreement(cases.agreement_request(case["when"]), out)
    if "error" in case["expect"]:
        assert out
        assert question is None
        return
    assert question is not None, out

    agreement = measure_agreement(question, evaluate.rate(question, rows_of(case)))

    response = answers.agreement_message(agreement, question.value.kind)
    assert cases.differences(case["expect"], cases.agreement_answer(case["when"], response)) == []
