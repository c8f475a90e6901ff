"""The trace in which a record is made, when OpenTelemetry is in use; it is never imported from here."""

from __future__ import annotations

import sys
from typing import Any, Final

from plaudit import v1
from plaudit._contract.refs import InvalidRefError, parse_ref
from plaudit._core.feedback_types import AGENT_USER_FEEDBACK

# Of these types a ref to a turn or to a conversation says which trace it is, or that there is none.
_ON_AGENTS: Final = frozenset((AGENT_USER_FEEDBACK, "wandb.agent_monitor"))


def fill_trace_id(message: v1.Feedback) -> None:
    """Set an empty `span_trace_id` of a record without an id to the trace of the current span, if there is one.

    A record with an id may be sent again, in another span, and must then be the same.
    """
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None or message.span_trace_id or _is_decided_by_its_ref(message):
        return
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        message.span_trace_id = f"{context.trace_id:032x}"


def _is_decided_by_its_ref(message: v1.Feedback) -> bool:
    if message.feedback_type not in _ON_AGENTS:
        return False
    try:
        return parse_ref(message.ref).kind in ("agent_turn", "agent_conversation")
    except InvalidRefError:
        return True  # the server says what is wrong with it
