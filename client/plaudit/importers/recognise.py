"""Finds out which system an input was exported by, from its first row."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from plaudit.importers import SOURCES, UnusableError
from plaudit.importers.documents import rows
from plaudit.importers.tables import is_table, table

_LISTS: Final = ("result", "data", "content", "traces", "feedback", "results", "items", "events", "rows")
_TRIED: Final = 3


def recognised(path: str) -> str:
    """The name of the system; what comes on the standard input is taken for plaudit's own. Raises UnusableError for an
    input that looks like none.
    """
    if path == "-":
        return "plaudit"
    found = table(path) if is_table(path) else rows(path, _LISTS)
    for row in itertools.islice(found, _TRIED):
        if isinstance(row.value, Mapping):
            for system in _systems(row.value):
                return system
    raise UnusableError(f"{path} looks like the export of none of {', '.join(sorted(SOURCES))}: name one with --from")


def _systems(row: Mapping[str, Any]) -> list[str]:
    """The systems whose rows look like this one."""
    matching = []
    for system, home in SOURCES.items():
        module, _, name = home.partition(":")
        recognises = getattr(getattr(import_module(module), name), "recognises", None)
        if recognises is not None and recognises(row):
            matching.append(system)
    if not matching and "feedback_type" in row and "ref" in row:
        return ["plaudit"]
    return matching
