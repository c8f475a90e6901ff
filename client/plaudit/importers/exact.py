"""JSON whose numbers stay as they are written: values that are read, changed around them, and written again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from json.encoder import encode_basestring
from typing import Any, Final

_LEVELS: Final = 64


class Number(str):
    """A number of JSON as its text: `4.0`, `1e-07` and 2^53+1 come out as they went in."""

    __slots__ = ()


class NotFinite(str):
    """NaN, Infinity or -Infinity, which some systems write, and JSON does not have."""

    __slots__ = ()


decoder: Final = json.JSONDecoder(parse_float=Number, parse_int=Number, parse_constant=NotFinite)


def loads(text: str) -> Any:
    """The value of a JSON text. Raises ValueError for any other text."""
    try:
        return decoder.decode(text)
    except RecursionError:
        raise ValueError("has too many levels") from None


def dumps(value: object) -> str:
    """A value as JSON text. Raises ValueError for NaN, infinity, and what JSON cannot hold."""
    return "".join(_parts(value, 0))


def _parts(value: object, level: int) -> Iterator[str]:
    if level > _LEVELS:
        raise ValueError("has too many levels")
    if isinstance(value, NotFinite):
        raise ValueError(f"holds {value}, which JSON does not have")
    if isinstance(value, Number):
        yield str(value)
    elif isinstance(value, str):
        yield encode_basestring(value)
    elif isinstance(value, Mapping):
        before = "{"
        for key, member in value.items():
            yield f"{before}{encode_basestring(str(key))}:"
            yield from _parts(member, level + 1)
            before = ","
        yield "{}" if before == "{" else "}"
    elif isinstance(value, list | tuple):
        before = "["
        for member in value:
            yield before
            yield from _parts(member, level + 1)
            before = ","
        yield "[]" if before == "[" else "]"
    else:
        yield json.dumps(value, allow_nan=False)


def number_of(value: object) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, Number | int | float) and not isinstance(value, bool)


def plain(value: Any) -> Any:
    """A value with numbers of Python in the place of their texts."""
    if isinstance(value, Number):
        return json.loads(value)
    if isinstance(value, Mapping):
        return {key: plain(member) for key, member in value.items()}
    return [plain(member) for member in value] if isinstance(value, list) else value
