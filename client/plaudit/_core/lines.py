"""Records as lines of JSON: written with the payload's own text, and read back to the character; no I/O."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import lru_cache
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, Final

from plaudit import v1
from plaudit._core.changes import Change, Retained, Tombstone
from plaudit._core.errors import InvalidArgumentError, Violation
from plaudit._core.fields import span_status_name
from plaudit._core.model import Feedback
from plaudit._core.records import to_message
from plaudit._core.transposed import transposed

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

# Without a zone, which would be written as +00:00.
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001
_scan: Final = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_BLANKS: Final = " \t\r\n"
_TO_MINUTES: Final = len("2026-11-28T11:02:")


def line_of(message: v1.Feedback) -> str:
    """A record as one line of JSON without its end: the fields that have a value, named as in `Feedback.to_dict()`.

    The payload's text is put in as it is, but for ends of lines between its parts; times are to the microsecond.
    """
    parts = []
    for field, value in message.ListFields():
        start, write = _MEMBERS[field.name]
        parts.append(start + write(value))
    return "{" + ",".join(parts) + "}"


def lines_of(messages: Sequence[v1.Feedback]) -> str:
    """Records as lines of JSON with their ends, the same as `line_of` gives, in less time for each."""
    form = ""
    columns: list[Iterable[str]] = []
    for name, values in transposed(messages).items():
        start, write = _MEMBERS[name]
        if None not in values:
            form += f",{start}%s" if form else f"{{{start}%s"
            columns.append(map(write, values))
        elif form:
            form += "%s"
            columns.append(["" if value is None else f",{start}{write(value)}" for value in values])
        else:
            break
    if not form:  # not all have the same first member, so that nobody knows where commas are
        return "".join([f"{line_of(message)}\n" for message in messages])
    form += "}\n"
    return "".join([form % members for members in zip(*columns, strict=True)])


def change_line(change: Change) -> str:
    """A change as one line: the record's fields after `change` and `revision`, or what is left of removed ones."""
    head = f'{{"change":"{change.kind}","revision":{change.revision},'
    if change.tombstone is not None:
        return f'{head}"tombstone":{tombstone_json(change.tombstone)}}}'
    if change.retained is not None:
        return f'{head}"retained":{retained_json(change.retained)}}}'
    assert change.feedback is not None
    message = v1.Feedback()
    message.CopyFrom(change.feedback._message)
    message.ClearField("revision")
    return head + line_of(message)[1:]


def tombstone_line(tombstone: Tombstone) -> str:
    """What is left of a record that was purged, as a line among lines of records."""
    return f'{{"tombstone":{tombstone_json(tombstone)}}}'


def tombstone_json(tombstone: Tombstone) -> str:
    """What is left of a record, as JSON."""
    return json.dumps(asdict(tombstone) | {"purged_at": moment_text(tombstone.purged_at)}, ensure_ascii=False)


def retained_json(retained: Retained) -> str:
    """What is left of records that were removed at the end of their time, as JSON."""
    times = {"before": moment_text(retained.before), "removed_at": moment_text(retained.removed_at)}
    return json.dumps(asdict(retained) | times, ensure_ascii=False)


def moment_text(moment: datetime) -> str:
    """A time in UTC as JSON holds it, to the microsecond."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def harmless(text: str) -> str:
    """A JSON text for a terminal: what could control it is written as JSON's escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def no_formula(text: str) -> str:
    """A text for a cell of a spreadsheet, which takes some beginnings for formulas: with an apostrophe before these."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def record_of(line: str, *, project: str | None = None) -> Feedback:
    """The record that a line is, with its payload to the character; to be imported into `project`, if that is given.

    Raises InvalidArgumentError for what is no JSON object, and for every field that is none of a record or has no value
    that it may have.
    """
    fields, texts = members_of(line)
    payload = fields.pop("payload", None)
    if payload is not None and not isinstance(payload, Mapping):
        raise InvalidArgumentError.of([Violation("payload", "must be a JSON object")])
    if project is not None:
        fields["project"] = project
    message = to_message(fields, "record", imported=True)
    if payload is not None:
        message.payload_json = texts["payload"]
    return Feedback(message)


def members_of(line: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The members of a JSON object: their values, and their texts. Raises InvalidArgumentError for anything else."""
    values: dict[str, Any] = {}
    texts: dict[str, str] = {}
    try:
        at = _skip(line, 0)
        if line[at : at + 1] != "{":
            raise _refused("is no JSON object")
        at = _skip(line, at + 1)
        while line[at] != "}":
            if values:
                if line[at] != ",":
                    raise _refused(f"has no comma at character {at + 1}")
                at = _skip(line, at + 1)
            if line[at] != '"':
                raise _refused(f"has no key at character {at + 1}")
            key, at = _scan(line, at)
            at = _skip(line, at)
            if line[at] != ":":
                raise _refused(f"has no colon at character {at + 1}")
            start = _skip(line, at + 1)
            value, end = _scan(line, start)
            if key in values:
                raise _refused(f"has the key {key[:60]!r} twice")
            values[key], texts[key] = value, line[start:end]
            at = _skip(line, end)
        if line[at + 1 :].strip(_BLANKS):
            raise _refused("has something after its end")
    except (StopIteration, IndexError, RecursionError):
        raise _refused("is no whole JSON object") from None
    except ValueError as error:
        if isinstance(error, InvalidArgumentError):
            raise
        raise _refused(f"is no JSON object: {str(error)[:100]}") from None
    return values, texts


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _BLANKS:
        at += 1
    return at


def _refused(description: str) -> InvalidArgumentError:
    return InvalidArgumentError.of([Violation("line", description)])


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def _payload(text: str) -> str:
    # Within the strings of JSON no line ends: what ends a line is between its parts.
    return text.replace("\r", " ").replace("\n", " ") if "\n" in text or "\r" in text else text


def time_text(value: Timestamp) -> str:
    """A time in UTC, to the microsecond."""
    minutes, seconds = divmod(value.seconds, 60)
    return f"{_minute(minutes)}{seconds:02d}.{value.nanos // 1_000:06d}Z"


@lru_cache(maxsize=4_096)
def _minute(minutes: int) -> str:
    return (_EPOCH + timedelta(minutes=minutes)).isoformat()[:_TO_MINUTES]


def _time(value: Timestamp) -> str:
    # As `time_text` does it: a call more would be felt.
    minutes, seconds = divmod(value.seconds, 60)
    return f'"{_minute(minutes)}{seconds:02d}.{value.nanos // 1_000:06d}Z"'


def _mapping(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), ensure_ascii=False, sort_keys=True)


def _texts(value: Any) -> str:
    return json.dumps(list(value), ensure_ascii=False)


def _members() -> Mapping[str, tuple[str, Callable[[Any], str]]]:
    """By the name of a field: the beginning of its member, and what writes its value."""
    found: dict[str, tuple[str, Callable[[Any], str]]] = {}
    empty = v1.Feedback()
    for field in v1.Feedback.DESCRIPTOR.fields:
        name = field.name
        write: Callable[[Any], str]
        if name == "payload_json":
            name, write = "payload", _payload
        elif name == "span_status_code":
            write = _span_status
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            write = _mapping
        elif field.message_type is not None:
            write = _time
        elif isinstance(getattr(empty, name), str):
            write = encode_basestring
        elif isinstance(getattr(empty, name), int):
            write = str
        else:
            write = _texts
        found[field.name] = (f'"{name}":', write)
    return found


def _span_status(number: v1.SpanStatusCode.ValueType) -> str:
    return f'"{span_status_name(number)}"'


_MEMBERS: Final = _members()
