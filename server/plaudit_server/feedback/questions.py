"""From a request that asks to its filter and order, with everything that is wrong with them."""

from __future__ import annotations

from plaudit.v1 import (
    CountFeedbackRequest,
    ListRefsRequest,
    Query,
    QueryFeedbackRequest,
    StreamFeedbackRequest,
    WatchFeedbackRequest,
)
from plaudit_server.errors import InvalidFields, InvalidQuery, Violation
from plaudit_server.feedback import rules
from plaudit_server.query.parse import parse_order, parse_query
from plaudit_server.query.tree import Operation, SortKey

Filtered = CountFeedbackRequest | ListRefsRequest | QueryFeedbackRequest | StreamFeedbackRequest | WatchFeedbackRequest


def refuse(out: list[Violation]) -> None:
    """Raise what a request breaks, if anything: InvalidQuery when only its query or order do, else InvalidFields."""
    if out:
        if all(v.field.startswith(("query", "order_by")) for v in out):
            raise InvalidQuery(out)
        raise InvalidFields(out)


def parsed(query: Query, out: list[Violation]) -> Operation | None:
    """A query as a tree; None when it breaks rules, which then are in `out`."""
    try:
        return parse_query(query)
    except InvalidQuery as error:
        out += error.violations
        return None


def filter_of(request: Filtered, out: list[Violation]) -> Operation | None:
    """The filter of a request, after its project; None when it has none or breaks rules, which then are in `out`."""
    rules.check_project(request.project, out)
    return parsed(request.query, out) if request.HasField("query") else None


def question_of(
    request: QueryFeedbackRequest | StreamFeedbackRequest, out: list[Violation]
) -> tuple[Operation | None, tuple[SortKey, ...]]:
    """The filter and the order of a request that reads records."""
    filter = filter_of(request, out)
    try:
        return filter, parse_order(request.order_by)
    except InvalidQuery as error:
        out += error.violations
        return filter, ()
