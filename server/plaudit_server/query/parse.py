"""How a message becomes the tree of a query; after parsing, every rule of the language holds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice
from typing import Final, TypeGuard

from plaudit._contract import limits
from plaudit.v1 import ComparisonOp, ConvertTarget, Expression, Membership, OrderBy, Query
from plaudit.v1 import Contains as ContainsMessage
from plaudit.v1 import Convert as ConvertMessage
from plaudit.v1 import Literal as LiteralMessage
from plaudit.v1 import StartsWith as StartsWithMessage
from plaudit.v1 import TypeOf as TypeOfMessage
from plaudit_server.errors import InvalidQuery, Violation
from plaudit_server.query.fields import COLUMNS, Column, FieldRef, PayloadPath, UnknownField, resolve
from plaudit_server.query.kinds import OperandKind, kind_of
from plaudit_server.query.times import time_micros
from plaudit_server.query.tree import (
    DEFAULT_ORDER,
    And,
    Compare,
    Contains,
    Convert,
    Field,
    In,
    Literal,
    Not,
    Op,
    Operand,
    Operation,
    Or,
    SortKey,
    StartsWith,
    Target,
    TypeOf,
)

# The words of the enums by number; UNSPECIFIED has none.
_OPS: Final[dict[int, Op]] = {
    ComparisonOp.COMPARISON_OP_EQ: "eq",
    ComparisonOp.COMPARISON_OP_NE: "ne",
    ComparisonOp.COMPARISON_OP_GT: "gt",
    ComparisonOp.COMPARISON_OP_GTE: "gte",
    ComparisonOp.COMPARISON_OP_LT: "lt",
    ComparisonOp.COMPARISON_OP_LTE: "lte",
}
_TARGETS: Final[dict[int, Target]] = {
    ConvertTarget.CONVERT_TARGET_DOUBLE: "double",
    ConvertTarget.CONVERT_TARGET_INT: "int",
    ConvertTarget.CONVERT_TARGET_STRING: "string",
    ConvertTarget.CONVERT_TARGET_BOOL: "bool",
    ConvertTarget.CONVERT_TARGET_EXISTS: "exists",
}

# Reading stops at this many: nobody reads more, and a hostile request would produce millions.
_VIOLATIONS: Final = 1000

# Each binds values, and engines limit how many a statement has: SQLite allows 32,766.
_POSITIONS: Final = 2000


def parse_query(message: Query, at: str = "query") -> Operation:
    """The tree of a query. Raises InvalidQuery with every broken rule, each with the path of its node below `at`."""
    reader = Reader()
    root = None
    if message.HasField("expr"):
        root = reader.operation(message.expr, f"{at}.expr", 1)
    else:
        reader.refuse(f"{at}.expr", "is required")
    if root is None or reader.violations:
        raise InvalidQuery(reader.violations)
    return root


def parse_order(order_by: Iterable[OrderBy], at: str = "order_by") -> tuple[SortKey, ...]:
    """The keys of an order, made total: it ends with `id`. Raises InvalidQuery."""
    violations: list[Violation] = []
    keys: dict[FieldRef, SortKey] = {}
    for index, message in enumerate(order_by):
        if index == limits.ORDER_BY_KEYS:
            violations.append(Violation(at, f"has at most {limits.ORDER_BY_KEYS} keys"))
            break
        try:
            ref = resolve(message.field)
        except UnknownField as error:
            violations.append(Violation(f"{at}[{index}].field", str(error)))
            continue
        if isinstance(ref, Column) and ref.kind in ("array", "map"):
            violations.append(Violation(f"{at}[{index}].field", f"a whole {ref.kind} has no order; sort by one key"))
        # Naming a field again decides nothing.
        keys.setdefault(ref, SortKey(ref, message.descending))
    if violations:
        raise InvalidQuery(violations)
    if not keys:
        return DEFAULT_ORDER
    order = tuple(keys.values())
    id = COLUMNS["id"]
    if id in keys:  # nor does anything after the id
        return order[: list(keys).index(id) + 1]
    return (*order, SortKey(id))


def _is_operation(operand: Operand) -> TypeGuard[Operation]:
    if isinstance(operand, Convert):
        return operand.to in ("exists", "bool")
    return not isinstance(operand, Literal | Field | TypeOf)


class Reader:
    """One pass over a message, which collects what is wrong; a node that is refused reads as None."""

    def __init__(self, beside: Reader | None = None) -> None:
        self.violations: list[Violation] = []
        # What was read `beside` counts: all queries of a request together may be as large as one.
        self._nodes: int = beside._nodes if beside else 0
        self._members: int = beside._members if beside else 0
        self._open_members: int = beside._open_members if beside else 0
        self._positions: int = beside._positions if beside else 0

    def refuse(self, at: str, description: str) -> None:
        """Note a broken rule, by the path of its node."""
        self.violations.append(Violation(at, description))

    def operation(self, message: Expression, at: str, depth: int) -> Operation | None:
        """An operation, or a convert to exists or bool."""
        operand = self.operand(message, at, depth)
        if operand is None or _is_operation(operand):
            return operand
        self.refuse(at, "is a value; an operation, or a convert to exists or bool, is needed here")
        return None

    def operand(self, message: Expression, at: str, depth: int, is_member: bool = False) -> Operand | None:
        """Any node."""
        if len(self.violations) >= _VIOLATIONS or self._nodes > limits.QUERY_NODES:
            return None
        if depth > limits.QUERY_DEPTH:
            self.refuse(at, f"is nested deeper than {limits.QUERY_DEPTH} levels")
            return None
        if not is_member:
            self._nodes += 1
            if self._nodes > limits.QUERY_NODES:
                self.refuse(at, f"is beyond the {limits.QUERY_NODES} nodes that a query may have")
                return None
        match message.WhichOneof("kind"):
            case "literal":
                return self._literal(message.literal, f"{at}.literal")
            case "field":
                return self.field(message.field, f"{at}.field")
            case "convert":
                return self._convert(message.convert, f"{at}.convert", depth)
            case "all_of":
                operands = self._operations(message.all_of.expressions, f"{at}.all_of", depth)
                return And(tuple(_flat(And, operands))) if operands else None
            case "any_of":
                operands = self._operations(message.any_of.expressions, f"{at}.any_of", depth)
                return Or(tuple(_flat(Or, operands))) if operands else None
            case "negation":
                operation = self.operation(message.negation, f"{at}.negation", depth + 1)
                return operation and Not(operation)
            case "comparison":
                return self._comparison(message, f"{at}.comparison", depth)
            case "membership":
                return self._membership(message.membership, f"{at}.membership", depth)
            case "contains":
                return self._contains(message.contains, f"{at}.contains", depth)
            case "type_of":
                return self._type_of(message.type_of, f"{at}.type_of", depth)
            case "starts_with":
                return self._starts_with(message.starts_with, f"{at}.starts_with", depth)
            case _:
                self.refuse(at, "is empty: no kind of expression is set")
                return None

    def _literal(self, message: LiteralMessage, at: str) -> Literal | None:
        match message.WhichOneof("value"):
            case "null_value":
                if message.null_value == 0:
                    return Literal(None)
                self.refuse(f"{at}.null_value", "is no number of NullValue")
            case "bool_value":
                return Literal(message.bool_value)
            case "int_value":
                return Literal(message.int_value)
            case "double_value":
                if math.isfinite(message.double_value):
                    return Literal(message.double_value)
                self.refuse(f"{at}.double_value", "is not finite")
            case "string_value":
                if "\0" not in message.string_value:
                    return Literal(message.string_value)
                self.refuse(f"{at}.string_value", "holds a NUL character")
            case _:
                self.refuse(at, "is empty: no value is set; for null set null_value")
        return None

    def field(self, path: str, at: str) -> Field | None:
        """The field that a path names."""
        try:
            ref = resolve(path)
        except UnknownField as error:
            self.refuse(at, str(error))
            return None
        if isinstance(ref, PayloadPath) and len(ref.segments) <= limits.PAYLOAD_DEPTH:
            self._positions += sum(map(_may_be_position, ref.segments))
            if self._positions > _POSITIONS:
                self.refuse(at, f"is beyond the {_POSITIONS} positions that the paths of a query may have together")
                return None
        return Field(ref)

    def _convert(self, message: ConvertMessage, at: str, depth: int) -> Convert | None:
        to = _TARGETS.get(message.to)
        if to is None:
            self.refuse(f"{at}.to", f"{message.to} is no target of a conversion")
        input = self.operand(message.input, f"{at}.input", depth + 1)
        if input is None or to is None:
            return None
        if isinstance(input, Convert):
            self.refuse(f"{at}.input", "is itself a convert")
            return None
        if to != "exists" and (kind := kind_of(input)) in ("time", "array", "map"):
            self.refuse(f"{at}.input", f"is {_article(kind)}, which converts to exists only")
            return None
        return Convert(input, to)

    def _operations(self, messages: Iterable[Expression], at: str, depth: int) -> list[Operation] | None:
        """One or more operations; None when any is refused."""
        # One more than is allowed is enough to refuse them.
        some = enumerate(islice(messages, limits.QUERY_NODES + 1))
        read = [self.operation(message, f"{at}[{index}]", depth + 1) for index, message in some]
        if not read:
            self.refuse(at, "needs one operation at least")
        operations = [operation for operation in read if operation is not None]
        return operations if read and len(operations) == len(read) else None

    def _comparison(self, message: Expression, at: str, depth: int) -> Compare | None:
        comparison = message.comparison
        op = _OPS.get(comparison.op)
        if op is None:
            self.refuse(f"{at}.op", f"{comparison.op} is no comparison")
        left = self.operand(comparison.left, f"{at}.left", depth + 1)
        right = self.operand(comparison.right, f"{at}.right", depth + 1)
        scalars = [
            side is not None and self._is_scalar(side, f"{at}.{name}")
            for side, name in ((left, "left"), (right, "right"))
        ]
        if op is None or left is None or right is None or not all(scalars):
            return None
        pair = self._pair(left, right, f"{at}.left", f"{at}.right")
        return Compare(op, *pair) if pair else None

    def _membership(self, message: Membership, at: str, depth: int) -> Operation | None:
        operand = self.operand(message.operand, f"{at}.operand", depth + 1)
        if operand is not None and not self._is_scalar(operand, f"{at}.operand"):
            operand = None
        if len(message.members) > limits.QUERY_MEMBERS:
            self.refuse(f"{at}.members", f"has at most {limits.QUERY_MEMBERS} members")
            return None
        self._members += len(message.members)
        if self._members > limits.QUERY_MEMBERS_TOGETHER:
            self.refuse(f"{at}.members", f"a query has at most {limits.QUERY_MEMBERS_TOGETHER} members together")
            return None
        # A literal is a bound value and costs little. A query may have as many other members as one list may,
        # or several lists would get around the limit of nodes.
        self._open_members += sum(member.WhichOneof("kind") != "literal" for member in message.members)
        if self._open_members > limits.QUERY_MEMBERS:
            self.refuse(f"{at}.members", f"a query has at most {limits.QUERY_MEMBERS} members that are no literals")
            return None
        takes_text = operand is not None and kind_of(operand) in ("text", "payload")
        pairs: list[tuple[Operand, Operand]] = []
        for index, member_message in enumerate(message.members):
            literal = member_message.literal
            is_text = literal.WhichOneof("value") == "string_value" and "\0" not in literal.string_value
            if is_text and takes_text and operand is not None:
                # Most members are such texts, by the thousand: no other rule can refuse one.
                pairs.append((operand, Literal(literal.string_value)))
                continue
            place = f"{at}.members[{index}]"
            member = self.operand(member_message, place, depth + 1, is_member=True)
            if operand is None or member is None or not self._is_scalar(member, place):
                continue
            pair = self._pair(operand, member, f"{at}.operand", place)
            if pair is not None:
                pairs.append(pair)
        if operand is None or len(pairs) < len(message.members):
            return None
        # A literal may be read as a time with one member and as a text with the next: then each pair is compared alone.
        if any(left is not operand and left != operand for left, _ in pairs):
            return Or(tuple(Compare("eq", *pair) for pair in pairs))
        return In(operand, tuple(member for _, member in pairs))

    def _contains(self, message: ContainsMessage, at: str, depth: int) -> Contains | None:
        input = self.operand(message.input, f"{at}.input", depth + 1)
        needle = self.operand(message.substring, f"{at}.substring", depth + 1)
        if input is None or needle is None:
            return None
        good = True
        if (kind := kind_of(input)) not in ("text", "payload", "array"):
            self.refuse(f"{at}.input", f"is {_article(kind)}; text, a payload value or scorer_tags is needed here")
            good = False
        if (kind := kind_of(needle)) not in ("text", "payload"):
            self.refuse(f"{at}.substring", f"is {_article(kind)}; text or a payload value is needed here")
            good = False
        return Contains(input, needle, message.case_insensitive) if good else None

    def _type_of(self, message: TypeOfMessage, at: str, depth: int) -> TypeOf | None:
        input = self.operand(message.input, f"{at}.input", depth + 1)
        if isinstance(input, Field):
            return TypeOf(input)
        if input is not None:
            self.refuse(f"{at}.input", "is not a field; a payload value, a column or a key of a map is needed here")
        return None

    def _starts_with(self, message: StartsWithMessage, at: str, depth: int) -> StartsWith | None:
        input = self.operand(message.input, f"{at}.input", depth + 1)
        prefix = self.operand(message.prefix, f"{at}.prefix", depth + 1)
        if input is None or prefix is None:
            return None
        good = True
        for operand, name in ((input, "input"), (prefix, "prefix")):
            if (kind := kind_of(operand)) not in ("text", "payload"):
                self.refuse(f"{at}.{name}", f"is {_article(kind)}; text or a payload value is needed here")
                good = False
        return StartsWith(input, prefix) if good else None

    def _is_scalar(self, operand: Operand, at: str) -> bool:
        if (kind := kind_of(operand)) in ("array", "map"):
            self.refuse(at, f"is {_article(kind)}, which cannot be compared as a whole")
            return False
        return True

    def _pair(self, left: Operand, right: Operand, at_left: str, at_right: str) -> tuple[Operand, Operand] | None:
        """Two scalars that can be compared, with time literals read as times; None when they cannot."""
        kinds = {kind_of(left), kind_of(right)}
        if kinds == {"time"}:
            return left, right
        if "time" in kinds:
            read_left, read_right = self._time(left, at_left), self._time(right, at_right)
            return None if read_left is None or read_right is None else (read_left, read_right)
        if len(kinds - {"payload", "null"}) == 2:
            self.refuse(at_right, f"is {_article(kind_of(right))}, and is compared with {_article(kind_of(left))}")
            return None
        return left, right

    def _time(self, operand: Operand, at: str) -> Operand | None:
        """One side of a comparison of times."""
        match operand:
            case Literal(value=None):
                return operand
            case Literal(value=str() | int() | float() as value) if not isinstance(value, bool):
                try:
                    return Literal(time_micros(value))
                except ValueError as error:
                    self.refuse(f"{at}.literal", str(error))
                    return None
            case _ if kind_of(operand) == "time":
                return operand
            case _:
                self.refuse(at, f"is {_article(kind_of(operand))}; a time is compared with a time or a literal")
                return None


def _may_be_position(segment: str) -> bool:
    """Whether some engine may read a segment as a position; a generous guess, because it is only counted."""
    return segment.strip().lstrip("+-").isdigit()


def _flat(kind: type[And] | type[Or], operations: Iterable[Operation]) -> Iterable[Operation]:
    for operation in operations:
        if isinstance(operation, kind):
            yield from operation.operands
        else:
            yield operation


def _article(kind: OperandKind) -> str:
    """A kind as it reads in a sentence."""
    match kind:
        case "array":
            return "an array"
        case "payload":
            return "a payload value"
        case "text" | "null":
            return kind
        case _:
            return f"a {kind}"
