"""What all importers share: ids that are found again, refs of systems, names of types, times, and payloads."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from plaudit._contract import limits
from plaudit._core.errors import InvalidArgumentError
from plaudit._core.model import Feedback
from plaudit._core.records import to_message
from plaudit._core.systems import DEFAULT, system_ref
from plaudit.importers import Given, Record, Refusal
from plaudit.importers.exact import dumps, plain

# Of another mapping, which would make other records of the same rows, the number would be another one.
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://plaudit.dev/import/1")
_SEPARATOR: Final = "\x1f"

_SHORT_BYTES: Final = 118
_DIGEST_CHARACTERS: Final = 8
_RESERVED: Final = "wandb."

_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d+))?\s*(Z|[+-]\d\d:?\d\d)?")
_MICROSECONDS: Final = 6

PAYLOAD_KEYS: Final = ("score", "label", "value", "comment", "correction", "error")
"""The keys that mean the same in the payload of every system; all else is in `origin`."""


class RowError(ValueError):
    """A row that cannot be imported; the message says why."""


Made = Callable[[list[str]], tuple[dict[str, Any], Any]]
"""Gives the fields of a record and its payload, and adds what it has changed. Raises RowError."""


def recorded(place: str, made: Made) -> Record | Refusal:
    """The record of what a row says, or why there is none."""
    changed: list[str] = []
    try:
        fields, payload = made(changed)
        message = to_message(fields, "record", imported=True)
        if not isinstance(payload, Mapping):
            raise RowError("has no payload")
        message.payload_json = dumps(payload)
    except RowError as error:
        return Refusal(place, str(error))
    except InvalidArgumentError as error:
        return Refusal(place, wrong_in(error))
    except ValueError as error:
        return Refusal(place, f"the payload {error}")
    return Record(Feedback(message), place, changed)


def wrong_in(error: InvalidArgumentError) -> str:
    """What is wrong with the fields of a record, the first of it."""
    return "; ".join(f"{v.field.removeprefix('record.')} {v.description}" for v in error.violations[:3])


@dataclass(slots=True)
class Row:
    """What an importer has found in a row: one record of plaudit."""

    target: Sequence[str]
    """The kinds and ids of what the feedback is about: `("trace", "1f2e", "span", "9a")`."""
    name: str
    """What the system calls this kind of feedback."""
    key: Sequence[str]
    """What makes the record unique in its project there."""
    created_at: Any
    origin: Mapping[str, Any] = field(default_factory=dict)
    """All that plaudit has no place for."""
    payload: Mapping[str, Any] = field(default_factory=dict)
    """Some of PAYLOAD_KEYS; a key whose value is absent there is absent here."""
    updated_at: Any = None
    id: str = ""
    """The record's own id, if it is a UUID that the system keeps."""
    creator: str | None = None
    user: str | None = None
    trace: str = ""
    session: str = ""
    project: str = ""
    """The system's own project; that of the options when empty."""
    ref: str = ""
    """The application's own URI of the target, instead of the system's."""


