"""What already holds an id: looked up before a write, so that a retry is recognised and an id is never used twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from plaudit._contract.jsontext import same_content
from plaudit_server.errors import DomainError
from plaudit_server.feedback.errors import FeedbackExists, FeedbackPurged
from plaudit_server.feedback.records import CONTENT_COLUMNS, OWNER, ChangeKind, Record, Row
from plaudit_server.store.base import Many, Statement, Steps
from plaudit_server.store.ledger import Flag, Ledger
from plaudit_server.store.prepared import Traits

_REPLACED: Final = int(ChangeKind.REPLACED)


class HeldStatements:
    """The fixed statements that look ids up."""

    def __init__(self, traits: Traits) -> None:
        content = ", ".join(f"f.{column}" for column in CONTENT_COLUMNS)
        self.taken = traits.asking + " UNION ALL ".join(
            (
                traits.asked("feedback", "f.id, f.version"),
                traits.asked("feedback_history", "f.id, f.version", "f.version = 0"),
                traits.asked("feedback_alias", "f.id, -1"),
            )
        )
        # OFFSET keeps it from becoming a join, which may be planned as a scan of the whole table.
        is_gone = f"g.project = ? AND g.id = {traits.uuid_bytes.format('asked.ref')} LIMIT 1 OFFSET 0"
        self.taken_or_gone = self.taken + traits.sql(
            f" UNION ALL SELECT asked.ref, 0 FROM asked WHERE EXISTS (SELECT 1 FROM feedback_gone AS g WHERE {is_gone})"
        )
        self.live = traits.asking + traits.asked(
            "feedback", f"f.head, {{payload:f}}, f.id, f.version, f.kind, f.created_at, {OWNER}, {content}"
        )
        self.oldest = traits.sql(
            f"SELECT f.id, f.payload, {content} FROM (SELECT id, min(version) AS version FROM feedback_history"
            " WHERE project = ? AND id {in} GROUP BY id) AS first"
            " JOIN feedback_history AS f ON f.project = ? AND f.id = first.id AND f.version = first.version"
        )

        # What a retry of an id that became another name is compared with: the version that it made.
        self.renamed = traits.sql(
            f"SELECT a.id, f.payload, {content} FROM feedback_alias AS a JOIN feedback_history AS f"
            " ON f.project = ? AND f.id = a.target AND f.version = a.version WHERE a.project = ? AND a.id {in}"
        )
        self.aliases = traits.asking + traits.asked("feedback_alias", "f.id, f.target, f.version")


class HeldTogether:
    """The same, for ids of several projects at once."""

    def __init__(self, traits: Traits) -> None:
        # OFFSET keeps each from becoming a join, which may be planned as a scan of the whole table.
        def among(table: str, version: str = "version", condition: str = "") -> str:
            return (
                f"SELECT asked.project, found.id, found.version FROM asked CROSS JOIN LATERAL (SELECT id, {version} AS"
                f" version FROM {table} AS f WHERE f.project = asked.project AND f.id = asked.id{condition} OFFSET 0)"
                " AS found"
            )

        self.taken = traits.sql(
            "WITH asked (project, id) AS (SELECT * FROM unnest(?::text[], ?::text[])) "
            + among("feedback")
            + " UNION ALL "
            + among("feedback_history", condition=" AND f.version = 0")
            + " UNION ALL "
            + among("feedback_alias", "-1")
        )
        self.taken_or_gone = self.taken + traits.sql(
            " UNION ALL SELECT asked.project, asked.id, 0 FROM asked WHERE EXISTS (SELECT 1 FROM feedback_gone AS g"
            f" WHERE g.project = asked.project AND g.id = {traits.uuid_bytes.format('asked.id')} LIMIT 1 OFFSET 0)"
        )


class Held(NamedTuple):
    """A record that holds an id: its oldest content, to compare with, and the record as it is now.

    Under another name of a record, which is `id`, the content is that of the version which the name made.
    """

    id: str
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
    owner: str
    content: tuple[Any, ...]


def taken(ledger: Ledger, ids: Sequence[str]) -> Steps[list[Any]]:
    """Those of the ids that are held, each with the version of its record; 0: it was removed; -1: it is another name.

    One statement, which looks at the ids of records that are gone only where the project has some.
    """
    statements, project = ledger.sql.of(HeldStatements), ledger.project
    has_gone = ledger.flags & Flag.GONE
    params = ledger.sql.traits.bind_list(ids), project, project, project
    asked = Statement(statements.taken_or_gone, (*params, project)) if has_gone else Statement(statements.taken, params)
    if ledger.together:
        together = ledger.sql.of(HeldTogether)
        text = together.taken_or_gone if has_gone else together.taken
        asked = asked._replace(many=Many(text, [(project, id) for id in ids]))
    return (yield asked)


def look_up(ledger: Ledger, ids: Sequence[str]) -> Steps[dict[str, Held | None]]:
    """Which of the ids are held, and by what; None for that of a record that was removed."""
    statements, project, bind_list = ledger.sql.of(HeldStatements), ledger.project, ledger.sql.traits.bind_list
    found = yield from taken(ledger, ids)
    held: dict[str, Held | None] = {}
    if not found:
        return held
    alive = []
    names = []
    for id, version in found:
        if version == 0:
            held[id] = None
        elif version < 0:
            names.append(id)
        else:
            alive.append(id)
    if names:
        held |= yield from _look_up_names(ledger, names)
    replaced = []
    for now in (yield from live(ledger, alive)):
        held[now.id] = Held(now.id, now.content, now.row.payload.decode(), now.row)
        if now.kind == _REPLACED:
            replaced.append(now.id)
    if replaced:
        rows = yield Statement(statements.oldest, (project, bind_list(replaced), project))
        for id, payload, *content in rows:
            newest = held[id]
            assert newest is not None
            held[id] = Held(id, tuple(content), payload, newest.row)
    return held


def _look_up_names(ledger: Ledger, names: Sequence[str]) -> Steps[dict[str, Held | None]]:
    """What ids hold that became other names; None for those of a purged record."""
    statements, project, bind_list = ledger.sql.of(HeldStatements), ledger.project, ledger.sql.traits.bind_list
    held: dict[str, Held | None] = dict.fromkeys(names)
    bound = bind_list(names)
    aliases = yield Statement(statements.aliases, (bound, project))
    found = yield from live(ledger, list({target for _, target, _ in aliases}))
    by_id = {now.id: now for now in found}
    older = {}
    for id, target, version in aliases:
        now = by_id.get(target)
        if now is None:
            continue
        if version == now.version:
            held[id] = Held(target, now.content, now.row.payload.decode(), now.row)
        else:
            older[id] = now
    if older:
        rows = yield Statement(statements.renamed, (project, project, bind_list(list(older))))
        for id, payload, *content in rows:
            held[id] = Held(older[id].id, tuple(content), payload, older[id].row)
    return held


def live(ledger: Ledger, ids: Sequence[str]) -> Steps[list[Live]]:
    """The records of these ids as they are now, those that are there."""
    if not ids:
        return []
    sql = ledger.sql
    rows = yield Statement(sql.of(HeldStatements).live, (sql.traits.bind_list(ids), ledger.project))
    return [
        Live(Row(head, payload), id, version, kind, created_at, owner, tuple(content))
        for head, payload, id, version, kind, created_at, owner, *content in rows
    ]


def again(record: Record, content: tuple[Any, ...], held: Held | None) -> Row | DomainError:
    """The outcome of a create whose id is held: the record as it is now if its first content is this, else an error."""
    if held is None:
        return FeedbackPurged(record.project, record.id)
    if content == held.content and (record.payload == held.payload or same_content(record.payload, held.payload)):
        return held.row
    return FeedbackExists(record.project, record.id)
