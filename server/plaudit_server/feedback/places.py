"""Creates of types of which a place holds one record: refused, or the record that is there is replaced.

Everything is decided in memory, on the rows that are looked up once for a run of creates, and written at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from plaudit._contract.jsontext import same_content
from plaudit_server.errors import DomainError
from plaudit_server.feedback.aliases import ALIAS
from plaudit_server.feedback.errors import FeedbackNotUnique, UnderHold
from plaudit_server.feedback.held import Held
from plaudit_server.feedback.judging import Verdict
from plaudit_server.feedback.records import (
    CONTENT_COLUMNS,
    FEEDBACK,
    HISTORY,
    ChangeKind,
    Record,
    Row,
    renamed,
    seal,
)
from plaudit_server.store.base import Insert, Statement, Steps
from plaudit_server.store.ledger import Flag, Ledger
from plaudit_server.store.prepared import Traits

Stored = tuple[Any, ...]
"""A row of `feedback`, in the order of its columns."""

_ID: Final = FEEDBACK.place("id")
_VERSION: Final = FEEDBACK.place("version")
_CREATED_AT: Final = FEEDBACK.place("created_at")
_TYPE: Final = FEEDBACK.place("feedback_type")
_HEAD: Final = FEEDBACK.place("head")
_PAYLOAD: Final = FEEDBACK.place("payload")
_KEY: Final = FEEDBACK.place("unique_key")
_OWNER: Final = FEEDBACK.place("owner")
_CONTENT: Final = slice(FEEDBACK.place(CONTENT_COLUMNS[0]), FEEDBACK.place(CONTENT_COLUMNS[-1]) + 1)


# As few places as creates of a group have are looked up by a statement for so many: to read a list takes longer.
_FEW: Final = (1, 4, 16)


class PlaceStatements:
    """The fixed statements about places."""

    def __init__(self, traits: Traits) -> None:
        columns = ", ".join(f"f.{column}" for column in FEEDBACK.columns)
        of_project = f"SELECT {columns} FROM feedback AS f WHERE f.project = ? AND f.unique_key"
        self.holders = traits.sql(f"{of_project} {{in}}")
        self.holders_of_few = {few: traits.sql(f"{of_project} IN ({', '.join('?' * few)})") for few in _FEW}
        """By how many places are looked up."""
        self.holder = traits.sql("SELECT id FROM feedback WHERE project = ? AND unique_key = ?")
        sets = ", ".join(f"{column} = ?" for column in FEEDBACK.columns)
        self.vacate = traits.sql("UPDATE feedback SET unique_key = NULL WHERE project = ? AND id {in}")
        self.rewrite = traits.sql(f"UPDATE feedback SET {sets} WHERE project = ? AND id = ?")


def holders_of(ledger: Ledger, keys: list[str]) -> Steps[dict[str, Stored]]:
    """The records that hold some places, by place."""
    sql = ledger.sql
    statements = sql.of(PlaceStatements)
    if len(keys) <= _FEW[-1]:
        few = next(few for few in _FEW if few >= len(keys))
        filling = keys[-1:] * (few - len(keys))
        rows = yield Statement(statements.holders_of_few[few], (ledger.project, *keys, *filling))
    else:
        rows = yield Statement(statements.holders, (ledger.project, sql.traits.bind_list(keys)))
    return {row[_KEY]: tuple(row) for row in rows}


@dataclass(slots=True)
class Places:
    """The records that hold places, as they are after the creates that were decided; `write` makes them so."""

    ledger: Ledger
    holders: dict[str, Stored] = field(default_factory=dict)
    """By place."""
    now: dict[str, Row] = field(default_factory=dict)
    """What became of a record that was there, by its id."""
    made: dict[str, Stored] = field(default_factory=dict)
    """New rows by id."""
    changed: dict[str, Stored] = field(default_factory=dict)
    """Rows that were there, by id."""
    history: list[Stored] = field(default_factory=list)
    names: list[Stored] = field(default_factory=list)
    left: set[str] = field(default_factory=set)
    """The ids of rows that were there and hold another place than before, or none."""

    def copy(self) -> Places:
        """As it is now, to come back to."""
        return Places(
            self.ledger,
            dict(self.holders),
            dict(self.now),
            dict(self.made),
            dict(self.changed),
            list(self.history),
            list(self.names),
            set(self.left),
        )

    def add(self, row: Stored) -> None:
        """A new row, which takes the place that it names."""
        self.made[row[_ID]] = row
        if row[_KEY] is not None:
            self.holders[row[_KEY]] = row

    def repeat(
        self, record: Record, content: tuple[Any, ...], verdict: Verdict, key: str, owner: Callable[[], str | None]
    ) -> tuple[Row, Held] | DomainError:
        """The outcome of a second record of a place that is taken, and what its id then holds."""
        there = self.holders[key]
        id = there[_ID]
        if not verdict.replaces:
            return FeedbackNotUnique(record.project, record.feedback_type, id)
        only = owner()
        if only is not None and owner_of(there) != only:
            return FeedbackNotUnique(record.project, record.feedback_type, None)
        if content_in(there) == content and same_content(record.payload, there[_PAYLOAD]):
            row, version = row_of(there), there[_VERSION]
            self.ledger.repeated += 1
        elif self.ledger.flags & Flag.HELD:
            return UnderHold(record.project)
        else:
            version = there[_VERSION] + 1
            row, _ = self.swap(there, record, content, self.ledger.tick(), version, key)
        if not record.new_id:
            self.names.append((record.project, record.id, id, version))
        return row, Held(id, content, record.payload, row)

    def swap(
        self, there: Stored, record: Record, content: tuple[Any, ...], updated_at: int, version: int, key: str | None
    ) -> tuple[Row, Stored]:
        """Give the record that is there the content of another one, and the place `key`; its id and owner stay."""
        ledger, id = self.ledger, there[_ID]
        ledger.revision = revision = ledger.revision + 1
        body = record.body if record.id == id else renamed(record.body, id)
        row = seal(body, record.payload.encode(), there[_CREATED_AT], updated_at, version, revision, owner_of(there))
        values = dict(zip(FEEDBACK.columns, there, strict=True))
        values |= dict(zip(CONTENT_COLUMNS, content, strict=True))
        values |= {
            "revision": revision,
            "version": version,
            "kind": int(ChangeKind.REPLACED),
            "updated_at": updated_at,
            "head": row.head,
            "payload": record.payload,
            "unique_key": key,
        }
        after = tuple(values[column] for column in FEEDBACK.columns)
        self.history.append(there)
        (self.made if id in self.made else self.changed)[id] = after
        before = there[_KEY]
        if before is not None and before != key:
            self.holders.pop(before, None)
            if id in self.changed:
                self.left.add(id)
        if key is not None:
            self.holders[key] = after
        self.now[id] = row
        return row, after

    def write(self) -> Steps[None]:
        """Write what was decided: what was replaced first, so that a revision is never there twice."""
        ledger = self.ledger
        self._count()
        if self.history:
            yield Insert(HISTORY, self.history)
        statements = ledger.sql.of(PlaceStatements)
        if self.left:  # so that no place is held twice on the way, in whatever order they change
            yield Statement(statements.vacate, (ledger.project, ledger.sql.traits.bind_list(sorted(self.left))))
        revision, updated_at = FEEDBACK.place("revision"), FEEDBACK.place("updated_at")
        for id, row in self.changed.items():
            proof = (FEEDBACK, (id, row[revision], row[updated_at], row[_HEAD]))
            yield Statement(statements.rewrite, (*row, ledger.project, id), proof=proof)
        if self.made:
            yield Insert(FEEDBACK, list(self.made.values()))
        if self.names:
            yield Insert(ALIAS, self.names)

    def _count(self) -> None:
        """Count what is made, and what changes its type; a record that changes twice is in history twice."""
        for row in self.made.values():
            self.ledger.count(row[_TYPE], row[_CREATED_AT])
        before: dict[str, Stored] = {}
        for row in self.history:
            before.setdefault(row[_ID], row)
        for id, row in self.changed.items():
            if row[_TYPE] != before[id][_TYPE]:
                self.ledger.count(before[id][_TYPE], row[_CREATED_AT], -1)
                self.ledger.count(row[_TYPE], row[_CREATED_AT])


def content_in(row: Stored) -> tuple[Any, ...]:
    """The values of CONTENT_COLUMNS of a row."""
    return row[_CONTENT]


def row_of(row: Stored) -> Row:
    """A row of the table in wire form."""
    return Row(row[_HEAD], row[_PAYLOAD].encode())


def owner_of(row: Stored) -> str:
    """Whose record a row is; one from before owners were stored is its last writer's."""
    owner: str = row[_OWNER] or row[FEEDBACK.place("user_id")]
    return owner


def holder(ledger: Ledger, key: str) -> Steps[str | None]:
    """The id of the record that holds a place."""
    rows = yield Statement(ledger.sql.of(PlaceStatements).holder, (ledger.project, key))
    return rows[0][0] if rows else None
