"""The query language in Python: `field("payload.score") > 0.5`, its dict form and its message form, one to one.

The rules that need the record's fields (unknown field, kinds that do not go together) are the server's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, NoReturn, TypeAlias

from google.protobuf.struct_pb2 import NULL_VALUE

from plaudit import v1
from plaudit._contract import limits
from plaudit._core.errors import InvalidArgumentError, Violation

LiteralValue: TypeAlias = str | int | float | bool | datetime | date | None
"""What a constant of a query may be; times become RFC 3339 text (a naive time is UTC)."""

# The server has the exact rule of depth and its message; this keeps a tree within what parsers of messages take.
_MAX_DEPTH: Final = limits.QUERY_DEPTH + 8
_SHOWN_MEMBERS: Final = 20
_INT64: Final = range(-(2**63), 2**63)
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")

_COMPARISONS: Final[Mapping[str, v1.ComparisonOp.ValueType]] = {
    "$eq": v1.ComparisonOp.COMPARISON_OP_EQ,
    "$ne": v1.ComparisonOp.COMPARISON_OP_NE,
    "$gt": v1.ComparisonOp.COMPARISON_OP_GT,
    "$gte": v1.ComparisonOp.COMPARISON_OP_GTE,
    "$lt": v1.ComparisonOp.COMPARISON_OP_LT,
    "$lte": v1.ComparisonOp.COMPARISON_OP_LTE,
}
_COMPARISON_NAMES: Final = {number: name for name, number in _COMPARISONS.items()}
_COMPARISON_SIGNS: Final = {
    v1.ComparisonOp.COMPARISON_OP_EQ: "==",
    v1.ComparisonOp.COMPARISON_OP_NE: "!=",
    v1.ComparisonOp.COMPARISON_OP_GT: ">",
    v1.ComparisonOp.COMPARISON_OP_GTE: ">=",
    v1.ComparisonOp.COMPARISON_OP_LT: "<",
    v1.ComparisonOp.COMPARISON_OP_LTE: "<=",
}
_TARGETS: Final[Mapping[str, v1.ConvertTarget.ValueType]] = {
    "double": v1.ConvertTarget.CONVERT_TARGET_DOUBLE,
    "int": v1.ConvertTarget.CONVERT_TARGET_INT,
    "string": v1.ConvertTarget.CONVERT_TARGET_STRING,
    "bool": v1.ConvertTarget.CONVERT_TARGET_BOOL,
    "exists": v1.ConvertTarget.CONVERT_TARGET_EXISTS,
}
_TARGET_NAMES: Final = {number: name for name, number in _TARGETS.items()}
_OPERATION_TARGETS: Final = (v1.ConvertTarget.CONVERT_TARGET_BOOL, v1.ConvertTarget.CONVERT_TARGET_EXISTS)
_OPERATIONS: Final = frozenset(("all_of", "any_of", "negation", "comparison", "membership", "contains"))


class Expr:
    """A part of a query: a field, or what was built from fields with operators and methods. Immutable.

    Comparisons take numbers, text, bools, None, datetimes and other expressions. Combine with `&`, `|` and `~`
    (in parentheses: they bind tighter than comparisons), never with `and`, `or`, `not`.
    """

    __slots__ = ("_message",)
    # A comparison builds an expression, so an expression can be no key.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, message: v1.Expression) -> None:
        self._message = message

    def to_proto(self) -> v1.Expression:
        """A copy of the expression as a message."""
        copy = v1.Expression()
        copy.CopyFrom(self._message)
        return copy

    def __eq__(self, other: Expr | LiteralValue) -> Expr:  # type: ignore[override]
        return self._compare("$eq", other)

    def __ne__(self, other: Expr | LiteralValue) -> Expr:  # type: ignore[override]
        return self._compare("$ne", other)

    def __gt__(self, other: Expr | LiteralValue) -> Expr:
        return self._compare("$gt", other)

    def __ge__(self, other: Expr | LiteralValue) -> Expr:
        return self._compare("$gte", other)

    def __lt__(self, other: Expr | LiteralValue) -> Expr:
        return self._compare("$lt", other)

    def __le__(self, other: Expr | LiteralValue) -> Expr:
        return self._compare("$lte", other)

    def __and__(self, other: Expr) -> Expr:
        if not isinstance(other, Expr):
            return NotImplemented
        return all_of([self, other])

    def __or__(self, other: Expr) -> Expr:
        if not isinstance(other, Expr):
            return NotImplemented
        operands = [*_operands(self, "any_of"), *_operands(other, "any_of")]
        return Expr(v1.Expression(any_of=v1.ExpressionList(expressions=operands)))

    def __invert__(self) -> Expr:
        return Expr(v1.Expression(negation=_condition(self)))

    def in_(self, members: Iterable[Expr | LiteralValue]) -> Expr:
        """Whether this equals one of `members`, each compared by its own kind; false for none."""
        if isinstance(members, str | bytes | Mapping):
            raise TypeError(f"in_() takes a list of values, not a {type(members).__name__}")
        return Expr(
            v1.Expression(
                membership=v1.Membership(operand=self._message, members=[_operand(member) for member in members])
            )
        )

    def contains(self, text: str | Expr, *, case_insensitive: bool = False) -> Expr:
        """Whether `text` occurs in this text, or is an element of this array."""
        if not isinstance(text, str | Expr):
            raise TypeError(f"contains() looks for a text or an expression, not a {type(text).__name__}")
        return Expr(
            v1.Expression(
                contains=v1.Contains(
                    input=self._message, substring=_operand(text), case_insensitive=bool(case_insensitive)
                )
            )
        )

    def exists(self) -> Expr:
        """Whether the path is there (an explicit JSON null is); for a column or map key, whether it is not null."""
        return self._convert("exists")

    def as_double(self) -> Expr:
        """This as a number; unknown where it is none."""
        return self._convert("double")

    def as_int(self) -> Expr:
        """This as a whole number of 64 bits; unknown where it is none."""
        return self._convert("int")

    def as_string(self) -> Expr:
        """This in its text form."""
        return self._convert("string")

    def as_bool(self) -> Expr:
        """This as true or false; unknown where it is neither."""
        return self._convert("bool")

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "an expression has no truth value before a server evaluates it: combine with &, | and ~ and parentheses, "
            "not with and, or, not; write (a < x) & (x < b), not a < x < b; write x.in_([…]), not x in […]"
        )

    def __repr__(self) -> str:
        return _shown(self._message)

    def _compare(self, operator: str, other: Expr | LiteralValue) -> Expr:
        comparison = v1.Comparison(op=_COMPARISONS[operator], left=self._message, right=_operand(other))
        return Expr(v1.Expression(comparison=comparison))

    def _convert(self, target: str) -> Expr:
        if self._message.WhichOneof("kind") == "convert":
            raise TypeError(f"{self!r} is converted already: convert the field itself")
        return Expr(v1.Expression(convert=v1.Convert(input=self._message, to=_TARGETS[target])))


def field(path: str) -> Expr:
    r"""A field to build a query with: a column, `payload.a.b` (`\.` is a dot in a key), `scorer_ratings.<key>`."""
    if not isinstance(path, str):
        raise TypeError(f"a field's path is a str, not {type(path).__name__}")
    return Expr(v1.Expression(field=_text(path, "field")))


def all_of(operands: Iterable[Expr]) -> Expr:
    """The conjunction of one or more operations; nested ones are flattened."""
    flat = [message for operand in operands for message in _operands(operand, "all_of")]
    return Expr(v1.Expression(all_of=v1.ExpressionList(expressions=flat)))


class Query:
    """A filter over the feedback of a project: an expression that is an operation. Immutable, equal by value."""

    __slots__ = ("_message",)

    def __init__(self, expr: Expr) -> None:
        if not isinstance(expr, Expr):
            raise TypeError(f"a Query is made from an expression, not a {type(expr).__name__}; see Query.from_dict")
        self._message = v1.Query(expr=_condition(expr))
        self.to_dict()  # an expression that is nested too deep has no dict form

    @classmethod
    def from_dict(cls, query: Mapping[str, Any]) -> Query:
        """Read `{"$expr": <operation>}`. Raises InvalidArgumentError, a ValueError, with the path of what is wrong."""
        if not isinstance(query, Mapping):
            raise TypeError(f"a query is a dict, not a {type(query).__name__}")
        if set(query) != {"$expr"}:
            others = [key for key in query if key != "$expr"]
            raise _refusal("query", f"holds {_quoted(others[0])} beside $expr" if others else "has no $expr")
        return cls._of(_read_operation(query["$expr"], "query.$expr", 1))

    @classmethod
    def from_proto(cls, message: v1.Query) -> Query:
        """Take a message over. Raises InvalidArgumentError with the path of what is unset, unknown or misplaced."""
        if not message.HasField("expr"):
            raise _refusal("query.expr", "is not set")
        # The reader of dicts holds every rule; a message that can be written as one follows them.
        return cls.from_dict({"$expr": _written(message.expr, "query.expr", 1)})

    @property
    def expr(self) -> Expr:
        """The expression."""
        return Expr(self._message.expr)

    def to_dict(self) -> dict[str, Any]:
        """`{"$expr": …}`, of plain JSON values."""
        return {"$expr": _written(self._message.expr, "query.expr", 1)}

    def to_proto(self) -> v1.Query:
        """A copy of the query as a message."""
        copy = v1.Query()
        copy.CopyFrom(self._message)
        return copy

    def __eq__(self, other: object) -> bool:
        return self._message == other._message if isinstance(other, Query) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._message.SerializeToString(deterministic=True))

    def __repr__(self) -> str:
        return f"Query({_shown(self._message.expr)})"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _query_of_bytes, (self._message.SerializeToString(deterministic=True),)

    @classmethod
    def _of(cls, expression: v1.Expression) -> Query:
        query = cls.__new__(cls)
        query._message = v1.Query(expr=expression)
        return query


QueryLike: TypeAlias = Mapping[str, Any] | Query | Expr
"""What is taken wherever a query is."""


def as_query(query: QueryLike) -> Query:
    """Any of the three as a Query. Raises TypeError for anything else, InvalidArgumentError for a bad dict."""
    match query:
        case Query():
            return query
        case Expr():
            return Query(query)
        case Mapping():
            return Query.from_dict(query)
        case _:
            raise TypeError(f"a query is a dict, a Query or an expression, not a {type(query).__name__}")


# --- from Python values


def _operand(value: Expr | LiteralValue) -> v1.Expression:
    return value._message if isinstance(value, Expr) else v1.Expression(literal=_literal(value, "literal"))


def _operands(expr: Expr, kind: str) -> Sequence[v1.Expression]:
    """The operands of a nested list, else the one condition; so that `a & b & c` is one list of three."""
    if not isinstance(expr, Expr):
        raise TypeError(f"an expression is combined with expressions, not with a {type(expr).__name__}")
    message = _condition(expr)
    if message.WhichOneof("kind") != kind:
        return [message]
    nested: v1.ExpressionList = getattr(message, kind)
    return nested.expressions


def _condition(expr: Expr) -> v1.Expression:
    message = expr._message
    if not _is_condition(message):
        raise TypeError(f"{expr!r} is a value, not a condition: compare it, or take .exists() or .as_bool() of it")
    return message


def _is_condition(message: v1.Expression) -> bool:
    kind = message.WhichOneof("kind")
    return kind in _OPERATIONS or (kind == "convert" and message.convert.to in _OPERATION_TARGETS)


def _literal(value: object, path: str) -> v1.Literal:
    match value:
        case None:
            return v1.Literal(null_value=NULL_VALUE)
        case bool():
            return v1.Literal(bool_value=value)
        case int():
            if value not in _INT64:
                raise _refusal(path, "is an integer beyond 64 bits")
            return v1.Literal(int_value=value)
        case float():
            if not math.isfinite(value):
                raise _refusal(path, "must be finite, NaN and infinity are no numbers of JSON")
            return v1.Literal(double_value=value)
        case str():
            return v1.Literal(string_value=_text(value, path))
        case datetime():
            moment = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
            return v1.Literal(string_value=f"{moment.isoformat()}Z")
        case date():
            return v1.Literal(string_value=value.isoformat())
        case _:
            raise _refusal(path, f"must be a text, a number, a bool or null, not a {type(value).__name__}")


def _text(text: str, path: str) -> str:
    if _SURROGATE.search(text):
        raise _refusal(path, "holds a lone surrogate")
    return text


# --- from the dict form


def _read_operation(node: object, path: str, depth: int) -> v1.Expression:
    message = _read(node, path, depth)
    if not _is_condition(message):
        raise _refusal(path, "must be an operation, or a $convert to exists or bool")
    return message


def _read(node: object, path: str, depth: int) -> v1.Expression:
    if not isinstance(node, Mapping):
        raise _refusal(path, f"must be an object with one operator, not {_kind_of(node)}")
    if len(node) != 1:
        raise _refusal(path, f"must hold exactly one operator, not {len(node)}")
    if depth > _MAX_DEPTH:
        raise _refusal(path, f"is nested deeper than {limits.QUERY_DEPTH} levels")
    [(operator, argument)] = node.items()
    at = f"{path}.{operator}" if isinstance(operator, str) else path
    match operator:
        case "$literal":
            return v1.Expression(literal=_literal(argument, at))
        case "$getField":
            if not isinstance(argument, str):
                raise _refusal(at, f"must be a field's path, not {_kind_of(argument)}")
            return v1.Expression(field=_text(argument, at))
        case "$and":
            return v1.Expression(all_of=_read_operations(argument, at, depth))
        case "$or":
            return v1.Expression(any_of=_read_operations(argument, at, depth))
        case "$not":
            [operand] = _read_list(argument, at, 1)
            return v1.Expression(negation=_read_operation(operand, f"{at}[0]", depth + 1))
        case "$in":
            operand, members = _read_list(argument, at, 2)
            if not isinstance(members, list | tuple):
                raise _refusal(f"{at}[1]", f"must be a list, not {_kind_of(members)}")
            return v1.Expression(
                membership=v1.Membership(
                    operand=_read(operand, f"{at}[0]", depth + 1),
                    members=[_read(member, f"{at}[1][{i}]", depth + 1) for i, member in enumerate(members)],
                )
            )
        case "$contains":
            parts = _read_object(argument, at, ("input", "substr"), "case_insensitive")
            case_insensitive = parts.get("case_insensitive", False)
            if not isinstance(case_insensitive, bool):
                raise _refusal(f"{at}.case_insensitive", f"must be true or false, not {_kind_of(case_insensitive)}")
            return v1.Expression(
                contains=v1.Contains(
                    input=_read(parts["input"], f"{at}.input", depth + 1),
                    substring=_read(parts["substr"], f"{at}.substr", depth + 1),
                    case_insensitive=case_insensitive,
                )
            )
        case "$convert":
            parts = _read_object(argument, at, ("input", "to"))
            target = _TARGETS.get(parts["to"]) if isinstance(parts["to"], str) else None
            if target is None:
                raise _refusal(f"{at}.to", f"must be one of {', '.join(_TARGETS)}")
            source = _read(parts["input"], f"{at}.input", depth + 1)
            if source.WhichOneof("kind") == "convert":
                raise _refusal(f"{at}.input", "must not be another $convert")
            return v1.Expression(convert=v1.Convert(input=source, to=target))
        case str() if operator in _COMPARISONS:
            left, right = _read_list(argument, at, 2)
            return v1.Expression(
                comparison=v1.Comparison(
                    op=_COMPARISONS[operator],
                    left=_read(left, f"{at}[0]", depth + 1),
                    right=_read(right, f"{at}[1]", depth + 1),
                )
            )
        case _:
            raise _refusal(path, f"has the unknown operator {_quoted(operator)}")


def _read_operations(argument: object, path: str, depth: int) -> v1.ExpressionList:
    operands = _read_list(argument, path)
    if not operands:
        raise _refusal(path, "must have at least one operand")
    return v1.ExpressionList(
        expressions=[_read_operation(operand, f"{path}[{i}]", depth + 1) for i, operand in enumerate(operands)]
    )


def _read_list(argument: object, path: str, length: int | None = None) -> Sequence[object]:
    if not isinstance(argument, list | tuple):
        raise _refusal(path, f"must be a list, not {_kind_of(argument)}")
    if length is not None and len(argument) != length:
        raise _refusal(path, f"must have exactly {length} operand{'s' if length > 1 else ''}, not {len(argument)}")
    return argument


def _read_object(argument: object, path: str, required: Sequence[str], *optional: str) -> Mapping[str, object]:
    if not isinstance(argument, Mapping):
        raise _refusal(path, f"must be an object, not {_kind_of(argument)}")
    for key in required:
        if key not in argument:
            raise _refusal(path, f"has no {key}")
    for key in argument:
        if key not in required and key not in optional:
            raise _refusal(path, f"has the unknown key {_quoted(key)}")
    return argument


def _kind_of(value: object) -> str:
    """What a value is, in words of JSON."""
    match value:
        case None:
            return "null"
        case bool():
            return "a bool"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "an object"
        case _:
            return f"a {type(value).__name__}"


def _quoted(key: object) -> str:
    shown = repr(key)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"


def _refusal(path: str, description: str) -> InvalidArgumentError:
    return InvalidArgumentError.of([Violation(path, description)])


# --- to the dict form


def _written(message: v1.Expression, path: str, depth: int) -> dict[str, Any]:
    if depth > _MAX_DEPTH:
        raise _refusal(path, f"is nested deeper than {limits.QUERY_DEPTH} levels")
    match message.WhichOneof("kind"):
        case "literal":
            return {"$literal": _value(message.literal, f"{path}.literal")}
        case "field":
            return {"$getField": message.field}
        case "convert":
            target = _TARGET_NAMES.get(message.convert.to)
            if target is None:
                raise _refusal(f"{path}.convert.to", "is not set, or unknown")
            source = _written(message.convert.input, f"{path}.convert.input", depth + 1)
            return {"$convert": {"input": source, "to": target}}
        case "all_of":
            return {"$and": _written_list(message.all_of.expressions, f"{path}.all_of.expressions", depth)}
        case "any_of":
            return {"$or": _written_list(message.any_of.expressions, f"{path}.any_of.expressions", depth)}
        case "negation":
            return {"$not": [_written(message.negation, f"{path}.negation", depth + 1)]}
        case "comparison":
            comparison = message.comparison
            operator = _COMPARISON_NAMES.get(comparison.op)
            if operator is None:
                raise _refusal(f"{path}.comparison.op", "is not set, or unknown")
            return {
                operator: [
                    _written(comparison.left, f"{path}.comparison.left", depth + 1),
                    _written(comparison.right, f"{path}.comparison.right", depth + 1),
                ]
            }
        case "membership":
            return {
                "$in": [
                    _written(message.membership.operand, f"{path}.membership.operand", depth + 1),
                    _written_list(message.membership.members, f"{path}.membership.members", depth),
                ]
            }
        case "contains":
            parts: dict[str, Any] = {
                "input": _written(message.contains.input, f"{path}.contains.input", depth + 1),
                "substr": _written(message.contains.substring, f"{path}.contains.substring", depth + 1),
            }
            if message.contains.case_insensitive:
                parts["case_insensitive"] = True
            return {"$contains": parts}
        case _:
            raise _refusal(path, "is not set")


def _written_list(messages: Sequence[v1.Expression], path: str, depth: int) -> list[dict[str, Any]]:
    return [_written(message, f"{path}[{i}]", depth + 1) for i, message in enumerate(messages)]


def _value(literal: v1.Literal, path: str) -> str | int | float | bool | None:
    kind = literal.WhichOneof("value")
    if kind is None:
        raise _refusal(path, "is not set")
    if kind == "null_value":
        return None
    value: str | int | float | bool = getattr(literal, kind)
    return value


# --- to text


def _shown(message: v1.Expression) -> str:
    """The Python that builds the expression."""
    match message.WhichOneof("kind"):
        case "literal":
            return f"literal({_value_shown(message.literal)})"
        case "field":
            return f"field({message.field!r})"
        case "convert":
            name = _TARGET_NAMES.get(message.convert.to, "?")
            method = "exists" if name == "exists" else f"as_{name}"
            return f"{_primary(message.convert.input)}.{method}()"
        case "all_of":
            return " & ".join(map(_term, message.all_of.expressions))
        case "any_of":
            return " | ".join(map(_term, message.any_of.expressions))
        case "negation":
            return f"~{_primary(message.negation)}"
        case "comparison":
            comparison = message.comparison
            sign = _COMPARISON_SIGNS.get(comparison.op, "?")
            return f"{_primary(comparison.left)} {sign} {_argument(comparison.right)}"
        case "membership":
            members = message.membership.members
            shown = [_argument(member) for member in members[:_SHOWN_MEMBERS]]
            if len(members) > _SHOWN_MEMBERS:
                shown.append(f"… {len(members) - _SHOWN_MEMBERS} more")
            return f"{_primary(message.membership.operand)}.in_([{', '.join(shown)}])"
        case "contains":
            contains = message.contains
            folded = ", case_insensitive=True" if contains.case_insensitive else ""
            return f"{_primary(contains.input)}.contains({_argument(contains.substring)}{folded})"
        case _:
            return "?"


def _primary(message: v1.Expression) -> str:
    """Fit to stand before a dot, or behind a sign."""
    bare = message.WhichOneof("kind") in ("literal", "field", "convert", "membership", "contains")
    return _shown(message) if bare else f"({_shown(message)})"


def _term(message: v1.Expression) -> str:
    """Fit to stand between `&` or `|`."""
    return _shown(message) if message.WhichOneof("kind") == "negation" else _primary(message)


def _argument(message: v1.Expression) -> str:
    """Fit to stand behind a comparison's sign, or in an argument list."""
    return _value_shown(message.literal) if message.WhichOneof("kind") == "literal" else _primary(message)


def _value_shown(literal: v1.Literal) -> str:
    kind = literal.WhichOneof("value")
    return "None" if kind in (None, "null_value") else repr(getattr(literal, kind))


def _query_of_bytes(data: bytes) -> Query:
    query = Query.__new__(Query)
    query._message = v1.Query.FromString(data)
    return query
