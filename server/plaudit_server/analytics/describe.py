"""Counts which payload paths and map keys records hold, by type; not which records are looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from plaudit._contract import limits
from plaudit_server.analytics.errors import AggregateTooLarge
from plaudit_server.query.evaluate import number_of
from plaudit_server.query.fields import MAPS, PAYLOAD
from plaudit_server.query.tree import Operation

PATHS: Final = "describe_paths"


@dataclass(frozen=True, slots=True)
class DescribeQuestion:
    """A question about the fields of one project; `newest` is how many of the newest matches are looked at, or all."""

    project: str
    filter: Operation | None
    newest: int | None


@dataclass(slots=True)
class FieldCount:
    """How many records of one type hold one path, and as what."""

    feedback_type: str
    path: str
    number: int = 0
    text: int = 0
    bool: int = 0
    null: int = 0
    object: int = 0
    array: int = 0
    numeric_text: int = 0

    @property
    def row_count(self) -> int:
        """How many records hold the path, as anything."""
        return self.number + self.text + self.bool + self.null + self.object + self.array

    def add(self, value: Any) -> None:
        """Count one more record, by the value that it holds."""
        match value:
            case None:
                self.null += 1
            case bool():
                self.bool += 1
            case str():
                self.text += 1
                self.numeric_text += number_of(value) is not None
            case dict():
                self.object += 1
            case list():
                self.array += 1
            case _:
                self.number += 1


class Description:
    """The fields of the records that it was given, one after the other."""

    def __init__(self) -> None:
        self._fields: dict[tuple[str, str], FieldCount] = {}

    def add(self, feedback_type: str, payload: str, maps: Mapping[str, Mapping[str, Any]]) -> None:
        """Take in a record: its payload as JSON text, its maps by column. Raises AggregateTooLarge."""
        for path, value in _paths(PAYLOAD, json.loads(payload)):
            self._field(feedback_type, path).add(value)
        for column in MAPS:
            for key, value in maps[column].items():
                self._field(feedback_type, f"{column}.{key}").add(value)

    def fields(self) -> list[FieldCount]:
        """By type, then path."""
        return [self._fields[key] for key in sorted(self._fields)]

    def _field(self, feedback_type: str, path: str) -> FieldCount:
        field = self._fields.get((feedback_type, path))
        if field is None:
            if len(self._fields) == limits.DESCRIBE_PATHS:
                raise AggregateTooLarge(PATHS, limits.DESCRIBE_PATHS, limits.DESCRIBE_PATHS + 1)
            field = self._fields[feedback_type, path] = FieldCount(feedback_type, path)
        return field


def _paths(prefix: str, held: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every path below an object with its value; objects are entered, arrays are not."""
    for key, value in held.items():
        path = f"{prefix}.{_escaped(key)}"
        yield path, value
        if isinstance(value, dict):
            yield from _paths(path, value)


def _escaped(key: str) -> str:
    r"""A key as a segment of a path: `\.` is a dot inside it."""
    return key.replace(".", "\\.")
