"""Checks requests and collects their violations, and makes Records of the records in them; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from plaudit._contract import jsontext, limits
from plaudit._contract.uuid7 import uuid7
from plaudit.v1 import Feedback, QueryFeedbackRequest, StreamFeedbackRequest
from plaudit_server.auth.principals import TOKEN_PREFIX
from plaudit_server.errors import InvalidFields, Violation
from plaudit_server.feedback import types
from plaudit_server.feedback.fields import (
    CONTROL,
    DEFAULTS,
    NOT_IN_BODY,
    NUL,
    OPTIONAL_REFS,
    PLAIN_TEXTS,
    READERS,
    SCORER_FIELDS,
    byte_size,
    check_text,
)
from plaudit_server.feedback.judging import Description, Glance, Subject
from plaudit_server.feedback.records import Record
from plaudit_server.feedback.types import Draft, GivenRef

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

# 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, in seconds since 1970.
_FIRST_SECOND: Final = -62_135_596_800
_LAST_SECOND: Final = 253_402_300_799


# Longer names are refused; none of them is remembered.
_PROJECT_CHARACTERS: Final = 2 * limits.PROJECT_PART_BYTES + 1

# The columns that are stored as their fields are read; half of a record, so they are taken with one call.
_AS_READ: Final = itemgetter(*Record._fields[Record._fields.index("queue_id") : Record._fields.index("payload")])

# What only some types may have; most records have none of it.
_SPECIAL_FIELDS: Final = OPTIONAL_REFS | SCORER_FIELDS
_NO_REFS: Final = (None, None, None, None)

_CONTROL_CHARACTER: Final = "holds a control character"

# --- requests


def check_project(project: str, out: list[Violation], field: str = "project") -> None:
    """Check that a project is written as `entity/project`, each part within its limit."""
    entity, _, name = project.partition("/")
    if not entity or not name or "/" in name:
        out.append(Violation(field, "must be <entity>/<project>"))
    elif byte_size(entity) > limits.PROJECT_PART_BYTES or byte_size(name) > limits.PROJECT_PART_BYTES:
        out.append(Violation(field, f"each part has at most {limits.PROJECT_PART_BYTES} bytes"))
    elif "\0" in project:
        out.append(Violation(field, NUL))


def check_new_project(project: str, out: list[Violation], field: str = "project") -> None:
    """Check the project of new content, whose name must be written so that nobody takes it for another.

    What is stored under other names stays readable, and can be purged and imported.
    """
    if len(project) > _PROJECT_CHARACTERS or not _is_good_project(project):
        check_project(project, out, field)
        if any(part != part.strip() for part in project.split("/")):
            out.append(Violation(field, "must not have blanks at the ends of its parts"))
        elif CONTROL.search(project) and "\0" not in project:
            out.append(Violation(field, _CONTROL_CHARACTER))


@lru_cache(maxsize=10_000)
def _is_good_project(project: str) -> bool:
    """Whether nothing is wrong with it, remembered: most writes go to few projects."""
    out: list[Violation] = []
    check_project(project, out)
    return not out and CONTROL.search(project) is None and all(part == part.strip() for part in project.split("/"))


def check_ref_prefix(prefix: str, out: list[Violation]) -> None:
    """A violation for a beginning that no ref can have."""
    if len(prefix.encode()) > limits.REF_BYTES:
        out.append(Violation("ref_prefix", f"has more than {limits.REF_BYTES} bytes"))
    if "\0" in prefix:
        out.append(Violation("ref_prefix", "must not hold a NUL character"))


def check_page_size(size: int, out: list[Violation], field: str = "page_size") -> int:
    """The number of rows of a page: 0 means the limit, and a larger number is lowered to it."""
    if size < 0:
        out.append(Violation(field, "must not be negative"))
    return min(size or limits.PAGE_ROWS, limits.PAGE_ROWS)


def check_offset_limit(request: QueryFeedbackRequest | StreamFeedbackRequest, out: list[Violation]) -> None:
    """Check that offset and limit, where given, are not negative."""
    if request.offset < 0:
        out.append(Violation("offset", "must not be negative"))
    if request.limit < 0:
        out.append(Violation("limit", "must not be negative"))


def check_version(version: int, out: list[Violation], field: str = "version") -> None:
    """Check that a version that is asked for or expected is not negative; 0 means the newest, or any."""
    if version < 0:
        out.append(Violation(field, "must not be negative"))


def check_batch(count: int, out: list[Violation], field: str = "feedback") -> None:
    """Check that a batch has at least one record, and not too many."""
    if not 1 <= count <= limits.BATCH_ITEMS:
        out.append(Violation(field, f"has {count} records, allowed are 1 to {limits.BATCH_ITEMS}"))


def check_id_lookup(id: str, out: list[Violation], field: str = "id") -> str:
    """The id of a record to look up, in lower case; an id that is not a UUID is not refused, only not found."""
    if not id:
        out.append(Violation(field, "is required"))
    elif "\0" in id:
        out.append(Violation(field, NUL))
    elif byte_size(id) > limits.LOOKUP_ID_BYTES:
        out.append(Violation(field, f"has more than {limits.LOOKUP_ID_BYTES} bytes"))
    return id.lower()


def check_ids(ids: Iterable[str], out: list[Violation], field: str = "ids") -> list[str]:
    """The ids to look up, each once, in lower case; at most limits.PURGE_ROWS."""
    given = list(ids)
    if len(given) > limits.PURGE_ROWS:
        out.append(Violation(field, f"has {len(given)} ids, the limit is {limits.PURGE_ROWS}"))
        return []
    return list(dict.fromkeys(check_id_lookup(id, out, f"{field}[{index}]") for index, id in enumerate(given)))


# --- records


def new_record(
    message: Feedback,
    project: str,
    user_id: str,
    out: list[Violation],
    at: str = "feedback",
    *,
    id_required: bool = False,
    id_lookup: bool = False,
    imported: bool = False,
    note_characters: int = limits.NOTE_CHARACTERS,
    subjects: list[Subject] | list[Subject | None] | None = None,
    glance: Glance | None = None,
) -> Record | None:
    """Validate and enrich a record of a request; None when it breaks rules, which are then in `out`, below `at`.

    The message is changed in place, and its encoding becomes the record's `body`. Without an id one is made,
    unless `id_required`; with `id_lookup` (a replace) the id is any text that `check_id_lookup` takes. With
    `imported` the server-set fields are read from the message, otherwise they are dropped. What definitions look at
    is added to `subjects`, also of a record that broke rules, if it can be looked at; not of one that `glance` passes.
    """
    found: list[Violation] = []
    given = DEFAULTS.copy()
    sent = []
    for field, value in message.ListFields():
        name = field.name
        given[name] = READERS[name](value, name, found)
        sent.append(name)
    id = check_id_lookup(given["id"], found) if id_lookup else _new_id(given["id"], id_required, found)
    if given["project"] not in ("", project):
        found.append(Violation("project", "must be empty or the project of the request"))
    if given["ref"] is None:
        found.append(Violation("ref", "is required"))
    if not given["feedback_type"]:
        found.append(Violation("feedback_type", "is required"))
    if not imported:
        found += [
            Violation(name, _CONTROL_CHARACTER)
            for name in sent
            if name in PLAIN_TEXTS and (text := given[name]) and "\0" not in text and CONTROL.search(text)
        ]
    payload: str = given["payload_json"][0]
    is_plain = _SPECIAL_FIELDS.isdisjoint(sent)
    if not is_plain or types.has_rules(given["feedback_type"]):
        payload = _enriched(message, given, sent, project, found, note_characters)
    created_at = updated_at = version = None
    if imported:
        created_at, updated_at, version = _stamps(given, found)
        user_id = given["user_id"] or user_id
        if user_id.startswith(TOKEN_PREFIX):
            # Who reads `token:` must be able to rely on it that a feedback token sent the record.
            message.user_id = user_id = IMPORTED_PREFIX + user_id
        check_text(user_id, "user_id", limits.USER_ID_BYTES, found)
    members = given["payload_json"][1]
    if found:
        out += [Violation(f"{at}.{v.field}", v.description) for v in found]
        if subjects is not None and members is not None and given["feedback_type"]:
            subjects.append(Subject(_description(given, user_id, payload), members))
        return None
    record = Record._make(
        (
            project,
            id,
            user_id,
            given["ref"].uri,
            given["feedback_type"],
            given["creator"],
            *(_NO_REFS if is_plain else _refs(given)),
            *_AS_READ(given),
            payload,
            _body(message, given, sent, project, id, user_id),
            not given["id"],
            created_at,
            updated_at,
            version,
        )
    )
    if subjects is not None and (glance is None or not glance.passes(record, members)):
        subjects.append(Subject(record, members))
    return record


def _description(given: Mapping[str, Any], user_id: str, payload: str) -> Description:
    """What can be looked at of a record that breaks rules."""
    ref, spec = _uri(given["ref"]) or "", _uri(given["annotation_ref"])
    return Description(given["feedback_type"], ref, user_id, given["creator"], spec, payload)


IMPORTED_PREFIX: Final = "imported:"


class CheckedOne(NamedTuple):
    """What became of the record of a request: see `new_record`."""

    record: Record | None
    violations: list[Violation]
    subjects: list[Subject]


def checked_one(message: Feedback, project: str, user_id: str, id_lookup: bool, collects: bool) -> CheckedOne:
    """Validate and enrich a record as `new_record` does; with `collects` its subject too."""
    checked = CheckedOne(None, [], [])
    record = new_record(
        message,
        project,
        user_id,
        checked.violations,
        id_lookup=id_lookup,
        subjects=checked.subjects if collects else None,
    )
    return checked._replace(record=record)


class Checked(NamedTuple):
    """The good records of a batch with their places in it, and what is wrong with the others, by their places."""

    places: list[int]
    records: list[Record]
    refused: dict[int, InvalidFields]
    subjects: list[Subject | None]
    """What definitions look at of each of the good ones, None of one that has passed a glance; empty unless it is
    collected."""
    broken: dict[int, Subject]
    """The same of the others that can be looked at, by their places."""


def new_records(
    items: Sequence[Feedback],
    before: Checked | None,
    *,
    project: str,
    user_id: str,
    id_required: bool = False,
    imported: bool = False,
    collects: bool = False,
    glance: Glance | None = None,
) -> Checked:
    """Validate and enrich records of a batch, as `new_record` does each; with `collects` subjects too.

    `before` is what became of those that come before them in the batch; the others are added to it.
    """
    checked = Checked([], [], {}, [], {}) if before is None else before
    subjects = checked.subjects if collects else None
    for index, item in enumerate(items, len(checked.records) + len(checked.refused)):
        out: list[Violation] = []
        record = new_record(
            item,
            project,
            user_id,
            out,
            "",
            id_required=id_required,
            imported=imported,
            subjects=subjects,
            glance=glance,
        )
        if record is None:
            checked.refused[index] = InvalidFields(
                [Violation(f"feedback[{index}]{v.field}", v.description) for v in out]
            )
            if len(checked.subjects) > len(checked.records):
                broken = checked.subjects.pop()
                assert broken is not None
                checked.broken[index] = broken
        else:
            checked.places.append(index)
            checked.records.append(record)
            if collects and len(checked.subjects) < len(checked.records):
                checked.subjects.append(None)
    return checked


def _new_id(id: str, required: bool, out: list[Violation]) -> str:
    """The id that a client gave, in lower case, or one made here."""
    if id:
        if _UUID.fullmatch(id) is None:
            out.append(Violation("id", "must be a UUID: 8-4-4-4-12 hex digits"))
        return id.lower()
    if required:
        out.append(Violation("id", "is required"))
    return uuid7()


def _enriched(
    message: Feedback,
    given: dict[str, Any],
    sent: Sequence[str],
    project: str,
    out: list[Violation],
    note_characters: int,
) -> str:
    """Apply the rules of the type. Returns the payload with the server's additions; sets derived ids in both inputs."""
    text: str
    text, members = given["payload_json"]
    if not given["feedback_type"]:
        return text
    draft = Draft(
        project,
        given["feedback_type"],
        given["ref"] and given["ref"].parsed,
        members,
        {name: given[name] for name in sent if name in OPTIONAL_REFS and given[name]},
        [name for name in sent if name in SCORER_FIELDS],
        given["span_conversation_id"],
        given["span_trace_id"],
    )
    additions = types.apply(draft, out, note_characters)
    if additions.span_conversation_id:
        given["span_conversation_id"] = message.span_conversation_id = additions.span_conversation_id
    if additions.span_trace_id:
        given["span_trace_id"] = message.span_trace_id = additions.span_trace_id
    if not additions.payload:
        return text
    text = jsontext.set_members(text, additions.payload)
    if byte_size(text) > limits.PAYLOAD_BYTES:
        out.append(Violation("payload", f"has more than {limits.PAYLOAD_BYTES} bytes with what the server adds"))
    return text


