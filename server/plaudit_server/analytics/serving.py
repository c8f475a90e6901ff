"""Which questions an index for aggregates answers without the records; no SQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from plaudit_server.analytics.records import Aggregate, ByTime, Grouping, Measure, Value
from plaudit_server.query.fields import Column, FieldRef
from plaudit_server.query.indexes.conditions import Indexes
from plaudit_server.query.indexes.declared import DeclaredIndex
from plaudit_server.query.tree import (
    And,
    Compare,
    Contains,
    Convert,
    Field,
    In,
    Literal,
    Not,
    Operand,
    Or,
    StartsWith,
    TypeOf,
)

_HELD: Final = ("project", "feedback_type", "created_at")
"""The columns that every index for aggregates has, beside the number."""


def serving(question: Aggregate, indexes: Indexes) -> DeclaredIndex | None:
    """The index that holds all that a question reads: the numbers of one path, by type and time; None if none does."""
    numbers = {measure.value.operand.ref for measure in question.measures if _is_number(measure)}  # type: ignore[union-attr]
    if len(numbers) != 1 or question.newest_of:
        return None
    [ref] = numbers
    index = indexes.exact(ref)
    if index is None:
        return None
    held = all(
        measure.value is None or _is_number(measure) or _is_held(measure.value.operand) for measure in question.measures
    )
    conditions = [question.filter, *(measure.where for measure in question.measures)]
    is_held = held and all(condition is None or _is_held(condition) for condition in conditions)
    return index if is_held and all(map(_is_key, question.group_by)) else None


def _is_number(measure: Measure) -> bool:
    """Whether a measure takes the number at a path or key as it is."""
    match measure.value:
        case Value(Field(Column())) | None:
            return False
        case Value(Field(), "number"):
            return True
        case _:
            return False


def _is_key(grouping: Grouping) -> bool:
    match grouping.by:
        case Value(operand):
            return _is_held(operand)
        case ByTime(column):
            return column.name in _HELD
        case _:
            return False


def _is_held(operand: Operand) -> bool:
    """Whether an expression reads nothing but columns that the index has."""
    return all(isinstance(ref, Column) and ref.name in _HELD for ref in _refs(operand))


def _refs(operand: Operand) -> Iterator[FieldRef]:
    """The fields that an expression reads."""
    match operand:
        case Field(ref) | TypeOf(Field(ref)):
            yield ref
        case Convert(inner) | Not(inner):
            yield from _refs(inner)
        case And(operands) | Or(operands):
            for operation in operands:
                yield from _refs(operation)
        case Compare(_, left, right) | Contains(left, right) | StartsWith(left, right):
            yield from _refs(left)
            yield from _refs(right)
        case In(operand=inner, members=members):
            yield from _refs(inner)
            for member in members:
                yield from _refs(member)
        case Literal():
            return
