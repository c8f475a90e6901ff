"""The record as Python sees it, and the conversion between records and messages; nothing here does I/O."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

from google.protobuf.timestamp_pb2 import Timestamp

from plaudit import v1
from plaudit._contract import jsontext
from plaudit._contract.uuid7 import uuid7
from plaudit._core.errors import InvalidArgumentError, Violation

_SPAN_STATUS_NAMES: Final = {
    v1.SpanStatusCode.SPAN_STATUS_CODE_UNSPECIFIED: "UNSET",
    v1.SpanStatusCode.SPAN_STATUS_CODE_OK: "OK",
    v1.SpanStatusCode.SPAN_STATUS_CODE_ERROR: "ERROR",
}
_SPAN_STATUS_CODES: Final = {name: number for number, name in _SPAN_STATUS_NAMES.items()}

ALIASES: Final = {"weave_ref": "ref", "wb_user_id": "user_id", "project_id": "project"}
"""Other names of fields, by which records may be written and read."""

SERVER_FIELDS: Final = frozenset(("user_id", "created_at", "updated_at", "version", "revision"))
"""What only the server sets: ignored in records to store, so that a record read may be stored again."""

_TEXTS: Final = (
    "id",
    "project",
    "ref",
    "feedback_type",
    "span_agent_name",
    "span_agent_version",
    "span_conversation_id",
    "span_trace_id",
    "scorer_trace_id",
)
_NullableName = Literal["creator", "annotation_ref", "runnable_ref", "call_ref", "trigger_ref", "queue_id"]
_NULLABLE_TEXTS: Final = get_args(_NullableName)
_REASONS: Final = ("scorer_tag_reasons", "scorer_rating_reasons")
_NUMBERS: Final = ("scorer_tag_confidences", "scorer_ratings", "scorer_rating_confidences")

_TIMES: Final = ("created_at", "updated_at")
_IMPORTED: Final = frozenset(("user_id", "version", *_TIMES))
"""What of it an import keeps; revisions are those of the store that the record comes into."""

CLIENT_FIELDS: Final = frozenset(
    (*_TEXTS, *_NULLABLE_TEXTS, *_REASONS, *_NUMBERS, "payload", "scorer_tags", "span_status_code")
)
"""What a record to store may hold."""


class Feedback:
    """One record, as it was when it was read. Read-only, equal by value, hashed by its id.

    Do not change `payload`: it is decoded once and shared by those who ask for it.
    """

    __slots__ = ("_message", "_payload")

    def __init__(self, message: v1.Feedback) -> None:
        self._message = message
        self._payload: dict[str, Any] | None = None

    @classmethod
    def from_proto(cls, message: v1.Feedback) -> Feedback:
        """A record from a copy of its message."""
        copy = v1.Feedback()
        copy.CopyFrom(message)
        return cls(copy)

    def to_proto(self) -> v1.Feedback:
        """A copy of the record as a message."""
        copy = v1.Feedback()
        copy.CopyFrom(self._message)
        return copy

    @property
    def id(self) -> str:
        """The UUID, unique in the project for ever."""
        return self._message.id

    @property
    def project(self) -> str:
        """`entity/project`."""
        return self._message.project

    @property
    def project_id(self) -> str:
        """Another name of `project`."""
        return self._message.project

    @property
    def ref(self) -> str:
        """The URI of what the feedback is about."""
        return self._message.ref

    @property
    def weave_ref(self) -> str:
        """Another name of `ref`."""
        return self._message.ref

    @property
    def feedback_type(self) -> str:
        """The type, as `wandb.note.1` or one of your own."""
        return self._message.feedback_type

    @property
    def payload(self) -> dict[str, Any]:
        """The content, decoded on first use; key order as it was sent."""
        if self._payload is None:
            self._payload = jsontext.decode(self._message.payload_json)
        return self._payload

    @property
    def payload_json(self) -> str:
        """The content as the JSON text that was sent, numbers to the digit."""
        return self._message.payload_json or "{}"

    @property
    def creator(self) -> str | None:
        """The display name of who gave the feedback."""
        return self._optional("creator")

    @property
    def user_id(self) -> str:
        """The authenticated principal that stored the record; `anonymous` while authentication is off."""
        return self._message.user_id

    @property
    def wb_user_id(self) -> str:
        """Another name of `user_id`."""
        return self._message.user_id

    @property
    def created_at(self) -> datetime:
        """When the record was stored, in UTC, to the microsecond."""
        return to_datetime(self._message.created_at)

    @property
    def updated_at(self) -> datetime:
        """When the record was last replaced, or stored, in UTC."""
        return to_datetime(self._message.updated_at)

    @property
    def version(self) -> int:
        """1, and one more at each replace."""
        return self._message.version

    @property
    def revision(self) -> int:
        """The number of this record's last change in its project."""
        return self._message.revision

    @property
    def annotation_ref(self) -> str | None:
        """The annotation spec."""
        return self._optional("annotation_ref")

    @property
    def runnable_ref(self) -> str | None:
        """The scorer."""
        return self._optional("runnable_ref")

    @property
    def call_ref(self) -> str | None:
        """The scorer's own call."""
        return self._optional("call_ref")

    @property
    def trigger_ref(self) -> str | None:
        """What made the scorer run."""
        return self._optional("trigger_ref")

    @property
    def queue_id(self) -> str | None:
        """The annotation queue that the feedback came from."""
        return self._optional("queue_id")

    @property
    def scorer_tags(self) -> list[str]:
        """Tags in the order given."""
        return list(self._message.scorer_tags)

    @property
    def scorer_tag_reasons(self) -> dict[str, str]:
        """Why a tag was given, by tag."""
        return dict(self._message.scorer_tag_reasons)

    @property
    def scorer_tag_confidences(self) -> dict[str, float]:
        """How sure the scorer is of a tag, by tag: 0 to 1."""
        return dict(self._message.scorer_tag_confidences)

    @property
    def scorer_ratings(self) -> dict[str, float]:
        """Ratings by name: 0 to 1."""
        return dict(self._message.scorer_ratings)

    @property
    def scorer_rating_reasons(self) -> dict[str, str]:
        """Why a rating was given, by name."""
        return dict(self._message.scorer_rating_reasons)

    @property
    def scorer_rating_confidences(self) -> dict[str, float]:
        """How sure the scorer is of a rating, by name: 0 to 1."""
        return dict(self._message.scorer_rating_confidences)

    @property
    def span_agent_name(self) -> str:
        """The agent's name."""
        return self._message.span_agent_name

    @property
    def span_agent_version(self) -> str:
        """The agent's version."""
        return self._message.span_agent_version

    @property
    def span_status_code(self) -> str:
        """How the span ended: `UNSET`, `OK` or `ERROR`."""
        # A number that a newer server knows reads as UNSET.
        return _SPAN_STATUS_NAMES.get(self._message.span_status_code, "UNSET")

    @property
    def span_conversation_id(self) -> str:
        """The conversation that the feedback is about."""
        return self._message.span_conversation_id

    @property
    def span_trace_id(self) -> str:
        """The trace (the turn) that the feedback is about."""
        return self._message.span_trace_id

    @property
    def scorer_trace_id(self) -> str:
        """The trace in which the scorer itself ran."""
        return self._message.scorer_trace_id

    def to_dict(self) -> dict[str, Any]:
        """Every field by its name, with times as datetimes; what the client sets may be stored again by `create`."""
        return {name: getattr(self, name) for name in FIELDS}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Feedback):
            return NotImplemented
        return self._message == other._message or self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self._message.project, self._message.id))

    def __repr__(self) -> str:
        message = self._message
        return (
            f"Feedback(id={message.id!r}, ref={message.ref!r}, feedback_type={message.feedback_type!r}, "
            f"payload={_cut(self.payload_json)})"
        )

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _feedback_of_bytes, (self._message.SerializeToString(deterministic=True),)

    def _optional(self, name: _NullableName) -> str | None:
        value: str | None = getattr(self._message, name) if self._message.HasField(name) else None
        return value


