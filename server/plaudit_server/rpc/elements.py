"""Counts the elements of a request's messages in its bytes, before it is parsed; values are not decoded here.

A request can be made so that parsing turns every two bytes into an object: 3 MiB of empty records became 600 MB of
memory, and blocked every other call for 0.2 seconds.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from plaudit._contract import limits
from plaudit_server.errors import InvalidFields, InvalidQuery, Violation
from plaudit_server.rpc.declare import Bounded

# The least that an element takes: a tag, and a length or a value. A message of fewer bytes cannot have too many.
_ELEMENT_BYTES: Final = 2
# Counting ends after this many elements, so that it costs less than the parsing that it prevents. Outer messages are
# counted first; the ones that cost most to parse, records, are among them.
_ELEMENTS_SEEN: Final = 20_000
# A request without records has a query, which has at most this many elements, whatever its shape.
_ELEMENTS_OF_QUERY: Final = 2 * limits.QUERY_MEMBERS_TOGETHER
_VARINT_BYTES: Final = 10
_NO_LIMIT: Final = sys.maxsize


class _Shape:
    """The fields of a message type, and the shapes of those that hold messages. A message may have `most` elements, and
    a request `together`.
    """

    __slots__ = ("children", "most", "names", "together")

    def __init__(self) -> None:
        self.most = limits.MESSAGE_ELEMENTS
        self.together = _ELEMENTS_OF_QUERY
        self.names: dict[int, str] = {}
        self.children: dict[int, _Shape] = {}


def checker(descriptor: Descriptor, bounded: Sequence[Bounded] = ()) -> Callable[[bytes], None]:
    """A function that raises InvalidFields (InvalidQuery) for bytes of this type with too many elements in a message.

    Each encoded field is an element: a field that is set, and each entry of a list or a map. Bytes that are not a valid
    message are counted up to the error, which the parser reports later. `bounded` are the fields of the request with a
    bound of their own.
    """
    root = _shape(descriptor, {})
    for declared in bounded:
        if declared.most is None:
            root.together = _NO_LIMIT
        else:
            root.most += declared.most
            root.together += declared.most

    def check(raw: bytes) -> None:
        if len(raw) > _ELEMENT_BYTES * root.most:
            try:
                _look(raw, root)
            except IndexError:
                return  # the bytes end within a field

    return check


def _shape(descriptor: Descriptor, made: dict[str, _Shape]) -> _Shape:
    shape = made.get(descriptor.full_name)
    if shape is None:
        shape = made[descriptor.full_name] = _Shape()
        for field in descriptor.fields:
            shape.names[field.number] = field.name
            inner: Descriptor | None = field.message_type
            if inner is not None and not inner.GetOptions().map_entry and any(map(_may_be_many, inner.fields)):
                shape.children[field.number] = _shape(inner, made)
    return shape


def _may_be_many(field: FieldDescriptor) -> bool:
    return field.message_type is not None or field.default_value == []  # a list's default, in every protobuf


def _look(raw: bytes, root: _Shape) -> None:
    """Count the elements of each message, outer ones first. (No message has groups; their elements count outside.)"""
    waiting = deque([(root, 0, len(raw), "")])
    small = _ELEMENT_BYTES * limits.MESSAGE_ELEMENTS
    seen = 0
    while waiting and seen < _ELEMENTS_SEEN:
        shape, at, end, path = waiting.popleft()
        children, most = shape.children, shape.most
        count = 0
        while at < end:
            tag = raw[at]
            at += 1
            if tag > 127:
                tag, at = _varint(raw, at - 1)
            count += 1
            if count > most:
                _refuse(f"{path}{shape.names.get(tag >> 3, tag >> 3)}", most)
            kind = tag & 7
            if kind == 2:
                length = raw[at]
                at += 1
                if length > 127:
                    length, at = _varint(raw, at - 1)
                if length > small and tag >> 3 in children:
                    inner = f"{path}{shape.names[tag >> 3]}."
                    waiting.append((children[tag >> 3], at, min(end, at + length), inner))
                at += length
            elif kind == 0:
                _, at = _varint(raw, at)
            elif kind == 1:
                at += 8
            elif kind == 5:
                at += 4
            elif kind > 5:
                return
        seen += count
        if seen > root.together:
            _refuse("query", root.together)


def _refuse(field: str, most: int) -> None:
    violations = [Violation(field, f"there are more than {most} elements in it, or in its message")]
    raise InvalidQuery(violations) if field.startswith(("query", "order_by")) else InvalidFields(violations)


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """The number at this index, and the index after it. Raises IndexError where there is none."""
    value = 0
    for shift in range(0, 7 * _VARINT_BYTES, 7):
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise IndexError
