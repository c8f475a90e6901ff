"""The reads of definitions: one, a page of them, those in force, and the stored records to try one on."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, NamedTuple

from plaudit_server.definitions.records import ALL_OTHERS, BUILT_IN, StoredDefinition
from plaudit_server.feedback.matching import where
from plaudit_server.feedback.records import OWNER
from plaudit_server.feedback.types import ANNOTATION
from plaudit_server.query.tree import Operation
from plaudit_server.store.base import Read, Statement, Steps
from plaudit_server.store.prepared import Prepared, Traits

_COLUMNS: Final = "d.feedback_type, d.version, d.since_revision, d.user_id, d.created_at, d.content"
_PAGE_BYTES: Final = 3_000_000


class DefinitionStatements:
    """The fixed statements about definitions."""

    def __init__(self, traits: Traits) -> None:
        sql = traits.sql
        # The project again, and not that of the row: on a cluster each table's rows are found by it alone.
        newest = (
            "d.version = (SELECT max(n.version) FROM definition AS n"
            " WHERE n.project = ? AND n.feedback_type = d.feedback_type)"
        )
        self.number = sql("SELECT definitions, revision FROM project WHERE project = ?")
        # Every version of an annotation's definition may check records: the one whose spec they name does.
        self.in_force = sql(
            f"SELECT {_COLUMNS} FROM definition AS d WHERE d.project = ?"
            f" AND (d.feedback_type LIKE ? OR {newest}) ORDER BY d.feedback_type, d.version"
        )
        self.of_type = sql(
            f"SELECT {_COLUMNS} FROM definition AS d WHERE d.project = ? AND d.feedback_type = ? ORDER BY d.version"
        )
        self.one = sql(
            f"SELECT {_COLUMNS} FROM definition AS d WHERE d.project = ? AND d.feedback_type = ?"
            " AND (d.version = ? OR ? = 0) ORDER BY d.version DESC LIMIT 1"
        )
        after = "(d.feedback_type > ? OR (d.feedback_type = ? AND d.version > ?))"
        self.all = sql(
            f"SELECT {_COLUMNS} FROM definition AS d WHERE d.project = ? AND (? = '' OR d.feedback_type = ?)"
            f" AND {after} ORDER BY d.feedback_type, d.version LIMIT ?"
        )
        self.newest = sql(
            f"SELECT {_COLUMNS} FROM definition AS d WHERE d.project = ? AND (? = '' OR d.feedback_type = ?)"
            f" AND {after} AND {newest} ORDER BY d.feedback_type LIMIT ?"
        )
        self.types = sql("SELECT DISTINCT feedback_type FROM definition WHERE project = ? ORDER BY feedback_type")


@dataclass(frozen=True, slots=True)
class GetStored(Read["StoredDefinition | None"]):
    """One version of a definition, 0 for the newest."""

    project: str
    feedback_type: str
    version: int = 0

    def steps(self, sql: Prepared) -> Steps[StoredDefinition | None]:
        """One row by its key."""
        rows = yield Statement(
            sql.of(DefinitionStatements).one, (self.project, self.feedback_type, self.version, self.version)
        )
        return StoredDefinition(*rows[0]) if rows else None


def versions_that_matter(sql: Prepared, project: str, feedback_type: str) -> Steps[list[StoredDefinition]]:
    """The versions of a type that can check records: the newest, and for an annotation every one."""
    statements = sql.of(DefinitionStatements)
    if feedback_type.startswith(f"{ANNOTATION}."):
        rows = yield Statement(statements.of_type, (project, feedback_type))
    else:
        rows = yield Statement(statements.one, (project, feedback_type, 0, 0))
    return [StoredDefinition(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class SelectVersionsThatMatter(Read[list[StoredDefinition]]):
    """The versions of a type that can check records, oldest first."""

    project: str
    feedback_type: str

    def steps(self, sql: Prepared) -> Steps[list[StoredDefinition]]:
        """One statement."""
        return versions_that_matter(sql, self.project, self.feedback_type)


class InForce(NamedTuple):
    """The definitions that can check records, by type and version, after `number` changes of them."""

    number: int
    definitions: list[StoredDefinition]


@dataclass(frozen=True, slots=True)
class SelectInForce(Read[InForce]):
    """What is in force in a project."""

    project: str

    @property
    def snapshot(self) -> bool:
        """The number and the definitions must be of one state."""
        return True

    def steps(self, sql: Prepared) -> Steps[InForce]:
        """The number, and the rows if there are any."""
        statements = sql.of(DefinitionStatements)
        rows = yield Statement(statements.number, (self.project,))
        number = rows[0][0] if rows else 0
        bound = (self.project, f"{ANNOTATION}.%", self.project)
        found = (yield Statement(statements.in_force, bound)) if number else []
        return InForce(number, [StoredDefinition(*row) for row in found])


class Listed(NamedTuple):
    """A page of definitions, whether more follow, and how often the project's definitions have changed."""

    definitions: list[StoredDefinition]
    more: bool
    number: int