FIELDS: Final[Sequence[str]] = (
    "id",
    "project",
    "ref",
    "feedback_type",
    "payload",
    "creator",
    "user_id",
    "created_at",
    "updated_at",
    "version",
    "revision",
    "annotation_ref",
    "runnable_ref",
    "call_ref",
    "trigger_ref",
    "queue_id",
    "scorer_tags",
    "scorer_tag_reasons",
    "scorer_tag_confidences",
    "scorer_ratings",
    "scorer_rating_reasons",
    "scorer_rating_confidences",
    "span_agent_name",
    "span_agent_version",
    "span_status_code",
    "span_conversation_id",
    "span_trace_id",
    "scorer_trace_id",
)
"""The fields of a record, in the order in which they are shown."""


def to_message(
    record: Mapping[str, Any] | Feedback, prefix: str = "feedback", *, imported: bool = False
) -> v1.Feedback:
    """A record to store as its message, with a new UUIDv7 where it has no id.

    What only the server sets is left out, unless `imported`: then all but `revision` is kept as given.
    Raises InvalidArgumentError with the path of every field that no message can hold; `prefix` begins the paths.
    Raises TypeError for a record that is no mapping; one to import may be a Feedback, too.
    """
    if imported and isinstance(record, Feedback):
        message = record.to_proto()
        message.ClearField("revision")
        return message
    if not isinstance(record, Mapping):
        raise TypeError(f"a record is a mapping of its fields, not a {type(record).__name__}")
    message = v1.Feedback()
    violations: list[Violation] = []
    given: set[str] = set()
    for key, value in record.items():
        name = ALIASES.get(key, key)
        if name in given:
            violations.append(Violation(f"{prefix}.{key}", f"is given twice, also as {name}"))
        elif name in CLIENT_FIELDS:
            given.add(name)
            violations += _set(message, name, value, prefix)
        elif name in _IMPORTED and imported:
            given.add(name)
            violations += _set_imported(message, name, value, f"{prefix}.{name}")
        elif name not in SERVER_FIELDS:
            violations.append(Violation(f"{prefix}.{str(key)[:100]}", "is no field of a record"))
    if violations:
        raise InvalidArgumentError.of(violations)
    message.id = message.id or uuid7()
    message.payload_json = message.payload_json or "{}"
    return message


