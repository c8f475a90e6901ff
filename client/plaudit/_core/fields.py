"""The kinds of fields that a record has: how each is read from a message as an attribute, and set in one.

Which fields there are, and what they mean, is the table that the body of `model.Feedback` is.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, Self, TypeVar, overload
from uuid import UUID

from plaudit import v1
from plaudit._contract import jsontext
from plaudit._core.errors import Violation
from plaudit._core.values import missing_name, plain, plain_json, plain_list, ref_uri

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

ValueT = TypeVar("ValueT")

Origin = Literal["client", "import", "server"]
"""Who sets a field: whoever stores a record; an import, which keeps it as given; the server alone."""

_SPAN_STATUS_NAMES: Final = {
    v1.SpanStatusCode.SPAN_STATUS_CODE_UNSPECIFIED: "UNSET",
    v1.SpanStatusCode.SPAN_STATUS_CODE_OK: "OK",
    v1.SpanStatusCode.SPAN_STATUS_CODE_ERROR: "ERROR",
}
_SPAN_STATUS_CODES: Final = {name: number for number, name in _SPAN_STATUS_NAMES.items()}


class Field(property, Generic[ValueT]):
    """One field of a record, as a read-only attribute; the first argument is what help() says of it."""

    origin: ClassVar[Origin] = "client"
    json_schema: ClassVar[Mapping[str, Any]] = {"type": "string"}
    """What a value is in JSON, for descriptions of web APIs."""
    name: str

    def __init__(self, doc: str) -> None:
        super().__init__(doc=doc)
        self.meaning = doc
        """What help() says of it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        super().__init__(self._reader(), doc=self.meaning)

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: type, /) -> Self: ...
        @overload
        def __get__(self, instance: Any, owner: type | None = None, /) -> ValueT: ...
        def __get__(self, instance: Any, owner: type | None = None, /) -> Self | ValueT: ...

    def _reader(self) -> Callable[[Any], ValueT]:
        """What reads the value of a Feedback."""
        return attrgetter(f"_message.{self.name}")

    def set(self, message: v1.Feedback, value: object, path: str) -> Sequence[Violation]:
        """Set the field of a message to a value that is not None; what is wrong with it instead, if anything.

        A field that has no `set` of its own is the server's.
        """
        return [Violation(path, "is set by the server alone")]


class _TextField(Field[ValueT], Generic[ValueT]):
    """A text, or the text form of a ref."""

    takes_refs: ClassVar[bool] = False

    def set(self, message: v1.Feedback, value: object, path: str) -> Sequence[Violation]:
        """Set a text."""
        if self.takes_refs and not isinstance(value, str):
            uri = ref_uri(value)
            if uri is None:
                return [Violation(path, f"must be a text or a Ref, not a {type(value).__name__}")]
            value = uri
        violations = wrong_text(value, path)
        if not violations:
            setattr(message, self.name, value)
        return violations


class Text(_TextField[str]):
    """A text; empty when it is left out."""


class IdText(Text):
    """A UUID as text, also given as a `uuid.UUID`."""

    def set(self, message: v1.Feedback, value: object, path: str) -> Sequence[Violation]:
        """Set an id."""
        return super().set(message, str(value) if isinstance(value, UUID) else value, path)


class RefText(Text):
    """The URI of a ref, also given as a `Ref` or as one of Weave's objects."""

    takes_refs = True


class OptionalText(_TextField[str | None]):
    """A text that may be None, which is not the same as empty."""

    json_schema: ClassVar[Mapping[str, Any]] = {"anyOf": [{"type": "string"}, {"type": "null"}]}

    def _reader(self) -> Callable[[Any], str | None]:
        name: Any = self.name

        def read(feedback: Any) -> str | None:
            message = feedback._message
            value: str | None = getattr(message, name) if message.HasField(name) else None
            return value

        return read


class OptionalRef(OptionalText):
    """The URI of a ref, or None; also given as a `Ref` or as one of Weave's objects."""

    takes_refs = True