@dataclass(frozen=True, slots=True)
class SelectDefinitions(Read[Listed]):
    """Definitions after a type and version, by those: the newest version of each type, or all."""

    project: str
    feedback_type: str
    all_versions: bool
    after: tuple[str, int]
    limit: int

    @property
    def snapshot(self) -> bool:
        """The number and the definitions must be of one state."""
        return True

    def steps(self, sql: Prepared) -> Steps[Listed]:
        """Two statements."""
        statements = sql.of(DefinitionStatements)
        rows = yield Statement(statements.number, (self.project,))
        type, version = self.after
        bound = (self.project, self.feedback_type, self.feedback_type, type, type, version)
        if self.all_versions:
            found = yield Statement(statements.all, (*bound, self.limit + 1))
        else:
            found = yield Statement(statements.newest, (*bound, self.project, self.limit + 1))
        page: list[StoredDefinition] = []
        size = 0
        for row in found[: self.limit]:
            definition = StoredDefinition(*row)
            size += len(definition.content) + len(definition.feedback_type) + 256
            if page and size > _PAGE_BYTES:
                break
            page.append(definition)
        return Listed(page, len(found) > len(page), rows[0][0] if rows else 0)


class StoredRecord(NamedTuple):
    """What a definition looks at of a stored record. `payload` is JSON text."""

    head_size: int
    payload: str
    revision: int
    id: str
    ref: str
    feedback_type: str
    user_id: str
    creator: str | None
    annotation_ref: str | None
    owner: str


class Records(NamedTuple):
    """Stored records in the order of their revisions, whether more follow, and the project's revision before them."""

    records: list[StoredRecord]
    more: bool
    revision: int


def records_to_try(
    sql: Prepared, project: str, feedback_type: str, filter: Operation | None, after: int, limit: int, max_bytes: int
) -> Steps[tuple[list[StoredRecord], bool]]:
    """Stored records that a definition of the type would check, above a revision, and whether there are more.

    A definition of all other types checks those that have none of their own and are not built in.
    """
    traits = sql.traits
    matching = yield from where(sql, project, filter)
    text, params = matching.text, matching.params
    if feedback_type == ALL_OTHERS:
        rows = yield Statement(sql.of(DefinitionStatements).types, (project,))
        defined = sorted({row[0] for row in rows} | BUILT_IN)
        text += traits.sql(" AND NOT f.feedback_type {in}")
        params = (*params, traits.bind_list(defined))
    else:
        text += traits.sql(" AND f.feedback_type = ?")
        params = (*params, feedback_type)
    found = yield Statement(
        f"SELECT f.head, {traits.text_bytes.format('f.payload')}, f.revision, f.id, f.ref, f.feedback_type, f.user_id,"
        f" f.creator, f.annotation_ref, {OWNER} FROM feedback AS f WHERE {text}"
        + traits.sql(" AND f.revision > ? ORDER BY f.revision LIMIT ?"),
        (*params, after, limit + 1),
        max_bytes,
    )
    records = [StoredRecord(len(head), payload.decode(), *rest) for head, payload, *rest in found]
    size = 0
    for index, record in enumerate(records):
        size += record.head_size + len(record.payload)
        if index >= limit or (index and size > max_bytes):
            return records[:index], True
    return records, False


@dataclass(frozen=True, slots=True)
class SelectRecordsToTry(Read[Records]):
    """A page of stored records to try a definition on."""

    project: str
    feedback_type: str
    filter: Operation | None
    after: int
    limit: int
    max_bytes: int

    @property
    def question(self) -> Hashable:
        """Whatever the page."""
        return SelectRecordsToTry, self.project, self.feedback_type, self.filter

    @property
    def snapshot(self) -> bool:
        """The revision must not be newer than the records."""
        return True

    def steps(self, sql: Prepared) -> Steps[Records]:
        """The revision first."""
        rows = yield Statement(sql.of(DefinitionStatements).number, (self.project,))
        revision = rows[0][1] if rows else 0
        records, more = yield from records_to_try(
            sql, self.project, self.feedback_type, self.filter, self.after, self.limit, self.max_bytes
        )
        return Records(records, more, revision)
