"""Answers to questions about many records as messages of the wire; nothing is computed here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from plaudit.v1 import (
    AggregateGroup,
    AggregateValue,
    Coefficient,
    ConfusionCell,
    FieldSummary,
    MeasureAgreementResponse,
    MeasureResult,
    RaterPair,
    RefOverview,
    Undefined,
    ValueCount,
)
from plaudit_server.analytics.agreement import Agreement
from plaudit_server.analytics.buckets import Bucket
from plaudit_server.analytics.describe import FieldCount
from plaudit_server.analytics.overview import Overview
from plaudit_server.analytics.pairs import PairAgreement
from plaudit_server.analytics.records import Aggregate, Group, Kind, Measure, Measured
from plaudit_server.feedback.answers import reaction_message
from plaudit_server.rpc.wire import set_timestamp


def group_message(question: Aggregate, group: Group) -> AggregateGroup:
    """A group of a question, or its total, which has no keys."""
    message = AggregateGroup(row_count=group.row_count)
    for grouping, key in zip(question.group_by, group.keys, strict=False):
        message.keys.append(value_message(key, grouping.kind))
    message.measures.extend(measured_messages(question.measures, group.measures))
    return message


def measured_messages(measures: Iterable[Measure], results: Iterable[Measured]) -> list[MeasureResult]:
    """What the measures gave for one group."""
    return [_measured(measure, measured) for measure, measured in zip(measures, results, strict=True)]


def value_message(value: Any, kind: Kind) -> AggregateValue:
    """A value of a kind; None is unset."""
    message = AggregateValue()
    match value:
        case None:
            pass
        case Bucket(start, end):
            set_timestamp(message.range_value.start, start)
            set_timestamp(message.range_value.end, end)
        case _ if kind == "time":
            set_timestamp(message.time_value, value)
        case bool():
            message.bool_value = value
        case int():
            message.int_value = value
        case float():
            message.double_value = value
        case str():
            message.string_value = value
    return message


def field_message(field: FieldCount) -> FieldSummary:
    """What one type holds under one path."""
    return FieldSummary(
        feedback_type=field.feedback_type,
        path=field.path,
        row_count=field.row_count,
        number_count=field.number,
        text_count=field.text,
        bool_count=field.bool,
        null_count=field.null,
        object_count=field.object,
        array_count=field.array,
        numeric_text_count=field.numeric_text,
    )


def put_overview(message: RefOverview, overview: Overview, measures: Iterable[Measure]) -> None:
    """Put what there is on one ref, except the newest record itself, into a new message.

    Parts are made where they belong: to copy them there, for hundreds of refs, takes longer than to make them.
    """
    message.ref, message.row_count, message.newest_id = overview.ref, overview.row_count, overview.newest_id or ""
    add = message.types.add
    for name, count in overview.types:
        type = add()
        type.feedback_type, type.count = name, count
    if overview.reactions:
        message.reactions.extend(map(reaction_message, overview.reactions))
    if overview.measures:
        message.measures.extend(measured_messages(measures, overview.measures))


def agreement_message(agreement: Agreement, kind: Kind) -> MeasureAgreementResponse:
    """How far raters agree; `kind` is that of their values."""
    ratings = agreement.ratings
    coefficients = {name: _coefficient(value) for name, value in agreement.coefficients.items()}
    return MeasureAgreementResponse(
        row_count=ratings.row_count,
        missing_count=ratings.missing_count,
        excluded_count=ratings.excluded_count,
        repeated_count=ratings.repeated_count,
        value_count=agreement.value_count,
        unit_count=agreement.unit_count,
        paired_unit_count=agreement.paired_unit_count,
        rater_count=agreement.rater_count,
        category_count=agreement.category_count,
        pairs=[_pair(pair, kind) for pair in agreement.pairs],
        **coefficients,  # type: ignore[arg-type]
    )


def _measured(measure: Measure, measured: Measured) -> MeasureResult:
    kind: Kind = measure.value.kind if measure.value else "number"
    if measure.function not in ("min", "max", "top_values"):
        kind = "number"
    message = MeasureResult(
        value_count=measured.value_count,
        values=[value_message(value, "number") for value in measured.values],
        top=[ValueCount(value=value_message(value, kind), count=count) for value, count in measured.top],
        other_count=measured.other_count,
        distinct_count=measured.distinct_count,
        bins=measured.bins,
        below=measured.below,
        above=measured.above,
    )
    if measured.value is not None:
        message.value.CopyFrom(value_message(measured.value, kind))
    return message


def _coefficient(value: float | str) -> Coefficient:
    if isinstance(value, str):
        return Coefficient(undefined=Undefined.Value(f"UNDEFINED_{value.upper()}"))
    return Coefficient(value=value)


def _pair(pair: PairAgreement, kind: Kind) -> RaterPair:
    return RaterPair(
        rater_a=pair.rater_a,
        rater_b=pair.rater_b,
        unit_count=pair.unit_count,
        agreement=pair.agreement,
        cohen_kappa=pair.cohen_kappa,
        cohen_kappa_linear=pair.cohen_kappa_linear,
        cohen_kappa_quadratic=pair.cohen_kappa_quadratic,
        pearson=pair.pearson,
        spearman=pair.spearman,
        mae=pair.mae,
        rmse=pair.rmse,
        mean_difference=pair.mean_difference,
        confusion=[
            ConfusionCell(a=value_message(a, kind), b=value_message(b, kind), count=count)
            for a, b, count in pair.confusion
        ],
    )
