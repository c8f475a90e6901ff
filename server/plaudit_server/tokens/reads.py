"""What a feedback token has sent: the records under its ids that exist now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plaudit_server.feedback.held import HeldStatements
from plaudit_server.feedback.records import Row
from plaudit_server.store.base import Read, Statement, Steps
from plaudit_server.store.prepared import Prepared
from plaudit_server.store.work import SERVER, Lane, Work


@dataclass(frozen=True, slots=True)
class Submitted(Read[list[Row]]):
    """The records of some ids, as far as they exist."""

    project: str
    ids: Sequence[str]
    work: Work = SERVER

    @property
    def lane(self) -> Lane:
        """Rows by their keys."""
        return Lane.POINT

    def steps(self, sql: Prepared) -> Steps[list[Row]]:
        """One statement."""
        rows = yield Statement(sql.of(HeldStatements).live, (sql.traits.bind_list(self.ids), self.project))
        return [Row(head, payload) for head, payload, *_ in rows]
