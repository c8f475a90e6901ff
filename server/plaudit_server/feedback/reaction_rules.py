"""From a request to set a reaction to the reaction and its record, with a violation for each bad field."""

from __future__ import annotations

import json
from typing import Final

from plaudit._contract.refs import InvalidRefError, parse_ref
from plaudit.v1 import Feedback, SetReactionRequest
from plaudit_server.errors import Violation
from plaudit_server.feedback import rules
from plaudit_server.feedback.reacting import Reaction
from plaudit_server.feedback.reactions import Viewer
from plaudit_server.feedback.records import Record
from plaudit_server.feedback.types import AGENT_USER_FEEDBACK, REACTION, reaction_of

_AGENT_KINDS: Final = ("agent_turn", "agent_span", "agent_conversation")


def check_reaction(request: SetReactionRequest, user_id: str, out: list[Violation]) -> tuple[Reaction, Record] | None:
    """The reaction, and the record that makes it; None with the reasons in `out` when a rule is broken."""
    before = len(out)
    rules.check_new_project(request.project, out)
    if reaction_of(request.emoji) is None:
        out.append(Violation("emoji", "is required, and is exactly one emoji"))
    found: list[Violation] = []
    record = rules.new_record(_message(request), request.project, user_id, found, "")
    # The paths are those of a record; what is wrong with the emoji has been said.
    out += [Violation(each.field.lstrip("."), each.description) for each in found if "emoji" not in each.field]
    if len(out) > before or record is None:
        return None
    creator = request.creator if request.HasField("creator") else None
    reaction = Reaction(request.project, record.ref, request.emoji, Viewer(user_id, creator), request.any_tone)
    return reaction, record


def _message(request: SetReactionRequest) -> Feedback:
    """The record as a client would send it."""
    emoji = request.emoji
    message = Feedback(id=request.id, ref=request.ref, feedback_type=REACTION)
    if request.HasField("creator"):
        message.creator = request.creator
    payload: dict[str, object] = {"emoji": emoji}
    if emoji and _is_of_agent(request.ref):
        message.feedback_type = AGENT_USER_FEEDBACK
        payload["scorer_tags"] = [emoji]
        message.scorer_tags.append(emoji)
        message.scorer_tag_reasons[emoji] = "Set by user"
        message.scorer_tag_confidences[emoji] = 1.0
    message.payload_json = json.dumps(payload, ensure_ascii=False)
    return message


def _is_of_agent(ref: str) -> bool:
    try:
        return parse_ref(ref).kind in _AGENT_KINDS
    except InvalidRefError:
        return False
