"""What already holds an id: looked up before a write, so that a retry is recognised and an id is never used twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from plaudit._contract.jsontext import same_content
from plaudit_server.errors import DomainError
from plaudit_server.feedback.errors import FeedbackExists, FeedbackPurged
from plaudit_server.feedback.records import CONTENT_COLUMNS, ChangeKind, Record, Row
from plaudit_server.store.base import Statement, Steps
from plaudit_server.store.ledger import Ledger
from plaudit_server.store.prepared import Traits

_REPLACED: Final = int(ChangeKind.REPLACED)


class HeldStatements:
    """The fixed statements that look ids up."""

    def __init__(self, traits: Traits) -> None:
        content = ", ".join(f"f.{column}" for column in CONTENT_COLUMNS)
        self.taken = traits.sql(
            "SELECT id, version FROM feedback WHERE project = ? AND id {in}"
            " UNION ALL SELECT id, version FROM feedback_history WHERE project = ? AND id {in} AND version = 0"
        )
        self.live = traits.sql(
            "SELECT f.head, {payload:f}, f.id, f.version, f.kind, f.created_at, "
            f"{content} FROM feedback AS f WHERE f.project = ? AND f.id {{in}}"
        )
        self.oldest = traits.sql(
            f"SELECT f.id, f.payload, {content} FROM (SELECT id, min(version) AS version FROM feedback_history"
            " WHERE project = ? AND id {in} GROUP BY id) AS first"
            " JOIN feedback_history AS f ON f.project = ? AND f.id = first.id AND f.version = first.version"
        )


class Held(NamedTuple):
    """A record that holds an id: its oldest content, to compare with, and the record as it is now."""

    content: tuple[Any, ...]
    payload: str
    row: Row


class Live(NamedTuple):
    """A record as stored."""

    row: Row
    id: str
    version: int
    kind: int
    created_at: int
    content: tuple[Any, ...]


def look_up(ledger: Ledger, ids: Sequence[str]) -> Steps[dict[str, Held | None]]:
    """Which of the ids are held, and by what; None for a purged one."""
    statements, project, bind_list = ledger.sql.of(HeldStatements), ledger.project, ledger.sql.traits.bind_list
    bound = bind_list(ids)
    found = yield Statement(statements.taken, (project, bound, project, bound))
    held: dict[str, Held | None] = {}
    if not found:
        return held
    alive = []
    for id, version in found:
        if version == 0:
            held[id] = None
        else:
            alive.append(id)
    replaced = []
    for now in (yield from live(ledger, alive)):
        held[now.id] = Held(now.content, now.row.payload.decode(), now.row)
        if now.kind == _REPLACED:
            replaced.append(now.id)
    if replaced:
        rows = yield Statement(statements.oldest, (project, bind_list(replaced), project))
        for id, payload, *content in rows:
            newest = held[id]
            assert newest is not None
            held[id] = Held(tuple(content), payload, newest.row)
    return held


def live(ledger: Ledger, ids: Sequence[str]) -> Steps[list[Live]]:
    """The records of these ids as they are now, those that are there."""
    if not ids:
        return []
    sql = ledger.sql
    rows = yield Statement(sql.of(HeldStatements).live, (ledger.project, sql.traits.bind_list(ids)))
    return [
        Live(Row(head, payload), id, version, kind, created_at, tuple(content))
        for head, payload, id, version, kind, created_at, *content in rows
    ]


def again(record: Record, content: tuple[Any, ...], held: Held | None) -> Row | DomainError:
    """The outcome of a create whose id is held: the record as it is now if its first content is this, else an error."""
    if held is None:
        return FeedbackPurged(record.project, record.id)
    if content == held.content and (record.payload == held.payload or same_content(record.payload, held.payload)):
        return held.row
    return FeedbackExists(record.project, record.id)
