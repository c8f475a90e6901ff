"""From a request about refs, or about fields, to a question, or to violations with the path of each bad part."""

from __future__ import annotations

from plaudit._contract import limits
from plaudit._contract.refs import InvalidRefError, parse_ref
from plaudit.v1 import DescribeFeedbackRequest, SummarizeRefsRequest
from plaudit_server.analytics.describe import DescribeQuestion
from plaudit_server.analytics.expressions import Expressions, check_distinct
from plaudit_server.analytics.measure_rules import check_measures
from plaudit_server.analytics.overview import SummaryQuestion
from plaudit_server.errors import Violation
from plaudit_server.feedback.reactions import Viewer


def check_summary(request: SummarizeRefsRequest, caller: str, out: list[Violation]) -> SummaryQuestion | None:
    """The question of a request by a caller; None with the reasons in `out` when a rule is broken.

    The project is not looked at.
    """
    before = len(out)
    expressions = Expressions(out)
    if not 1 <= len(request.refs) <= limits.SUMMARY_REFS:
        out.append(Violation("refs", f"has {len(request.refs)} elements, not 1 to {limits.SUMMARY_REFS}"))
    seen: set[str] = set()
    for index, ref in enumerate(request.refs[: limits.SUMMARY_REFS]):
        try:
            parse_ref(ref)
        except InvalidRefError as error:
            out.append(Violation(f"refs[{index}]", str(error)))
        if ref in seen:
            out.append(Violation(f"refs[{index}]", "is there twice"))
        seen.add(ref)
    filter = expressions.query(request.query, "query") if request.HasField("query") else None
    measures = check_measures(request.measures, expressions, out, limits.SUMMARY_MEASURES)
    check_distinct(measures, "measures", set(), out)
    creator = request.creator if request.HasField("creator") else None
    if len(out) > before:
        return None
    return SummaryQuestion(
        request.project,
        tuple(request.refs),
        filter,
        tuple(measure for measure in measures if measure is not None),
        Viewer(caller, creator),
        request.any_tone,
        request.include_newest,
    )


def check_describe(request: DescribeFeedbackRequest, out: list[Violation]) -> DescribeQuestion | None:
    """The question of a request, without its page; None, with the reasons in `out`, when a rule is broken.

    The project is not looked at.
    """
    before = len(out)
    expressions = Expressions(out)
    filter = expressions.query(request.query, "query") if request.HasField("query") else None
    if request.newest < 0:
        out.append(Violation("newest", "is negative"))
    if request.newest and request.all:
        out.append(Violation("all", "goes without newest: either all matches are looked at, or some"))
    if len(out) > before:
        return None
    return DescribeQuestion(request.project, filter, None if request.all else request.newest or limits.DESCRIBE_ROWS)
