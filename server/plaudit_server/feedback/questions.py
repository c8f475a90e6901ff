"""Reads the filter and the order of a request, and collects everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

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
from plaudit_server.feedback.reads import RefOrder
from plaudit_server.query.parse import parse_order, parse_query
from plaudit_server.query.tree import Operation, SortKey

_REF_ORDERS: Final[Mapping[int, RefOrder]] = {0: "uri", 1: "uri", 2: "count", 3: "last_change"}
"""By the number of the enum."""

Filtered = CountFeedbackRequest | ListRefsRequest | QueryFeedbackRequest | StreamFeedbackRequest | WatchFeedbackRequest


def refuse(out: list[Violation]) -> None:
    """Raise the violations, if there are any: InvalidQuery when all are in the query or order, else InvalidFields."""
    if out:
        if all(v.field.startswith(("query", "order_by", "without")) for v in out):
            raise InvalidQuery(out)
        raise InvalidFields(out)


def parsed(query: Query, out: list[Violation], at: str = "query") -> Operation | None:
    """A query as a tree; None when it breaks rules, which are then added to `out`."""
    try:
        return parse_query(query, at)
    except InvalidQuery as error:
        out += error.violations
        return None


def filter_of(request: Filtered, out: list[Violation]) -> Operation | None:
    """Check the project of a request, and read its filter; None without a query, or if it breaks rules (see `out`)."""
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


def check_ref_order(order: int, out: list[Violation]) -> RefOrder | None:
    """The order of a request for refs; by URI when it names none."""
    if order not in _REF_ORDERS:
        out.append(Violation("order", f"{order} is no order of refs"))
        return None
    return _REF_ORDERS[order]
