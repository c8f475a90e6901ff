"""The tree of a query, and how a message becomes one; after parsing, every rule of the language holds."""

from __future__ import annotations

from dataclasses import dataclass

from plaudit_server.query.fields import FieldRef


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: text, int (64 bits), float (finite), bool or None. Times have become microseconds (int)."""

    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Field:
    """A column, payload path or map key."""

    ref: FieldRef


@dataclass(frozen=True, slots=True)
class Convert:
    """A cast; `to` is one of double, int, string, bool, exists."""

    input: Operand
    to: str


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
    """Two operands compared; `op` is one of eq, ne, gt, gte, lt, lte."""

    op: str
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


# A Convert stands as an operation only when `to` is exists or bool.
Operation = And | Or | Not | Compare | In | Contains | Convert
Operand = Literal | Field | Operation


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of an order."""

    ref: FieldRef
    descending: bool = False
