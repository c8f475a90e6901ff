"""Expressions as the Python that builds them, for `repr`."""

from __future__ import annotations

from typing import Final

from plaudit import v1
from plaudit._core.literals import COMPARISON_SIGNS, TARGET_NAMES

_SHOWN_MEMBERS: Final = 20

_BARE: Final = frozenset(("literal", "field", "convert", "membership", "contains", "type_of", "starts_with"))


def as_python(message: v1.Expression) -> str:
    """The Python that builds the expression, on one line; of a long list the first 20 members."""
    match message.WhichOneof("kind"):
        case "literal":
            return f"literal({_value_shown(message.literal)})"
        case "field":
            return f"field({message.field!r})"
        case "convert":
            name = TARGET_NAMES.get(message.convert.to, "?")
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
            sign = COMPARISON_SIGNS.get(comparison.op, "?")
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
        case "type_of":
            return f"{_primary(message.type_of.input)}.type_of()"
        case "starts_with":
            return f"{_primary(message.starts_with.input)}.startswith({_argument(message.starts_with.prefix)})"
        case _:
            return "?"


def _primary(message: v1.Expression) -> str:
    """The same, in parentheses where it is followed by a dot, or preceded by a sign."""
    bare = message.WhichOneof("kind") in _BARE
    return as_python(message) if bare else f"({as_python(message)})"


def _term(message: v1.Expression) -> str:
    """The same, in parentheses where it stands between `&` or `|`."""
    return as_python(message) if message.WhichOneof("kind") == "negation" else _primary(message)


def _argument(message: v1.Expression) -> str:
    """The same after the sign of a comparison, or in a list of arguments: a constant stands for itself."""
    return _value_shown(message.literal) if message.WhichOneof("kind") == "literal" else _primary(message)


def _value_shown(literal: v1.Literal) -> str:
    kind = literal.WhichOneof("value")
    return "None" if kind in (None, "null_value") else repr(getattr(literal, kind))
