"""Expressions as dicts, such as `{"$eq": [{"$getField": "ref"}, {"$literal": "urn:x"}]}`: read, and written.

Each way raises InvalidArgumentError with the path of what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit import v1
from plaudit._contract import limits
from plaudit._core.literals import (
    COMPARISON_NAMES,
    COMPARISONS,
    MAX_DEPTH,
    TARGET_NAMES,
    TARGETS,
    is_condition,
    literal_of,
    refusal,
    valid_text,
)

# --- from dicts


def read_operation(node: object, path: str, depth: int) -> v1.Expression:
    """The message of a dict that is an operation (a condition); `path` leads to it, `depth` counts from 1."""
    message = _read(node, path, depth)
    if not is_condition(message):
        raise refusal(path, "must be an operation, or a $convert to exists or bool")
    return message


def _read(node: object, path: str, depth: int) -> v1.Expression:
    if not isinstance(node, Mapping):
        raise refusal(path, f"must be an object with one operator, not {_kind_of(node)}")
    if len(node) != 1:
        raise refusal(path, f"must hold exactly one operator, not {len(node)}")
    if depth > MAX_DEPTH:
        raise refusal(path, f"is nested deeper than {limits.QUERY_DEPTH} levels")
    [(operator, argument)] = node.items()
    at = f"{path}.{operator}" if isinstance(operator, str) else path
    match operator:
        case "$literal":
            return v1.Expression(literal=literal_of(argument, at))
        case "$getField":
            if not isinstance(argument, str):
                raise refusal(at, f"must be a field's path, not {_kind_of(argument)}")
            return v1.Expression(field=valid_text(argument, at))
        case "$and":
            return v1.Expression(all_of=_read_operations(argument, at, depth))
        case "$or":
            return v1.Expression(any_of=_read_operations(argument, at, depth))
        case "$not":
            [operand] = _read_list(argument, at, 1)
            return v1.Expression(negation=read_operation(operand, f"{at}[0]", depth + 1))
        case "$in":
            operand, members = _read_list(argument, at, 2)
            if isinstance(members, str | bytes) or not isinstance(members, Sequence):
                raise refusal(f"{at}[1]", f"must be a list, not {_kind_of(members)}")
            return v1.Expression(
                membership=v1.Membership(
                    operand=_read(operand, f"{at}[0]", depth + 1),
                    members=[_read(member, f"{at}[1][{i}]", depth + 1) for i, member in enumerate(members)],
                )
            )
        case "$contains":
            parts = _read_object(argument, at, ("input", "substr"), "case_insensitive")
            case_insensitive = parts.get("case_insensitive")
            if case_insensitive is None:
                case_insensitive = False
            if not isinstance(case_insensitive, bool):
                raise refusal(f"{at}.case_insensitive", f"must be true or false, not {_kind_of(case_insensitive)}")
            return v1.Expression(
                contains=v1.Contains(
                    input=_read(parts["input"], f"{at}.input", depth + 1),
                    substring=_read(parts["substr"], f"{at}.substr", depth + 1),
                    case_insensitive=case_insensitive,
                )
            )
        case "$type":
            return v1.Expression(type_of=v1.TypeOf(input=_read(argument, at, depth + 1)))
        case "$startsWith":
            parts = _read_object(argument, at, ("input", "prefix"))
            return v1.Expression(
                starts_with=v1.StartsWith(
                    input=_read(parts["input"], f"{at}.input", depth + 1),
                    prefix=_read(parts["prefix"], f"{at}.prefix", depth + 1),
                )
            )
        case "$convert":
            parts = _read_object(argument, at, ("input", "to"))
            target = TARGETS.get(parts["to"]) if isinstance(parts["to"], str) else None
            if target is None:
                raise refusal(f"{at}.to", f"must be one of {', '.join(TARGETS)}")
            source = _read(parts["input"], f"{at}.input", depth + 1)
            if source.WhichOneof("kind") == "convert":
                raise refusal(f"{at}.input", "must not be another $convert")
            return v1.Expression(convert=v1.Convert(input=source, to=target))
        case str() if operator in COMPARISONS:
            left, right = _read_list(argument, at, 2)
            return v1.Expression(
                comparison=v1.Comparison(
                    op=COMPARISONS[operator],
                    left=_read(left, f"{at}[0]", depth + 1),
                    right=_read(right, f"{at}[1]", depth + 1),
                )
            )
        case _:
            raise refusal(path, f"has the unknown operator {quoted(operator)}")


def _read_operations(argument: object, path: str, depth: int) -> v1.ExpressionList:
    operands = _read_list(argument, path)
    if not operands:
        raise refusal(path, "must have at least one operand")
    return v1.ExpressionList(
        expressions=[read_operation(operand, f"{path}[{i}]", depth + 1) for i, operand in enumerate(operands)]
    )


def _read_list(argument: object, path: str, length: int | None = None) -> Sequence[object]:
    if isinstance(argument, str | bytes) or not isinstance(argument, Sequence):
        raise refusal(path, f"must be a list, not {_kind_of(argument)}")
    if length is not None and len(argument) != length:
        raise refusal(path, f"must have exactly {length} operand{'s' if length > 1 else ''}, not {len(argument)}")
    return argument


def _read_object(argument: object, path: str, required: Sequence[str], *optional: str) -> Mapping[str, object]:
    if not isinstance(argument, Mapping):
        raise refusal(path, f"must be an object, not {_kind_of(argument)}")
    for key in required:
        if key not in argument:
            raise refusal(path, f"has no {key}")
    for key in argument:
        if key not in required and key not in optional:
            raise refusal(path, f"has the unknown key {quoted(key)}")
    return argument


def _kind_of(value: object) -> str:
    """What a value is, in the words of JSON."""
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


def quoted(key: object) -> str:
    """A key for an error's text, at most 60 characters of it."""
    shown = repr(key)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"


