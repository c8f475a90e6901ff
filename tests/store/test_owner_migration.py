"""Stores of before have no owners: a migration fills the column, and the records as they go over the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from plaudit.v1 import Feedback, GetFeedbackResponse
from plaudit_server.store.migrate import migrations

PROJECT = "acme/chat"
# Around each length at which protobuf's way of writing lengths grows by a byte.
SIZES = (0, 1, 20, 60, 100, 127, 128, 200, 16_000, 16_383, 16_384, 17_000, 500_000)
BODIES = (0, 10, 2_090_000, 2_097_152, 2_200_000)
OWNERS = ("a", "judge", "é" * 60, "x" * 127, "x" * 128, "x" * 256)


def sealed(message: Feedback, payload: bytes) -> bytes:
    """The head of a row as the release before wrote it."""
    body = message.SerializeToString()
    fields = body + b"\x2a" + varint(len(payload))
    return b"\x0a" + varint(len(fields) + len(payload)) + fields


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


@dataclass
class Row:
    """A row of before."""

    table: str
    id: str
    version: int
    kind: int
    user_id: str
    payload: bytes = b"{}"
    reason: int = 0

    @property
    def message(self) -> Feedback:
        message = Feedback(id=self.id, project=PROJECT, user_id=self.user_id, version=self.version, ref="urn:x")
        if self.reason:
            message.scorer_tag_reasons["r"] = "r" * self.reason
        return message

    def values(self, revision: int) -> tuple[Any, ...]:
        head = b"" if self.version == 0 else sealed(self.message, self.payload)
        known = {"project": PROJECT, "id": self.id, "revision": revision, "version": self.version, "kind": self.kind,
                 "created_at": 1, "updated_at": 1, "user_id": self.user_id, "head": head,
                 "payload": self.payload.decode()}  # fmt: skip
        return tuple(known.get(column, "[]" if column == "scorer_tags" else "x") for column in COLUMNS)


COLUMNS = (
    "project", "id", "revision", "version", "kind", "created_at", "updated_at", "user_id", "ref", "feedback_type",
    "scorer_tags", "scorer_tag_reasons", "scorer_tag_confidences", "scorer_ratings", "scorer_rating_reasons",
    "scorer_rating_confidences", "span_agent_name", "span_agent_version", "span_status_code",
    "span_conversation_id", "span_trace_id", "scorer_trace_id", "head", "payload",
)  # fmt: skip


def rows() -> Iterator[Row]:
    for number, size in enumerate(SIZES):
        yield Row("feedback", f"size-{size}", 1, 1, OWNERS[number % len(OWNERS)], b'"' + b"x" * size + b'"')
    for number, size in enumerate(BODIES):
        yield Row("feedback", f"body-{size}", 1, 1, OWNERS[number % len(OWNERS)], reason=size)
    for owner in OWNERS:
        yield Row("feedback", f"owner-{len(owner.encode())}", 1, 1, owner)
    yield Row("feedback", "corrected", 3, 2, "editor")
    yield Row("feedback_history", "corrected", 1, 1, "ana")
    yield Row("feedback_history", "corrected", 2, 2, "other editor")
    yield Row("feedback_history", "purged", 0, 3, "admin")


EXPECTED = {row.id: row.user_id for row in rows() if row.version == 1}

Execute = Callable[[str, Any], list[Any]]


def check_migration(execute: Execute, statements: Iterator[str], placeholder: str) -> None:
    """Write rows of before, migrate, and read each as a message."""
    for revision, row in enumerate(rows(), 1):
        places = ", ".join([placeholder] * len(COLUMNS))
        execute(f"INSERT INTO {row.table} ({', '.join(COLUMNS)}) VALUES ({places})", row.values(revision))
    for statement in statements:
        execute(statement, ())
    for row in rows():
        key = (row.id, row.version)
        [(owner, head, payload)] = execute(
            f"SELECT owner, head, payload FROM {row.table} WHERE id = {placeholder} AND version = {placeholder}", key
        )
        if row.version == 0:
            assert (owner, bytes(head)) == (None, b"")
            continue
        expected = row.message
        expected.owner = EXPECTED[row.id]
        expected.payload_json = row.payload.decode()
        assert owner == expected.owner
        assert GetFeedbackResponse.FromString(bytes(head) + payload.encode()).feedback == expected


def test_a_store_of_before_gets_owners(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "plaudit.db"))
    *before, owners = migrations("sqlite")[:3]
    for migration in before:
        for statement in migration.statements():
            connection.execute(statement)

    def execute(statement: str, values: Any) -> list[Any]:
        return connection.execute(statement, values).fetchall()

    check_migration(execute, owners.statements(), "?")
    connection.close()


def test_the_third_migration_is_that_of_owners_on_both_engines() -> None:
    assert {migrations(engine)[2].name for engine in ("sqlite", "postgres")} == {"owner"}
