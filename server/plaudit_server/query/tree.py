"""The nodes of a query's tree, and the keys of an order: values alone, which nothing here reads or evaluates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from typing import Literal as Word

from plaudit_server.query.fields import COLUMNS, FieldRef

Op = Word["eq", "ne", "gt", "gte", "lt", "lte"]
Target = Word["double", "int", "string", "bool", "exists"]
Scalar = str | int | float | bool | None

COMPLEMENT: Final[dict[Op, Op]] = {"eq": "ne", "ne": "eq", "gt": "lte", "gte": "lt", "lt": "gte", "lte": "gt"}
"""The comparison that is true where the given one is false, and unknown where it is unknown."""

MIRRORED: Final[dict[Op, Op]] = {"eq": "eq", "ne": "ne", "gt": "lt", "gte": "lte", "lt": "gt", "lte": "gte"}
"""The comparison that means the same when its two sides are exchanged."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: text, int (64 bits), float (finite), bool or None. Times have become microseconds (int)."""

    value: Scalar


@dataclass(frozen=True, slots=True)
class Field:
    """A column, payload path or map key."""

    ref: FieldRef


@dataclass(frozen=True, slots=True)
class Convert:
    """A cast of anything but another cast."""

    input: Operand
    to: Target


@dataclass(frozen=True, slots=True)
class And:
    """All of several operations; nested ones are flattened."""

    operands: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of several operations; nested ones are flattened."""

    operands: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The negation of one operation."""

    operand: Operation


@dataclass(frozen=True, slots=True)
class Compare:
    """Two operands compared."""

    op: Op
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class In:
    """An operand equal to one of several."""

    operand: Operand
    members: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Contains:
    """A substring in text, or an element in an array."""

    input: Operand
    needle: Operand
    case_insensitive: bool


@dataclass(frozen=True, slots=True)
class StartsWith:
    """Whether text begins with another text."""

    input: Operand
    prefix: Operand


@dataclass(frozen=True, slots=True)
class TypeOf:
    """The kind of a field's value, as text."""

    input: Field


# A Convert is an operation only when `to` is exists or bool.
Operation = And | Or | Not | Compare | In | Contains | StartsWith | Convert
Operand = Literal | Field | TypeOf | Operation


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of an order."""

    ref: FieldRef
    descending: bool = False


DEFAULT_ORDER: Final = (SortKey(COLUMNS["created_at"]), SortKey(COLUMNS["id"]))
"""The order of a request that names no key."""


SortValue = str | int | float | None
"""One part of a row's sort key, as page tokens carry it."""
