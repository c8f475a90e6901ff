"""What a store is: an engine that runs reads and commits commands in groups; it sees tuples, and knows no resource."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from plaudit_server.errors import DomainError
from plaudit_server.store.work import SERVER, Lane, Work

if TYPE_CHECKING:
    from plaudit_server.store.identity import StoreId
    from plaudit_server.store.lanes import LaneUse
    from plaudit_server.store.ledger import Ledger
    from plaudit_server.store.prepared import Prepared

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class StoreError(Exception):
    """The store cannot be used as it is; the message says what the operator should do."""


class WriteFailed(Exception):
    """The engine refused this one command for a reason that no rule foresees: a defect, not a DomainError."""


class Placement(Enum):
    """Where the rows of a table are, when the store is spread over machines."""

    BY_PROJECT = "by project"
    """The rows of a project together, on one of the machines."""
    EVERYWHERE = "everywhere"
    """On every machine; for small tables that are not about one project."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """A table that a resource declares: what engines, migrations to Citus, copies and backups need to know of it.

    `columns` are in the order of an Insert's rows. `types` are PostgreSQL's, of the columns that are not text.
    `order` are the columns by which a row is found again and in which the table is copied; within a project they are
    unique. `proof` are two columns or more, the values of which only one transaction can have written; rows are
    looked up by the first of them. `large` are the columns whose bytes bound how many rows are copied at a time.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    placement: Placement
    order: tuple[str, ...]
    types: Mapping[str, str] = field(default_factory=dict)
    proof: tuple[str, ...] = ()
    kept_in: tuple[str, ...] = ()
    """The tables in which a row that was written to this one is later found, for its proof; this one if none."""
    large: tuple[str, ...] = ()
    copied: bool = True
    """Whether a copy of the store takes its rows along; otherwise the target makes its own."""

    def place(self, column: str) -> int:
        """Where a column stands in a row."""
        return self.columns.index(column)


class Many(NamedTuple):
    """How a statement about one project is run for several at once.

    `sql` binds a list for each column of `rows`, those of all projects together; the project comes first in each of
    the rows that it is given and in each that it returns.
    """

    sql: str
    rows: Sequence[tuple[Any, ...]]


class Statement(NamedTuple):
    """A statement to run; the driver sends its rows.

    With a `budget`, the first two columns are bytes, and the driver stops after the row with which their sum passes
    the budget. `proof` are the values of the table's proof columns, when the statement writes a row by which
    its transaction can be recognised. `many` is for an engine that writes several projects together. One that is
    `silent` returns no rows, and an engine far away need not wait until it is done before it sends the next one.
    """

    sql: str
    params: Sequence[Any] = ()
    budget: int | None = None
    proof: tuple[Table, tuple[Any, ...]] | None = None
    many: Many | None = None
    silent: bool = False


class Insert(NamedTuple):
    """Rows for a table, in the order of its columns; the driver inserts them in its fastest way."""

    table: Table
    rows: list[tuple[Any, ...]]


Steps = Generator[Statement | Insert, list[Any], T]
"""An algorithm that yields statements and is sent their rows: it does no I/O, so that every engine can run it."""


class Read(ABC, Generic[T]):
    """A question to a store, as a value; `steps` are how it is answered in SQL."""

    __slots__ = ()

    @property
    def lane(self) -> Lane:
        """Which line it waits in."""
        return Lane.QUERY

    @property
    def question(self) -> Hashable:
        """What tells it from others, where the same is often asked again and takes as long each time, else None."""
        return None

    @property
    def snapshot(self) -> bool:
        """Whether all its statements must see one state of the store, where an engine does not do that by itself."""
        return False

    @property
    def steps_through_index(self) -> bool:
        """Whether most of what it does is to step through an index, of which an engine does twice as much in a time."""
        return False

    @abstractmethod
    def steps(self, sql: Prepared) -> Steps[T]:
        """The statements that answer it, and the answer."""


class Command(ABC, Generic[T_co]):
    """Something to write in one project, as a value; its outcome is a T, or the DomainError that refused it."""

    __slots__ = ()

    kind: ClassVar[str]
    """Its name in metrics and traces: `create`."""
    adds: ClassVar[bool]
    """Whether it adds or changes rows, and is counted by them; otherwise it removes some."""

    pipes: ClassVar[bool] = False
    """Whether its statements may be sent without waiting for those before them: they are few, with few rows each."""

    project: str
    work: Work

    @property
    def rows(self) -> int:
        """About how many rows it writes at most: one, unless its class knows better."""
        return 1

    @property
    @abstractmethod
    def size(self) -> int:
        """The bytes of the texts that it holds, about."""

    @classmethod
    def apply(cls, ledger: Ledger, commands: Sequence[Any]) -> Steps[list[Any]]:
        """Apply commands of this class that follow each other, in the project that `ledger` has locked.

        Returns an outcome for each: a T, or a DomainError, which means that nothing of that command is stored. Here
        one after the other, by the `steps` of each; a class that can do more at once has an `apply` of its own.
        """
        outcomes = []
        for command in commands:
            outcome = yield from command.steps(ledger)
            outcomes.append(outcome)
        return outcomes

    @abstractmethod
    def steps(self, ledger: Ledger) -> Steps[Any]:
        """Apply this command alone, in the project that `ledger` has locked; its outcome, as of `apply`."""

    def stored(self, outcome: Any) -> int:
        """How many rows are stored, according to the outcome."""
        return 0

    def removed(self, outcome: Any) -> int:
        """How many rows were removed."""
        return 0


