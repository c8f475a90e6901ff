"""The record as it was read: the table of its fields, and the values of one record; storing records is in `records`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

from plaudit import v1
from plaudit._core.dumping import json_schema, json_text, pydantic_schema, time_text
from plaudit._core.fields import (
    Field,
    IdText,
    ImportedNumber,
    ImportedText,
    ImportedTime,
    NumberMap,
    OptionalRef,
    OptionalText,
    Payload,
    RefText,
    ServerNumber,
    ServerText,
    SpanStatus,
    Text,
    TextMap,
    Texts,
)
from plaudit._show.grid import FIELD_COLUMNS, Grid, field_row
from plaudit._show.shown import Shown


class Feedback(Shown):
    """One record, as it was when it was read. Read-only, equal by value, hashed by its id.

    Do not change `payload`: it is decoded once, and everyone who reads it gets the same object.
    """

    __slots__ = ("_message", "_payload")

    # The table of fields, in the order in which they are shown; everything else that lists fields is made from it.
    id: Final = IdText("The UUID, unique in its project, also among the records that were purged.")
    project: Final = Text("`entity/project`.")
    ref: Final = RefText("The URI of what the feedback is about.")
    feedback_type: Final = Text("The type, such as `wandb.note.1`, or one of your own.")
    payload: Final = Payload("The content, decoded when it is first read; keys in the order in which they were sent.")
    creator: Final = OptionalText("The display name of who gave the feedback.")
    user_id: Final = ImportedText(
        "The authenticated principal that stored the record; `anonymous` while authentication is off."
    )
    created_at: Final = ImportedTime("When the record was stored, in UTC, to the microsecond.")
    updated_at: Final = ImportedTime("When the record was last replaced, or else stored, in UTC.")
    version: Final = ImportedNumber("1, and one more with each replace.")
    revision: Final = ServerNumber("The number of this record's last change in its project.")
    annotation_ref: Final = OptionalRef("The annotation spec.")
    runnable_ref: Final = OptionalRef("The scorer.")
    call_ref: Final = OptionalRef("The scorer's own call.")
    trigger_ref: Final = OptionalRef("What made the scorer run.")
    queue_id: Final = OptionalText("The annotation queue that the feedback came from.")
    scorer_tags: Final = Texts("Tags, in the order given.")
    scorer_tag_reasons: Final = TextMap("Why a tag was given, by tag.")
    scorer_tag_confidences: Final = NumberMap("How sure the scorer is of a tag, by tag: 0 to 1.")
    scorer_ratings: Final = NumberMap("Ratings by name: 0 to 1.")
    scorer_rating_reasons: Final = TextMap("Why a rating was given, by name.")
    scorer_rating_confidences: Final = NumberMap("How sure the scorer is of a rating, by name: 0 to 1.")
    span_agent_name: Final = Text("The agent's name.")
    span_agent_version: Final = Text("The agent's version.")
    span_status_code: Final = SpanStatus("How the span ended: `UNSET`, `OK` or `ERROR`.")
    span_conversation_id: Final = Text("The conversation that the feedback is about.")
    span_trace_id: Final = Text("The trace (the turn) that the feedback is about.")
    scorer_trace_id: Final = Text("The trace in which the scorer itself ran.")
    owner: Final = ServerText(
        "The principal that stored version 1, which stays when an editor corrects the record; rights go by it."
    )

    def __init__(self, message: v1.Feedback) -> None:
        self._message = message
        self._payload: dict[str, Any] | None = None

    @classmethod
    def from_proto(cls, message: v1.Feedback) -> Feedback:
        """A record made from a copy of its message."""
        copy = v1.Feedback()
        copy.CopyFrom(message)
        return cls(copy)

    def to_proto(self) -> v1.Feedback:
        """A copy of the record as a message."""
        copy = v1.Feedback()
        copy.CopyFrom(self._message)
        return copy

    @property
    def project_id(self) -> str:
        """Another name of `project`."""
        return self._message.project

    @property
    def weave_ref(self) -> str:
        """Another name of `ref`."""
        return self._message.ref

    @property
    def wb_user_id(self) -> str:
        """Another name of `user_id`."""
        return self._message.user_id

    @property
    def payload_json(self) -> str:
        """The content as the JSON text that was sent, numbers to the digit."""
        return self._message.payload_json or "{}"

    def to_dict(self) -> dict[str, Any]:
        """Every field by its name, times as datetimes; `create` takes it, and ignores what only the server sets."""
        return {name: read(self) for name, read in _READERS}

    def _grid(self) -> Grid:
        """Name and value of each field that is set."""
        values = [(name, self.payload_json if name == "payload" else read(self)) for name, read in _READERS]
        is_set = [(name, value) for name, value in values if value is not None and value not in ("", [], {})]
        return Grid(FIELD_COLUMNS, [field_row(name, value) for name, value in is_set])

    def to_json(self) -> str:
        """Every field by its name as a JSON object on one line; the payload is its own text, numbers to the digit.

        `import_records(map(json.loads, lines))` takes lines of it. Times are RFC 3339, to the microsecond.
        """
        return json_text(self.to_dict(), self.payload_json)

    def model_dump(self, *, mode: Literal["python", "json"] = "python") -> dict[str, Any]:
        """As `to_dict`, under the name that models of pydantic have for it; in the mode "json" times are texts."""
        values = self.to_dict()
        if mode == "json":
            values = {name: time_text(v) if isinstance(v, datetime) else v for name, v in values.items()}
        return values

    # With these two `dict(feedback)` and `{**feedback}` are `to_dict()`; FastAPI calls dict for what has no type.
    def keys(self) -> Iterable[str]:
        """The names of the fields."""
        return FIELDS.keys()

    def __getitem__(self, name: str) -> Any:
        """A field by its name. Raises KeyError."""
        return FIELDS[name].__get__(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return pydantic_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return json_schema(FIELDS)

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
            f"payload={_shortened(self.payload_json)})"
        )

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _feedback_of_bytes, (self._message.SerializeToString(deterministic=True),)


FIELDS: Final[Mapping[str, Field[Any]]] = {
    name: field for name, field in vars(Feedback).items() if isinstance(field, Field)
}
"""The fields of a record by name, in the order in which they are shown."""

_READERS: Final = [(name, field.fget) for name, field in FIELDS.items() if field.fget is not None]

ALIASES: Final = {"weave_ref": "ref", "wb_user_id": "user_id", "project_id": "project"}
"""Other names of fields, by which records may be written and read."""

CLIENT_FIELDS: Final = frozenset(name for name, field in FIELDS.items() if field.origin == "client")
"""What a record to store may hold."""

SERVER_FIELDS: Final = frozenset(FIELDS) - CLIENT_FIELDS
"""What only the server sets: ignored in records to store, so that a record that was read may be stored again."""


def _shortened(text: str, characters: int = 100) -> str:
    """Text for a `repr`: on one line, not too long."""
    short = text if len(text) <= characters else f"{text[: characters - 1]}…"
    return short if short.isprintable() else repr(short)


def _feedback_of_bytes(data: bytes) -> Feedback:
    return Feedback(v1.Feedback.FromString(data))
