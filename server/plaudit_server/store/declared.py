"""How declared indexes are named, made and remembered, alike on every engine; no I/O.

A declaration is a row of the table `meta` and not a migration, so that servers of any version can work with it. A
server writes declared expressions into its filters; whether the index exists decides only how fast they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from plaudit_server.query.compile.dialect import Dialect
from plaudit_server.query.compile.indexed import expression
from plaudit_server.query.indexes.conditions import Indexes
from plaudit_server.query.indexes.declared import DeclaredIndex, NotIndexable, declare

_PREFIX: Final = "feedback_declared_"
# The keys of declarations in `meta`: `index KIND PATH`.
_FIRST_KEY: Final = "index "
_BEHIND_KEYS: Final = "index!"

READ: Final = f"SELECT key, value FROM meta WHERE key >= '{_FIRST_KEY}' AND key < '{_BEHIND_KEYS}' ORDER BY key"
"""The declarations, as rows of a key and the index's name."""


class State(Enum):
    """The state of a declared index in the store."""

    READY = "ready"
    MISSING = "missing"
    INVALID = "invalid"
    OUTDATED = "outdated"


@dataclass(frozen=True, slots=True)
class Declaration:
    """A declaration as the store remembers it, and the name of the index that was made for it."""

    index: DeclaredIndex
    name: str

    @property
    def key(self) -> str:
        """Its key in `meta`."""
        return f"{_FIRST_KEY}{self.index.kind} {self.index.path}"


def declaration(dialect: Dialect, index: DeclaredIndex) -> Declaration:
    """What this version makes for an index; another expression has another name."""
    definition = create(dialect, Declaration(index, "name"))
    return Declaration(index, _PREFIX + hashlib.sha256(definition.encode()).hexdigest()[:16])


def create(dialect: Dialect, declared: Declaration, how: str = "") -> str:
    """The statement that makes an index; like every other it begins with the project."""
    index = declared.index
    value = expression(dialect.indexed, index).text
    if index.kind == "aggregates":
        return f"CREATE INDEX {how}{declared.name} ON feedback (project, feedback_type, {value}, created_at)"
    # Rows with the same value are then in the order of time. Numbers that are looked up as a range are not: there the
    # columns would only take space.
    tail = "" if index.kind == "number" and not dialect.indexed.exact_numbers else ", created_at, id"
    return f"CREATE INDEX {how}{declared.name} ON feedback (project, {value}{tail})"


def read(rows: Iterable[tuple[Any, ...]]) -> list[Declaration]:
    """The declarations that READ found, except those of another version, which this one cannot read."""
    found = []
    for key, value in rows:
        kind, _, path = key.removeprefix(_FIRST_KEY).partition(" ")
        name = bytes(value).decode()
        try:
            index = declare(path, kind)
        except NotIndexable:
            continue
        if name.startswith(_PREFIX) and name.isidentifier():
            found.append(Declaration(index, name))
    return found


def usable(dialect: Dialect, rows: Iterable[tuple[Any, ...]]) -> Indexes:
    """The indexes that the filters of this version can use."""
    return Indexes(found.index for found in read(rows) if found == declaration(dialect, found.index))
