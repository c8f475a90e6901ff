"""From a request for groups to a question, or to violations with the path of each bad part; nothing is executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from plaudit._contract import limits
from plaudit.v1 import AggregateFeedbackRequest, AggregateOrder
from plaudit_server.analytics.categories import type_of
from plaudit_server.analytics.expressions import Expressions, Names, bounded, check_distinct
from plaudit_server.analytics.grouping_rules import check_groupings
from plaudit_server.analytics.measure_rules import check_measures
from plaudit_server.analytics.records import ROW_COUNT, Aggregate, Grouping, Kind, Measure, Sort
from plaudit_server.errors import Violation


def check_aggregate(request: AggregateFeedbackRequest, out: list[Violation]) -> Aggregate | None:
    """The question of a request, without its page; None, with the reasons in `out`, when a rule is broken.

    The project is not looked at.
    """
    before = len(out)
    expressions = Expressions(out)
    filter = expressions.query(request.query, "query") if request.HasField("query") else None
    newest_of = [
        expressions.value(message, f"newest_of[{index}]", "text")
        for index, message in bounded(request.newest_of, limits.AGGREGATE_NEWEST_OF, "newest_of", out)
    ]
    groupings = check_groupings(request.group_by, expressions, out)
    for index, grouping in enumerate(groupings):
        if grouping is not None and grouping.fill_categories and type_of(filter) is None:
            at = f"group_by[{index}].fill_categories"
            out.append(Violation(at, "needs a query for one feedback_type, whose definition gives the categories"))
    measures = check_measures(request.measures, expressions, out, limits.AGGREGATE_MEASURES)
    seen: set[str] = set()
    check_distinct(groupings, "group_by", seen, out)
    check_distinct(measures, "measures", seen, out)
    known = _names(groupings, measures)
    having = Names(out, known, expressions).query(request.having, "having") if request.HasField("having") else None
    order = _check_order(request.order_by, groupings, measures, known, out)
    limit = request.limit if request.HasField("limit") else None
    if limit is not None and limit < 0:
        out.append(Violation("limit", "is negative"))
    if len(out) > before:
        return None
    return Aggregate(
        request.project,
        filter,
        tuple(value for value in newest_of if value is not None),
        tuple(grouping for grouping in groupings if grouping is not None),
        tuple(measure for measure in measures if measure is not None),
        having,
        order,
        limit,
        request.include_total,
        request.include_group_count,
    )


def _names(groupings: Sequence[Grouping | None], measures: Sequence[Measure | None]) -> dict[str, Kind | None]:
    """What `having` and `order_by` may name: kinds by name, None for a measure that is not one value."""
    known: dict[str, Kind | None] = {ROW_COUNT: "number"}
    for named in (*groupings, *measures):
        if named is not None:
            known.setdefault(named.name, named.kind)
    return known


def _check_order(
    messages: Sequence[AggregateOrder],
    groupings: Sequence[Grouping | None],
    measures: Sequence[Measure | None],
    known: Mapping[str, Kind | None],
    out: list[Violation],
) -> tuple[Sort, ...]:
    order: dict[str, Sort] = {}
    grouped = {grouping.name: place for place, grouping in enumerate(groupings) if grouping is not None}
    measured = {measure.name: place for place, measure in enumerate(measures) if measure is not None}
    for index, message in bounded(messages, limits.ORDER_BY_KEYS, "order_by", out):
        at, name = f"order_by[{index}].name", message.name
        if name not in known:
            out.append(Violation(at, "is neither row_count nor the name of a grouping or measure"))
        elif known[name] is None:
            out.append(Violation(at, "is a measure that is not one value, and has no order"))
        elif name in grouped:
            order.setdefault(name, Sort("grouping", grouped[name], message.descending))
        elif name in measured:
            order.setdefault(name, Sort("measure", measured[name], message.descending))
        else:
            order.setdefault(name, Sort("row_count", -1, message.descending))
    return tuple(order.values())
