"""What requests may not ask: each refusal names the path of the bad part."""

from __future__ import annotations

import math
from typing import Any

import pytest

from plaudit._contract import limits
from plaudit_server.analytics.agreement_rules import check_agreement
from plaudit_server.analytics.overview_rules import check_describe, check_summary
from plaudit_server.analytics.records import ByTime
from plaudit_server.analytics.rules import check_aggregate
from plaudit_server.errors import Violation
from tests.analytics import cases

SCORE = {"$getField": "payload.score"}
LITERAL = {"$literal": 5}
GOOD = {"$gt": [SCORE, LITERAL]}
MEAN = {"name": "m", "function": "mean", "value": SCORE}
DEEP: dict[str, Any] = {"$not": [GOOD]}
for _ in range(40):
    DEEP = {"$not": [DEEP]}
WIDE = {"$or": [{"$eq": [SCORE, {"$literal": number}]} for number in range(200)]}


def paths(when: dict[str, Any]) -> list[str]:
    out: list[Violation] = []
    question = check_aggregate(cases.aggregate_request({"project_id": "acme/chat", **when}), out)
    assert (question is None) == bool(out)
    return [violation.field for violation in out]


def by(**grouping: Any) -> dict[str, Any]:
    return {"group_by": [grouping]}


def of(function: str, **measure: Any) -> dict[str, Any]:
    return {"measures": [{"name": "m", "function": function, "value": SCORE, **measure}]}


def cast(to: str) -> dict[str, Any]:
    return {"$convert": {"input": SCORE, "to": to}}


