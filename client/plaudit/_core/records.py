"""Records that are given to be stored, as messages; what each field takes is in `fields`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from plaudit import v1
from plaudit._contract import jsontext
from plaudit._contract.uuid7 import uuid7
from plaudit._core.errors import InvalidArgumentError, Violation
from plaudit._core.fields import Field
from plaudit._core.model import ALIASES, CLIENT_FIELDS, FIELDS, SERVER_FIELDS, Feedback
from plaudit._core.paths import PREFIX, differing, nested
from plaudit._core.values import is_missing

# Of another one it would be another record.
_EDITABLE: Final = CLIENT_FIELDS - {"id", "project", "payload"}


class NotARecordError(InvalidArgumentError, TypeError):
    """What was given to be stored is not a mapping of a record's fields."""


def to_message(
    record: Mapping[str, Any] | Feedback, prefix: str = "feedback", *, imported: bool = False
) -> v1.Feedback:
    """A record to store as its message, with a new UUIDv7 if it has no id.

    What only the server sets is left out, unless `imported`: then all but `revision` is kept as given. A value of None,
    NaN, or pandas' NA and NaT is the same as leaving the field out. Keys such as `payload.score` make up the payload.

    Raises InvalidArgumentError with the path of every field that no message can hold, or that cannot be read; `prefix`
    is the start of the paths. Raises NotARecordError, which is a TypeError too, for a record that is not a mapping; a
    record to import may be a Feedback, too.
    """
    if imported and isinstance(record, Feedback):
        message = record.to_proto()
        message.ClearField("revision")
        return message
    if not isinstance(record, Mapping):
        raise NotARecordError.of([Violation(prefix, f"is a {type(record).__name__}, not a mapping of its fields")])
    message = v1.Feedback()
    violations: list[Violation] = []
    given: set[str] = set()
    paths: dict[str, Any] = {}
    for key, value in _entries(record, prefix):
        if not isinstance(key, str):
            violations.append(Violation(f"{prefix}.{str(key)[:100]}", "is no field of a record"))
            continue
        name = ALIASES.get(key, key)
        field = FIELDS.get(name)
        if key.startswith(PREFIX):
            paths[key] = value
        elif name in given:
            violations.append(Violation(f"{prefix}.{key}", f"is given twice, also as {name}"))
        elif field is None:
            violations.append(Violation(f"{prefix}.{str(key)[:100]}", "is no field of a record"))
        elif field.origin == "client" or (imported and field.origin == "import"):
            given.add(name)
            violations += _set(field, message, value, f"{prefix}.{name}")
    if paths and not violations:
        violations += _set_paths(message, paths, prefix)
    if violations:
        raise InvalidArgumentError.of(violations)
    message.id = message.id or uuid7()
    message.payload_json = message.payload_json or "{}"
    return message


def _set_paths(message: v1.Feedback, paths: Mapping[str, Any], prefix: str) -> Sequence[Violation]:
    """Make the payload of values by path, as a frame has them; beside a payload they must say the same."""
    if message.payload_json:
        return differing(paths, jsontext.decode(message.payload_json), prefix)
    payload, violations = nested(paths, prefix)
    return violations or _set(FIELDS["payload"], message, payload, f"{prefix}.payload")


def edited(
    stored: v1.Feedback, payload: Mapping[str, Any] | None, changes: Mapping[str, Any], prefix: str = "feedback"
) -> v1.Feedback:
    """A record to store in place of another one: with other fields, and other top-level keys of its payload.

    None in `changes` empties a field. Raises InvalidArgumentError with the path of every field that cannot be set.
    """
    message = v1.Feedback()
    message.CopyFrom(stored)
    name: Any
    for name in SERVER_FIELDS:
        message.ClearField(name)
    violations: list[Violation] = []
    for key, value in changes.items():
        name = ALIASES.get(key, key)
        if name not in _EDITABLE:
            violations.append(Violation(f"{prefix}.{key[:100]}", "is no field that an edit can change"))
        else:
            message.ClearField(name)
            violations += _set(FIELDS[name], message, value, f"{prefix}.{name}")
    if payload is not None:
        new = v1.Feedback()
        violations += _set(FIELDS["payload"], new, payload, f"{prefix}.payload")
        if not violations:
            message.payload_json = jsontext.merge(stored.payload_json or "{}", new.payload_json)
    if violations:
        raise InvalidArgumentError.of(violations)
    return message


def _entries(record: Mapping[str, Any], prefix: str) -> list[tuple[Any, Any]]:
    """The entries of a mapping of any kind, whose own code may fail."""
    try:
        return list(record.items())
    except Exception as error:
        raise InvalidArgumentError.of([_unreadable(prefix, error)]) from error


def _set(field: Field[Any], message: v1.Feedback, value: object, path: str) -> Sequence[Violation]:
    """Set a field, unless the value is missing; the code of foreign values may fail in any way."""
    try:
        return () if is_missing(value) else field.set(message, value, path)
    except Exception as error:
        return [_unreadable(path, error)]


def _unreadable(path: str, error: Exception) -> Violation:
    return Violation(path, f"cannot be read: {type(error).__name__}: {str(error)[:200]}")


def canonical_id(id: str | uuid.UUID) -> str:
    """An id as the server stores it: a UUID in lower case with dashes; any other text unchanged.

    Raises TypeError for what is neither text nor a UUID object.
    """
    if isinstance(id, uuid.UUID):
        return str(id)
    if not isinstance(id, str):
        raise TypeError(f"an id is a str or a UUID, not {type(id).__name__}")
    try:
        return str(uuid.UUID(id))
    except ValueError:
        return id


def id_of(record: object) -> str:
    """The id in a record that was given to be stored; empty when it has none."""
    try:
        id = record.get("id") if isinstance(record, Mapping) else None
    except Exception:  # the mapping's own code, which has been reported
        return ""
    return canonical_id(id) if isinstance(id, str | uuid.UUID) else ""
