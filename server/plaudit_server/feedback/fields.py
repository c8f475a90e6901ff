"""How each field of a Feedback message is read: from the value sent to what the record holds, and its violations."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any, Final

from plaudit._contract import jsontext, limits
from plaudit._contract.refs import InvalidRefError, parse_ref
from plaudit_server.errors import Violation
from plaudit_server.feedback.records import SPAN_STATUS_NAMES
from plaudit_server.feedback.types import GivenRef

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
NUL: Final = "holds a NUL character"

_Reader = Callable[[Any, str, list[Violation]], Any]


def _as_sent(value: object, name: str, out: list[Violation]) -> object:
    return value


def byte_size(text: str) -> int:
    """The size of text as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def check_text(text: str, field: str, limit: int, out: list[Violation]) -> None:
    """Check that text has at most `limit` bytes as UTF-8, and no NUL character."""
    if byte_size(text) > limit:
        out.append(Violation(field, f"has {byte_size(text)} bytes, the limit is {limit}"))
    if "\0" in text:
        out.append(Violation(field, NUL))


def _text(limit: int) -> _Reader:
    """A reader of text of at most `limit` bytes."""

    def read(value: str, name: str, out: list[Violation]) -> str:
        check_text(value, name, limit, out)
        return value

    return read


def _queue_id(value: str, name: str, out: list[Violation]) -> str | None:
    check_text(value, name, limits.QUEUE_ID_BYTES, out)
    return value or None


def _feedback_type(value: str, name: str, out: list[Violation]) -> str:
    if byte_size(value) > limits.FEEDBACK_TYPE_BYTES:
        out.append(Violation(name, f"has {byte_size(value)} bytes, the limit is {limits.FEEDBACK_TYPE_BYTES}"))
    if CONTROL.search(value):
        out.append(Violation(name, "holds a control character"))
    return value


def _ref(value: str, name: str, out: list[Violation]) -> GivenRef | None:
    if not value:
        return None
    try:
        return GivenRef(value, parse_ref(value))
    except InvalidRefError as error:
        out.append(Violation(name, str(error)))
        return GivenRef(value, None)


_Payload = tuple[str, Mapping[str, Any] | None]

_EMPTY_PAYLOAD: Final[_Payload] = ("{}", {})


def _payload(value: str, name: str, out: list[Violation]) -> _Payload:
    """The text, and the object that it encodes; None when it breaks rules."""
    members, breaches = jsontext.check(value)
    for path, description in breaches:
        out.append(Violation(f"payload.{path}" if path else "payload", description))
    return value, members


_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def _has_room(value: Sized, name: str, out: list[Violation]) -> bool:
    if len(value) <= limits.SCORER_ENTRIES:
        return True
    out.append(Violation(name, f"has {len(value)} entries, the limit is {limits.SCORER_ENTRIES}"))
    return False


def _tags(value: Sequence[str], name: str, out: list[Violation]) -> str:
    if not _has_room(value, name, out):
        return "[]"
    for index, tag in enumerate(value):
        _check_name(tag, f"{name}[{index}]", limits.SCORER_TAG_BYTES, out)
    return _json(list(value))


def _check_name(text: str, field: str, limit: int, out: list[Violation]) -> None:
    """Check a tag, or a key of a map: text that is not empty."""
    if not text:
        out.append(Violation(field, "must not be empty"))
    check_text(text, field, limit, out)


def _reasons(value: Mapping[str, str], name: str, out: list[Violation]) -> str:
    if not _has_room(value, name, out):
        return "{}"
    for key, reason in value.items():
        field = f"{name}.{key}"
        _check_name(key, field, limits.SCORER_KEY_BYTES, out)
        if len(reason) > limits.SCORER_REASON_CHARACTERS:
            limit = limits.SCORER_REASON_CHARACTERS
            out.append(Violation(field, f"has {len(reason)} characters, the limit is {limit}"))
        if "\0" in reason:
            out.append(Violation(field, NUL))
    return _json(dict(value))


