"""The columns of tables: names and kinds, and the values of records by column; no library that makes frames."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from plaudit import v1
from plaudit._core import fields
from plaudit._core.fields import span_status_name
from plaudit._core.model import FIELDS, Feedback
from plaudit._core.paths import flattened
from plaudit._core.transposed import transposed
from plaudit._frames.kinds import Column, Kind, Values

PayloadForm = Literal["dict", "json", "columns"]
"""How payloads are shown: decoded, as their JSON text, or as that text and a column for each path in them."""

_FORMS: Final = ("dict", "json", "columns")
_LABELS: Final = frozenset(("project", "feedback_type", "creator", "user_id", "span_status_code"))
_KINDS: Final[Mapping[type, Kind]] = {
    fields.ImportedNumber: "integer",
    fields.ImportedTime: "time",
    fields.NumberMap: "number map",
    fields.Payload: "json",
    fields.ServerNumber: "integer",
    fields.TextMap: "text map",
    fields.Texts: "texts",
}


def record_columns(payload: PayloadForm = "json") -> list[Column]:
    """The columns of records, in the order of their fields. Raises ValueError for another form of payloads."""
    if payload not in _FORMS:
        raise ValueError(f"payload is one of {', '.join(map(repr, _FORMS))}, not {payload!r}")
    return [
        Column(
            name,
            "label" if name in _LABELS else _KINDS.get(type(field), "text"),
            is_nullable=isinstance(field, fields.OptionalText),
            is_decoded=name == "payload" and payload == "dict",
        )
        for name, field in FIELDS.items()
    ]


def table_of(records: Sequence[Feedback], payload: PayloadForm) -> tuple[list[Column], Values]:
    """The columns of these records, and their values.

    Raises ValueError for payloads with more paths than a table has columns.
    """
    columns = record_columns(payload)
    values = dict(record_values([record._message for record in records]))
    if payload == "columns":
        paths = flattened([record.payload for record in records])
        added = [typed(name, each) for name, each in paths.items()]
        at = 1 + next(index for index, column in enumerate(columns) if column.name == "payload")
        columns[at:at] = [column for column, _ in added]
        values |= {column.name: each for column, each in added}
    return columns, values


def typed(name: str, values: Sequence[Any]) -> tuple[Column, list[Any]]:
    """A column of values of any kind: of the one kind that they all have, else of their JSON texts."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {str}:
        return Column(name, "text"), list(values)
    if kinds == {bool}:
        return Column(name, "boolean"), list(values)
    if kinds == {int}:
        return Column(name, "integer"), list(values)
    if kinds <= {int, float}:
        return Column(name, "number"), [None if value is None else float(value) for value in values]
    are_lists = all(issubclass(kind, list | tuple | dict) for kind in kinds)
    return Column(name, "json", is_decoded=are_lists), [None if value is None else json_text(value) for value in values]


# Made once: json.dumps makes one for each call.
_encoder: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str)


def json_text(value: Any) -> str:
    """A value as compact JSON."""
    return _encoder.encode(value)


_quoted = json.encoder.encode_basestring


def list_text(texts: Sequence[str]) -> str:
    """A list of texts as compact JSON; several times faster than `json_text`."""
    return f"[{','.join(map(_quoted, texts))}]" if texts else "[]"


def map_text(entries: Mapping[str, str | float]) -> str:
    """A map of texts or of finite numbers as compact JSON, by key; several times faster than `json_text`."""
    if not entries:
        return "{}"
    members = [
        f"{_quoted(key)}:{_quoted(value) if isinstance(value, str) else repr(value)}"
        for key, value in sorted(entries.items())
    ]
    return f"{{{','.join(members)}}}"


def record_values(messages: Sequence[v1.Feedback]) -> Values:
    """The values of records, by column; in the maps and lists nothing is copied."""
    found = transposed(messages)
    if "payload_json" in found:
        found["payload"] = found.pop("payload_json")
    return {column.name: _filled(column, found.get(column.name), len(messages)) for column in record_columns()}


def _filled(column: Column, values: list[Any] | None, count: int) -> list[Any]:
    """The values of a column of messages, with what stands for a value that is missing."""
    empty = _EMPTY[column.name]
    if values is None:
        return [empty] * count
    if column.kind == "time":
        return [empty if value is None else value.seconds * 1_000_000 + value.nanos // 1_000 for value in values]
    if column.name == "span_status_code":
        return [empty if value is None else span_status_name(value) for value in values]
    return values if empty is None else [empty if value is None else value for value in values]


def _empty(column: Column) -> Any:
    """What a record has in a column without a value."""
    match column.kind:
        case "json":
            return "{}"
        case "integer" | "time":
            return 0
        case "texts":
            return ()
        case "text map" | "number map":
            return {}
    if column.name == "span_status_code":
        return span_status_name(v1.SpanStatusCode.SPAN_STATUS_CODE_UNSPECIFIED)
    return None if column.is_nullable else ""


_EMPTY: Final[Mapping[str, Any]] = {column.name: _empty(column) for column in record_columns()}
