r"""The text form of the query language: `payload.score > 0.5 and feedback_type = "judge"`, read and written.

query    = either ;                       either = both { "or" both } ;
both     = unary { "and" unary } ;        unary  = "not" unary | relation ;
relation = operand [ cmp operand | ("~" | "~*" | "^=") operand | "in" "[" [ operand { "," operand } ] "]" ] ;
cmp      = "=" | "!=" | "<" | "<=" | ">" | ">=" ;
operand  = number | string | "true" | "false" | "null" | field
         | ("exists" | "type") "(" operand ")" | ("number" | "int" | "text" | "bool") "(" either ")" | "(" either ")" ;
field    = a path as in $getField, with \. ; or any path between backticks, where `` is a backtick

Each text has one tree; each tree has one text, from which it is read again. Only a list of one member is written as
its member. What tokens there are is in `query_words`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final

from google.protobuf.struct_pb2 import NULL_VALUE

from plaudit import v1
from plaudit._contract import limits
from plaudit._core.errors import InvalidArgumentError
from plaudit._core.literals import TARGET_NAMES, TARGETS, is_condition, refusal
from plaudit._core.query_words import BARE_PATH, FUNCTIONS, KEYWORDS, Token, cut, misplaced

# Parentheses, functions and negations in one another. A tree as deep as the limit needs less than two for each level.
_NESTING: Final = 2 * (limits.QUERY_DEPTH + 8)
_COMPARISONS: Final[Mapping[str, v1.ComparisonOp.ValueType]] = {
    "=": v1.ComparisonOp.COMPARISON_OP_EQ,
    "!=": v1.ComparisonOp.COMPARISON_OP_NE,
    "<": v1.ComparisonOp.COMPARISON_OP_LT,
    "<=": v1.ComparisonOp.COMPARISON_OP_LTE,
    ">": v1.ComparisonOp.COMPARISON_OP_GT,
    ">=": v1.ComparisonOp.COMPARISON_OP_GTE,
}
_SIGNS: Final = {number: sign for sign, number in _COMPARISONS.items()}
_CONVERSIONS: Final = {"exists": "exists", "number": "double", "int": "int", "text": "string", "bool": "bool"}
_CONVERSION_WORDS: Final = {target: word for word, target in _CONVERSIONS.items()}
_CONSTANTS: Final[Mapping[str, v1.Literal]] = {
    "true": v1.Literal(bool_value=True),
    "false": v1.Literal(bool_value=False),
    "null": v1.Literal(null_value=NULL_VALUE),
}


def read(text: str) -> v1.Expression:
    """The condition that a text is. Raises InvalidArgumentError with the place of the first character that is wrong."""
    reader = _Reader(cut(text))
    expression = reader.condition(reader.either)
    if reader.token.kind != "end":
        raise reader.unexpected("and, or, or the end")
    return expression


class _Reader:
    """Reads one query: each method reads what its name says from the next token on."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._position = 0
        self._depth = 0

    @property
    def token(self) -> Token:
        """The next token."""
        return self._tokens[self._position]

    def condition(self, part: Callable[[], v1.Expression]) -> v1.Expression:
        """A part that must be true, false or unknown."""
        first = self.token
        expression = part()
        if not is_condition(expression):
            raise self._no_condition(first)
        return expression

    def either(self) -> v1.Expression:
        """Conditions with `or` between them, or one part alone."""
        operands = self._list("or", self.both)
        if len(operands) == 1:
            return operands[0]
        return v1.Expression(any_of=v1.ExpressionList(expressions=operands))

    def both(self) -> v1.Expression:
        """Conditions with `and` between them, or one part alone."""
        operands = self._list("and", self.unary)
        if len(operands) == 1:
            return operands[0]
        return v1.Expression(all_of=v1.ExpressionList(expressions=operands))

    def unary(self) -> v1.Expression:
        """A condition after `not`, or a relation."""
        if not self._is("word", "not"):
            return self.relation()
        self._enter()
        operand = self.condition(self.unary)
        self._depth -= 1
        return v1.Expression(negation=operand)

    def relation(self) -> v1.Expression:
        """Two operands and the sign between them, or one operand."""
        left = self.operand()
        sign = self.token
        expression: v1.Expression
        match sign.value if sign.kind in ("sign", "word") else None:
            case str(comparison) if comparison in _COMPARISONS:
                self._next()
                expression = v1.Expression(
                    comparison=v1.Comparison(op=_COMPARISONS[comparison], left=left, right=self.operand())
                )
            case "~" | "~*":
                self._next()
                expression = v1.Expression(
                    contains=v1.Contains(input=left, substring=self.operand(), case_insensitive=sign.value == "~*")
                )
            case "^=":
                self._next()
                expression = v1.Expression(starts_with=v1.StartsWith(input=left, prefix=self.operand()))
            case "in":
                self._next()
                expression = v1.Expression(membership=v1.Membership(operand=left, members=self._members()))
            case _:
                return left
        if self.token.kind == "sign" and self.token.value in (*_COMPARISONS, "~", "~*", "^="):
            raise misplaced(
                "a second comparison (put the first in parentheses, or write and between them)", self.token.at
            )
        return expression

    def operand(self) -> v1.Expression:
        """A constant, a field, a function, or any part in parentheses."""
        token = self.token
        match token.kind, token.value:
            case "field", str(path):
                self._next()
                if self._is("sign", "("):
                    raise misplaced(
                        f"unknown function {token.shown[:60]} (not one of {', '.join(sorted(FUNCTIONS))})", token.at
                    )
                return v1.Expression(field=path)
            case "string", str(value):
                self._next()
                return v1.Expression(literal=v1.Literal(string_value=value))
            case "number", int(value):
                self._next()
                return v1.Expression(literal=v1.Literal(int_value=value))
            case "number", float(value):
                self._next()
                return v1.Expression(literal=v1.Literal(double_value=value))
            case "word", str(word) if word in _CONSTANTS:
                self._next()
                return v1.Expression(literal=_CONSTANTS[word])
            case "word", str(word) if word in FUNCTIONS:
                return self._function()
            case "sign", "(":
                self._enter()
                inside = self.either()
                self._leave()
                return inside
            case _:
                raise self.unexpected("a field, a constant, a function or a parenthesis")

    def unexpected(self, expected: str) -> InvalidArgumentError:
        """The error of a token that should not be there."""
        return misplaced(f"expected {expected}, not {self.token.shown[:60]},", self.token.at)

    def _no_condition(self, first: Token) -> InvalidArgumentError:
        """The error of a value, beginning with `first`, where a condition must stand."""
        if self.token.kind in ("field", "string", "number"):
            return self.unexpected("a sign such as = or ~")
        return misplaced("a value, not a condition (compare it, or ask exists(…) or bool(…) of it)", first.at)

    def _function(self) -> v1.Expression:
        name = self.token
        self._next()
        if not self._is("sign", "("):
            raise self.unexpected(f"( after {name.shown}, or a path of this name between backticks")
        self._enter()
        first = self.token
        inside = self.operand() if name.value in ("exists", "type") else self.either()
        if name.value != "type" and inside.WhichOneof("kind") == "convert":
            raise misplaced(f"{name.value}(…) of what is converted already", first.at)
        self._leave()
        if name.value == "type":
            return v1.Expression(type_of=v1.TypeOf(input=inside))
        return v1.Expression(convert=v1.Convert(input=inside, to=TARGETS[_CONVERSIONS[str(name.value)]]))

    def _list(self, word: str, part: Callable[[], v1.Expression]) -> list[v1.Expression]:
        first = self.token
        operands = [part()]
        while self._is("word", word):
            if len(operands) == 1 and not is_condition(operands[0]):
                raise self._no_condition(first)
            self._next()
            operands.append(self.condition(part))
        return operands

    def _members(self) -> list[v1.Expression]:
        if not self._is("sign", "["):
            raise self.unexpected("[ after in")
        self._next()
        members: list[v1.Expression] = []
        while not self._is("sign", "]"):
            if members:
                if not self._is("sign", ","):
                    raise self.unexpected(", or ]")
                self._next()
            members.append(self.operand())
        self._next()
        return members

    def _enter(self) -> None:
        """Go past a token that opens something."""
        self._depth += 1
        if self._depth > _NESTING:
            raise misplaced(f"nested deeper than {_NESTING} parentheses", self.token.at)
        self._next()

    def _leave(self) -> None:
        """Go past a closing parenthesis."""
        if not self._is("sign", ")"):
            raise self.unexpected(")")
        self._depth -= 1
        self._next()

    def _is(self, kind: str, value: str) -> bool:
        return self.token.kind == kind and self.token.value == value

    def _next(self) -> None:
        self._position += 1