def _shares(value: Mapping[str, float], name: str, out: list[Violation]) -> str:
    """Confidences and ratings."""
    if not _has_room(value, name, out):
        return "{}"
    for key, share in value.items():
        field = f"{name}.{key}"
        _check_name(key, field, limits.SCORER_KEY_BYTES, out)
        if not 0 <= share <= 1:
            out.append(Violation(field, "must be a number from 0 to 1"))
    return _json(dict(value))


def _span_status(value: int, name: str, out: list[Violation]) -> str:
    if 0 <= value < len(SPAN_STATUS_NAMES):
        return SPAN_STATUS_NAMES[value]
    out.append(Violation(name, f"{value} is no SpanStatusCode"))
    return SPAN_STATUS_NAMES[0]


_span_text: Final = _text(limits.SPAN_TEXT_BYTES)

READERS: Final[Mapping[str, _Reader]] = {
    "id": _as_sent,
    "project": _as_sent,
    "ref": _ref,
    "feedback_type": _feedback_type,
    "payload_json": _payload,
    "creator": _text(limits.CREATOR_BYTES),
    "user_id": _as_sent,
    "created_at": _as_sent,
    "updated_at": _as_sent,
    "version": _as_sent,
    "revision": _as_sent,
    "annotation_ref": _ref,
    "runnable_ref": _ref,
    "call_ref": _ref,
    "trigger_ref": _ref,
    "queue_id": _queue_id,
    "scorer_tags": _tags,
    "scorer_tag_reasons": _reasons,
    "scorer_tag_confidences": _shares,
    "scorer_ratings": _shares,
    "scorer_rating_reasons": _reasons,
    "scorer_rating_confidences": _shares,
    "span_agent_name": _span_text,
    "span_agent_version": _span_text,
    "span_status_code": _span_status,
    "span_conversation_id": _span_text,
    "span_trace_id": _span_text,
    "scorer_trace_id": _span_text,
    "owner": _as_sent,
}
"""How each field of a Feedback is read."""

DEFAULTS: Final[dict[str, Any]] = {
    "id": "",
    "project": "",
    "ref": None,
    "feedback_type": "",
    "payload_json": _EMPTY_PAYLOAD,
    "creator": None,
    "user_id": "",
    "created_at": None,
    "updated_at": None,
    "version": 1,
    "revision": 0,
    "annotation_ref": None,
    "runnable_ref": None,
    "call_ref": None,
    "trigger_ref": None,
    "queue_id": None,
    "scorer_tags": "[]",
    "scorer_tag_reasons": "{}",
    "scorer_tag_confidences": "{}",
    "scorer_ratings": "{}",
    "scorer_rating_reasons": "{}",
    "scorer_rating_confidences": "{}",
    "span_agent_name": "",
    "span_agent_version": "",
    "span_status_code": SPAN_STATUS_NAMES[0],
    "span_conversation_id": "",
    "span_trace_id": "",
    "scorer_trace_id": "",
    "owner": "",
}
"""The result for a field that was not sent."""

OPTIONAL_REFS: Final = frozenset(("annotation_ref", "runnable_ref", "call_ref", "trigger_ref"))
"""Refs that a record may leave out."""
SCORER_FIELDS: Final = frozenset(name for name in READERS if name.startswith("scorer_")) - {"scorer_trace_id"}
"""Fields that only some types may have, see feedback.types."""
NOT_IN_BODY: Final = frozenset(("payload_json", "created_at", "updated_at", "version", "revision", "owner"))
"""Fields that are kept apart from a record's encoded body."""

PLAIN_TEXTS: Final = frozenset(
    (
        "creator",
        "queue_id",
        *(name for name in READERS if name.startswith("span_") and name != "span_status_code"),
    )
)
"""Texts that hold no control characters in new content."""