class Payload(Field[dict[str, Any]]):
    """A JSON object, kept as text and decoded once."""

    json_schema: ClassVar[Mapping[str, Any]] = {"type": "object", "additionalProperties": True}

    def _reader(self) -> Callable[[Any], dict[str, Any]]:
        def read(feedback: Any) -> dict[str, Any]:
            payload: dict[str, Any] | None = feedback._payload
            if payload is None:
                payload = feedback._payload = jsontext.decode(feedback._message.payload_json)
            return payload

        return read

    def set(self, message: v1.Feedback, value: object, path: str) -> Sequence[Violation]:
        """Set the text of a mapping, or the text itself."""
        if isinstance(value, str) and value.lstrip()[:1] == "{":
            _, breaches = jsontext.check(value)
            if not breaches:
                message.payload_json = value
            return _violations(breaches, path)
        if not isinstance(value, Mapping):
            return [Violation(path, f"must be a JSON object, not a {type(value).__name__}")]
        try:
            message.payload_json = _encoded(value)
        except jsontext.InvalidPayloadError as error:
            return _violations(error.breaches, path)
        return ()


def _violations(breaches: Sequence[jsontext.Breach], path: str) -> list[Violation]:
    return [
        Violation(f"{path}{'.' if b.path and not b.path.startswith('[') else ''}{b.path}", b.description)
        for b in breaches
    ]


def _of_json(value: object, first: str) -> object:
    """The value of a JSON text that starts with `first`, as a file has it; anything else unchanged."""
    if not isinstance(value, str) or value.lstrip()[:1] != first:
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _encoded(payload: Mapping[str, Any]) -> str:
    """The text of a payload. Most are made of dicts, lists and Python's own scalars, and need no copy."""
    if isinstance(payload, dict):
        try:
            return jsontext.encode(payload)
        except jsontext.InvalidPayloadError:
            pass
    return jsontext.encode(plain_json(payload))


def _of_pairs(value: object) -> object:
    """A mapping that comes as a list of pairs, or of dicts with `key` and `value`; anything else unchanged."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if all(isinstance(entry, Mapping) and entry.keys() == {"key", "value"} for entry in value):
            return {entry["key"]: entry["value"] for entry in value}
        if all(isinstance(entry, tuple) and len(entry) == 2 for entry in value):
            return dict(value)
    return value


class Texts(Field[list[str]]):
    """A list of texts."""

    json_schema: ClassVar[Mapping[str, Any]] = {"type": "array", "items": {"type": "string"}}

    def _reader(self) -> Callable[[Any], list[str]]:
        read = super()._reader()
        return lambda feedback: list(read(feedback))

    def set(self, message: v1.Feedback, value: object, path: str) -> Sequence[Violation]:
        """Set a list of texts, also given as its JSON text."""
        value = plain_list(_of_json(value, "["))
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
            return [Violation(path, f"must be a list of texts, not a {type(value).__name__}")]
        violations = [v for i, text in enumerate(value) for v in wrong_text(text, f"{path}[{i}]")]
        if not violations:
            getattr(message, self.name).extend(value)
        return violations


class _Map(Field[dict[str, ValueT]], ABC, Generic[ValueT]):
    """Values by a text."""

    def _reader(self) -> Callable[[Any], dict[str, ValueT]]:
        read = super()._reader()
        return lambda feedback: dict(read(feedback))

    def set(self, message: v1.Feedback, value: object, path: str) -> Sequence[Violation]:
        """Set the entries of a mapping, also given as its JSON text, or as the pairs that Arrow has for it."""
        value = _of_pairs(_of_json(value, "{"))
        if not isinstance(value, Mapping):
            return [Violation(path, f"must be a mapping, not a {type(value).__name__}")]
        violations: list[Violation] = []
        value = {key: plain(entry) for key, entry in value.items()}
        for key, entry in value.items():
            violations += wrong_text(key, f"{path} (a key)")
            violations += self._wrong_entry(entry, f"{path}.{str(key)[:100]}")
        if not violations:
            try:
                getattr(message, self.name).update(value)
            except OverflowError:
                violations.append(Violation(path, "holds a number beyond the range of a double"))
        return violations

    @abstractmethod
    def _wrong_entry(self, entry: object, path: str) -> Sequence[Violation]:
        """What is wrong with a value of the map, if anything."""


class TextMap(_Map[str]):
    """Texts by a text."""

    json_schema: ClassVar[Mapping[str, Any]] = {"type": "object", "additionalProperties": {"type": "string"}}

    def _wrong_entry(self, entry: object, path: str) -> Sequence[Violation]:
        return wrong_text(entry, path)


class NumberMap(_Map[float]):
    """Numbers by a text."""

    json_schema: ClassVar[Mapping[str, Any]] = {"type": "object", "additionalProperties": {"type": "number"}}

    def _wrong_entry(self, entry: object, path: str) -> Sequence[Violation]:
        if (name := missing_name(entry)) is not None:
            return [Violation(path, f"is {name}; leave the key out for what is missing")]
        if isinstance(entry, bool) or not isinstance(entry, int | float):
            return [Violation(path, f"must be a number, not a {type(entry).__name__}")]
        return ()


def span_status_name(number: v1.SpanStatusCode.ValueType) -> str:
    """The name of a span's status; a number that only a newer server knows reads as UNSET."""
    return _SPAN_STATUS_NAMES.get(number, "UNSET")


