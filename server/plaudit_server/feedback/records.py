"""The record inside the server, and its wire form: encoded once, on write, and never again on a read.

A protobuf message is the concatenation of its fields in any order, so a stored row keeps its record as
two byte strings that are ready to be sent: `head` (everything but the payload's text, ending with the
payload field's tag and length) and `payload` (the JSON text, as UTF-8). `head + payload` is one element
of the field `feedback = 1` of every response message; a page of rows is a plain join.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

from plaudit.v1 import Feedback, GetFeedbackResponse
from plaudit_server.rpc.wire import short, timestamp, varint
from plaudit_server.store.base import Placement, Table

_TAG_FEEDBACK: Final = b"\x0a"  # field 1, length-delimited
# Fields of Feedback.
_TAG_PAYLOAD: Final = b"\x2a"  # payload_json = 5, length-delimited
_TAG_CREATED_AT: Final = b"\x42"  # 8, length-delimited
_TAG_UPDATED_AT: Final = b"\x4a"  # 9, length-delimited
_TAG_VERSION: Final = b"\x50"  # 10, a varint
_TAG_REVISION: Final = b"\x58"  # 11, a varint
_TAG_OWNER: Final = b"\xea\x01"  # 29, length-delimited

SPAN_STATUS_NAMES: Final = ("UNSET", "OK", "ERROR")
"""Text of `span_status_code` by enum number, as stored and as queries see it."""


class ChangeKind(IntEnum):
    """What a change did; the numbers are stored."""

    CREATED = 1
    REPLACED = 2
    PURGED = 3
    RETAINED = 4
    """Records were removed at the end of their time, any number of them with one change."""


class Tombstone(NamedTuple):
    """What is left of a purged record. `purged_at` in microseconds since 1970 UTC."""

    id: str
    ref: str
    feedback_type: str
    user_id: str
    purged_at: int
    revision: int


class Retained(NamedTuple):
    """What is left of records that were removed at the end of their time with one change.

    They were of one type, or of any if it is None, and created before `before`; removed at `at`: both times in
    microseconds since 1970 UTC.
    """

    feedback_type: str | None
    before: int
    rows: int
    at: int


class Row(NamedTuple):
    """One stored record in wire form; `head + payload` encodes field 1 of a response."""

    head: bytes
    payload: bytes


class Record(NamedTuple):
    """A validated, enriched record as a writer hands it to the store, in the form of its columns.

    `scorer_*` maps and lists are JSON text (`{}` and `[]` when empty); `payload` is the JSON text to store.
    `body` is the encoded message without the payload and without what the store gives out.
    `new_id` means that the id was made here, for this record: no other record can have it, so none is looked up.
    The fields at the end are the server's, and given only by an import: microseconds since 1970 UTC, versions from 1.
    """

    project: str
    id: str
    user_id: str
    ref: str
    feedback_type: str
    creator: str | None
    annotation_ref: str | None
    runnable_ref: str | None
    call_ref: str | None
    trigger_ref: str | None
    queue_id: str | None
    scorer_tags: str
    scorer_tag_reasons: str
    scorer_tag_confidences: str
    scorer_ratings: str
    scorer_rating_reasons: str
    scorer_rating_confidences: str
    span_agent_name: str
    span_agent_version: str
    span_status_code: str
    span_conversation_id: str
    span_trace_id: str
    scorer_trace_id: str
    payload: str
    body: bytes
    new_id: bool = False
    created_at: int | None = None
    updated_at: int | None = None
    version: int | None = None


CONTENT_COLUMNS: Final = Record._fields[2:23]
"""The columns that a writer fills, from `user_id` to `scorer_trace_id`: two records are the same content when these and
the payload agree.
"""


def content_of(record: Record) -> tuple[Any, ...]:
    """The values of CONTENT_COLUMNS of a record."""
    return record[2:23]


def seal(body: bytes, payload: bytes, created_at: int, updated_at: int, version: int, revision: int, owner: str) -> Row:
    """Encode a record with what the store assigns to it (times in microseconds since 1970 UTC).

    Every write does it, and with messages it takes half as long again.
    """
    created = timestamp(created_at)
    fields = b"".join(
        (
            body,
            _TAG_CREATED_AT,
            created,
            _TAG_UPDATED_AT,
            created if updated_at == created_at else timestamp(updated_at),
            _TAG_VERSION,
            short(version),
            _TAG_REVISION,
            varint(revision),
            _owner(owner),
            _TAG_PAYLOAD,
            short(len(payload)),
        )
    )
    return Row(b"".join((_TAG_FEEDBACK, short(len(fields) + len(payload)), fields)), payload)


@lru_cache(1024)
def _owner(owner: str) -> bytes:
    text = owner.encode()
    return b"".join((_TAG_OWNER, varint(len(text)), text))


def renamed(body: bytes, id: str) -> bytes:
    """The body of a record under another id."""
    message = Feedback.FromString(body)
    message.id = id
    return message.SerializeToString(deterministic=True)


def message(row: Row) -> Feedback:
    """A row as the message that clients see; for tests and for copying, never for a page."""
    return GetFeedbackResponse.FromString(row.head + row.payload).feedback


_COLUMNS: Final = (
    "project",
    "id",
    "revision",
    "version",
    "kind",
    "created_at",
    "updated_at",
    *CONTENT_COLUMNS,
    "head",
    "payload",
    "unique_key",
    "owner",
)
_TYPES: Final = {
    "revision": "int8",
    "version": "int8",
    "kind": "int2",
    "created_at": "int8",
    "updated_at": "int8",
    "head": "bytea",
}


def _table(name: str, title: str) -> Table:
    return Table(
        name=name,
        title=title,
        columns=_COLUMNS,
        placement=Placement.BY_PROJECT,
        order=("revision",),
        types=_TYPES,
        proof=("id", "revision", "updated_at", "head"),
        kept_in=("feedback", "feedback_history"),
        large=("head", "payload"),
    )


FEEDBACK: Final = _table("feedback", "records")
"""The newest version of each record."""

HISTORY: Final = _table("feedback_history", "versions and tombstones")
"""Versions that were replaced; tombstones, whose version is 0; a row for each change that is about no one record."""

GONE: Final = Table(
    name="feedback_gone",
    title="ids of removed records",
    columns=("project", "id"),
    placement=Placement.BY_PROJECT,
    order=("id",),
    types={"id": "bytea"},
)
"""The ids of records that were removed at the end of their time, as 16 bytes each, so that none is used again."""

OWNER: Final = "coalesce(f.owner, f.user_id)"
"""The SQL for whose record a row is; one from before owners were stored is its last writer's."""
