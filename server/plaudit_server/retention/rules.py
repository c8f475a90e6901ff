"""What a request about retention must keep, as violations of its fields."""

from __future__ import annotations

from plaudit import v1 as wire
from plaudit._contract import limits
from plaudit_server.errors import Violation
from plaudit_server.feedback.fields import check_text
from plaudit_server.retention.records import LONGEST_DAYS


def check_rule(rule: wire.RetentionRule, out: list[Violation], *, may_remove: bool = False) -> None:
    """Check a rule: its type and days; with `may_remove` also 0 days."""
    if not rule.feedback_type:
        out.append(Violation("rule.feedback_type", "is required; * is every type without a rule of its own"))
    check_text(rule.feedback_type, "rule.feedback_type", limits.FEEDBACK_TYPE_BYTES, out)
    if not (rule.days == 0 and may_remove) and not 1 <= rule.days <= LONGEST_DAYS:
        out.append(Violation("rule.days", f"must be 1 to {LONGEST_DAYS}{', or 0 to remove the rule' * may_remove}"))
