"""Answers of an SQL engine beside those of the plain evaluator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isclose
from typing import Any, Protocol, TypeVar

from plaudit_server.analytics import evaluate, reads
from plaudit_server.analytics.agreement_rules import check_agreement
from plaudit_server.analytics.groups import Wanted, sort_values
from plaudit_server.analytics.overview_rules import check_describe, check_summary
from plaudit_server.analytics.records import Aggregate, Group, Measured
from plaudit_server.store.base import Read
from tests.analytics import cases

T = TypeVar("T")


class Engine(Protocol):
    """A table that steps can read."""

    def fill(self, rows: Any) -> None: ...

    def read(self, read: Read[T]) -> T: ...


def rows_of(case: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a worked case in its project."""
    rows = [cases.evaluator_row(given, revision) for revision, given in enumerate(case["given"], 1)]
    return [row for row in rows if row["project"] == case["when"]["project_id"]]


def check_aggregate(table: Engine, question: Aggregate, rows: Sequence[dict[str, Any]]) -> None:
    """The groups of a question, and its total, are the same."""
    table.fill(rows)
    expected = evaluate.aggregate(question, rows)

    found = table.read(reads.SelectGroups(question)).answer()

    assert [group.keys for group in found.arranged.groups] == [group.keys for group in expected.arranged.groups]
    for mine, theirs in zip(found.arranged.groups, expected.arranged.groups, strict=True):
        check_group(question, mine, theirs)
    assert found.arranged.group_count == expected.arranged.group_count
    assert (found.total is None) == (expected.total is None)
    if found.total and expected.total:
        check_group(question, found.total, expected.total)


def check_pages(table: Engine, question: Aggregate, rows: Sequence[dict[str, Any]], size: int) -> None:
    """Page by page there are the same groups, each once; every page reports how many there are."""
    expected = evaluate.aggregate(question, rows)
    after: tuple[Any, ...] = ()
    keys: list[Any] = []
    while True:
        most = size + 1 if question.limit is None else min(size + 1, question.limit - len(keys))
        found = table.read(reads.SelectGroups(question, Wanted(after, most))).answer()
        if question.with_group_count:
            assert found.arranged.group_count == expected.arranged.group_count
        page = found.arranged.groups[:size]
        for mine, theirs in zip(page, expected.arranged.groups[len(keys) :], strict=False):
            check_group(question, mine, theirs)
        keys += [group.keys for group in page]
        if len(found.arranged.groups) <= size:
            break
        after = tuple(json.loads(json.dumps(sort_values(question, page[-1]))))
    assert keys == [group.keys for group in expected.arranged.groups]


def check_group(question: Aggregate, found: Group, expected: Group) -> None:
    assert [type(key) for key in found.keys] == [type(key) for key in expected.keys]
    assert found.row_count == expected.row_count
    for asked, mine, theirs in zip(question.measures, found.measures, expected.measures, strict=True):
        inexact = asked.function in ("sum", "mean", "variance", "stddev")
        assert mine == theirs or (inexact and is_near(mine, theirs)), (asked, mine, theirs)
        assert type(mine.value) is type(theirs.value), (asked, mine, theirs)


def is_near(a: Measured, b: Measured) -> bool:
    """Whether two sums are the same but for the rounding of their parts."""
    if a.value_count != b.value_count or not isinstance(a.value, float) or not isinstance(b.value, float):
        return False
    return isclose(a.value, b.value, rel_tol=1e-13)


def check_other(table: Engine, when: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """A description, a summary, or the ratings for an agreement are the same."""
    table.fill(rows)
    match when["op"]:
        case "describe":
            describing = check_describe(cases.describe_request(when), [])
            assert describing is not None
            described = table.read(reads.SelectFields(describing))
            assert described[:3] == evaluate.describe(describing, rows)
        case "summarize_refs":
            summing = check_summary(cases.summary_request(when), when["user"], [])
            assert summing is not None
            overviews = table.read(reads.SelectOverviews(summing)).overviews
            expected = evaluate.summarize(summing, rows)
            assert [each.measures for each in overviews] == [each.measures for each in expected]
            assert overviews == expected
        case _:
            rating = check_agreement(cases.agreement_request(when), [])
            if rating is not None:
                ratings, _ = table.read(reads.SelectRatings(rating))
                assert ratings == evaluate.rate(rating, rows)