def _body(
    message: Feedback, given: Mapping[str, Any], sent: Sequence[str], project: str, id: str, user_id: str
) -> bytes:
    """The encoded message without the payload, the stamps, and fields that were sent empty to mean null."""
    for name in sent:
        if name in NOT_IN_BODY or given[name] is None:
            message.ClearField(name)  # type: ignore[arg-type]
    message.id = id
    message.project = project
    message.user_id = user_id
    message.DiscardUnknownFields()
    return message.SerializeToString(deterministic=True)


def _refs(given: Mapping[str, Any]) -> tuple[str | None, ...]:
    """The refs that a record may leave out, in the order of its columns."""
    return (
        _uri(given["annotation_ref"]),
        _uri(given["runnable_ref"]),
        _uri(given["call_ref"]),
        _uri(given["trigger_ref"]),
    )


def _uri(given: GivenRef | None) -> str | None:
    return None if given is None else given.uri


def _stamps(given: Mapping[str, Any], out: list[Violation]) -> tuple[int, int, int]:
    """created_at, updated_at (microseconds since 1970 UTC) and version of a record to import."""
    created_at = _micros(given["created_at"], "created_at", out)
    updated_at = created_at if given["updated_at"] is None else _micros(given["updated_at"], "updated_at", out)
    if updated_at < created_at:
        out.append(Violation("updated_at", "must not be before created_at"))
    version: int = given["version"]
    if version < 1:
        out.append(Violation("version", "must not be negative"))
    elif version > limits.IMPORTED_VERSION:
        out.append(Violation("version", f"must be at most {limits.IMPORTED_VERSION}"))
    return created_at, updated_at, version


def _micros(timestamp: Timestamp | None, name: str, out: list[Violation]) -> int:
    if timestamp is None:
        out.append(Violation(name, "is required"))
        return 0
    if not (_FIRST_SECOND <= timestamp.seconds <= _LAST_SECOND and 0 <= timestamp.nanos < 1_000_000_000):
        out.append(Violation(name, "must be a time of the years 1 to 9999"))
    elif timestamp.nanos % 1000:
        out.append(Violation(name, "must be in whole microseconds"))
    return timestamp.seconds * 1_000_000 + timestamp.nanos // 1000
