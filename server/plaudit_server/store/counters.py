"""How many records of each type and UTC day a project has, kept in the transaction that moves its revision.

A server of a version that knows no counters, which goes on beside a migration, moves a project's revision and counts
nothing: `project.counted` then stays behind `project.revision`, and the counters are not used until they are made anew.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from plaudit_server.store.base import Many, Placement, Statement, Steps, Table
from plaudit_server.store.prepared import Prepared, Traits

DAY: Final = 86_400_000_000
"""Microseconds of a UTC day."""

COUNT: Final = Table(
    name="feedback_count",
    title="counters",
    columns=("project", "feedback_type", "day", "records"),
    placement=Placement.BY_PROJECT,
    order=("feedback_type", "day"),
    types={"day": "int8", "records": "int8"},
    copied=False,  # a copy makes them anew, from the rows that it has copied
)
"""`day` is the number of days since 1970; one without records may be there with 0, or not at all."""

_SHOWN: Final = 100

Deltas = Mapping[tuple[str, int], int]
"""By how many records a type on a day has grown, or shrunk."""


def day_of(created_at: str) -> str:
    """The SQL for the day of a time, also of one before 1970."""
    return f"(CASE WHEN {created_at} >= 0 THEN {created_at} / {DAY} ELSE -(({DAY - 1} - {created_at}) / {DAY}) END)"


_INSERT: Final = "INSERT INTO feedback_count (project, feedback_type, day, records)"
_ADD: Final = (
    " ON CONFLICT (project, feedback_type, day) DO UPDATE SET records = feedback_count.records + excluded.records"
)


# A row, always: whether the counters are those of the project's revision, and the sum of some of them.
_SUM: Final = (
    "SELECT COALESCE((SELECT p.revision = p.counted FROM project AS p WHERE p.project = ?), 0 = 0),"
    " COALESCE((SELECT CAST(sum(c.records) AS bigint) FROM feedback_count AS c WHERE c.project = ?"
)


class CountStatements:
    """The fixed statements about counters."""

    def __init__(self, traits: Traits) -> None:
        sql = traits.sql
        self.add = sql(f"{_INSERT} VALUES (?, ?, ?, ?){_ADD}")
        # What the rows say beside what the counters say, in one statement: of one moment.
        self.differences = sql(
            "SELECT feedback_type, day, CAST(sum(records) AS bigint) FROM ("
            f"SELECT f.feedback_type AS feedback_type, {day_of('f.created_at')} AS day, count(*) AS records"
            f" FROM feedback AS f WHERE f.project = ? GROUP BY f.feedback_type, {day_of('f.created_at')}"
            " UNION ALL SELECT c.feedback_type, c.day, -c.records FROM feedback_count AS c WHERE c.project = ?"
            ") AS both_sides GROUP BY feedback_type, day HAVING sum(records) <> 0 ORDER BY feedback_type, day LIMIT ?"
        )
        self.standing = sql("SELECT revision = counted FROM project WHERE project = ?")
        self.clear = sql("DELETE FROM feedback_count WHERE project = ?")
        self.fill = sql(
            f"{_INSERT} SELECT f.project, f.feedback_type, {day_of('f.created_at')}, count(*) FROM feedback AS f"
            f" WHERE f.project = ? GROUP BY f.project, f.feedback_type, {day_of('f.created_at')}"
        )
        self.use = sql("UPDATE project SET counted = revision WHERE project = ?")


class CountsTogether:
    """The same of several projects at once, for engines that write them in one transaction."""

    def __init__(self, traits: Traits) -> None:
        self.add = traits.sql(f"{_INSERT} SELECT * FROM unnest(?::text[], ?::text[], ?::bigint[], ?::bigint[]){_ADD}")


@dataclass(frozen=True, slots=True)
class Counted:
    """Which counters: those of some types, or of all (None), from a day on and before another one, where given."""

    types: frozenset[str] | None = None
    first: int | None = None
    until: int | None = None


def counted(sql: Prepared, project: str, which: Counted) -> Steps[int | None]:
    """The sum of some counters; None when they are not those of the project's revision."""
    more = ""
    params: list[object] = []
    if which.types is not None:
        more += " AND c.feedback_type {in}"
        params.append(sql.traits.bind_list(sorted(which.types)))
    if which.first is not None:
        more += " AND c.day >= ?"
        params.append(which.first)
    if which.until is not None:
        more += " AND c.day < ?"
        params.append(which.until)
    [[in_use, total]] = yield Statement(sql.traits.sql(f"{_SUM}{more}), 0)"), (project, project, *params))
    return int(total) if in_use else None


def changes(project: str, deltas: Deltas) -> list[tuple[str, str, int, int]]:
    """The rows by which a project's counters change."""
    return [(project, feedback_type, day, records) for (feedback_type, day), records in deltas.items() if records]


def add(sql: Prepared, rows: Sequence[tuple[str, str, int, int]]) -> Steps[None]:
    """Store by how much counters change; their project's row is locked."""
    for row in rows:
        yield Statement(sql.of(CountStatements).add, row, silent=True)


def add_together(sql: Prepared, rows: Sequence[tuple[str, str, int, int]]) -> Statement:
    """The same as one statement for the projects of a transaction."""
    add = sql.of(CountsTogether).add
    return Statement(add, rows[0], many=Many(add, rows), silent=True)


def added_with(sql: Prepared, rows: Sequence[tuple[str, str, int, int]], statement: Statement) -> Statement:
    """A statement that does the same and then what another one does, in one trip."""
    places = ", ".join(["(?, ?, ?, ?)"] * len(rows))
    text = sql.traits.sql(f"WITH counted AS ({_INSERT} VALUES {places}{_ADD}) ")
    return Statement(text + statement.sql, [*(value for row in rows for value in row), *statement.params], silent=True)


def differences(sql: Prepared, project: str) -> Steps[list[tuple[str, int, int]]]:
    """By how much the rows of a type and day are more than its counter says, where they are; at most a hundred.

    Nothing where the counters are not used.
    """
    statements = sql.of(CountStatements)
    standing = yield Statement(statements.standing, (project,))
    if not standing or not standing[0][0]:
        return []
    rows = yield Statement(statements.differences, (project, project, _SHOWN))
    return [(row[0], row[1], row[2]) for row in rows]


def out_of_use(sql: Prepared) -> Steps[list[str]]:
    """The projects of which the counters are not used, wherever they are; `migrate` asks for them, and no server."""
    rows = yield Statement(sql.traits.sql("SELECT project FROM project WHERE counted <> revision ORDER BY project"))
    return [project for (project,) in rows]


def day_text(day: int) -> str:
    """A day as people write it."""
    try:
        return (datetime.date(1970, 1, 1) + datetime.timedelta(day)).isoformat()
    except OverflowError:
        return f"day {day}"


def recount(sql: Prepared, project: str) -> Steps[None]:
    """Make a project's counters anew from its rows, and let them be used; its row is locked."""
    statements = sql.of(CountStatements)
    yield Statement(statements.clear, (project,))
    yield Statement(statements.fill, (project,))
    yield Statement(statements.use, (project,))
