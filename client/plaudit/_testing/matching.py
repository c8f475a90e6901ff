"""The conditions that a fake transport understands: texts that are equal, joined by `and`; no query language."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc

from plaudit import v1
from plaudit._core.errors import PlauditError
from plaudit._core.expr import Query
from plaudit._core.model import ALIASES, FIELDS, Feedback


def matching(condition: v1.Expression) -> Callable[[Feedback], bool]:
    """What says whether a condition is true of a record.

    Raises PlauditError (UNIMPLEMENTED) for a condition that is not simple, also when there is no record.
    """
    match condition.WhichOneof("kind"):
        case "all_of":
            parts = [matching(part) for part in condition.all_of.expressions]
            return lambda record: all(part(record) for part in parts)
        case "comparison" if condition.comparison.op == v1.ComparisonOp.COMPARISON_OP_EQ:
            path, texts = _path(condition.comparison.left, condition), {_text(condition.comparison.right, condition)}
        case "membership":
            path = _path(condition.membership.operand, condition)
            texts = {_text(member, condition) for member in condition.membership.members}
        case _:
            raise _too_much(condition)

    def is_among(record: Feedback) -> bool:
        value: Any = getattr(record, path[0])
        for key in path[1:]:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None and not isinstance(value, str):
            raise _too_much(condition)
        return value in texts

    return is_among


def _path(operand: v1.Expression, condition: v1.Expression) -> Sequence[str]:
    """The name of a column, and the keys that follow `payload`."""
    path = operand.field if operand.WhichOneof("kind") == "field" else ""
    name, *keys = path.split(".")
    name = ALIASES.get(name, name)
    if name not in FIELDS or "\\" in path or (keys and name != "payload"):
        raise _too_much(condition)
    return name, *keys


def _text(operand: v1.Expression, condition: v1.Expression) -> str:
    if operand.WhichOneof("kind") == "literal" and operand.literal.WhichOneof("value") == "string_value":
        return operand.literal.string_value
    raise _too_much(condition)


def _too_much(condition: v1.Expression) -> PlauditError:
    shown = Query.from_proto(v1.Query(expr=condition))
    return PlauditError(
        f"the fake transport finds texts that are equal, and cannot answer {shown!r}: use a real server, such as the "
        "fixture plaudit_server",
        code=grpc.StatusCode.UNIMPLEMENTED,
    )
