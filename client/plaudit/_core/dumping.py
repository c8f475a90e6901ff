"""A record as JSON, and as what web frameworks return; pydantic, which need not be there, is imported by its hook."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plaudit._core.fields import Field
    from plaudit._core.model import Feedback


def json_text(values: Mapping[str, Any], payload_json: str) -> str:
    """A record as a JSON object on one line, with the payload's own text."""
    # A line break in it can only stand between two values.
    raw = payload_json.replace("\n", " ").replace("\r", " ")
    members = [
        f'"{name}":{raw if name == "payload" else json.dumps(value, ensure_ascii=False, default=time_text)}'
        for name, value in values.items()
    ]
    return f"{{{','.join(members)}}}"


def time_text(value: Any) -> str:
    """A time in UTC as RFC 3339, to the microsecond. Raises TypeError for anything else."""
    if not isinstance(value, datetime):
        raise TypeError(f"a {type(value).__name__} is nothing that a record holds")
    return value.isoformat(timespec="microseconds").replace("+00:00", "Z")


def pydantic_schema(kind: type[Feedback]) -> Any:
    """What pydantic, and so FastAPI, makes of a record in an annotation: taken as it is, and written as JSON."""
    from pydantic_core import core_schema

    def dump(feedback: Feedback, info: Any) -> dict[str, Any]:
        return feedback.model_dump(mode="json" if info.mode == "json" else "python")

    return core_schema.is_instance_schema(
        kind,
        ref=f"{kind.__module__}.{kind.__qualname__}:{id(kind)}",
        serialization=core_schema.plain_serializer_function_ser_schema(dump, info_arg=True),
    )


def json_schema(fields: Mapping[str, Field[Any]]) -> dict[str, Any]:
    """The JSON Schema of a record."""
    properties = {name: {**field.json_schema, "description": field.meaning} for name, field in fields.items()}
    return {"type": "object", "title": "Feedback", "properties": properties, "required": [*fields]}
