"""Expressions of the query language as values, and conditions on the names of an aggregate; not the language itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from plaudit._contract import limits
from plaudit.v1 import Expression, Query
from plaudit_server.analytics.records import ROW_COUNT, Grouping, Kind, Measure, Value
from plaudit_server.errors import InvalidFields, InvalidQuery, Violation
from plaudit_server.query.fields import Column
from plaudit_server.query.kinds import kind_of
from plaudit_server.query.parse import Reader
from plaudit_server.query.tree import Field, Literal, Operation

T = TypeVar("T")

# The kinds of expressions that are no value.
_WHOLE: Final = ("array", "map")

# The fields of Expression, each of which is a step further into it.
_INSIDE: Final = re.compile(
    r"\.(?:expr|literal|field|convert|all_of|any_of|negation|comparison|membership|contains|type_of|starts_with)\b"
)


class Expressions:
    """Reads all expressions of one request: together they count against the nodes that a query may have."""

    def __init__(self, out: list[Violation]) -> None:
        self.reader = Reader()
        self._out = out

    def value(self, message: Expression, at: str, payload_kind: Kind) -> Value | None:
        """A field, a convert or an operation, and what it gives; a payload path by itself is read as `payload_kind`.

        None, with the reasons, when it is refused.
        """
        operand = self.reader.operand(message, at, 1)
        if operand is not None and isinstance(operand, Literal):
            self.reader.refuse(at, "is a literal; a field, a convert or an operation is needed here")
        elif operand is not None and kind_of(operand) in _WHOLE:
            self.reader.refuse(at, f"is a whole {kind_of(operand)}, which has no value")
        if self._refused() or operand is None:
            return None
        kind = kind_of(operand)
        return Value(operand, payload_kind if kind == "payload" else cast(Kind, kind))

    def query(self, message: Query, at: str) -> Operation | None:
        """The tree of a query. None, with the reasons, when it is refused."""
        if not message.HasField("expr"):
            self.reader.refuse(f"{at}.expr", "is required")
        else:
            operation = self.reader.operation(message.expr, f"{at}.expr", 1)
            if not self._refused():
                return operation
        self._refused()
        return None

    def _refused(self) -> bool:
        """Whether anything was refused since the last time; hands the reasons on."""
        violations, self.reader.violations = self.reader.violations, []
        self._out += violations
        return bool(violations)


class Names(Expressions):
    """Reads a condition whose fields are names: `row_count`, groupings, and measures that are one value."""

    def __init__(self, out: list[Violation], known: Mapping[str, Kind | None], beside: Expressions) -> None:
        super().__init__(out)
        self.reader = _NameReader(known, beside.reader)


class _NameReader(Reader):
    def __init__(self, known: Mapping[str, Kind | None], beside: Reader) -> None:
        super().__init__(beside)
        self._known = known

    def field(self, path: str, at: str) -> Field | None:
        if path not in self._known:
            self.refuse(at, "is neither row_count nor the name of a grouping or measure")
            return None
        kind = self._known[path]
        if kind is None:
            self.refuse(at, "is a measure that is not one value, and compares with nothing")
            return None
        return Field(Column(path, cast(Any, "time" if kind == "range" else kind), nullable=True))


def refuse(out: list[Violation]) -> None:
    """Raise what a request breaks, if anything: InvalidQuery when only its expressions do, else InvalidFields."""
    if out:
        raise InvalidQuery(out) if all(_is_of_expression(each.field) for each in out) else InvalidFields(out)


def _is_of_expression(path: str) -> bool:
    """Whether a violation is inside an expression, and not about one as a whole."""
    return _INSIDE.search(path) is not None and ".time." not in path and ".ref_part." not in path


def bounded(messages: Sequence[T], most: int, at: str, out: list[Violation]) -> Iterable[tuple[int, T]]:
    """The messages with their places; a violation, and only the first ones, when there are too many."""
    if len(messages) > most:
        out.append(Violation(at, f"has {len(messages)} elements, the limit is {most}"))
    return enumerate(messages[:most])


def check_name(name: str, at: str, out: list[Violation]) -> None:
    """A violation for a name that is too long, or has a control character."""
    if len(name.encode()) > limits.AGGREGATE_NAME_BYTES:
        out.append(Violation(at, f"has more than {limits.AGGREGATE_NAME_BYTES} bytes"))
    if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in name):
        out.append(Violation(at, "holds a control character"))


def check_distinct(named: Sequence[Grouping | Measure | None], at: str, seen: set[str], out: list[Violation]) -> None:
    """A violation for each name that is in `seen`, which it joins, and for that of the count of rows."""
    for index, each in enumerate(named):
        if each is None:
            continue
        if each.name == ROW_COUNT:
            out.append(Violation(f"{at}[{index}].name", f"{ROW_COUNT} is the name of what each group has"))
        elif each.name in seen:
            out.append(Violation(f"{at}[{index}].name", "is the name of another grouping or measure"))
        seen.add(each.name)
