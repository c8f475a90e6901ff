"""Records that are given to be stored, as messages; what each field takes is in `fields`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from plaudit import v1
from plaudit._contract.uuid7 import uuid7
from plaudit._core.errors import InvalidArgumentError, Violation
from plaudit._core.model import ALIASES, FIELDS, Feedback


def to_message(
    record: Mapping[str, Any] | Feedback, prefix: str = "feedback", *, imported: bool = False
) -> v1.Feedback:
    """A record to store as its message, with a new UUIDv7 if it has no id.

    What only the server sets is left out, unless `imported`: then all but `revision` is kept as given. A value of None
    is the same as leaving the field out.

    Raises InvalidArgumentError with the path of every field that no message can hold; `prefix` is the start of the
    paths. Raises TypeError for a record that is not a mapping; a record to import may be a Feedback, too.
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
        field = FIELDS.get(name)
        if name in given:
            violations.append(Violation(f"{prefix}.{key}", f"is given twice, also as {name}"))
        elif field is None:
            violations.append(Violation(f"{prefix}.{str(key)[:100]}", "is no field of a record"))
        elif field.origin == "client" or (imported and field.origin == "import"):
            given.add(name)
            if value is not None:
                violations += field.set(message, value, f"{prefix}.{name}")
    if violations:
        raise InvalidArgumentError.of(violations)
    message.id = message.id or uuid7()
    message.payload_json = message.payload_json or "{}"
    return message


def canonical_id(id: str) -> str:
    """An id as the server stores it: a UUID in lower case with dashes; any other text unchanged.

    Raises TypeError for what is not text.
    """
    if not isinstance(id, str):
        raise TypeError(f"an id is a str, not {type(id).__name__}")
    try:
        return str(uuid.UUID(id))
    except ValueError:
        return id


def id_of(record: object) -> str:
    """The id in a record that was given to be stored; empty when it has none."""
    id = record.get("id") if isinstance(record, Mapping) else None
    return canonical_id(id) if isinstance(id, str) else ""