class Mapper:
    """Makes records of one system's rows, by the options that were given."""

    def __init__(self, system: str, given: Given) -> None:
        self.system = system
        options = given.options
        self._project = given.project
        self._instance = str(options.get("instance") or DEFAULT)
        self.source_project = str(options.get("source_project") or "")
        self._template = str(options.get("ref_template") or "")
        self._prefix = str(options.get("type_prefix") or "")
        self._created_at = options.get("created_at")

    def record(self, row: Row, place: str) -> Record | Refusal:
        """The record of a row, or why there is none."""

        def made(changed: list[str]) -> tuple[dict[str, Any], Any]:
            return self._fields(row, changed), self._payload(row, changed)

        return recorded(place, made)

    def _fields(self, row: Row, changed: list[str]) -> dict[str, Any]:
        created_at = moment(row.created_at if self._created_at is None else self._created_at, "created_at", changed)
        updated_at = None if row.updated_at is None else moment(row.updated_at, "updated_at", changed)
        fields = {
            "project": self._project,
            "id": row.id or self._derived_id(row),
            "ref": self._ref(row),
            "feedback_type": self._type(row.name, changed),
            "creator": row.creator or None,
            "user_id": f"{self.system}:{row.user or 'anonymous'}",
            "created_at": created_at,
            "updated_at": created_at if updated_at is None else max(updated_at, created_at),
            "span_trace_id": row.trace,
            "span_conversation_id": row.session,
        }
        if updated_at is not None and updated_at < created_at:
            changed.append("updated_at was before created_at")
        return {name: value for name, value in fields.items() if value not in (None, "")}

    def _derived_id(self, row: Row) -> str:
        return derived_id(self.system, f"{self._instance}/{row.project or self.source_project}", *row.key)

    def _ref(self, row: Row) -> str:
        project = row.project or self.source_project
        if self._template:
            kinds = dict(zip(row.target[::2], row.target[1::2], strict=True))
            try:
                return self._template.format_map({**kinds, "project": project, "id": row.target[-1]})
            except (KeyError, IndexError, ValueError) as error:
                raise RowError(f"the ref template does not fit: {error}") from None
        if row.ref:
            return row.ref
        return system_ref(self.system, self._instance, project, *row.target)

    def _type(self, name: str, changed: list[str]) -> str:
        if not name:
            raise RowError("has no name")
        made = self._prefix + name
        if made.startswith(_RESERVED) and made not in _NATIVE:
            changed.append(f"the type {name} begins like plaudit's own: {self.system}.{name}")
            made = f"{self.system}.{made}"
        if len(made.encode()) > limits.FEEDBACK_TYPE_BYTES:
            changed.append("the type's name was too long")
            digest = hashlib.sha256(made.encode()).hexdigest()[:_DIGEST_CHARACTERS]
            made = f"{made.encode()[:_SHORT_BYTES].decode(errors='ignore')}~{digest}"
        return made

    def _payload(self, row: Row, changed: Sequence[str]) -> dict[str, Any]:
        origin: dict[str, Any] = {"system": self.system}
        if any("type" in each for each in changed):
            origin["name"] = row.name
        origin |= row.origin
        return {**row.payload, "origin": origin}


_NATIVE: Final = ("wandb.note.1",)


def derived_id(*parts: str) -> str:
    """The id of a record whose source keeps none: of what makes it unique there, so that it is found again."""
    return str(uuid.uuid5(_NAMESPACE, _SEPARATOR.join(parts)))


def moment(value: Any, name: str, changed: list[str]) -> str:
    """A time as RFC 3339 in UTC, to the microsecond. Raises RowError for anything else."""
    if isinstance(value, datetime):
        value = value.isoformat()
    found = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise RowError(f"{name} is no time" if value not in (None, "") else f"has no {name}")
    day, time, fraction, zone = found.groups()
    if zone is None:
        changed.append(f"{name} had no zone: it was taken for UTC")
    if fraction is not None and len(fraction) > _MICROSECONDS and fraction[_MICROSECONDS:].strip("0"):
        changed.append(f"{name} was cut to microseconds")
    zone = "+00:00" if zone in (None, "Z") else zone
    try:
        read = datetime.fromisoformat(f"{day}T{time}.{(fraction or '0')[:_MICROSECONDS]:0<6}{zone}")
        return read.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (ValueError, OverflowError):
        raise RowError(f"{name} is no time") from None


def text_of(value: Any) -> str:
    """A text, or a number as one; empty for None."""
    return "" if value is None else str(plain(value))


def required(row: Mapping[str, Any], *names: str) -> list[str]:
    """The texts of these members. Raises RowError when one is absent or empty."""
    values = [text_of(row.get(name)) for name in names]
    for name, value in zip(names, values, strict=True):
        if not value:
            raise RowError(f"has no {name}")
    return values


def present(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """These members where they are there and not null."""
    return {name: row[name] for name in names if row.get(name) is not None}


def objects(values: Any) -> Iterator[Mapping[str, Any]]:
    """The objects of a list; nothing for anything else."""
    for value in values if isinstance(values, list) else ():
        if isinstance(value, Mapping):
            yield value