Outcome = Any
"""The outcome of a command: its own T, or a DomainError."""


def accepted(outcome: T | DomainError) -> T:
    """The outcome of a command that was not refused. Raises the DomainError that refused it."""
    if isinstance(outcome, DomainError):
        raise outcome
    return outcome


@dataclass(frozen=True, slots=True)
class Written:
    """A committed group: an outcome for each command, and each of its projects' revision, whether it moved or not.

    `skipped` are the places in the group of commands that could not be taken now, since another writer holds their
    projects: nothing was done for them, and they may be given again.

    `repeated` counts the rows among the outcomes that were already stored just as the command would have stored them.
    `erased` is whether bytes were removed that must not stay in the store's files. `ahead` is by how many microseconds
    the clock of one of the projects was ahead of this server's, at most.
    """

    outcomes: list[Outcome | WriteFailed]
    revisions: dict[str, int] = field(default_factory=dict)
    repeated: int = 0
    erased: bool = False
    skipped: Collection[int] = ()
    ahead: int = 0


class Engine(ABC):
    """A place for rows. All methods are called on one event loop; none blocks it.

    Failures of the engine itself are raised as StoreUnavailable; their text is logged, never sent.
    """

    name: ClassVar[str]

    side_by_side: bool = False
    """Whether projects are written each by itself, so that one that waits is no reason for others to."""

    poll_seconds: ClassVar[float | None] = None
    """How often to look for what other servers wrote; None when no other server can."""

    store_id: StoreId
    """What revisions and page tokens are bound to; known once the store is open."""

    @abstractmethod
    async def open(self) -> None:
        """Connect; create or migrate the schema. Raises StoreError with a line for the operator."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what runs and release everything. Safe to call twice."""

    def claim(self) -> None:  # noqa: B027  # most engines take any number of servers
        """Keep other servers away from the store, where only one may serve it; until `close`.

        Raises StoreError when another server has claimed it. Commands about keys, indexes and schemas claim nothing.
        """

    @abstractmethod
    async def read(self, read: Read[T], work: Work = SERVER) -> T:
        """Answer a question for whoever owns the work, until its deadline; a read that is cancelled ends at once.

        Raises QueryTooExpensive when the deadline passes while it runs, and Overloaded when it had not begun by then.
        """

    @abstractmethod
    async def write(self, group: Sequence[Command[Any]]) -> Written:
        """Apply commands durably, each project's in order and in one transaction; a refused command changes nothing."""

    @abstractmethod
    async def check(self) -> None:
        """Prove that the store can be written to; raises StoreUnavailable."""

    @property
    def lanes(self) -> Mapping[str, LaneUse]:
        """How many reads run and wait, by lane; nothing where reads do not wait."""
        return {}

    @property
    def nodes_unreachable(self) -> int:
        """How many machines of a store that is spread over several could not be reached of late."""
        return 0

    @property
    def erasure_pending(self) -> bool:
        """Whether purged bytes may still be in the store's files."""
        return False

    async def erased(self, seconds: float) -> None:
        """Wait until nothing that was removed is in the store's files any more, or for so many seconds.

        Who removes row after row waits now and then: while others do not remove anything, the store erases what there
        is beside them, and they do not wait for it.
        """
        return


class SqlEngine(Engine):
    """An engine that runs any steps; what is not of one project (keys, copies) is written by `transact`."""

    @abstractmethod
    async def transact(self, steps: Callable[[Prepared], Steps[T]]) -> T:
        """Run writing steps in one transaction; they may run again when the transaction fails."""


class Reading(Read[T]):
    """A question made of steps alone, for what is asked in one place only."""

    __slots__ = ("_lane", "_steps")

    def __init__(self, steps: Callable[[Prepared], Steps[T]], lane: Lane = Lane.QUERY) -> None:
        self._steps = steps
        self._lane = lane

    @property
    def lane(self) -> Lane:
        """As given."""
        return self._lane

    def steps(self, sql: Prepared) -> Steps[T]:
        """As given."""
        return self._steps(sql)


def bounded(rows: Iterable[Any], budget: int) -> list[Any]:
    """Rows up to and including the one that passes a Statement's budget, and at least two if there are two."""
    taken = []
    for row in rows:
        taken.append(row)
        budget -= len(row[0]) + len(row[1])
        if budget < 0 and len(taken) > 1:
            break
    return taken
