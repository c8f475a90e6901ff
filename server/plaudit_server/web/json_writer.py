"""Messages as JSON, written by functions that are made once for each message type: what json_format writes, in a fifth
of its time.

The functions are generated as source and compiled, as those of dataclasses are: a loop over a table of fields took half
as long again. Fields that are empty when they are not set are read together, by one call in C; only those that have a
presence of their own are asked for it, one by one. The rows of a page are written field by field, see json_columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from plaudit_server.web.json_columns import FEW, Column, Columns, WriteAll, merging, timestamps
from plaudit_server.web.json_values import FLOATS, Write, is_set, key, scalar, timestamp

# Types of protobuf itself have a JSON form of their own.
_WELL_KNOWN: Final = "google.protobuf."
_TIMESTAMP: Final = "google.protobuf.Timestamp"
_MESSAGES: Final = (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_GROUP)


class JsonWriter:
    """Writes messages of any type; what it makes for a type is kept."""

    def __init__(self) -> None:
        self._types: dict[str, Write] = {}
        self._columns: dict[str, Columns] = {}
        self._roots: dict[str, Callable[[bytes], bytes]] = {}

    def text(self, message: Message) -> str:
        """The message as JSON, names in camel case, fields without a value left out.

        Raises TypeError for an Any whose type is not known here.
        """
        descriptor: Any = message.DESCRIPTOR
        return self._of_type(descriptor)(message)

    def encoded(self, descriptor: Descriptor, data: bytes) -> bytes:
        """As `text`, of the bytes of a message of this type, in UTF-8."""
        made = self._roots.get(descriptor.full_name)
        if made is None:
            made = self._roots[descriptor.full_name] = self._root(descriptor)
        return made(data)

    def _root(self, descriptor: Descriptor) -> Callable[[bytes], bytes]:
        parse: Callable[[bytes], Message] = GetMessageClass(descriptor).FromString
        lists = [field for field in descriptor.fields if _repeated(field) and _is_message(field)]
        if descriptor.full_name.startswith(_WELL_KNOWN) or not lists:
            write = self._of_type(descriptor)
            return lambda data: write(parse(data)).encode()
        rest = self._message(descriptor, skip=lists)
        writers = [(field.name, f'"{field.json_name}":['.encode(), self._members(field)) for field in lists]

        def write_root(data: bytes) -> bytes:
            message = parse(data)
            # Each member is encoded by itself: one emoji makes the whole of a text four times as wide.
            parts = [
                start + b",".join([text.encode() for text in write_members(values, data)]) + b"]"
                for name, start, write_members in writers
                if (values := list(getattr(message, name)))  # a list makes each member's object once
            ]
            others = rest(message)[1:-1].encode()
            return b"{" + b",".join([*parts, others] if others else parts) + b"}"

        return write_root

    def _members(self, field: FieldDescriptor) -> Callable[[Sequence[Message], bytes], list[str]]:
        """How a list of messages is written, given the bytes of the message that it is in."""
        write_all, member = self._all(field), field.message_type
        assert member is not None
        if member.full_name.startswith(_WELL_KNOWN):
            return lambda values, _: write_all(values)
        merged = merging(field)
        return lambda values, data: (
            write_all(values) if len(values) < FEW else self._columns_of(member)(values, merged(data))
        )

    def _of_type(self, descriptor: Descriptor) -> Write:
        name = descriptor.full_name
        made = self._types.get(name)
        if made is not None:
            return made
        if name == _TIMESTAMP:
            made = _timestamp
        elif name.startswith(_WELL_KNOWN):
            made = _by_json_format
        else:
            # A type may hold itself, as an expression does: until it is made it is looked up when it is met.
            self._types[name] = partial(self._by_name, name)
            made = self._message(descriptor)
        self._types[name] = made
        return made

    def _by_name(self, name: str, message: Message) -> str:
        return self._types[name](message)

    def _message(self, descriptor: Descriptor, skip: Sequence[FieldDescriptor] = ()) -> Write:
        """Every name in the source is a field's, which is letters, digits and `_`, after a prefix."""
        fields = [field for field in descriptor.fields if field not in skip]
        plain = [field for field in fields if not field.has_presence]
        names: dict[str, Any] = {"values_of": _getter([field.name for field in plain])}
        lines = ["def write(message):", " parts = []"]
        if plain:
            lines.append(f" {''.join(f'v_{field.name}, ' for field in plain)} = values_of(message)")
        for field in fields:
            names[f"w_{field.name}"] = self._field(field)
            start = repr(f'"{field.json_name}":')
            value = f"getattr(message, {field.name!r})" if field.has_presence else f"v_{field.name}"
            if field.has_presence:
                condition = f"message.HasField({field.name!r})"
            elif field.type in FLOATS and not _repeated(field):
                names["is_set"] = is_set
                condition = f"is_set({value})"
            else:
                condition = value
            lines.append(f" if {condition}: parts.append({start} + w_{field.name}({value}))")
        lines.append(" return '{' + ','.join(parts) + '}'")
        exec("\n".join(lines), names)
        made: Write = names["write"]
        return made

    def _field(self, field: FieldDescriptor) -> Write:
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            return self._map(entry)
        one = self._single(field)
        if not _repeated(field):
            return one
        return lambda values: "[" + ",".join(map(one, values)) + "]"

    def _map(self, entry: Descriptor) -> Write:
        write_key = key(entry.fields_by_name["key"])
        write = self._single(entry.fields_by_name["value"])
        return lambda entries: "{" + ",".join([f"{write_key(k)}:{write(v)}" for k, v in entries.items()]) + "}"

    def _single(self, field: FieldDescriptor) -> Write:
        """How one value of a field is written."""
        if field.type not in _MESSAGES:
            return scalar(field)
        assert field.message_type is not None
        return self._of_type(field.message_type)

    def _all(self, field: FieldDescriptor) -> WriteAll:
        """How many single values of a field are written: those of a list, or of the same field of many messages."""
        one = self._single(field)
        if not _is_message(field):
            return lambda values: list(map(one, values))
        assert field.message_type is not None
        if field.message_type.full_name == _TIMESTAMP:
            return timestamps
        if field.message_type.full_name.startswith(_WELL_KNOWN):
            return lambda values: list(map(one, values))
        return partial(self._messages, field.message_type, one)

    def _messages(self, descriptor: Descriptor, one: Write, messages: Sequence[Message]) -> list[str]:
        if len(messages) < FEW:
            return list(map(one, messages))
        return self._columns_of(descriptor)(messages)

    def _columns_of(self, descriptor: Descriptor) -> Columns:
        made = self._columns.get(descriptor.full_name)
        if made is None:
            made = Columns(descriptor, [self._column(field) for field in descriptor.fields])
            self._columns[descriptor.full_name] = made
        return made

    def _column(self, field: FieldDescriptor) -> Column:
        repeated = _repeated(field)
        if not repeated:
            return Column(field, self._all(field), repeated)
        write = self._field(field)
        return Column(field, lambda values: list(map(write, values)), repeated)


def _getter(names: list[str]) -> Callable[[Message], tuple[Any, ...]]:
    """All of the fields at once."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda message: tuple([getattr(message, name) for name in names])


def _is_message(field: FieldDescriptor) -> bool:
    return field.message_type is not None and not field.message_type.GetOptions().map_entry


def _repeated(field: FieldDescriptor) -> bool:
    # A list's default, in every protobuf: the attributes that say so have changed between versions.
    return bool(field.default_value == [])


def _timestamp(value: Any) -> str:
    return timestamp(value.seconds, value.nanos)


def _by_json_format(value: Message) -> str:
    return str(json_format.MessageToJson(value, indent=None))
