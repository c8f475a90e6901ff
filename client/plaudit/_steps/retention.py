"""What the operations about retention ask the server, and make of the answers; nothing here does I/O."""

from __future__ import annotations

from plaudit import v1
from plaudit._results.retention import RetentionCheck, RetentionDue, RetentionRule, RetentionRules
from plaudit._steps.step import Call, Steps
from plaudit._wire.methods import CHECK_RETENTION, LIST_RETENTION_RULES, PUT_RETENTION_RULE


def put_rule(project: str, feedback_type: str, days: int) -> Steps[RetentionRule]:
    """Set a rule, or with 0 days remove it."""
    rule = v1.RetentionRule(feedback_type=feedback_type, days=days)
    response = yield from Call(PUT_RETENTION_RULE, v1.PutRetentionRuleRequest(project=project, rule=rule))
    return RetentionRule.from_proto(response.rule)


def rules(project: str) -> Steps[RetentionRules]:
    """The rules of a project."""
    response = yield from Call(LIST_RETENTION_RULES, v1.ListRetentionRulesRequest(project=project))
    return RetentionRules(map(RetentionRule.from_proto, response.rules), response.under_hold)


def check(project: str, feedback_type: str | None, days: int | None) -> Steps[RetentionCheck]:
    """What the rules of a project would remove, or one that is not put."""
    if (feedback_type is None) != (days is None):
        raise ValueError("give feedback_type and days, or neither")
    request = v1.CheckRetentionRequest(project=project)
    if feedback_type is not None and days is not None:
        request.rule.CopyFrom(v1.RetentionRule(feedback_type=feedback_type, days=days))
    response = yield from Call(CHECK_RETENTION, request)
    return RetentionCheck(map(RetentionDue.from_proto, response.due), response.under_hold)
