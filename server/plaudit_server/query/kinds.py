"""The kinds of operands, as known before any row is read, and the kind that two of them are compared as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from typing import Literal as Word

from plaudit_server.query.fields import Column, Kind, MapKey, PayloadPath
from plaudit_server.query.tree import Convert, Field, Literal, Operand, Target, TypeOf

ScalarKind = Word["text", "number", "bool", "time"]
"""What a value may be in a comparison."""

OperandKind = Word["text", "number", "bool", "null", "time", "array", "map", "payload"]
"""What an operand is before any row is read; a payload value takes the kind of what it is compared with."""

TYPE_OF_KIND: Final[Mapping[Kind, str]] = {
    "text": "text",
    "number": "number",
    "bool": "bool",
    "time": "time",
    "array": "array",
    "map": "object",
}
"""What TypeOf gives for a column or map key that has a value, by its kind."""

_KIND_OF_TARGET: Final[dict[Target, OperandKind]] = {
    "double": "number",
    "int": "number",
    "string": "text",
    "bool": "bool",
    "exists": "bool",
}


def kind_of(operand: Operand) -> OperandKind:
    """What an operand is before any row is read."""
    match operand:
        case Literal(value=None):
            return "null"
        case Literal(value=bool()):
            return "bool"
        case Literal(value=str()):
            return "text"
        case Literal():
            return "number"
        case Field(ref=PayloadPath()):
            return "payload"
        case Field(ref=Column() | MapKey() as ref):
            return ref.kind
        case TypeOf():
            return "text"
        case Convert(to=to):
            return _KIND_OF_TARGET[to]
        case _:
            return "bool"


def common_kind(left: Operand, right: Operand) -> ScalarKind | None:
    """The kind that two operands are compared as; None for two payload values."""
    for operand in (left, right):
        kind = kind_of(operand)
        if kind == "time":
            return "time"
    for operand in (left, right):
        kind = kind_of(operand)
        if kind in ("text", "number", "bool"):
            return kind
    return None


def is_null(operand: Operand) -> bool:
    """Whether an operand is unknown for every row: a null, or a cast of it, or of a truth to a number."""
    match operand:
        case Literal(None):
            return True
        case Convert(input, to) if to != "exists":
            return is_null(input) or (kind_of(input) == "bool" and to in ("double", "int"))
        case _:
            return False