def canonical_id(id: str) -> str:
    """An id as the server stores it: UUID text in lower case with dashes; other text as it is."""
    if not isinstance(id, str):
        raise TypeError(f"an id is a str, not {type(id).__name__}")
    try:
        return str(uuid.UUID(id))
    except ValueError:
        return id


def _set(message: v1.Feedback, name: str, value: object, prefix: str) -> list[Violation]:
    """Set one field; what is wrong with the value, if anything. None is the same as leaving the field out."""
    path = f"{prefix}.{name}"
    if value is None:
        return []
    if name == "payload":
        return _set_payload(message, value, path)
    if name == "span_status_code":
        code = _SPAN_STATUS_CODES.get(value) if isinstance(value, str) else None
        if code is None:
            return [Violation(path, f"must be one of {', '.join(_SPAN_STATUS_CODES)}")]
        message.span_status_code = code
        return []
    if name == "scorer_tags":
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
            return [Violation(path, f"must be a list of texts, not a {type(value).__name__}")]
        violations = [v for i, tag in enumerate(value) for v in _text_violations(tag, f"{path}[{i}]")]
        if not violations:
            message.scorer_tags.extend(value)
        return violations
    if name in _REASONS or name in _NUMBERS:
        return _set_map(message, name, value, path)
    if not isinstance(value, str) and name.endswith("ref"):
        value = str(value)  # a Ref
    violations = _text_violations(value, path)
    if not violations:
        setattr(message, name, value)
    return violations


def _set_imported(message: v1.Feedback, name: str, value: object, path: str) -> list[Violation]:
    """Set one field that else only the server sets; what is wrong with the value, if anything."""
    if value is None:
        return []
    if name in _TIMES:
        moment = _moment(value)
        if moment is None:
            return [Violation(path, "must be a datetime or an RFC 3339 text")]
        getattr(message, name).FromDatetime(moment)
        return []
    if name == "version":
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            return [Violation(path, "must be an integer from 1")]
        message.version = value
        return []
    violations = _text_violations(value, path)
    if not violations:
        message.user_id = str(value)
    return violations


def _moment(value: object) -> datetime | None:
    """A time as it is given, or None for what is none; without a zone it is UTC, as in queries."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    try:
        return value.astimezone(UTC) if value.tzinfo is not None else value.replace(tzinfo=UTC)
    except OverflowError:
        return None  # year 1 or 9999, moved out of the calendar by its zone


def _set_payload(message: v1.Feedback, value: object, path: str) -> list[Violation]:
    if not isinstance(value, Mapping):
        return [Violation(path, f"must be a JSON object, not a {type(value).__name__}")]
    try:
        message.payload_json = jsontext.encode(value)
    except jsontext.InvalidPayloadError as error:
        return [
            Violation(f"{path}{'.' if b.path and not b.path.startswith('[') else ''}{b.path}", b.description)
            for b in error.breaches
        ]
    return []


def _set_map(message: v1.Feedback, name: str, value: object, path: str) -> list[Violation]:
    if not isinstance(value, Mapping):
        return [Violation(path, f"must be a mapping, not a {type(value).__name__}")]
    violations: list[Violation] = []
    for key, entry in value.items():
        at = f"{path}.{str(key)[:100]}"
        violations += _text_violations(key, f"{path} (a key)")
        if name in _REASONS:
            violations += _text_violations(entry, at)
        elif isinstance(entry, bool) or not isinstance(entry, int | float):
            violations.append(Violation(at, f"must be a number, not a {type(entry).__name__}"))
    if not violations:
        try:
            getattr(message, name).update(value)
        except OverflowError:
            violations.append(Violation(path, "holds a number beyond the range of a double"))
    return violations


def _text_violations(value: object, path: str) -> list[Violation]:
    if not isinstance(value, str):
        return [Violation(path, f"must be a text, not a {type(value).__name__}")]
    try:
        value.encode()
    except UnicodeEncodeError:
        return [Violation(path, "holds a lone surrogate")]
    return []


def to_datetime(timestamp: Timestamp) -> datetime:
    """A time of a message, in UTC, to the microsecond."""
    return timestamp.ToDatetime(tzinfo=UTC)


def _cut(text: str, characters: int = 100) -> str:
    """Text for a `repr`: on one line, not too long."""
    shown = text if len(text) <= characters else f"{text[: characters - 1]}…"
    return shown if shown.isprintable() else repr(shown)


def _feedback_of_bytes(data: bytes) -> Feedback:
    return Feedback(v1.Feedback.FromString(data))