# --- written


def written(message: v1.Expression) -> str:
    """The text of an expression; `read` gives the same expression again."""
    match message.WhichOneof("kind"):
        case "all_of" | "any_of" as kind:
            operands: Sequence[v1.Expression] = getattr(message, kind).expressions
            if len(operands) == 1:
                return written(operands[0])
            # `and` binds tighter than `or`: only a list in a list of its own kind, or an `or` in an `and`, needs more.
            bound = ("any_of", "all_of") if kind == "all_of" else ("any_of",)
            return (" and " if kind == "all_of" else " or ").join(_in(operand, bound) for operand in operands)
        case "negation":
            return f"not {_in(message.negation, ('any_of', 'all_of'))}"
        case "comparison":
            comparison = message.comparison
            return f"{_operand(comparison.left)} {_SIGNS[comparison.op]} {_operand(comparison.right)}"
        case "contains":
            sign = "~*" if message.contains.case_insensitive else "~"
            return f"{_operand(message.contains.input)} {sign} {_operand(message.contains.substring)}"
        case "starts_with":
            return f"{_operand(message.starts_with.input)} ^= {_operand(message.starts_with.prefix)}"
        case "membership":
            members = ", ".join(_operand(member) for member in message.membership.members)
            return f"{_operand(message.membership.operand)} in [{members}]"
        case _:
            return _operand(message)


