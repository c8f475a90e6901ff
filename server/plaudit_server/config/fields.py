"""How a setting is declared as a field of a section, and how its value is checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field, fields
from typing import Any, TypeVar

from plaudit_server.config.errors import ConfigError

T = TypeVar("T")


def setting(
    default: T, help: str, *, minimum: float | None = None, maximum: float | None = None, choices: Sequence[str] = ()
) -> T:
    """A field with the line that --help and docs/settings.md show, and the values that it may have."""
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "choices": tuple(choices)}
    declared: T = field(default=default, metadata=metadata)
    return declared


def check_values(section: Any, prefix: str) -> None:
    """Check the values of a section against the ranges and choices of its fields. Raises ConfigError."""
    for part in fields(section):
        value, meta = getattr(section, part.name), part.metadata
        if not meta:
            continue
        key = prefix + part.name
        for text in (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ():
            if meta["choices"] and text not in meta["choices"]:
                raise ConfigError(f"{key} is {text!r}; use {', '.join(meta['choices'])}")
        if isinstance(value, int | float) and not isinstance(value, bool):
            low = meta["minimum"] if meta["minimum"] is not None else -math.inf
            high = meta["maximum"] if meta["maximum"] is not None else math.inf
            if not (math.isfinite(value) and low <= value <= high):
                bounds = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
                raise ConfigError(f"{key} is {value}; use {bounds}")
