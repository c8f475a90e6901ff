"""Records by field: the values of many messages, each field of all of them in one list; no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from plaudit import v1

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor


def transposed(messages: Sequence[v1.Feedback]) -> dict[str, list[Any]]:
    """The values by the names of the messages' fields, in the order of these: None where a message has none.

    A field that none of them has is left out, so that many fields cost nothing where few are in use.
    """
    columns: dict[FieldDescriptor, list[Any]] = {}
    empty: list[Any] = [None] * len(messages)
    for row, message in enumerate(messages):
        for field, value in message.ListFields():
            try:
                columns[field][row] = value
            except KeyError:
                columns[field] = empty.copy()
                columns[field][row] = value
    return {field.name: columns[field] for field in sorted(columns, key=_number)}


def _number(field: FieldDescriptor) -> int:
    return field.number
