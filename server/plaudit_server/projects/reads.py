"""The projects that a caller may read, in the order of their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from plaudit_server.config.grants import matches
from plaudit_server.store.base import Read, Statement, Steps
from plaudit_server.store.prepared import Prepared

EVERYWHERE: Final = "*"

_CHUNK: Final = 1000
_LAST: Final = "\U0010ffff"


class ProjectRow(NamedTuple):
    """A project: its last revision, and when that was, in microseconds since 1970 UTC."""

    name: str
    revision: int
    changed_at: int


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
        """A statement for each thousand rows of the ranges, until the page is full."""
        found: list[ProjectRow] = []
        wanted = self.contains.casefold()
        ranges = [] if EVERYWHERE in self.patterns else [_range(pattern) for pattern in self.patterns]
        if not ranges and EVERYWHERE not in self.patterns:
            return found
        condition = " OR ".join(["(project >= ? AND project <= ?)"] * len(ranges)) or "1 = 1"
        text = sql.traits.sql(
            "SELECT project, revision, last_created_at FROM project"
            f" WHERE project > ? AND revision > 0 AND ({condition}) ORDER BY project LIMIT ?"
        )
        bounds = [bound for pair in ranges for bound in pair]
        after = self.after
        while True:
            rows = yield Statement(text, (after, *bounds, _CHUNK))
            for row in rows:
                name = row[0]
                if wanted in name.casefold() and any(matches(pattern, name) for pattern in self.patterns):
                    found.append(ProjectRow(*row))
                    if len(found) == self.limit:
                        return found
            if len(rows) < _CHUNK:
                return found
            after = rows[-1][0]


def _range(pattern: str) -> tuple[str, str]:
    """The first and the last name that a pattern may cover: what stands before its first `*`, and anything after."""
    prefix, star, _ = pattern.partition("*")
    return prefix, prefix + _LAST if star else prefix
