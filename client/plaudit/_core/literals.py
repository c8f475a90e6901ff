"""The words of the query language: its operators, targets and constants, as names and as parts of messages."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Final, TypeAlias

from google.protobuf.struct_pb2 import NULL_VALUE

from plaudit import v1
from plaudit._contract import limits
from plaudit._core.errors import InvalidArgumentError, Violation
from plaudit._core.values import missing_name, plain, ref_uri

LiteralValue: TypeAlias = str | int | float | bool | datetime | date | None
"""What a constant of a query may be; times become RFC 3339 text (a time without a zone is in UTC)."""

# The exact rule of depth, and its message, are the server's. This one keeps a tree small enough to be parsed at all.
MAX_DEPTH: Final = limits.QUERY_DEPTH + 8
_INT64: Final = range(-(2**63), 2**63)
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")

COMPARISONS: Final[Mapping[str, v1.ComparisonOp.ValueType]] = {
    "$eq": v1.ComparisonOp.COMPARISON_OP_EQ,
    "$ne": v1.ComparisonOp.COMPARISON_OP_NE,
    "$gt": v1.ComparisonOp.COMPARISON_OP_GT,
    "$gte": v1.ComparisonOp.COMPARISON_OP_GTE,
    "$lt": v1.ComparisonOp.COMPARISON_OP_LT,
    "$lte": v1.ComparisonOp.COMPARISON_OP_LTE,
}
VALUE_KINDS: Final = ("number", "text", "bool", "null", "object", "array", "time")
"""What `$type` may give."""
COMPARISON_NAMES: Final = {number: name for name, number in COMPARISONS.items()}
COMPARISON_SIGNS: Final = {
    v1.ComparisonOp.COMPARISON_OP_EQ: "==",
    v1.ComparisonOp.COMPARISON_OP_NE: "!=",
    v1.ComparisonOp.COMPARISON_OP_GT: ">",
    v1.ComparisonOp.COMPARISON_OP_GTE: ">=",
    v1.ComparisonOp.COMPARISON_OP_LT: "<",
    v1.ComparisonOp.COMPARISON_OP_LTE: "<=",
}
TARGETS: Final[Mapping[str, v1.ConvertTarget.ValueType]] = {
    "double": v1.ConvertTarget.CONVERT_TARGET_DOUBLE,
    "int": v1.ConvertTarget.CONVERT_TARGET_INT,
    "string": v1.ConvertTarget.CONVERT_TARGET_STRING,
    "bool": v1.ConvertTarget.CONVERT_TARGET_BOOL,
    "exists": v1.ConvertTarget.CONVERT_TARGET_EXISTS,
}
TARGET_NAMES: Final = {number: name for name, number in TARGETS.items()}
_OPERATION_TARGETS: Final = (v1.ConvertTarget.CONVERT_TARGET_BOOL, v1.ConvertTarget.CONVERT_TARGET_EXISTS)
_OPERATIONS: Final = frozenset(("all_of", "any_of", "negation", "comparison", "membership", "contains", "starts_with"))


def is_condition(message: v1.Expression) -> bool:
    """Whether the expression is true, false or unknown, and no other value."""
    kind = message.WhichOneof("kind")
    return kind in _OPERATIONS or (kind == "convert" and message.convert.to in _OPERATION_TARGETS)


def literal_of(value: object, path: str) -> v1.Literal:
    """A constant as its message. Raises InvalidArgumentError, with `path`, for what a query cannot hold."""
    value = plain(value)
    if (name := missing_name(value)) is not None:
        raise refusal(path, f"is {name}, with which no comparison is true; ask with .is_null() or .exists() instead")
    match value:
        case None:
            return v1.Literal(null_value=NULL_VALUE)
        case bool():
            return v1.Literal(bool_value=value)
        case int():
            if value not in _INT64:
                raise refusal(path, "is an integer beyond 64 bits")
            return v1.Literal(int_value=value)
        case float():
            if not math.isfinite(value):
                raise refusal(path, "is infinite, which no JSON number is")
            return v1.Literal(double_value=value)
        case str():
            return v1.Literal(string_value=valid_text(value, path))
        case datetime():
            moment = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
            return v1.Literal(string_value=f"{moment.isoformat()}Z")
        case date():
            return v1.Literal(string_value=value.isoformat())
        case _ if (uri := ref_uri(value)) is not None:
            return v1.Literal(string_value=valid_text(uri, path))
        case _:
            raise refusal(path, f"must be a text, a number, a bool or null, not a {type(value).__name__}")


def valid_text(text: str, path: str) -> str:
    """The text. Raises InvalidArgumentError, with `path`, when a message cannot hold it."""
    if _SURROGATE.search(text):
        raise refusal(path, "holds a lone surrogate")
    return text


def refusal(path: str, description: str) -> InvalidArgumentError:
    """The error of one place in a query."""
    return InvalidArgumentError.of([Violation(path, description)])
