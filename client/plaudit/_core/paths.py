"""Payloads as values by path, and back: paths are those of queries, such as `payload.usage.total`; no I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from plaudit._core.errors import Violation
from plaudit._core.values import is_missing, plain_json

PREFIX: Final = "payload."
"""How every path starts."""

_MOST_PATHS: Final = 2_000
_SEGMENT_END: Final = re.compile(r"(?<!\\)\.")


def flattened(payloads: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The values of payloads by path, in the order in which the paths first come; None where a payload has none.

    Objects are walked, arrays and empty objects are values. Raises ValueError for more than 2,000 paths.
    """
    found: dict[str, list[Any]] = {}
    for row, payload in enumerate(payloads):
        for path, value in _leaves(payload, PREFIX):
            values = found.get(path)
            if values is None:
                if len(found) == _MOST_PATHS:
                    many = f"the payloads have more than {_MOST_PATHS:,} paths, such as {path}"
                    raise ValueError(f"{many}: take them as payload='json'")
                values = found[path] = [None] * len(payloads)
            values[row] = value
    return found


def nested(values: Mapping[str, Any], prefix: str) -> tuple[dict[str, Any], list[Violation]]:
    """A payload made of values by path, of which those that are missing are left out, and what is wrong with paths."""
    payload: dict[str, Any] = {}
    violations: list[Violation] = []
    for path, value in values.items():
        if is_missing(value):
            continue
        *parents, key = segments(path)
        place: Any = payload
        for parent in parents:
            place = place.setdefault(parent, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict) or key in place:
            violations.append(Violation(f"{prefix}.{path}", "has a value, and so has a path above or below it"))
        else:
            place[key] = value
    return payload, violations


def differing(values: Mapping[str, Any], payload: Mapping[str, Any], prefix: str) -> list[Violation]:
    """What is wrong with values by path that come beside their payload: they must say the same."""
    return [
        Violation(f"{prefix}.{path}", "is not what the payload holds; leave the payload out to store the paths")
        for path, value in values.items()
        if not _is_same(value, _value_at(payload, path))
    ]


def segments(path: str) -> list[str]:
    """The keys of a path, from the payload on; a dot within a key is written with a backslash before it."""
    return [segment.replace("\\.", ".") for segment in _SEGMENT_END.split(path.removeprefix(PREFIX))]


def found_at(value: Any, keys: Sequence[str]) -> Any:
    """What a query finds in a value at these keys, of which digits alone also count in an array; None for nothing."""
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _leaves(value: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, entry in value.items():
        at = path + key.replace(".", "\\.")
        # What follows a backslash at the end of a key could not be told from a dot within a key.
        if isinstance(entry, dict) and entry and not key.endswith("\\"):
            yield from _leaves(entry, f"{at}.")
        else:
            yield at, entry


def _value_at(payload: Any, path: str) -> Any:
    for segment in segments(path):
        payload = payload.get(segment) if isinstance(payload, dict) else None
    return payload


def _is_same(given: object, stored: object) -> bool:
    """Whether a value means the one of the payload, also after a file has made a text or a float of it."""
    if is_missing(given):
        return stored is None or (isinstance(stored, dict) and stored != {})  # which has paths of its own
    given = plain_json(given)
    if given == stored:
        return True
    if isinstance(given, str):
        if isinstance(stored, bool):
            return given.lower() == str(stored).lower()
        try:
            given = json.loads(given)
        except ValueError:
            return False
        if given == stored:
            return True
    return isinstance(given, float) and isinstance(stored, int) and float(stored) == given
