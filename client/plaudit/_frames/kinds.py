"""The columns of tables and what is in them; messages, records and libraries that make frames are not needed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "label", "integer", "number", "boolean", "time", "json", "texts", "text map", "number map"]
"""What is in a column. A label is a text of which there are few distinct ones; `json` is any value as a JSON text."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    kind: Kind
    is_nullable: bool = True
    """Whether a value may be missing."""
    is_decoded: bool = False
    """Whether a frame that can shows the values of a `json` column as lists and dicts."""
    zone: str = "UTC"
    """The time zone of a time."""


Values = Mapping[str, list[Any]]
"""Values by the names of their columns. Times are microseconds since 1970; lists and maps are themselves."""