@pytest.mark.parametrize(
    ("when", "at"),
    [
        # Expressions.
        (by(value={"$getField": "nope"}), "group_by[0].value.field"),
        (by(value={"$getField": "payload"}), "group_by[0].value.field"),
        (by(value={"$getField": "scorer_ratings"}), "group_by[0].value"),
        (by(value={"$getField": "scorer_tags"}), "group_by[0].value"),
        (by(value=LITERAL, name="x"), "group_by[0].value"),
        (by(value=GOOD), "group_by[0].name"),
        (by(value=cast("double")), "group_by[0].name"),
        ({"newest_of": [{"$getField": "ref"}, LITERAL]}, "newest_of[1]"),
        ({"newest_of": [{"$getField": f"payload.k{n}"} for n in range(4)]}, "newest_of"),
        ({"query": {"$expr": {"$eq": [{"$getField": "nope"}, LITERAL]}}}, "query.expr.comparison.left.field"),
        (
            of("mean", where={"$expr": {"$gt": [{"$getField": "nope"}, LITERAL]}}),
            "measures[0].where.expr.comparison.left.field",
        ),
        # Groupings.
        ({"group_by": [{"name": "x"}]}, "group_by[0]"),
        ({"group_by": [{"value": {"$getField": f"payload.k{n}"}} for n in range(5)]}, "group_by"),
        (by(each="creator"), "group_by[0].each"),
        (by(each="scorer_ratings.helpful"), "group_by[0].each"),
        (by(each="nope"), "group_by[0].each"),
        ({"group_by": [{"each": "scorer_tags"}, {"each": "payload.labels"}]}, "group_by[1].each"),
        (by(time={}), "group_by[0].time.unit"),
        (by(time={"unit": "fortnight"}), "group_by[0].time.unit"),
        (by(time={"unit": "day", "field": "payload.at"}), "group_by[0].time.field"),
        (by(time={"unit": "day", "time_zone": "Mars/Olympus"}), "group_by[0].time.time_zone"),
        (by(time={"unit": "day", "time_zone": "+02:00"}), "group_by[0].time.time_zone"),
        (
            by(time={"unit": "day", "fill": True, "start": "2025-01-02T00:00:00Z", "end": "2025-01-02T00:00:00Z"}),
            "group_by[0].time.end",
        ),
        (
            {"group_by": [{"name": n, "time": {"unit": u, "fill": True}} for n, u in (("a", "day"), ("b", "week"))]},
            "group_by[1].time.fill",
        ),
        (by(ref_part={}), "group_by[0].ref_part.part"),
        (by(ref_part={"part": "edge"}), "group_by[0].ref_part.part"),
        (by(ref_part={"part": "name", "field": "creator"}), "group_by[0].ref_part.field"),
        # Names.
        (by(value=SCORE, name="row_count"), "group_by[0].name"),
        (by(value=SCORE, name="x" * 129), "group_by[0].name"),
        (by(value=SCORE, name="a\nb"), "group_by[0].name"),
        ({"group_by": [{"time": {"unit": "day"}}, {"time": {"unit": "week"}}]}, "group_by[1].name"),
        ({"group_by": [{"value": SCORE, "name": "m"}], "measures": [MEAN]}, "measures[0].name"),
        ({"measures": [MEAN, MEAN]}, "measures[1].name"),
        ({"measures": [{**MEAN, "name": ""}]}, "measures[0].name"),
        # Measures.
        ({"measures": [{"name": f"m{n}", "function": "count"} for n in range(21)]}, "measures"),
        ({"measures": [{"name": "m", "function": "mode", "value": SCORE}]}, "measures[0].function"),
        ({"measures": [{"name": "m", "value": SCORE}]}, "measures[0].function"),
        ({"measures": [{"name": "m", "function": "mean"}]}, "measures[0].value"),
        (of("mean", value=LITERAL), "measures[0].value"),
        (of("mean", value=cast("string")), "measures[0].value"),
        (of("sum", value=cast("bool")), "measures[0].value"),
        (of("mean", value={"$getField": "created_at"}), "measures[0].value"),
        (of("max", value=GOOD), "measures[0].value"),
        (of("share_true", value=cast("double")), "measures[0].value"),
        (of("histogram", value={"$getField": "creator"}, edges=[0, 1]), "measures[0].value"),
        (of("percentiles"), "measures[0].percents"),
        (of("percentiles", percents=[50] * 21), "measures[0].percents"),
        (of("percentiles", percents=[50, 101]), "measures[0].percents[1]"),
        (of("percentiles", percents=[-0.5]), "measures[0].percents[0]"),
        (of("percentiles", percents=[math.nan]), "measures[0].percents[0]"),
        (of("mean", percents=[50]), "measures[0].percents"),
        (of("top_values", top=101), "measures[0].top"),
        (of("top_values", top=-1), "measures[0].top"),
        (of("mean", top=5), "measures[0].top"),
        (of("histogram"), "measures[0].edges"),
        (of("histogram", edges=[1]), "measures[0].edges"),
        (of("histogram", edges=range(102)), "measures[0].edges"),
        (of("histogram", edges=[0, 1, 1]), "measures[0].edges[2]"),
        (of("histogram", edges=[0, math.inf]), "measures[0].edges[1]"),
        (of("mean", edges=[0, 1]), "measures[0].edges"),
        # Having and order.
        ({"measures": [MEAN], "having": {"$expr": {"$gt": [SCORE, LITERAL]}}}, "having.expr.comparison.left.field"),
        (
            {"measures": [MEAN], "having": {"$expr": {"$gt": [{"$getField": "m"}, {"$literal": "high"}]}}},
            "having.expr.comparison.right",
        ),
        (
            {**of("top_values"), "having": {"$expr": {"$eq": [{"$getField": "m"}, {"$literal": "a"}]}}},
            "having.expr.comparison.left.field",
        ),
        ({"order_by": [{"name": "nope"}]}, "order_by[0].name"),
        ({**of("top_values"), "order_by": [{"name": "m"}]}, "order_by[0].name"),
        ({**of("percentiles", percents=[5, 50]), "order_by": [{"name": "m"}]}, "order_by[0].name"),
        ({"order_by": [{"name": "row_count"}] * 9}, "order_by"),
        ({"limit": -1}, "limit"),
    ],
)
def test_a_refusal_names_the_bad_part(when: dict[str, Any], at: str) -> None:
    assert paths(when) == [at]


def test_expressions_count_together_against_the_nodes_of_a_query() -> None:
    assert paths(by(value=WIDE, name="x")) == ["group_by[0].value.any_of[170].comparison.left"]
    one = {"$or": WIDE["$or"][:100]}
    assert paths({"group_by": [{"value": one, "name": "x"}]}) == []
    assert paths({"group_by": [{"value": one, "name": "x"}], "query": {"$expr": one}}) != []
    having = {"$or": [{"$eq": [{"$getField": "row_count"}, {"$literal": number}]} for number in range(100)]}
    assert paths({"query": {"$expr": one}, "having": {"$expr": having}})[0].startswith("having.expr.any_of[")


