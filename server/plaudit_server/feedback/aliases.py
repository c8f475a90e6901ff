"""Other names of a record: ids that were sent for a record which then replaced one that was there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from plaudit_server.store.base import Placement, Statement, Steps, Table
from plaudit_server.store.prepared import Prepared, Traits

ALIAS: Final = Table(
    name="feedback_alias",
    title="other names of records",
    columns=("project", "id", "target", "version"),
    placement=Placement.BY_PROJECT,
    order=("id",),
    types={"version": "int8"},
    proof=("id", "target", "version"),
)
"""Rows hold no content, and stay when the record is purged: none of its names is used again."""


class AliasStatements:
    """The fixed statements about other names."""

    def __init__(self, traits: Traits) -> None:
        self.targets = traits.asking + traits.asked("feedback_alias", "f.id, f.target")


def targets(sql: Prepared, project: str, ids: Sequence[str]) -> Steps[dict[str, str]]:
    """The ids of the records of which some ids are other names, by those."""
    if not ids:
        return {}
    rows = yield Statement(sql.of(AliasStatements).targets, (sql.traits.bind_list(ids), project))
    return dict(rows)


def target(sql: Prepared, project: str, id: str) -> Steps[str | None]:
    """The id of the record of which an id is another name; None when it is none."""
    found = yield from targets(sql, project, [id])
    return found.get(id)
