"""Random questions about many records, over difficult rows; all well-formed, in the form of the worked cases."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from plaudit_server.analytics.records import Aggregate
from plaudit_server.analytics.rules import check_aggregate
from plaudit_server.errors import Violation
from plaudit_server.query.fields import MAPS
from tests import strategies
from tests.analytics.cases import PROJECT, aggregate_request

Case = dict[str, Any]


def model(examples: int) -> settings:
    """Settings of a comparison, of so many examples unless the environment says how many.

    Rows and questions are large: to make a failing one smaller takes minutes, and says little more.
    """
    return settings(
        max_examples=int(os.environ.get("PLAUDIT_EXAMPLES", examples)),
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


REFS = (
    "weave:///acme/chat/call/1",
    "weave:///acme/chat/call/1/attr/a/key/b",
    "weave:///acme/chat/op/judge:v1",
    "weave:///other/lab/object/judge",
    "weave:///acme/chat/object/judge:latest/index/0",
    "weave:///acme/chat/table/abc",
    "weave:///acme/chat/agent_conversation/a%20b",
    "urn:x",
)
ZONES = ("", "UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu")
UNITS = ("minute", "hour", "day", "week", "month", "quarter", "year")

# Around changes of clocks in the zones above, over ends of years, before 1970; and the ends of the calendar, each in a
# table of its own: a table over all of it would have thousands of changes.
_ERAS = (
    (1_743_296_400, 1_761_440_400, 1_162_089_060, 1_743_865_200, 1_325_239_200, 1_609_459_199, 1_740_823_200),
    (0, -1, -86_400, 100_000_000),
    (-62_135_596_800, -62_135_510_400),
    (253_402_300_799, 253_400_000_000),
)
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999


_COMPARES = st.sampled_from(("$eq", "$ne", "$gt", "$gte", "$lt", "$lte"))


@st.composite
def instants(draw: st.DrawFn, era: tuple[int, ...]) -> int:
    shifts = st.sampled_from((0, 1, -1)) | st.integers(-40 * 86_400_000_000, 40 * 86_400_000_000)
    return min(max(draw(st.sampled_from(era)) * 1_000_000 + draw(shifts), _FIRST), _LAST)


@st.composite
def tables(draw: st.DrawFn, max_size: int = 8) -> list[dict[str, Any]]:
    """Records with different ids and many refs and times, in no order."""
    rows = draw(strategies.tables(max_size))
    within = instants(draw(st.sampled_from((*_ERAS[:1] * 3, *_ERAS))))
    few = draw(st.lists(within, min_size=1, max_size=3))
    for row in rows:
        row["ref"] = draw(st.sampled_from(REFS))
        row["call_ref"] = draw(st.none() | st.sampled_from(REFS))
        row["created_at"] = draw(st.sampled_from(few) | within)
        row["updated_at"] = draw(st.sampled_from(few) | within)
    return rows


@st.composite
def values(draw: st.DrawFn, *kinds: str) -> Any:
    """An expression that is a value: of one of the kinds, or a payload path."""
    kind = draw(st.sampled_from((*kinds, "payload", "payload")))
    if kind == "time":
        return {"$getField": draw(st.sampled_from(("created_at", "updated_at")))}
    return draw(strategies.operands(kind, 2).filter(lambda operand: "$literal" not in operand))


@st.composite
def groupings(draw: st.DrawFn, place: int) -> Case:
    name = f"g{place}"
    match draw(st.sampled_from(("value", "value", "time", "ref_part"))):
        case "value":
            return {"name": name, "value": draw(values("text", "number", "bool", "time"))}
        case "time":
            time = {"unit": draw(st.sampled_from(UNITS)), "time_zone": draw(st.sampled_from(ZONES))}
            return {"name": name, "time": time | {"field": draw(st.sampled_from(("created_at", "updated_at")))}}
        case _:
            field = draw(st.sampled_from(("ref", "call_ref")))
            parts = ("kind", "project", "name", "digest", "id", "base")
            return {"name": name, "ref_part": {"field": field, "part": draw(st.sampled_from(parts))}}


@st.composite
def measures(draw: st.DrawFn, place: int) -> Case:
    function = draw(
        st.sampled_from(
            (
                *("count", "count_distinct", "sum", "mean", "min", "max", "variance", "stddev", "percentiles"),
                *("top_values", "histogram", "share_true"),
            )
        )
    )
    kinds = {
        "count": ("text", "number", "bool", "time"),
        "count_distinct": ("text", "number", "bool", "time"),
        "top_values": ("text", "number", "bool", "time"),
        "min": ("text", "number", "time"),
        "max": ("text", "number", "time"),
        "share_true": ("bool",),
    }
    case: Case = {"name": f"m{place}", "function": function}
    if function != "count" or draw(st.booleans()):
        case["value"] = draw(values(*kinds.get(function, ("number",))))
    if draw(st.integers(0, 3)) == 0:
        case["where"] = {"$expr": draw(strategies.operations(2))}
    match function:
        case "percentiles":
            case["percents"] = draw(st.lists(st.sampled_from((0, 1, 25, 50, 99.9, 100)), min_size=1, max_size=3))
        case "top_values":
            case["top"] = draw(st.integers(0, 3))
        case "histogram":
            edges = st.lists(strategies.doubles | st.integers(-3, 10).map(float), min_size=2, max_size=5)
            case["edges"] = sorted(set(draw(edges.filter(lambda found: len(set(found)) > 1))))
    return case


@st.composite
def aggregates(draw: st.DrawFn) -> Case:
    """A question about groups."""
    group_by = [draw(groupings(place)) for place in range(draw(st.integers(0, 2)))]
    if draw(st.integers(0, 3)) == 0:
        each = st.sampled_from(("scorer_tags", *MAPS, "payload.a", "payload.b", "payload.a.b"))
        group_by.append({"name": "each", "each": draw(each)})
    case: Case = {
        "project_id": PROJECT,
        "group_by": group_by,
        "measures": [draw(measures(place)) for place in range(draw(st.integers(0, 3)))],
        "include_total": draw(st.booleans()),
    }
    if draw(st.integers(0, 2)) == 0:
        case["query"] = {"$expr": draw(strategies.operations(2))}
    if draw(st.integers(0, 2)) == 0:
        case["newest_of"] = [draw(values("text", "number", "bool", "time")) for _ in range(draw(st.integers(1, 2)))]
    singles = ["row_count", *(each["name"] for each in group_by), *filter(None, map(_single, case["measures"]))]
    if draw(st.booleans()):
        by = st.fixed_dictionaries({"name": st.sampled_from(singles), "descending": st.booleans()})
        case["order_by"] = draw(st.lists(by, min_size=1, max_size=2))
    if draw(st.booleans()):
        case["having"] = {"$expr": draw(_conditions(singles))}
    if draw(st.integers(0, 3)) == 0:
        case["include_group_count"] = True
    return case


@st.composite
def served_aggregates(draw: st.DrawFn, paths: tuple[str, ...]) -> Case:
    """A question about the numbers at one of the paths, by type and time."""
    path = draw(st.sampled_from(paths))
    functions = ("sum", "mean", "min", "max", "variance", "stddev", "percentiles", "histogram")
    asked = draw(st.lists(st.sampled_from(functions), min_size=1, max_size=3, unique=True))
    measures: list[Case] = [{"name": each, "function": each, "value": {"$getField": path}} for each in asked]
    more: dict[str, Case] = {"percentiles": {"percents": [25, 99.9]}, "histogram": {"edges": [-1, 0, 1]}}
    measures = [measure | more.get(measure["name"], {}) for measure in measures]
    group_by: list[Case] = [
        {"value": {"$getField": "feedback_type"}},
        {"name": "month", "time": {"unit": "month", "time_zone": draw(st.sampled_from(ZONES))}},
    ]
    case: Case = {
        "project_id": PROJECT,
        "measures": measures,
        "group_by": draw(st.sampled_from(([], group_by[:1], group_by[1:], group_by))),
        "include_total": draw(st.booleans()),
    }
    if draw(st.booleans()):
        case["query"] = {
            "$expr": {"$gte": [{"$getField": "feedback_type"}, {"$literal": draw(strategies.short_texts)}]}
        }
    return case


def question_of(when: Case) -> Aggregate:
    """The question of a generated case; without its condition on groups where that compares different kinds."""
    out: list[Violation] = []
    question = check_aggregate(aggregate_request(when), out)
    if question is None and any(violation.field.startswith("having") for violation in out):
        return question_of({name: part for name, part in when.items() if name != "having"})
    assert question is not None, out
    return question


def _single(measure: Case) -> str | None:
    """The name of a measure that is one value."""
    several = measure["function"] in ("top_values", "histogram") or len(measure.get("percents", [0])) > 1
    return None if several else measure["name"]


def _conditions(names: list[str]) -> st.SearchStrategy[Any]:
    """Conditions on groups: most of them on how many records there are, which most groups meet."""
    count = st.builds(lambda op, n: {op: [{"$getField": "row_count"}, {"$literal": n}]}, _COMPARES, st.integers(0, 3))
    literals = st.sampled_from((0, 1, 0.5, -2.5, "", "a", "1", True, False, None))
    other = st.builds(
        lambda op, name, value: {op: [{"$getField": name}, {"$literal": value}]},
        _COMPARES,
        st.sampled_from(names),
        literals,
    )
    return st.recursive(
        count | other,
        lambda inner: (
            st.lists(inner, min_size=1, max_size=2).map(lambda both: {"$or": both})
            | inner.map(lambda one: {"$not": [one]})
        ),
        max_leaves=3,
    )


@st.composite
def others(draw: st.DrawFn) -> Case:
    """A question about fields, refs or raters."""
    case: Case = {"project_id": PROJECT}
    if draw(st.integers(0, 2)) == 0:
        case["query"] = {"$expr": draw(strategies.operations(2))}
    match draw(st.sampled_from(("describe", "summarize_refs", "measure_agreement"))):
        case "describe" as op:
            return case | {"op": op, "newest": draw(st.integers(0, 5))}
        case "summarize_refs" as op:
            refs = draw(st.lists(st.sampled_from(REFS), min_size=1, max_size=4, unique=True))
            exact = st.sampled_from(("count", "count_distinct", "min", "max"))
            asked = [draw(measures(place)) | {"function": draw(exact)} for place in range(draw(st.integers(0, 2)))]
            asked = [{name: each[name] for name in ("name", "function", "where") if name in each} for each in asked]
            for each in asked:
                each["value"] = draw(values("number"))
            viewer = {"user": draw(strategies.short_texts), "creator": draw(st.none() | strategies.short_texts)}
            return case | viewer | {"op": op, "refs": refs, "measures": asked, "any_tone": draw(st.booleans())}
        case op:
            scale = draw(st.sampled_from(("nominal", "ordinal", "interval", "ratio")))
            kinds = ("text", "number", "bool") if scale == "nominal" else ("number",)
            return case | {
                "op": op,
                "scale": scale,
                "value": draw(values(*kinds)),
                "unit": draw(values("text", "number", "bool", "time")),
                "rater": draw(values("text", "number", "bool")),
                "repeats": draw(st.sampled_from(("latest", "first") + (("mean",) if scale != "nominal" else ()))),
            }
