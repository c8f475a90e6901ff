"""Many messages of one type as JSON, field by field in place of message by message: loops over rows then run in C."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress, repeat
from operator import attrgetter, methodcaller
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from plaudit_server.web.json_values import FLOATS, is_set, timestamp

WriteAll = Callable[[Sequence[Any]], list[str]]

FEW: Final = 8
"""Fewer messages are written one by one, which is quicker then."""

MANY: Final = 200
"""This many are written in a thread, which lets the event loop go on after each field: else its turn would come every
five milliseconds.
"""

_seconds: Final = attrgetter("seconds")
_nanos: Final = attrgetter("nanos")


@dataclass(frozen=True, slots=True)
class Column:
    """A field of the messages, and how its values are written."""

    field: FieldDescriptor
    write: WriteAll
    repeated: bool

    def present(self, messages: Sequence[Message], values: Sequence[Any]) -> Sequence[Any] | None:
        """For each message something true if it has the field; None when all have it."""
        field = self.field
        if field.has_presence:
            # A text that is not empty has been set: to ask is dearer than to read.
            if field.type == FieldDescriptor.TYPE_STRING and all(values):
                return None
            found: Sequence[Any] = list(map(methodcaller("HasField", field.name), messages))
        elif field.type in FLOATS and not self.repeated:
            found = list(map(is_set, values))
        else:
            found = values
        return None if all(found) else found


class Columns:
    """Writes lists of messages of one type."""

    def __init__(self, descriptor: Descriptor, columns: Sequence[Column]) -> None:
        self._parse: Callable[[bytes], Message] = GetMessageClass(descriptor).FromString
        # Of several members of a oneof, messages that are merged keep the last one alone.
        self._members = frozenset(
            field.name for oneof in descriptor.oneofs if len(oneof.fields) > 1 for field in oneof.fields
        )
        self._columns = [(column.field.name, attrgetter(column.field.name), column) for column in columns]

    def __call__(self, messages: Sequence[Message], merged: Message | None = None) -> list[str]:
        """Each message's text, in their order; `merged` is what they give when they are merged, if that is known."""
        if merged is None:
            # The bytes of messages one after the other are those of all of them merged.
            merged = self._parse(b"".join([message.SerializeToString() for message in messages]))
        # It has every field that any message has: those that none has are found by one look.
        some = self._members.union([field.name for field, _ in merged.ListFields()])
        # What each message's text is joined of: fields that all have, with their keys between them, come first.
        fixed: list[Iterable[str]] = []
        loose: list[Iterable[str]] = []
        for name, get, column in self._columns:
            if name not in some:
                continue
            if len(messages) >= MANY:
                time.sleep(0)
            values = list(map(get, messages))
            present = column.present(messages, values)
            key = f'"{column.field.json_name}":'
            if present is None:
                fixed += [repeat(f",{key}" if fixed else key), column.write(values)]
            else:
                texts = iter(column.write(list(compress(values, present))))
                loose.append([f",{key}{next(texts)}" if one else "" for one in present])
        if not fixed:
            return ["{" + "".join(parts)[1:] + "}" for parts in zip(*loose, strict=True)] or ["{}"] * len(messages)
        return list(map("".join, zip(repeat("{"), *fixed, *loose, repeat("}"))))


def merging(field: FieldDescriptor) -> Callable[[bytes], Message]:
    """A function that takes the bytes of the message that a list of messages is a field of, and gives the list's
    members merged: that is how protobuf reads a field which is no list, and comes many times.
    """
    holder, member = field.containing_type, field.message_type
    assert holder is not None
    assert member is not None
    name = f"{holder.full_name}.{field.name}".replace(".", "_")
    file = FileDescriptorProto(name=f"plaudit/merged/{name}.proto", package="plaudit.merged", syntax="proto3")
    file.dependency.append(member.file.name)
    file.message_type.add(name=name).field.add(
        name="members",
        number=field.number,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        label=FieldDescriptorProto.LABEL_OPTIONAL,
        type_name=f".{member.full_name}",
    )
    pool = member.file.pool
    pool.AddSerializedFile(file.SerializeToString())
    parse: Any = GetMessageClass(pool.FindMessageTypeByName(f"plaudit.merged.{name}")).FromString
    return lambda data: parse(data).members


def timestamps(values: Sequence[Any]) -> list[str]:
    """Many `google.protobuf.Timestamp`."""
    return list(map(timestamp, map(_seconds, values), map(_nanos, values)))
