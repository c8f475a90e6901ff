"""The worked cases of analytics: as requests of the wire, as rows of the evaluator, and answers in the cases' form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import isclose
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from plaudit import Query
from plaudit.v1 import (
    AggregateFeedbackRequest,
    AggregateFeedbackResponse,
    AggregateGroup,
    AggregateOrder,
    AggregateValue,
    AgreementScale,
    DescribeFeedbackRequest,
    DescribeFeedbackResponse,
    Expression,
    Grouping,
    Literal,
    Measure,
    MeasureAgreementRequest,
    MeasureAgreementResponse,
    MeasureFunction,
    MeasureResult,
    ReactionCount,
    RefOverview,
    RefPart,
    RefPartOf,
    RepeatRule,
    SummarizeRefsRequest,
    SummarizeRefsResponse,
    TimeBucket,
    TimeUnit,
    Undefined,
)
from tests.shared import CASES, read_lines

PROJECT = "acme/chat"

# A number that no enum has, for a word that none has.
_UNKNOWN = 99


class Numeral(float):
    """A number that keeps its text."""

    text: str

    def __new__(cls, text: str) -> Numeral:
        numeral = super().__new__(cls, text)
        numeral.text = text
        return numeral


def analytics_cases(*areas: str) -> list[Any]:
    """The worked cases of some areas; numbers of rows keep their text."""
    path = CASES.with_name("analytics.jsonl")
    read_lines(path)  # for its error where CI lacks the file
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    cases = [json.loads(line, parse_float=Numeral) for line in lines]
    return [case for case in cases if case["area"] in areas]


def json_text(value: Any) -> str:
    """JSON with each number as it was written."""
    match value:
        case Numeral():
            return value.text
        case dict():
            return "{" + ",".join(f"{json.dumps(key)}:{json_text(each)}" for key, each in value.items()) + "}"
        case list():
            return "[" + ",".join(map(json_text, value)) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


# Requests ------------------------------------------------------------------------------------------------------------


def expression(operand: Mapping[str, Any]) -> Expression:
    """An operand of the query language as its message."""
    return Query.from_dict({"$expr": {"$eq": [operand, {"$literal": None}]}}).to_proto().expr.comparison.left


def query(case: Mapping[str, Any] | None) -> Any:
    """A query as its message; None for none."""
    return None if case is None else Query.from_dict(case).to_proto()


def instant(text: str) -> Timestamp:
    stamp = Timestamp()
    stamp.FromJsonString(text)
    return stamp


def enum(kind: Any, prefix: str, word: str | None) -> Any:
    """The number of a word; 0 for none, and one that means nothing for a word that there is not."""
    return 0 if word is None else dict(kind.items()).get(f"{prefix}_{word.upper()}", _UNKNOWN)


def measure(case: Mapping[str, Any]) -> Measure:
    return Measure(
        name=case.get("name", ""),
        function=enum(MeasureFunction, "MEASURE_FUNCTION", case.get("function")),
        value=expression(case["value"]) if "value" in case else None,
        where=query(case.get("where")),
        percents=case.get("percents", ()),
        top=case.get("top", 0),
        edges=case.get("edges", ()),
    )


def grouping(case: Mapping[str, Any]) -> Grouping:
    message = Grouping(name=case.get("name", ""))
    if "value" in case:
        message.value.CopyFrom(expression(case["value"]))
    if "time" in case:
        time = case["time"]
        bucket = TimeBucket(
            field=time.get("field", ""),
            unit=enum(TimeUnit, "TIME_UNIT", time.get("unit")),
            time_zone=time.get("time_zone", ""),
            fill=time.get("fill", False),
            start=instant(time["start"]) if "start" in time else None,
            end=instant(time["end"]) if "end" in time else None,
        )
        message.time.CopyFrom(bucket)
    if "ref_part" in case:
        part = case["ref_part"]
        number = enum(RefPart, "REF_PART", part.get("part"))
        message.ref_part.CopyFrom(RefPartOf(field=part.get("field", ""), part=number))
    if "each" in case:
        message.each = case["each"]
    return message


def aggregate_request(when: Mapping[str, Any]) -> AggregateFeedbackRequest:
    return AggregateFeedbackRequest(
        project=when["project_id"],
        query=query(when.get("query")),
        newest_of=[expression(each) for each in when.get("newest_of", ())],
        group_by=[grouping(each) for each in when.get("group_by", ())],
        measures=[measure(each) for each in when.get("measures", ())],
        having=query(when.get("having")),
        order_by=[
            AggregateOrder(name=each.get("name", each.get("field", "")), descending=each.get("descending", False))
            for each in when.get("order_by", ())
        ],
        limit=when.get("limit"),
        page_size=when.get("page_size", 0),
        include_total=when.get("include_total", False),
        include_group_count=when.get("include_group_count", False),
    )


def describe_request(when: Mapping[str, Any]) -> DescribeFeedbackRequest:
    newest = when.get("newest", 0)
    return DescribeFeedbackRequest(
        project=when["project_id"], query=query(when.get("query")), newest=newest, all=not newest
    )


def summary_request(when: Mapping[str, Any]) -> SummarizeRefsRequest:
    return SummarizeRefsRequest(
        project=when["project_id"],
        refs=when["refs"],
        query=query(when.get("query")),
        measures=[measure(each) for each in when.get("measures", ())],
        creator=when.get("creator"),
        any_tone=when.get("any_tone", False),
    )


def literal(value: Any) -> Literal:
    match value:
        case str():
            return Literal(string_value=value)
        case bool():
            return Literal(bool_value=value)
        case int():
            return Literal(int_value=value)
        case float():
            return Literal(double_value=value)
        case _:
            return Literal(null_value=0)  # type: ignore[arg-type]


def agreement_request(when: Mapping[str, Any]) -> MeasureAgreementRequest:
    return MeasureAgreementRequest(
        project=when["project_id"],
        query=query(when.get("query")),
        value=expression(when["value"]) if "value" in when else None,
        unit=expression(when["unit"]) if "unit" in when else None,
        rater=expression(when["rater"]) if "rater" in when else None,
        scale=enum(AgreementScale, "AGREEMENT_SCALE", when.get("scale")),
        categories=[literal(each) for each in when.get("categories", ())],
        repeats=enum(RepeatRule, "REPEAT_RULE", when.get("repeats")),
        raters=when.get("raters", ()),
        include_pairs=when.get("include_pairs", False),
        include_confusion=when.get("include_confusion", False),
    )


# Rows ----------------------------------------------------------------------------------------------------------------

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALIASES = {"project_id": "project", "weave_ref": "ref", "wb_user_id": "user_id"}
_DEFAULTS: Mapping[str, Any] = {
    "user_id": "alice",
    "creator": None,
    "annotation_ref": None,
    "runnable_ref": None,
    "call_ref": None,
    "trigger_ref": None,
    "queue_id": None,
    "scorer_tags": [],
    "scorer_tag_reasons": {},
    "scorer_tag_confidences": {},
    "scorer_ratings": {},
    "scorer_rating_reasons": {},
    "scorer_rating_confidences": {},
    "span_agent_name": "",
    "span_agent_version": "",
    "span_status_code": "UNSET",
    "span_conversation_id": "",
    "span_trace_id": "",
    "scorer_trace_id": "",
    "version": 1,
}


def micros(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def evaluator_row(given: Mapping[str, Any], revision: int) -> dict[str, Any]:
    """A row of a case as the evaluator sees it."""
    row = {**_DEFAULTS, "revision": revision} | {_ALIASES.get(name, name): value for name, value in given.items()}
    row["payload"] = json_text(row.get("payload", {}))
    row["created_at"] = micros(row["created_at"])
    row["updated_at"] = micros(row["updated_at"]) if "updated_at" in row else row["created_at"]
    row.setdefault("owner", row["user_id"])
    return row


# Answers -------------------------------------------------------------------------------------------------------------


def value(message: AggregateValue) -> Any:
    match message.WhichOneof("value"):
        case None:
            return None
        case "time_value":
            return message.time_value.ToJsonString()
        case "range_value":
            span = message.range_value
            return {"start": span.start.ToJsonString(), "end": span.end.ToJsonString()}
        case name:
            return getattr(message, name)


def measured(when: Mapping[str, Any], results: Sequence[MeasureResult]) -> dict[str, Any]:
    """The measures of a group by name, with the fields that their functions have."""
    return {
        asked["name"]: {"value_count": result.value_count, **_result(asked["function"], result)}
        for asked, result in zip(when.get("measures", ()), results, strict=True)
    }


def _result(function: str, result: MeasureResult) -> dict[str, Any]:
    match function:
        case "percentiles":
            return {"values": [value(each) for each in result.values]}
        case "top_values":
            top = [[value(each.value), each.count] for each in result.top]
            return {"values": top, "other_count": result.other_count, "distinct_count": result.distinct_count}
        case "histogram":
            return {"bins": list(result.bins), "below": result.below, "above": result.above}
        case _:
            return {"value": value(result.value)}


def aggregate_answer(when: Mapping[str, Any], response: AggregateFeedbackResponse) -> dict[str, Any]:
    def shown(group: AggregateGroup) -> dict[str, Any]:
        return {"row_count": group.row_count, "measures": measured(when, group.measures)}

    answer: dict[str, Any] = {
        "groups": [{"keys": [value(key) for key in group.keys], **shown(group)} for group in response.groups]
    }
    if response.HasField("total"):
        answer["total"] = shown(response.total)
    if response.HasField("group_count"):
        answer["group_count"] = response.group_count
    return answer


def describe_answer(response: DescribeFeedbackResponse) -> dict[str, Any]:
    """Counts of 0 are left out, as in the cases."""
    fields = [{field.name: content for field, content in each.ListFields()} for each in response.fields]
    return {"scanned_row_count": response.scanned_row_count, "row_count": response.row_count, "fields": fields}


def summary_answer(when: Mapping[str, Any], response: SummarizeRefsResponse) -> dict[str, Any]:
    return {"refs": [_overview(when, each) for each in response.refs]}


def _overview(when: Mapping[str, Any], message: RefOverview) -> dict[str, Any]:
    return {
        "ref": message.ref,
        "row_count": message.row_count,
        "types": [[each.feedback_type, each.count] for each in message.types],
        "reactions": [reaction(each) for each in message.reactions],
        "newest": message.newest_id or None,
        "measures": measured(when, message.measures),
    }


def reaction(message: ReactionCount) -> dict[str, Any]:
    return {
        "emoji": message.emoji,
        "count": message.count,
        "user_count": message.user_count,
        "mine": message.mine,
    }


_COEFFICIENTS = (
    "percent_agreement",
    "cohen_kappa",
    "cohen_kappa_linear",
    "cohen_kappa_quadratic",
    "fleiss_kappa",
    "krippendorff_alpha",
    "gwet_ac1",
    "gwet_ac2",
)
_COUNTS = (
    "row_count",
    "missing_count",
    "excluded_count",
    "repeated_count",
    "value_count",
    "unit_count",
    "paired_unit_count",
    "rater_count",
    "category_count",
)


def agreement_answer(when: Mapping[str, Any], response: MeasureAgreementResponse) -> dict[str, Any]:
    answer: dict[str, Any] = {name: getattr(response, name) for name in _COUNTS}
    found = {name: getattr(response, name) for name in _COEFFICIENTS}
    answer["coefficients"] = {name: each.value for name, each in found.items() if each.HasField("value")}
    answer["undefined"] = {
        name: Undefined.Name(each.undefined).removeprefix("UNDEFINED_").lower()
        for name, each in found.items()
        if not each.HasField("value")
    }
    if when.get("include_pairs"):
        answer["pairs"] = [_pair(pair) for pair in response.pairs]
    return answer


def _pair(message: Any) -> dict[str, Any]:
    pair: dict[str, Any] = {"cohen_kappa": None, "agreement": 0.0}
    pair |= {field.name: content for field, content in message.ListFields()}
    if "confusion" in pair:
        pair["confusion"] = [[value(cell.a), value(cell.b), cell.count] for cell in message.confusion]
    return pair


def differences(expected: Any, found: Any, at: str = "") -> list[str]:
    """Where an answer is not as expected; numbers compare to 1e-9 relative."""
    match expected, found:
        case dict(), dict():
            names = dict.fromkeys([*expected, *found])
            return _joined(differences(expected.get(name), found.get(name), f"{at}.{name}") for name in names)
        case list(), list() if len(expected) == len(found):
            pairs = zip(expected, found, strict=True)
            return _joined(differences(*pair, f"{at}[{place}]") for place, pair in enumerate(pairs))
        case (bool(), _) | (_, bool()):
            same = expected is found
        case int() | float(), int() | float():
            same = isclose(expected, found, rel_tol=1e-9, abs_tol=1e-12 if isinstance(expected, float) else 0)
        case _:
            same = expected == found
    return [] if same else [f"{at}: expected {expected!r}, found {found!r}"]


def _joined(lists: Iterable[list[str]]) -> list[str]:
    return [each for found in lists for each in found]
