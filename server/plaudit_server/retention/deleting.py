"""The deletion of a whole project, in slices: its ids stay taken, and its revision goes on; nothing asks here first."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final, NamedTuple

from plaudit_server.definitions.records import DEFINITION
from plaudit_server.errors import DomainError
from plaudit_server.feedback.aliases import ALIAS
from plaudit_server.feedback.errors import UnderHold
from plaudit_server.feedback.purging import PurgeStatements, slices
from plaudit_server.feedback.records import FEEDBACK, GONE, HISTORY, ChangeKind
from plaudit_server.feedback.retaining import FIRST, FindDue, Removed, Retain, keep_taken
from plaudit_server.retention.holds import HOLD
from plaudit_server.retention.records import RULE
from plaudit_server.store import transfer
from plaudit_server.store.base import Command, Reading, SqlEngine, Statement, Steps, StoreError, accepted
from plaudit_server.store.counters import COUNT
from plaudit_server.store.ledger import PROJECT, Flag, Ledger
from plaudit_server.store.prepared import Prepared, Traits
from plaudit_server.store.work import SERVER, Work
from plaudit_server.store.writer import Writer

EMPTIED: Final = (FEEDBACK, HISTORY, ALIAS, DEFINITION, RULE)
"""The tables of which nothing is left, but the changes that the deletion itself has made."""
KEPT: Final = (PROJECT, COUNT, GONE, HOLD)
"""What stays: where the project stands, how many records it has, which ids are taken, and its holds."""

_SLICE_ROWS: Final = 500
_SLICE_BYTES: Final = 4 * 1024 * 1024

Progress = Callable[[int, int], None]
"""Called with how many rows are deleted, and how many there were."""


class Size(NamedTuple):
    """What a project has: its records, all its rows, its revision and clock, and a time after all of its records'."""

    records: int
    rows: int
    revision: int
    clock: int
    end: int


class DeletionStatements:
    """The fixed statements of a deletion."""

    def __init__(self, traits: Traits) -> None:
        sql = traits.sql
        self.standing = sql("SELECT revision, last_created_at FROM project WHERE project = ?")
        self.history = sql(
            "SELECT id, kind FROM feedback_history WHERE project = ? AND revision <= ? ORDER BY revision LIMIT ?"
        )
        self.forget_history = sql("DELETE FROM feedback_history WHERE project = ? AND revision <= ? AND id {in}")
        self.names = sql("SELECT id FROM feedback_alias WHERE project = ? ORDER BY id LIMIT ?")
        self.forget_names = sql("DELETE FROM feedback_alias WHERE project = ? AND id {in}")
        self.forget_all = [sql(f"DELETE FROM {table.name} WHERE project = ?") for table in (DEFINITION, RULE)]


@dataclass(frozen=True, slots=True)
class _Forget(Command[Removed]):
    """What all of these have in common: they are refused under a hold, and hold no texts."""

    kind: ClassVar[str] = "forget"
    adds: ClassVar[bool] = False

    project: str
    work: Work = field(default=SERVER, compare=False)

    @property
    def size(self) -> int:
        """It holds no texts."""
        return 0

    def steps(self, ledger: Ledger) -> Steps[Removed | DomainError]:
        """Forget, unless there is a hold."""
        if ledger.flags & Flag.HELD:
            return UnderHold(self.project)
        return (yield from self.forget(ledger))

    @abstractmethod
    def forget(self, ledger: Ledger) -> Steps[Removed]:
        """Forget some rows; how many."""


@dataclass(frozen=True, slots=True)
class ForgetHistory(_Forget):
    """Forget tombstones and changes up to a revision, some of them at a time; ids of purged records stay taken."""

    upto: int = 0

    def forget(self, ledger: Ledger) -> Steps[Removed]:
        """The oldest of them."""
        statements, bind_list = ledger.sql.of(DeletionStatements), ledger.sql.traits.bind_list
        rows = yield Statement(statements.history, (self.project, self.upto, _SLICE_ROWS))
        yield from keep_taken(ledger, [id for id, kind in rows if kind == ChangeKind.PURGED])
        bound = bind_list(sorted({id for id, _ in rows}))
        yield Statement(statements.forget_history, (self.project, self.upto, bound))
        ledger.erased = True
        return Removed(len(rows))


