"""The fields that a query may name, and how the text of a path is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["text", "number", "bool", "time", "array", "map"]
MapKind = Literal["text", "number"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the record; only scorer_tags is an array, and only a nullable column may hold null."""

    name: str
    kind: Kind
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class MapKey:
    """One entry of a scorer_* map; `kind` is that of its values."""

    column: str
    key: str
    kind: MapKind


@dataclass(frozen=True, slots=True)
class PayloadPath:
    """A path into the payload; a segment of plain digits is a position in an array and a key in an object."""

    segments: tuple[str, ...]


FieldRef = Column | MapKey | PayloadPath


class UnknownField(ValueError):
    """A path that names no field, or breaks the grammar of paths; the message says why."""


PAYLOAD: Final = "payload"

MAPS: Final[Mapping[str, MapKind]] = {
    "scorer_tag_reasons": "text",
    "scorer_tag_confidences": "number",
    "scorer_ratings": "number",
    "scorer_rating_reasons": "text",
    "scorer_rating_confidences": "number",
}
"""The map columns, and the kind of their values."""

COLUMNS: Final[Mapping[str, Column]] = {
    column.name: column
    for column in (
        *(Column(name, "text") for name in ("id", "project", "ref", "feedback_type", "user_id", "owner")),
        *(Column(name, "time") for name in ("created_at", "updated_at")),
        *(Column(name, "number") for name in ("version", "revision")),
        *(
            Column(name, "text", nullable=True)
            for name in ("creator", "annotation_ref", "runnable_ref", "call_ref", "trigger_ref", "queue_id")
        ),
        Column("scorer_tags", "array"),
        *(Column(name, "map") for name in MAPS),
        *(
            Column(name, "text")
            for name in (
                "span_agent_name",
                "span_agent_version",
                "span_status_code",
                "span_conversation_id",
                "span_trace_id",
                "scorer_trace_id",
            )
        ),
    )
}
"""Every column by its own name; values in the payload have paths."""

ALIASES: Final[Mapping[str, str]] = {"weave_ref": "ref", "wb_user_id": "user_id", "project_id": "project"}
"""Weave's names of three columns."""


def resolve(path: str) -> FieldRef:
    """The field that a path names; UnknownField when it names none."""
    if "\0" in path:
        raise UnknownField("a path holds no NUL character")
    if column := COLUMNS.get(ALIASES.get(path, path)):
        return column
    head, dot, rest = path.partition(".")
    if head == PAYLOAD:
        if not dot:
            raise UnknownField("the payload is no value by itself; name a path in it, such as payload.score")
        return PayloadPath(_segments(rest))
    if dot and head in MAPS:
        if not rest:
            raise UnknownField(f"{head}. needs a key after the dot")
        return MapKey(head, rest, MAPS[head])
    raise UnknownField(f"unknown field {path!r}")


def is_position(segment: str) -> bool:
    """Whether a segment of a payload path may be a position in an array: digits without a leading zero."""
    return segment.isascii() and segment.isdigit() and (segment == "0" or segment[0] != "0")


def _segments(rest: str) -> tuple[str, ...]:
    """Split at dots; `\\.` is a dot inside a segment, and every other backslash is itself."""
    # An escaped dot is replaced by a NUL for the split: no path contains one.
    segments = tuple(part.replace("\0", ".") for part in rest.replace("\\.", "\0").split("."))
    if "" in segments:
        raise UnknownField("a path has no empty segment; write \\. for a dot inside a key")
    return segments