class SpanStatus(Field[str]):
    """How a span ended: `UNSET`, `OK` or `ERROR`."""

    json_schema: ClassVar[Mapping[str, Any]] = {"type": "string", "enum": [*_SPAN_STATUS_CODES]}

    def _reader(self) -> Callable[[Any], str]:
        return lambda feedback: span_status_name(feedback._message.span_status_code)

    def set(self, message: v1.Feedback, value: object, path: str) -> Sequence[Violation]:
        """Set the status by its name."""
        code = _SPAN_STATUS_CODES.get(value) if isinstance(value, str) else None
        if code is None:
            return [Violation(path, f"must be one of {', '.join(_SPAN_STATUS_CODES)}")]
        message.span_status_code = code
        return ()


class ImportedText(Text):
    """A text that only the server sets, and that an import keeps."""

    origin = "import"


class ImportedTime(Field[datetime]):
    """A time in UTC, to the microsecond, that only the server sets, and that an import keeps."""

    origin = "import"
    json_schema: ClassVar[Mapping[str, Any]] = {"type": "string", "format": "date-time"}

    def _reader(self) -> Callable[[Any], datetime]:
        read = attrgetter(f"_message.{self.name}")
        return lambda feedback: to_datetime(read(feedback))

    def set(self, message: v1.Feedback, value: object, path: str) -> Sequence[Violation]:
        """Set a time, given as a datetime or as text."""
        moment = _moment(value)
        if moment is None:
            return [Violation(path, "must be a datetime or an RFC 3339 text")]
        getattr(message, self.name).FromDatetime(moment)
        return ()


class ImportedNumber(Field[int]):
    """An integer from 1 that only the server sets, and that an import keeps."""

    origin = "import"
    json_schema: ClassVar[Mapping[str, Any]] = {"type": "integer"}

    def set(self, message: v1.Feedback, value: object, path: str) -> Sequence[Violation]:
        """Set an integer, also given as its digits; 0 is the same as leaving it out."""
        value = plain(value)
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value):
            value = int(value)
        elif isinstance(value, float) and value.is_integer():
            value = int(value)  # what pandas makes of integers in a column where some are missing
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            return [Violation(path, "must be an integer from 1")]
        setattr(message, self.name, value)
        return ()


class ServerNumber(Field[int]):
    """An integer that belongs to the store which holds the record."""

    origin = "server"
    json_schema: ClassVar[Mapping[str, Any]] = {"type": "integer"}


class ServerText(Field[str]):
    """A text that belongs to the store which holds the record."""

    origin = "server"


def wrong_text(value: object, path: str) -> Sequence[Violation]:
    """What is wrong with a value that should be a text, if anything."""
    if not isinstance(value, str):
        return [Violation(path, f"must be a text, not a {type(value).__name__}")]
    try:
        value.encode()
    except UnicodeEncodeError:
        return [Violation(path, "holds a lone surrogate")]
    return ()


def to_datetime(timestamp: Timestamp) -> datetime:
    """A time of a message, in UTC, to the microsecond."""
    return timestamp.ToDatetime(tzinfo=UTC)


def _moment(value: object) -> datetime | None:
    """A time as it is given, or None for what is not a time; without a zone it is in UTC, as in queries."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    try:
        return value.astimezone(UTC) if value.tzinfo is not None else value.replace(tzinfo=UTC)
    except OverflowError:
        return None  # its zone moves a time of the year 1 or 9999 out of the calendar
