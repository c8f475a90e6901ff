"""Ids that are derived from what a record says, so that a job that runs again stores nothing twice."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from plaudit import v1
from plaudit._core.errors import InvalidArgumentError, Violation
from plaudit._core.model import CLIENT_FIELDS, FIELDS, Feedback
from plaudit._core.records import id_of

Key: TypeAlias = Sequence[str] | Callable[[Any], object]
"""What tells records apart: names of fields, such as `("ref", "creator")`, or a function of a record."""

# Never changed, or the ids of all records that were stored before would change.
_NAMESPACE: Final = uuid.UUID("5b1d8f0e-3a4c-5e7b-9c2d-706c61756469")


def check_key(key: Key | None) -> Key | None:
    """The key. Raises TypeError for what is neither names nor a function, ValueError for a name of no field."""
    if key is None or callable(key):
        return key
    if isinstance(key, str) or not isinstance(key, Sequence):
        raise TypeError(f"key is a tuple of names of fields, or a function of a record, not a {type(key).__name__}")
    unknown = [name for name in key if name not in CLIENT_FIELDS - {"id"}]
    if unknown or not key:
        names = ", ".join(map(repr, unknown)) or "()"
        raise ValueError(f"key: {names} is no field of a record to store; give names such as ('ref', 'creator')")
    return tuple(key)


def set_id(key: Key | None, record: Mapping[str, Any] | Feedback, message: v1.Feedback, path: str) -> bool:
    """Give a record without an id the one that its key derives; whether its id is the same when it is given again."""
    if isinstance(record, Feedback) or id_of(record):
        return True
    if key is None:
        return False
    message.id = derived_id(key, record, message, path)
    return True


def derived_id(key: Key, record: Mapping[str, Any] | Feedback, message: v1.Feedback, path: str) -> str:
    """The UUIDv5 of what a key says of a record. Raises InvalidArgumentError, with `path`, when it says nothing."""
    try:
        if callable(key):
            said = key(record)
        else:
            read = Feedback(message)
            said = [FIELDS[name].__get__(read) for name in key]
        if said is None:
            raise ValueError("it returned None")
        text = json.dumps(said, ensure_ascii=False, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except Exception as error:
        raise InvalidArgumentError.of(
            [Violation(path, f"has no key of text, numbers and lists: {type(error).__name__}: {str(error)[:200]}")]
        ) from error
    return str(uuid.uuid5(_NAMESPACE, text))
