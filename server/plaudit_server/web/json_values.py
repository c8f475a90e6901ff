"""Single values of protobuf as JSON text: numbers, texts, enums and times; no messages of ours."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from json.encoder import encode_basestring  # with its characters as they are, and in C
from typing import Any, Final

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

Write = Callable[[Any], str]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Written as text: a reader in JavaScript has no whole number above 2^53.
_WIDE: Final = frozenset(
    {
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_SINT64,
        FieldDescriptor.TYPE_FIXED64,
        FieldDescriptor.TYPE_SFIXED64,
    }
)
FLOATS: Final = frozenset({FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT})


def scalar(field: FieldDescriptor) -> Write:
    """How one value of a field is written that is no message."""
    match field.type:
        case FieldDescriptor.TYPE_ENUM:
            assert field.enum_type is not None
            return _enum(field.enum_type)
        case FieldDescriptor.TYPE_STRING:
            return encode_basestring
        case FieldDescriptor.TYPE_BYTES:
            return lambda value: f'"{base64.b64encode(value).decode()}"'
        case FieldDescriptor.TYPE_BOOL:
            return lambda value: "true" if value else "false"
        case FieldDescriptor.TYPE_DOUBLE:
            return _double
        case FieldDescriptor.TYPE_FLOAT:
            return _float
        case kind if kind in _WIDE:
            return '"%s"'.__mod__
        case _:
            return str


def key(field: FieldDescriptor) -> Write:
    """How a key of a map is written, given the map's field for keys."""
    if field.type == FieldDescriptor.TYPE_BOOL:
        return lambda value: '"true"' if value else '"false"'
    return lambda value: encode_basestring(str(value))


def is_set(value: float) -> bool:
    """Whether a floating-point number is not the default."""
    return bool(value) or math.copysign(1.0, value) < 0  # minus zero is a value, and no default


@lru_cache(maxsize=4096)  # most records were last written when they were made, and a page has 1,000 at most
def timestamp(seconds: int, nanos: int) -> str:
    """A `google.protobuf.Timestamp`, with 0, 3, 6 or 9 digits after the second."""
    second = _second(seconds)
    if nanos == 0:
        return f'"{second}Z"'
    if nanos % 1_000_000 == 0:
        return f'"{second}.{nanos // 1_000_000:03d}Z"'
    if nanos % 1_000 == 0:
        return f'"{second}.{nanos // 1_000:06d}Z"'
    return f'"{second}.{nanos:09d}Z"'


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    # Not by fromtimestamp: some platforms take no seconds below 0.
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]


def _enum(descriptor: EnumDescriptor) -> Write:
    if descriptor.full_name == "google.protobuf.NullValue":
        return lambda _: "null"
    names = {number: f'"{value.name}"' for number, value in descriptor.values_by_number.items()}
    return lambda number: names.get(number) or str(number)


def _double(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return '"NaN"' if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'


def _float(value: float) -> str:
    # Nine digits read as the same 32 bits.
    return _double(float(f"{value:.9g}"))
