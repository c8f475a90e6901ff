"""Records for tests of stores and writer, in the form that validation gives."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from plaudit.v1 import Feedback
from plaudit_server.feedback.records import SPAN_STATUS_NAMES, Record
from plaudit_server.query.fields import Column
from plaudit_server.query.tree import SortKey

PROJECT = "acme/chat"
REF = "weave:///acme/chat/call/1"
BY_TIME = (SortKey(Column("created_at", "time")), SortKey(Column("id", "text")))
"""The order of a query that names none."""

_TEXTS = (
    "ref", "feedback_type", "span_agent_name", "span_agent_version", "span_conversation_id", "span_trace_id",
    "scorer_trace_id",
)  # fmt: skip
_NULLABLE = ("creator", "annotation_ref", "runnable_ref", "call_ref", "trigger_ref", "queue_id")
_MAPS = (
    "scorer_tag_reasons", "scorer_tag_confidences", "scorer_ratings", "scorer_rating_reasons",
    "scorer_rating_confidences",
)  # fmt: skip


def id_of(number: int) -> str:
    """A UUID that contains a number and sorts by it."""
    return str(UUID(int=(number << 80) | 0x7000_8000_0000_0000_0000))


def record(number: int = 1, payload: object = None, **fields: Any) -> Record:
    """A record; `payload` is an object, or its JSON text. Fields are those of Feedback, and what the server sets."""
    apart = ("new_id", "created_at", "updated_at", "version")
    set_here = {name: fields.pop(name) for name in apart if name in fields}
    project = fields.pop("project", PROJECT)
    user_id = fields.pop("user_id", "anonymous")
    id = fields.pop("id", id_of(number))
    fields.setdefault("ref", REF)
    fields.setdefault("feedback_type", "note")
    text = payload if isinstance(payload, str) else json.dumps({} if payload is None else payload)
    message = Feedback(id=id, project=project, user_id=user_id, **fields)
    # Any, because a record's many columns are filled from lists of their names.
    values: dict[str, Any] = {name: getattr(message, name) for name in _TEXTS}
    values |= {name: fields.get(name) for name in _NULLABLE}
    values |= {name: json.dumps(dict(getattr(message, name)), sort_keys=True) for name in _MAPS}
    made = Record(
        project=project,
        id=id,
        user_id=user_id,
        scorer_tags=json.dumps(list(message.scorer_tags)),
        span_status_code=SPAN_STATUS_NAMES[message.span_status_code],
        payload=text,
        body=message.SerializeToString(deterministic=True),
        **values,
    )
    return made._replace(**set_here)