def _in(message: v1.Expression, bound: Sequence[str]) -> str:
    """An operand of and, or, not: in parentheses where it is a list of one of these kinds."""
    message = _without_lists_of_one(message)
    return f"({written(message)})" if message.WhichOneof("kind") in bound else written(message)


def _operand(message: v1.Expression) -> str:
    """An expression that stands beside a sign: what is neither constant, field nor function is in parentheses."""
    message = _without_lists_of_one(message)
    match message.WhichOneof("kind"):
        case "literal":
            return _constant(message.literal)
        case "field":
            return _path(message.field)
        case "convert":
            name = TARGET_NAMES[message.convert.to]
            inside = message.convert.input
            return f"{_CONVERSION_WORDS[name]}({_operand(inside) if name == 'exists' else written(inside)})"
        case "type_of":
            return f"type({_operand(message.type_of.input)})"
        case None:
            raise refusal("query", "holds an expression that is not set")
        case _:
            return f"({written(message)})"


def _without_lists_of_one(message: v1.Expression) -> v1.Expression:
    """The expression that is left when lists of one member are their member."""
    while message.WhichOneof("kind") in ("all_of", "any_of"):
        operands: Sequence[v1.Expression] = getattr(message, str(message.WhichOneof("kind"))).expressions
        if len(operands) != 1:
            break
        message = operands[0]
    return message


def _constant(literal: v1.Literal) -> str:
    match literal.WhichOneof("value"):
        case "null_value":
            return "null"
        case "bool_value":
            return "true" if literal.bool_value else "false"
        case "int_value":
            return str(literal.int_value)
        case "double_value":
            return _double(literal.double_value)
        case "string_value":
            return json.dumps(literal.string_value, ensure_ascii=False)
        case _:
            raise refusal("query", "holds a literal that is not set")


def _double(value: float) -> str:
    """The shortest text of a double, as JavaScript writes it, with a fraction or an exponent to tell it from an int."""
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text
    if 1e-6 <= abs(value) < 1e21:
        text = format(Decimal(text), "f")
        return text if "." in text else f"{text}.0"
    return f"{mantissa}e{int(exponent):+d}"


def _path(path: str) -> str:
    bare = BARE_PATH.fullmatch(path) and path.lower() not in KEYWORDS and path.lower() not in FUNCTIONS
    return path if bare else f"`{path.replace('`', '``')}`"
