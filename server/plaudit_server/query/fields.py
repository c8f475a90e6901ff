"""The catalogue of queryable fields, and the reading of a path."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the record; `kind` is text, number, time or array (scorer_tags)."""

    name: str
    kind: str
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class MapKey:
    """One entry of a scorer_* map; `kind` is text or number."""

    column: str
    key: str
    kind: str


@dataclass(frozen=True, slots=True)
class PayloadPath:
    """A path into the payload; a segment of plain digits is a position in an array and a key in an object."""

    segments: tuple[str, ...]


FieldRef = Column | MapKey | PayloadPath
