"""The comparisons that declared indexes serve, and where in an index their matches are; no SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from plaudit_server.query.fields import FieldRef, MapKey, PayloadPath
from plaudit_server.query.indexes.declared import DeclaredIndex, IndexKind
from plaudit_server.query.indexes.ranges import Span, span_of
from plaudit_server.query.tree import (
    COMPLEMENT,
    MIRRORED,
    Compare,
    Convert,
    Field,
    In,
    Literal,
    Op,
    Operand,
    Operation,
    Scalar,
    Target,
)

_KIND_OF_CAST: Final[dict[Target, IndexKind]] = {
    "double": "number",
    "int": "number",
    "string": "text",
    "bool": "bool",
}

Narrowing = tuple[DeclaredIndex, tuple[Span, ...]]
"""An index, and spans of it: whatever passes a comparison is in one of them. What is in them may not pass."""


class Indexes:
    """The indexes that are declared."""

    def __init__(self, declared: Iterable[DeclaredIndex] = ()) -> None:
        self._found: dict[tuple[FieldRef, IndexKind], DeclaredIndex] = {
            (index.ref, index.kind): index for index in declared
        }

    def exact(self, ref: FieldRef) -> DeclaredIndex | None:
        """The index for aggregates of the numbers at a path or key, if there is one."""
        return self._found.get((ref, "aggregates"))

    def narrowing(self, leaf: Operation, wanted: bool, exact_numbers: bool) -> Narrowing | None:
        """The index that serves a comparison with literals, and where in it the matches are; None where none does.

        With `wanted` false the matches are what makes the comparison false, not unknown. Without `exact_numbers` the
        doubles in the index may be a bit off.
        """
        if not self._found:
            return None
        read = _reading(leaf, wanted)
        if read is None:
            return None
        operand, op, values = read
        kind = _kind_of(values)
        ref = None if kind is None else _indexed(operand, kind)
        if ref is None or kind is None or (index := self._found.get((ref, kind))) is None:
            return None
        spans = [span_of(kind, op, value, exact_numbers) for value in values]
        known = tuple(dict.fromkeys(span for span in spans if span is not None))
        if len(known) < len(set(spans)) or (kind == "bool" and len(known) > 1):
            return None
        return index, known


NO_INDEXES: Final = Indexes()


def _reading(leaf: Operation, wanted: bool) -> tuple[Operand, Op, Sequence[Scalar]] | None:
    """A comparison of one operand with literals: any of them, under one operator."""
    match leaf:
        case Compare(op, left, right) if not wanted:
            return _reading(Compare(COMPLEMENT[op], left, right), True)
        case Compare(op, Literal(value), operand):
            return operand, MIRRORED[op], [value]
        case Compare(op, operand, Literal(value)):
            return operand, op, [value]
        case In(operand, members) if wanted:
            constants = [member.value for member in members if isinstance(member, Literal)]
            # No value equals null.
            return (operand, "eq", [v for v in constants if v is not None]) if len(constants) == len(members) else None
        case Convert(_, "bool"):
            return leaf, "eq", [wanted]
        case _:
            return None


def _kind_of(values: Sequence[Scalar]) -> IndexKind | None:
    """The one kind of all values."""
    kinds: set[IndexKind | None] = set()
    for value in values:
        match value:
            case bool():
                kinds.add("bool")
            case str():
                kinds.add("text")
            case int() | float():
                kinds.add("number")
            case _:
                kinds.add(None)
    return kinds.pop() if len(kinds) == 1 else None


def _indexed(operand: Operand, kind: IndexKind) -> MapKey | PayloadPath | None:
    """The value that an operand reads as a kind, where an index of that kind reads it in the same way; else None."""
    match operand:
        case Field(PayloadPath() | MapKey() as ref):
            pass
        case Convert(Field(PayloadPath() | MapKey() as ref), to) if _KIND_OF_CAST.get(to) == kind:
            pass
        case _:
            return None
    return ref if isinstance(ref, PayloadPath) or ref.kind == kind else None
