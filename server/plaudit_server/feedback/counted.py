"""Which counts the counters answer: of everything, of types, of whole UTC days; all others count rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from plaudit_server.query.fields import COLUMNS
from plaudit_server.query.tree import And, Compare, Field, In, Literal, Op, Operand, Operation
from plaudit_server.store.base import Read, Steps
from plaudit_server.store.counters import DAY, Counted, counted
from plaudit_server.store.prepared import Prepared
from plaudit_server.store.work import Lane

_TYPE: Final = Field(COLUMNS["feedback_type"])
_CREATED_AT: Final = Field(COLUMNS["created_at"])
_TURNED: Final[dict[Op, Op]] = {"eq": "eq", "gt": "lt", "gte": "lte", "lt": "gt", "lte": "gte"}


@dataclass(frozen=True, slots=True)
class Tally(Read[int | None]):
    """A count by the counters; None where they cannot be used now, and the rows must be counted."""

    project: str
    which: Counted

    @property
    def lane(self) -> Lane:
        """A few rows by their key."""
        return Lane.POINT

    def steps(self, sql: Prepared) -> Steps[int | None]:
        """One statement."""
        return counted(sql, self.project, self.which)


def counters_of(filter: Operation | None) -> Counted | None:
    """The counters whose sum is the number of records that match; None when that needs the records."""
    which = Counted()
    for operation in filter.operands if isinstance(filter, And) else () if filter is None else (filter,):
        more = _part(operation)
        if more is None:
            return None
        types = more.types if which.types is None else which.types if more.types is None else which.types & more.types
        which = Counted(types, _later(which.first, more.first), _earlier(which.until, more.until))
    return which


def _part(operation: Operation) -> Counted | None:
    """The counters of one condition."""
    if isinstance(operation, In):
        return _of_types(operation.members) if operation.operand == _TYPE else None
    if not isinstance(operation, Compare):
        return None
    op, field, value = operation.op, operation.left, operation.right
    if isinstance(field, Literal) and op in _TURNED:
        op, field, value = _TURNED[op], value, field
    if field == _TYPE and op == "eq":
        return _of_types((value,))
    if field != _CREATED_AT or not isinstance(value, Literal) or type(value.value) is not int:
        return None
    # The first microsecond that is beyond: of the days that match, or of those that do not.
    edge, rest = divmod(value.value + (op in ("gt", "lte")), DAY)
    if rest:
        return None
    if op in ("gte", "gt"):
        return Counted(first=edge)
    return Counted(until=edge) if op in ("lt", "lte") else None


def _of_types(members: Sequence[Operand]) -> Counted | None:
    names = [member.value for member in members if isinstance(member, Literal) and isinstance(member.value, str)]
    return Counted(frozenset(names)) if len(names) == len(members) else None


def _later(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)


def _earlier(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)
