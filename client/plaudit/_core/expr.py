"""The query language in Python: `field("payload.score") > 0.5`, and a `Query` made of it.

Its form as a dict is in `query_dict`, its form as text in `query_text`. The rules that need the fields of a record
(unknown field, kinds that cannot be compared) are the server's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

from plaudit import v1
from plaudit._core.literals import (
    COMPARISONS,
    TARGETS,
    VALUE_KINDS,
    LiteralValue,
    is_condition,
    literal_of,
    refusal,
    valid_text,
)
from plaudit._core.measures import Measurable
from plaudit._core.query_dict import quoted, read_operation, write
from plaudit._core.query_python import as_python
from plaudit._core.query_text import read, written


class Expr(Measurable):
    """A part of a query: a field, or what was built from fields with operators and methods. Immutable.

    It is compared with numbers, texts, bools, datetimes and other expressions. A comparison with None, which would find
    nothing, raises ValueError: write `.is_null()` or `.exists()`. Combine conditions with `&`, `|` and `~`, never with
    `and`, `or`, `not`; put each comparison in parentheses, because these operators bind tighter.
    """

    __slots__ = ("_message",)
    # `==` builds an expression, so an expression cannot be a key.
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
        """Whether this equals one of `members`, each compared by its own kind; false if there are none.

        Raises ValueError for a None among them, which nothing equals.
        """
        if isinstance(members, str | bytes | Mapping):
            raise TypeError(f"in_() takes a list of values, not a {type(members).__name__}")
        return Expr(
            v1.Expression(
                membership=v1.Membership(operand=self._message, members=[self._member(member) for member in members])
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

    def startswith(self, prefix: str | Expr) -> Expr:
        """Whether this text begins with `prefix`; case counts. A prefix of `ref` is looked up in its index."""
        if not isinstance(prefix, str | Expr):
            raise TypeError(f"startswith() takes a text or an expression, not a {type(prefix).__name__}")
        return Expr(v1.Expression(starts_with=v1.StartsWith(input=self._message, prefix=_operand(prefix))))

    def exists(self) -> Expr:
        """Whether the path exists (a JSON null does); of a column or the key of a map, whether it is not null."""
        return self._convert("exists")

    def is_null(self) -> Expr:
        """Whether a payload path holds an explicit JSON null; of a column or the key of a map, whether it has no value.

        Unknown where the path is not there: `~field("payload.v").exists()` finds those records.
        """
        if self._message.WhichOneof("kind") == "field" and self._message.field.partition(".")[0] != "payload":
            return ~self.exists()
        return self.is_type("null")

    def type_of(self) -> Expr:
        """The kind of a field's value as text: one of `number`, `text`, `bool`, `null`, `object`, `array`.

        `time` of `created_at` and `updated_at`; unknown where the value is missing.
        """
        if self._message.WhichOneof("kind") != "field":
            raise TypeError(f"{self!r} is not a field: only a field's value has a kind to ask for")
        return Expr(v1.Expression(type_of=v1.TypeOf(input=self._message)))

    def is_type(self, kind: str) -> Expr:
        """Whether a field's value is of this kind: `number`, `text`, `bool`, `null`, `object`, `array` or `time`.

        Raises ValueError for another word.
        """
        if not isinstance(kind, str):
            raise TypeError(f"is_type() takes the name of a kind, not a {type(kind).__name__}")
        if kind not in VALUE_KINDS:
            raise ValueError(f"{quoted(kind)} is not a kind of value: write one of {', '.join(VALUE_KINDS)}")
        return self.type_of() == kind

    def as_double(self) -> Expr:
        """This as a number; unknown where it is not one."""
        return self._convert("double")

    def as_int(self) -> Expr:
        """This as a whole number of 64 bits; unknown where it is not one."""
        return self._convert("int")

    def as_string(self) -> Expr:
        """This as text."""
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
        return as_python(self._message)

    def _compare(self, operator: str, other: Expr | LiteralValue) -> Expr:
        if other is None:
            raise self._null_refusal(f"{self!r} compared with None")
        comparison = v1.Comparison(op=COMPARISONS[operator], left=self._message, right=_operand(other))
        return Expr(v1.Expression(comparison=comparison))

    def _member(self, member: Expr | LiteralValue) -> v1.Expression:
        if member is None:
            raise self._null_refusal(f"{self!r}.in_([…]) with None in it")
        return _operand(member)

    def _null_refusal(self, what: str) -> ValueError:
        """The error of a comparison that would find nothing, silently."""
        return ValueError(
            f"{what} finds nothing, because a comparison with null is never true: write {self!r}.is_null() for an "
            f"explicit null, ~{self!r}.exists() for what is missing"
        )

    def _convert(self, target: str) -> Expr:
        if self._message.WhichOneof("kind") == "convert":
            raise TypeError(f"{self!r} is converted already: convert the field itself")
        return Expr(v1.Expression(convert=v1.Convert(input=self._message, to=TARGETS[target])))


def field(path: str) -> Expr:
    r"""A field to build a query with: a column, `payload.a.b` (`\.` is a dot in a key), `scorer_ratings.<key>`."""
    if not isinstance(path, str):
        raise TypeError(f"a field's path is a str, not {type(path).__name__}")
    return Expr(v1.Expression(field=valid_text(path, "field")))


def all_of(operands: Iterable[Expr]) -> Expr:
    """The condition that all of these, one or more, are true; a list in a list becomes one list."""
    flat = [message for operand in operands for message in _operands(operand, "all_of")]
    return Expr(v1.Expression(all_of=v1.ExpressionList(expressions=flat)))


class Query:
    """A filter over the feedback of a project: an expression that is a condition. Immutable, equal by value."""

    __slots__ = ("_message",)

    def __init__(self, expr: Expr) -> None:
        if not isinstance(expr, Expr):
            raise TypeError(f"a Query is made from an expression, not a {type(expr).__name__}; see Query.from_dict")
        self._message = v1.Query(expr=_condition(expr))
        self.to_dict()  # raises for an expression that is nested too deep

    @classmethod
    def from_dict(cls, query: Mapping[str, Any]) -> Query:
        """Read `{"$expr": <operation>}`. Raises InvalidArgumentError, a ValueError, with the path of what is wrong."""
        if not isinstance(query, Mapping):
            raise TypeError(f"a query is a dict, not a {type(query).__name__}")
        if set(query) != {"$expr"}:
            others = [key for key in query if key != "$expr"]
            raise refusal("query", f"holds {quoted(others[0])} beside $expr" if others else "has no $expr")
        return cls._of(read_operation(query["$expr"], "query.$expr", 1))

    @classmethod
    def from_proto(cls, message: v1.Query) -> Query:
        """Read a message. Raises InvalidArgumentError with the path of what is unset, unknown or misplaced."""
        if not message.HasField("expr"):
            raise refusal("query.expr", "is not set")
        # Every rule is in the reader of dicts; a message that can be written as a dict keeps them all.
        return cls.from_dict({"$expr": write(message.expr, "query.expr", 1)})

    @classmethod
    def from_text(cls, text: str) -> Query:
        """Read `payload.score > 0.5 and feedback_type = "judge"`; `str(query)` is such a text. See docs/query.md.

        Raises InvalidArgumentError, a ValueError, with what is wrong and the character where it is; its number, from 1,
        is also `metadata["character"]`.
        """
        if not isinstance(text, str):
            raise TypeError(f"the text of a query is a str, not a {type(text).__name__}")
        query = cls._of(read(text))
        query.to_dict()  # raises for a tree that is nested too deep
        return query

    @property
    def expr(self) -> Expr:
        """The expression."""
        return Expr(self._message.expr)

    def to_dict(self) -> dict[str, Any]:
        """`{"$expr": …}`, of plain JSON values."""
        return {"$expr": write(self._message.expr, "query.expr", 1)}

    def to_proto(self) -> v1.Query:
        """A copy of the query as a message."""
        copy = v1.Query()
        copy.CopyFrom(self._message)
        return copy

    def __eq__(self, other: object) -> bool:
        return self._message == other._message if isinstance(other, Query) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._message.SerializeToString(deterministic=True))

    def __str__(self) -> str:
        """The query as text, from which `from_text` makes an equal query; a list of one condition is that condition."""
        return written(self._message.expr)

    def __repr__(self) -> str:
        return f"Query({as_python(self._message.expr)})"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _query_of_bytes, (self._message.SerializeToString(deterministic=True),)

    @classmethod
    def _of(cls, expression: v1.Expression) -> Query:
        query = cls.__new__(cls)
        query._message = v1.Query(expr=expression)
        return query


QueryLike: TypeAlias = Mapping[str, Any] | Query | Expr
"""What every parameter `query` takes: a dict `{"$expr": …}`, a Query, or an expression of `field(…)`."""


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


def _operand(value: Expr | LiteralValue) -> v1.Expression:
    return value._message if isinstance(value, Expr) else v1.Expression(literal=literal_of(value, "literal"))


def _operands(expr: Expr, kind: str) -> Sequence[v1.Expression]:
    """The operands of a list of this kind, else the condition alone: so `a & b & c` is one list of three."""
    if not isinstance(expr, Expr):
        raise TypeError(f"an expression is combined with expressions, not with a {type(expr).__name__}")
    message = _condition(expr)
    if message.WhichOneof("kind") != kind:
        return [message]
    nested: v1.ExpressionList = getattr(message, kind)
    return nested.expressions


def _condition(expr: Expr) -> v1.Expression:
    message = expr._message
    if not is_condition(message):
        raise TypeError(f"{expr!r} is a value, not a condition: compare it, or take .exists() or .as_bool() of it")
    return message


def _query_of_bytes(data: bytes) -> Query:
    query = Query.__new__(Query)
    query._message = v1.Query.FromString(data)
    return query
