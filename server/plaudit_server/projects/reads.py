"""The projects that a caller may read, in the order of their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from plaudit_server.config.grants import matches
from plaudit_server.store.base import Read, Statement, Steps
from plaudit_server.store.ledger import Flag
from plaudit_server.store.prepared import Prepared

EVERYWHERE: Final = "*"

_CHUNK: Final = 1000
_LAST: Final = "\U0010ffff"


class ProjectRow(NamedTuple):
    """A project: its last revision, when that was, in microseconds since 1970 UTC, and how many records it has.

    The number is None where the counters cannot be used.
    """

    name: str
    revision: int
    changed_at: int
    records: int | None


@dataclass(frozen=True, slots=True)
class SelectProjects(Read[list[ProjectRow]]):
    """At most `limit` of the projects above `after` that a pattern covers and whose name contains a text.

    Each pattern is a range of names in SQL; the rest of it, and the text in any case, are decided here.
    """

    patterns: Sequence[str]
    contains: str
    after: str
    limit: int

    def steps(self, sql: Prepared) -> Steps[list[ProjectRow]]:
        """A statement for each thousand rows of the ranges, until the page is full, and one for the page's counters."""
        found: list[Any] = []
        wanted = self.contains.casefold()
        ranges = [] if EVERYWHERE in self.patterns else [_range(pattern) for pattern in self.patterns]
        if not ranges and EVERYWHERE not in self.patterns:
            return []
        condition = " OR ".join(["(project >= ? AND project <= ?)"] * len(ranges)) or "1 = 1"
        text = sql.traits.sql(
            "SELECT project, revision, last_created_at, revision = counted FROM project"
            f" WHERE project > ? AND revision > 0 AND flags & {int(Flag.DELETED)} = 0 AND ({condition})"
            " ORDER BY project LIMIT ?"
        )
        bounds = [bound for pair in ranges for bound in pair]
        after = self.after
        while True:
            rows = yield Statement(text, (after, *bounds, _CHUNK))
            for row in rows:
                name = row[0]
                if wanted in name.casefold() and any(matches(pattern, name) for pattern in self.patterns):
                    found.append(row)
                    if len(found) == self.limit:
                        return (yield from _counted(sql, found))
            if len(rows) < _CHUNK:
                return (yield from _counted(sql, found))
            after = rows[-1][0]


def _counted(sql: Prepared, found: Sequence[tuple[str, int, int, bool]]) -> Steps[list[ProjectRow]]:
    """The rows with how many records each project has."""
    traits = sql.traits
    text = traits.sql(
        "SELECT project, CAST(sum(records) AS bigint) FROM feedback_count WHERE project {in} GROUP BY project"
    )
    names = [name for name, _, _, in_use in found if in_use]
    records = dict((yield Statement(text, (traits.bind_list(names),)))) if names else {}
    return [
        ProjectRow(name, revision, changed_at, records.get(name, 0) if in_use else None)
        for name, revision, changed_at, in_use in found
    ]


def _range(pattern: str) -> tuple[str, str]:
    """The first and the last name that a pattern may cover: what stands before its first `*`, and anything after."""
    prefix, star, _ = pattern.partition("*")
    return prefix, prefix + _LAST if star else prefix
