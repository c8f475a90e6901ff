"""Declared indexes: what an operator may declare, and which of an index's values may pass a comparison; no SQL."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, Literal

from plaudit._contract import limits
from plaudit_server.query.fields import Column, FieldRef, MapKey, PayloadPath, UnknownField, is_position, resolve
from plaudit_server.query.hints import number_range
from plaudit_server.query.parse import Compare, Convert, Field, In, Op, Operand, Operation, Scalar, Target
from plaudit_server.query.parse import Literal as Constant

IndexKind = Literal["number", "text", "bool"]
IndexValue = str | float | int
"""A value in an index: a number's double, the beginning of a text, 1 or 0 for a bool."""

KINDS: Final[tuple[IndexKind, ...]] = ("number", "text", "bool")
PATH_BYTES: Final = 512
POSITIONS: Final = 2
TEXT_CHARACTERS: Final = 256
"""How much of a text an index holds: in bytes below what any engine allows in a row of an index."""

_KIND_OF_CAST: Final[dict[Target, IndexKind]] = {
    "double": "number",
    "int": "number",
    "string": "text",
    "bool": "bool",
}
_OPERATORS: Final[dict[Op, Callable[[Any, Any], bool]]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
MIRRORED: Final[dict[Op, Op]] = {"eq": "eq", "ne": "ne", "gt": "lt", "gte": "lte", "lt": "gt", "lte": "gte"}


class NotIndexable(ValueError):
    """What no index can be declared for; the message tells why."""


@dataclass(frozen=True, slots=True)
class DeclaredIndex:
    """An index over the values of a path, read as a kind."""

    path: str
    ref: MapKey | PayloadPath
    kind: IndexKind

    @property
    def column(self) -> str:
        """The column that holds the values."""
        return self.ref.column if isinstance(self.ref, MapKey) else "payload"

    @property
    def ways(self) -> list[list[str | int]]:
        """Every way from the column to the value; an integer is a position. For any one row at most one leads there."""
        if isinstance(self.ref, MapKey):
            return [[self.ref.key]]
        first, *later = self.ref.segments
        choices: list[list[str | int]] = [[first]]
        # A position of more digits than any payload has elements would wrap around.
        choices += [[int(s), s] if is_position(s) and len(s) < 10 else [s] for s in later]
        return [list(way) for way in product(*choices)]


def declare(path: str, kind: str | None = None) -> DeclaredIndex:
    """An index for a path; the kind may be left out for a map's key, whose values have one. Raises NotIndexable."""
    try:
        size = len(path.encode())
        ref = resolve(path)
    except UnicodeEncodeError:
        raise NotIndexable("the path is not valid UTF-8") from None
    except UnknownField as error:
        raise NotIndexable(str(error)) from error
    if size > PATH_BYTES:
        raise NotIndexable(f"the path has {size} bytes; an index takes {PATH_BYTES} at most")
    if isinstance(ref, Column):
        raise NotIndexable(
            f"{path} is a column; an index is declared for a path in the payload, such as payload.score, "
            "or a key of a map, such as scorer_ratings.quality"
        )
    _check_size(path, ref)
    if kind is None:
        if isinstance(ref, PayloadPath):
            raise NotIndexable(f"a value in the payload has no kind of its own: read {path} as number, text or bool")
        kind = ref.kind
    if isinstance(ref, MapKey) and kind != ref.kind:
        raise NotIndexable(f"the values of {ref.column} are read as {ref.kind}, not as {kind}")
    for known in KINDS:
        if kind == known:
            return DeclaredIndex(path, ref, known)
    raise NotIndexable(f"{kind!r} is no kind of an index: number, text or bool")


def _check_size(path: str, ref: MapKey | PayloadPath) -> None:
    if isinstance(ref, MapKey):
        if len(ref.key.encode()) > limits.SCORER_KEY_BYTES:
            raise NotIndexable(f"no key of a map is as long as that of {path}: {limits.SCORER_KEY_BYTES} bytes at most")
        return
    if len(ref.segments) > limits.PAYLOAD_DEPTH:
        raise NotIndexable(f"no payload is as deep as {path}: {limits.PAYLOAD_DEPTH} levels at most")
    if sum(map(is_position, ref.segments[1:])) > POSITIONS:
        raise NotIndexable(
            f"{path} has more than {POSITIONS} segments of digits, each of which may be a position or a key"
        )


@dataclass(frozen=True, slots=True)
class Span:
    """A range of an index's values with its bounds in it; None is no bound."""

    low: IndexValue | None = None
    high: IndexValue | None = None

    @property
    def is_point(self) -> bool:
        """Whether it holds one value."""
        return self.low is not None and self.low == self.high

    def common(self, other: Span) -> Span:
        """What is in both, of the same index."""
        lows: list[Any] = [low for low in (self.low, other.low) if low is not None]
        highs: list[Any] = [high for high in (self.high, other.high) if high is not None]
        return Span(max(lows, default=None), min(highs, default=None))


Narrowing = tuple[DeclaredIndex, tuple[Span, ...]]
"""An index, and spans of it: whatever passes a comparison is in one of them. What is in them need not pass."""


class Indexes:
    """The indexes that are declared."""

    def __init__(self, declared: Iterable[DeclaredIndex] = ()) -> None:
        self._found: dict[tuple[FieldRef, IndexKind], DeclaredIndex] = {
            (index.ref, index.kind): index for index in declared
        }

    def narrowing(self, leaf: Operation, wanted: bool, exact_numbers: bool) -> Narrowing | None:
        """Where in a declared index whatever makes a comparison with literals `wanted` is; None when it is anywhere.

        `wanted` false asks for what makes it false, and not unknown. Without `exact_numbers` the doubles in the index
        may be a bit off.
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
        spans = [_span(kind, op, value, exact_numbers) for value in values]
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
        case Compare(op, Constant(value), operand):
            return operand, MIRRORED[op], [value]
        case Compare(op, operand, Constant(value)):
            return operand, op, [value]
        case In(operand, members) if wanted:
            constants = [member.value for member in members if isinstance(member, Constant)]
            # A null makes none true.
            return (operand, "eq", [v for v in constants if v is not None]) if len(constants) == len(members) else None
        case Convert(_, "bool"):
            return leaf, "eq", [wanted]
        case _:
            return None


COMPLEMENT: Final[dict[Op, Op]] = {"eq": "ne", "ne": "eq", "gt": "lte", "gte": "lt", "lt": "gte", "lte": "gt"}


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
    """What an operand reads as a kind, when no other than an index's reading of it is behind that."""
    match operand:
        case Field(PayloadPath() | MapKey() as ref):
            pass
        case Convert(Field(PayloadPath() | MapKey() as ref), to) if _KIND_OF_CAST.get(to) == kind:
            pass
        case _:
            return None
    return ref if isinstance(ref, PayloadPath) or ref.kind == kind else None


def _span(kind: IndexKind, op: Op, value: Any, exact_numbers: bool) -> Span | None:
    if kind == "bool":
        passing = [int(possible) for possible in (False, True) if _OPERATORS[op](possible, value)]
        return Span(passing[0], passing[0]) if len(passing) == 1 else None
    if kind == "text":
        # Of two texts the beginnings are in the same order, or the same.
        low = high = value[:TEXT_CHARACTERS]
    elif exact_numbers:
        # Of two numbers the nearest doubles are.
        low = high = float(value)
    else:
        low, high = number_range(value)
    match op:
        case "eq":
            return Span(low, high)
        case "gt" | "gte":
            return Span(low, None)
        case "lt" | "lte":
            return Span(None, high)
        case _:
            return None