# --- to dicts


def write(message: v1.Expression, path: str, depth: int) -> dict[str, Any]:
    """The dict of an expression; `path` leads to it, `depth` counts from 1."""
    if depth > MAX_DEPTH:
        raise refusal(path, f"is nested deeper than {limits.QUERY_DEPTH} levels")
    match message.WhichOneof("kind"):
        case "literal":
            return {"$literal": _value(message.literal, f"{path}.literal")}
        case "field":
            return {"$getField": message.field}
        case "convert":
            target = TARGET_NAMES.get(message.convert.to)
            if target is None:
                raise refusal(f"{path}.convert.to", "is not set, or unknown")
            source = write(message.convert.input, f"{path}.convert.input", depth + 1)
            return {"$convert": {"input": source, "to": target}}
        case "all_of":
            return {"$and": _written_list(message.all_of.expressions, f"{path}.all_of.expressions", depth)}
        case "any_of":
            return {"$or": _written_list(message.any_of.expressions, f"{path}.any_of.expressions", depth)}
        case "negation":
            return {"$not": [write(message.negation, f"{path}.negation", depth + 1)]}
        case "comparison":
            comparison = message.comparison
            operator = COMPARISON_NAMES.get(comparison.op)
            if operator is None:
                raise refusal(f"{path}.comparison.op", "is not set, or unknown")
            return {
                operator: [
                    write(comparison.left, f"{path}.comparison.left", depth + 1),
                    write(comparison.right, f"{path}.comparison.right", depth + 1),
                ]
            }
        case "membership":
            return {
                "$in": [
                    write(message.membership.operand, f"{path}.membership.operand", depth + 1),
                    _written_list(message.membership.members, f"{path}.membership.members", depth),
                ]
            }
        case "contains":
            parts: dict[str, Any] = {
                "input": write(message.contains.input, f"{path}.contains.input", depth + 1),
                "substr": write(message.contains.substring, f"{path}.contains.substring", depth + 1),
            }
            if message.contains.case_insensitive:
                parts["case_insensitive"] = True
            return {"$contains": parts}
        case "type_of":
            return {"$type": write(message.type_of.input, f"{path}.type_of.input", depth + 1)}
        case "starts_with":
            return {
                "$startsWith": {
                    "input": write(message.starts_with.input, f"{path}.starts_with.input", depth + 1),
                    "prefix": write(message.starts_with.prefix, f"{path}.starts_with.prefix", depth + 1),
                }
            }
        case _:
            raise refusal(path, "is not set")


def _written_list(messages: Sequence[v1.Expression], path: str, depth: int) -> list[dict[str, Any]]:
    return [write(message, f"{path}[{i}]", depth + 1) for i, message in enumerate(messages)]


def _value(literal: v1.Literal, path: str) -> str | int | float | bool | None:
    kind = literal.WhichOneof("value")
    if kind is None:
        raise refusal(path, "is not set")
    if kind == "null_value":
        return None
    value: str | int | float | bool = getattr(literal, kind)
    return value