@dataclass(frozen=True, slots=True)
class ForgetNames(_Forget):
    """Forget of what records some ids were other names; the ids stay taken."""

    def forget(self, ledger: Ledger) -> Steps[Removed]:
        """The first of them."""
        statements, bind_list = ledger.sql.of(DeletionStatements), ledger.sql.traits.bind_list
        rows = yield Statement(statements.names, (self.project, _SLICE_ROWS))
        ids = [id for (id,) in rows]
        yield from keep_taken(ledger, ids)
        yield Statement(statements.forget_names, (self.project, bind_list(ids)))
        ledger.erased = True
        return Removed(len(ids))


@dataclass(frozen=True, slots=True)
class ForgetSettings(_Forget):
    """Forget definitions and rules, and that there is such a project, until something is stored in it again."""

    def forget(self, ledger: Ledger) -> Steps[Removed]:
        """Few rows, at once; servers read the definitions again."""
        for statement in ledger.sql.of(DeletionStatements).forget_all:
            yield Statement(statement, (self.project,))
        ledger.definitions += 1
        yield from ledger.release()
        yield from ledger.raise_flag(Flag.DELETED)
        return Removed(0)


async def size_of(engine: SqlEngine, project: str) -> Size:
    """What a project has. Raises StoreError when nothing was ever stored in it."""

    def steps(sql: Prepared) -> Steps[Size]:
        rows = yield Statement(sql.of(DeletionStatements).standing, (project,))
        revision, clock = rows[0] if rows else (0, 0)
        records = yield from transfer.count(sql, (FEEDBACK,), project)
        every_row = yield from transfer.count(sql, EMPTIED, project)
        [[newest]] = yield Statement(sql.of(PurgeStatements).newest, (project,))
        return Size(records, every_row, revision, clock, (newest or 0) + 1)

    size = await engine.read(Reading(steps))
    if not size.revision and not size.rows:
        raise StoreError(f"there is no project {project}: nothing was ever stored in it")
    return size


class Deletion:
    """Deletes what a project had at one moment; what is stored in it meanwhile stays.

    `run` raises StoreError, StoreUnavailable and UnderHold; a deletion that was interrupted is begun again.
    """

    def __init__(self, engine: SqlEngine, project: str, size: Size, progress: Progress = lambda *_: None) -> None:
        self._engine = engine
        self._project = project
        self._size = size
        self._progress = progress
        self._writer = Writer(engine)
        self._done = 0

    async def run(self) -> int:
        """Delete everything, and return how many records that were."""
        self._writer.start()
        try:
            removed = await self._records()
            while await self._write(ForgetHistory(self._project, upto=self._size.revision)):
                pass
            while await self._write(ForgetNames(self._project)):
                pass
            await self._write(ForgetSettings(self._project))
        finally:
            await self._writer.close()
        # Versions, definitions and rules were not counted on the way.
        whole = max(self._size.rows, self._done)
        self._progress(whole, whole)
        return removed

    async def _records(self) -> int:
        """Those up to the project's clock, and of those that an import dates later what was there already."""
        removed = await self._records_before(self._size.clock + 1)
        return removed + await self._records_before(self._size.end)

    async def _records_before(self, before: int) -> int:
        removed, after = 0, FIRST
        while True:
            found = await self._engine.read(FindDue(self._project, None, before, _SLICE_ROWS, after))
            due = found.matches
            if before > self._size.clock + 1:
                due = [match for match in due if match.revision <= self._size.revision]
            for some in slices(due, _SLICE_ROWS, _SLICE_BYTES):
                ids = [match.id for match in some]
                removed += await self._write(Retain(self._project, None, before, ids))
            if found.reached is None:
                return removed
            after = found.reached

    async def _write(self, command: Command[Removed]) -> int:
        rows = accepted(await self._writer.submit(command)).rows
        self._done += rows
        self._progress(self._done, max(self._size.rows, self._done))
        return rows
