"""The trial resource: one declaration, one table, one command, one RPC; a mark is a text in a project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from plaudit_server.auth.permission import Right
from plaudit_server.errors import Violation
from plaudit_server.feedback import questions, rules
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.declare import Kind, ProjectIn, Rpc, Service, one_row
from plaudit_server.rpc.resource import Parts, Resource, Running
from plaudit_server.store.base import Command, Insert, Placement, Reading, Statement, Steps, Table, accepted
from plaudit_server.store.ledger import Ledger
from plaudit_server.store.work import Work
from tests.trial.wire import MARK_SERVICE, AddMarkResponse

MIGRATION: Final = """
CREATE TABLE mark (project TEXT NOT NULL, revision BIGINT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (project, revision))
"""
MARK: Final = Table(
    name="mark",
    title="marks",
    columns=("project", "revision", "text"),
    placement=Placement.BY_PROJECT,
    order=("revision",),
    types={"revision": "int8"},
    proof=("revision", "text"),
)
SERVICE: Final = Service(
    MARK_SERVICE,
    (Rpc(method="AddMark", right=Right.CREATE, project=ProjectIn.FIELD, rows=one_row, kind=Kind.WRITE),),
)


@dataclass(frozen=True, slots=True)
class AddMark(Command[int]):
    """Store a mark. Outcome: its revision."""

    kind: ClassVar[str] = "mark"
    adds: ClassVar[bool] = True
    project: str
    text: str
    work: Work

    @property
    def size(self) -> int:
        """The bytes of the text."""
        return len(self.text)

    def steps(self, ledger: Ledger) -> Steps[int]:
        """It takes the next revision."""
        ledger.revision += 1
        yield Insert(MARK, [(self.project, ledger.revision, self.text)])
        return ledger.revision

    def stored(self, outcome: Any) -> int:
        """One: nothing refuses a mark."""
        return 1


class Marks:
    """The RPC of MarkService."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def AddMark(self, call: Call, request: Any) -> Any:  # noqa: N802
        """Store a mark, and answer its revision and how many marks the project has."""
        out: list[Violation] = []
        rules.check_project(request.project, out)
        questions.refuse(out)
        writing = self._parts.deadlines.write(call, request.project)
        revision = accepted(await self._parts.writer.submit(AddMark(request.project, request.text, writing)))
        self._parts.acknowledged(AddMark.kind, 1)
        reading = self._parts.deadlines.read(call, request.project)
        return AddMarkResponse(revision=revision, marks=await self._parts.store.read(marks(request.project), reading))


def marks(project: str) -> Reading[int]:
    """How many marks a project has."""

    def steps(sql: Any) -> Steps[int]:
        rows = yield Statement(sql.traits.sql("SELECT count(*) FROM mark WHERE project = ?"), (project,))
        return int(rows[0][0])

    return Reading(steps)


RESOURCE: Final = Resource(
    name="marks",
    tables=(MARK,),
    services=(SERVICE,),
    commands=(AddMark,),
    start=lambda parts: Running({SERVICE.name: Marks(parts)}),
)