@pytest.mark.parametrize(
    "when",
    [
        by(value=SCORE),
        by(value=cast("exists"), name="there"),
        by(value={"$getField": "created_at"}),
        by(each="scorer_ratings"),
        by(time={"unit": "day", "field": "updated_at"}),
        of("min", value={"$getField": "created_at"}),
        of("count_distinct", value=GOOD),
        of("share_true", value=GOOD),
        {**of("percentiles", percents=[50]), "order_by": [{"name": "m", "descending": True}]},
        {
            **by(time={"unit": "day"}),
            "having": {"$expr": {"$gt": [{"$getField": "created_at"}, {"$literal": "2025-01-01"}]}},
        },
        {**by(value=GOOD, name="good"), "having": {"$expr": {"$eq": [{"$getField": "good"}, {"$literal": True}]}}},
    ],
)
def test_what_may_be_asked(when: dict[str, Any]) -> None:
    assert paths(when) == []


def test_a_time_grouping_has_defaults() -> None:
    question = check_aggregate(cases.aggregate_request({"project_id": "a/b", **by(time={"unit": "day"})}), [])

    assert question is not None
    [grouping] = question.group_by
    assert grouping.name == "created_at"
    assert isinstance(grouping.by, ByTime)
    assert (grouping.by.zone, grouping.by.fill) == ("UTC", False)


@pytest.mark.parametrize(
    ("when", "at"),
    [
        ({"refs": []}, "refs"),
        ({"refs": ["weave:///a/b/call/1"] * 2}, "refs[1]"),
        ({"refs": ["nothing"]}, "refs[0]"),
        ({"refs": [f"weave:///a/b/call/{n}" for n in range(1001)]}, "refs"),
        ({"measures": [{"name": f"m{n}", "function": "count"} for n in range(6)]}, "measures"),
        ({"measures": [{"name": "row_count", "function": "count"}]}, "measures[0].name"),
        ({"query": {"$expr": {"$eq": [{"$getField": "nope"}, LITERAL]}}}, "query.expr.comparison.left.field"),
    ],
)
def test_a_summary_is_refused_by_the_path_of_the_bad_part(when: dict[str, Any], at: str) -> None:
    out: list[Violation] = []
    request = cases.summary_request({"project_id": "acme/chat", "refs": ["weave:///a/b/call/1"], **when})

    assert check_summary(request, "alice", out) is None
    assert [violation.field for violation in out] == [at]


@pytest.mark.parametrize(
    ("when", "at"),
    [
        ({"value": LITERAL}, ["value"]),
        ({"unit": LITERAL}, ["unit"]),
        ({"rater": {"$literal": "A"}}, ["rater"]),
        ({"value": {"$getField": "scorer_ratings"}}, ["value"]),
        ({"value": {"$getField": "created_at"}}, ["value"]),
        ({"value": {"$getField": "creator"}, "scale": "interval"}, ["value"]),
        ({"value": {"$getField": "creator"}, "scale": "ordinal"}, ["value", "categories"]),
        ({"scale": "logarithmic"}, ["scale"]),
        ({"categories": ["1"], "scale": "ratio"}, ["categories"]),
        ({"categories": ["a", 1]}, ["categories[1]"]),
        ({"categories": ["a", "b", "a"]}, ["categories[2]"]),
        ({"categories": [1, 1.0], "scale": "ordinal"}, ["categories[1]"]),
        ({"categories": [None]}, ["categories[0]"]),
        ({"categories": [math.inf]}, ["categories[0]"]),
        ({"repeats": "sum"}, ["repeats"]),
        ({"repeats": "mean"}, ["repeats"]),
        ({"repeats": "mean", "scale": "ordinal", "categories": [1, 2]}, ["repeats"]),
        ({"include_confusion": True}, ["include_confusion"]),
    ],
)
def test_an_agreement_is_refused_by_the_path_of_the_bad_part(when: dict[str, Any], at: list[str]) -> None:
    out: list[Violation] = []
    request = cases.agreement_request({"project_id": "acme/chat", "value": SCORE, **when})

    assert check_agreement(request, out) is None
    assert [violation.field for violation in out] == at


def test_an_agreement_needs_a_value() -> None:
    out: list[Violation] = []
    assert check_agreement(cases.agreement_request({"project_id": "acme/chat"}), out) is None
    assert [violation.field for violation in out] == ["value"]


def test_describe_looks_at_some_or_all() -> None:
    request = cases.describe_request({"project_id": "acme/chat", "newest": 5})
    question = check_describe(request, [])
    assert question is not None
    assert question.newest == 5
    request.newest = 0
    default = check_describe(request, [])
    assert default is not None
    assert default.newest == limits.DESCRIBE_ROWS
    for newest, all_, at in ((-1, False, "newest"), (5, True, "all")):
        request.newest, request.all = newest, all_
        out: list[Violation] = []
        assert check_describe(request, out) is None
        assert [violation.field for violation in out] == [at]
