"""What a tail reads: the next changes of a project, whole, with the columns that filters look at before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from plaudit_server.feedback.reads import WATCH_SLICE, Change, change_of, within
from plaudit_server.feedback.records import ChangeKind
from plaudit_server.query.compile.fragments import Sql
from plaudit_server.store.base import Read, Statement, Steps
from plaudit_server.store.ledger import revision
from plaudit_server.store.prepared import Prepared

_PAYLOAD: Final = "payload"
_FACTS: Final = 9
"""The columns of a change itself come first."""


class Batch(NamedTuple):
    """Changes in revision order; these are all of them from the one that was asked for up to `revision`.

    `versions` are the values of the columns that were asked for, of each version that a filter of a watch is put to:
    that which the change made, and that which it replaced. `places` says which of the changes each belongs to.
    """

    changes: list[Change]
    revision: int
    versions: list[tuple[Any, ...]]
    places: list[int]


@dataclass(frozen=True, slots=True)
class SelectBatch(Read[Batch]):
    """The changes above revision `after`, with these columns of their versions; a bounded number at a time.

    No snapshot is needed: rows that are read after the revision include all up to it.
    """

    project: str
    after: int
    columns: tuple[str, ...]
    limit: int
    max_bytes: int

    def steps(self, sql: Prepared) -> Steps[Batch]:
        """Both tables by revision, merged, each row beside the version that it replaced."""
        newest = yield from revision(sql, self.project)
        upto = min(newest, self.after + WATCH_SLICE)
        if upto <= self.after:
            return Batch([], self.after, [], [])
        parts = []
        for table, alias in (("feedback", "f"), ("feedback_history", "h")):
            selected = [f"{alias}.{name}" for name in ("id", "ref", "feedback_type", "user_id", "updated_at")]
            joined = ""
            if self.columns:
                selected += [f"{alias}.{name}" for name in self._plain]
                selected += ["o.version", *(f"o.{name}" for name in self._plain)]
                selected += ["{payload:o}"] if _PAYLOAD in self.columns else []
                joined = (
                    f" LEFT JOIN feedback_history AS o ON o.project = {alias}.project AND o.id = {alias}.id"
                    f" AND o.version = {alias}.version - 1 AND {alias}.kind = {int(ChangeKind.REPLACED)}"
                )
            text = sql.traits.sql(
                f"SELECT {alias}.head, {{payload:{alias}}}, {alias}.revision AS revision, {alias}.kind,"
                f" {', '.join(selected)} FROM {table} AS {alias}{joined}"
                f" WHERE {alias}.project = ? AND {alias}.revision > ? AND {alias}.revision <= ?"
            )
            parts.append(Sql(text, (self.project, self.after, upto)))
        found = yield Statement(*sql.traits.merge(parts, "revision", self.limit + 1), self.max_bytes)
        kept, more = within(found, self.limit, self.max_bytes)
        changes = [change_of(row) for row in kept]
        versions, places = self._versions(kept)
        return Batch(changes, kept[-1][2] if more else upto, versions, places)

    @property
    def _plain(self) -> tuple[str, ...]:
        """The columns but the payload, which is read as bytes."""
        return tuple(name for name in self.columns if name != _PAYLOAD)

    def _versions(self, rows: Sequence[Any]) -> tuple[list[tuple[Any, ...]], list[int]]:
        versions: list[tuple[Any, ...]] = []
        places: list[int] = []
        if not self.columns:
            return versions, places
        count = len(self._plain)
        has_payload = _PAYLOAD in self.columns
        for place, row in enumerate(rows):
            if row[3] >= ChangeKind.PURGED:  # nothing is left that a filter could look at
                continue
            new = row[_FACTS : _FACTS + count]
            versions.append((*new, row[1]) if has_payload else tuple(new))
            places.append(place)
            if row[_FACTS + count] is not None:
                versions.append(tuple(row[_FACTS + count + 1 :]))
                places.append(place)
        return versions, places


def columns_of(columns: frozenset[str]) -> tuple[str, ...]:
    """Columns in the order in which they are read: the payload is the last."""
    return (*sorted(columns - {_PAYLOAD}), *({_PAYLOAD} & columns))
