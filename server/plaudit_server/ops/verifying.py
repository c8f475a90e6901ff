"""Checks a store's rows against each other: revisions, heads, tombstones; it reads everything, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.message import DecodeError

from plaudit_server.feedback.records import FEEDBACK, HISTORY, ChangeKind, Row, message
from plaudit_server.ops.reading import batches, read_standings
from plaudit_server.store import transfer
from plaudit_server.store.base import Reading, SqlEngine, Statement, Steps, Table
from plaudit_server.store.counters import day_text, differences
from plaudit_server.store.ledger import Flag
from plaudit_server.store.prepared import Prepared
from plaudit_server.store.transfer import Standing, Stored

_SHOWN: Final = 100

Progress = Callable[[int, int], None]
"""Called with the number of rows that were checked, and that of all rows."""


@dataclass(slots=True)
class Verified:
    """What was checked, and what is wrong, of which the first hundred are named."""

    projects: int = 0
    rows: int = 0
    wrong: int = 0
    problems: list[str] = field(default_factory=list)
    revisions: dict[str, int] = field(default_factory=dict)
    """Where each project stands."""

    def note(self, problem: str) -> None:
        """Something is wrong."""
        self.wrong += 1
        if len(self.problems) < _SHOWN:
            self.problems.append(problem)


async def verified(engine: SqlEngine, progress: Progress = lambda *_: None) -> Verified:
    """Check every row of every project: the rows of a project that is written to meanwhile are those of before.

    Each revision was given out once and is not above the project's; what is in the columns is what clients get; no
    version is of a record that is not there; no purged record has content, or is there; no id of a record that was
    removed at the end of its time is there again; counters say how many records there are.
    """
    found = Verified()
    for standing in await read_standings(engine):
        await _project(engine, standing, found, progress)
    return found


async def _project(engine: SqlEngine, standing: Standing, found: Verified, progress: Progress) -> None:
    found.projects += 1
    found.revisions[standing.project] = standing.revision
    total = found.rows + await engine.read(
        Reading(lambda sql: transfer.count(sql, (FEEDBACK, HISTORY), standing.project))
    )
    seen = bytearray(standing.revision // 8 + 1)
    # In this order, a version that is replaced meanwhile is seen once, or not at all.
    for table in (HISTORY, FEEDBACK):
        async for rows in batches(engine, table, standing):
            for row in rows:
                if row[table.place("revision")] <= standing.revision:  # else it was written meanwhile
                    _check(table, row, standing, seen, found)
            found.rows += len(rows)
            progress(found.rows, max(total, found.rows))
    for feedback_type, day, difference in await engine.read(Reading(lambda sql: differences(sql, standing.project))):
        found.note(
            f"{standing.project}: {feedback_type}: {day_text(day)} has {abs(difference)} records "
            f"{'more' if difference > 0 else 'fewer'} than its counter says"
        )
    if not standing.flags & Flag.GONE and await engine.read(Reading(lambda sql: any_gone(sql, standing.project))):
        found.note(f"{standing.project}: has ids of removed records, and does not look at them")
    for title, statement in _CROSSWISE.items():
        for (id,) in await engine.read(Reading(_asking(statement, standing.project))):
            found.note(f"{standing.project}: {id}: {title}")


def _check(table: Table, row: Stored, standing: Standing, seen: bytearray, found: Verified) -> None:
    def column(name: str) -> Any:
        return row[table.place(name)]

    where = f"{standing.project}: {column('id')}"
    revision = column("revision")
    if not revision > 0:
        found.note(f"{where}: has the revision {revision}")
        return
    if seen[revision // 8] >> revision % 8 & 1:
        found.note(f"{where}: has the revision {revision}, which another row has")
    seen[revision // 8] |= 1 << revision % 8
    if column("kind") == int(ChangeKind.RETAINED):
        if column("version") or column("payload") or column("id") != str(revision):
            found.note(f"{where}: is about no one record, and has content")
        return
    if column("kind") == int(ChangeKind.PURGED):
        if column("head") or column("version") or column("payload") not in ("", "{}"):
            found.note(f"{where}: was purged and has content")
        return
    try:
        shown = message(Row(bytes(column("head")), str(column("payload")).encode()))
    except DecodeError:
        found.note(f"{where}: cannot be read")
        return
    stored = (column("id"), standing.project, column("version"), revision, column("ref"), column("feedback_type"))
    if stored != (shown.id, shown.project, shown.version, shown.revision, shown.ref, shown.feedback_type):
        found.note(f"{where}: clients get something else than what is in its columns")
    elif shown.created_at.ToMicroseconds() != column("created_at"):
        found.note(f"{where}: clients get another created_at than what is in its columns")


def any_gone(sql: Prepared, project: str) -> Steps[bool]:
    """Whether ids of removed records of a project are kept."""
    return bool((yield Statement(sql.traits.sql("SELECT 1 FROM feedback_gone WHERE project = ? LIMIT 1"), (project,))))


def _asking(statement: str, project: str) -> Callable[[Prepared], Steps[list[Any]]]:
    def steps(sql: Prepared) -> Steps[list[Any]]:
        text = sql.traits.sql(statement.replace("{uuid}", sql.traits.uuid_bytes.format("f.id")))
        rows = yield Statement(text, (project, int(ChangeKind.PURGED), _SHOWN))
        return rows

    return steps


_CROSSWISE: Final = {
    "was removed at the end of its time, and is there": (
        "SELECT f.id FROM feedback AS f JOIN feedback_gone AS g ON g.project = f.project AND g.id = {uuid}"
        " WHERE f.project = ? AND f.kind < ? LIMIT ?"
    ),
    "was purged, and is there": (
        "SELECT f.id FROM feedback AS f JOIN feedback_history AS h ON h.project = f.project AND h.id = f.id"
        " WHERE f.project = ? AND h.kind = ? LIMIT ?"
    ),
    "has versions, and is neither there nor purged": (
        "SELECT h.id FROM feedback_history AS h WHERE h.project = ? AND h.kind < ?"
        " AND NOT EXISTS (SELECT 1 FROM feedback AS f WHERE f.project = h.project AND f.id = h.id) LIMIT ?"
    ),
}
"""What the rows of both tables say about each other, by what is wrong then; each for a project, a kind, and a limit."""
