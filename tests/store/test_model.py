"""A state machine over everything that a store does, SQLite against the plain model in memory."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from plaudit_server.errors import DomainError
from plaudit_server.feedback.commands import Purge, Replace
from plaudit_server.feedback.counted import Tally
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.errors import BatchRejected
from plaudit_server.feedback.importing import Existing, Import
from plaudit_server.feedback.model import FeedbackModel
from plaudit_server.feedback.purging import Progress
from plaudit_server.feedback.reads import Change, Count, Get, Select, SelectChanges, SelectRefs, SelectVersions
from plaudit_server.feedback.retaining import FindDue, Retain
from plaudit_server.query.fields import Column, PayloadPath
from plaudit_server.query.tree import And, Compare, Convert, Field, In, Literal, Not, Operation, Or, SortKey
from plaudit_server.retention.holds import Hold, lift, put
from plaudit_server.store.base import Command, Engine, Outcome, Read, Reading, SqlEngine, Steps, StoreError, WriteFailed
from plaudit_server.store.counters import DAY, Counted, differences
from plaudit_server.store.engines.memory import MemoryEngine
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from plaudit_server.store.ledger import ProjectRevision, ProjectRevisions
from plaudit_server.store.prepared import Prepared
from tests.store.factory import BY_TIME, PROJECT, id_of, record
from tests.store.purges import purging
from tests.store.suite import NOON, OTHER, Clock, column, payload
from tests.store.tails import tailed

T = TypeVar("T")

EXAMPLES = int(os.environ.get("PLAUDIT_EXAMPLES", "10"))
STEPS = 50

projects = st.sampled_from((PROJECT, PROJECT, PROJECT, OTHER))
numbers = st.integers(0, 7)
users = st.sampled_from(("ann", "bob"))
owners = st.none() | users
limits = st.sampled_from((1, 2, 3, 1000))
bounds = st.sampled_from((1, 600, 1_000_000))

payloads = st.sampled_from(
    ("{}", '{"n": 1}', '{"n":1}', '{"n": 1.0}', '{"n": "1"}', '{"a": [1, 2], "n": 2}', '{"n": 2, "a": [1, 2]}')
)
contents = st.fixed_dictionaries(
    {"payload": payloads, "user_id": users},
    optional={
        "ref": st.sampled_from(("urn:a", "urn:b")),
        "feedback_type": st.sampled_from(("note", "score")),
        "creator": st.sampled_from(("", "c")),
        "scorer_tags": st.sampled_from(([], ["t"], ["t", "u"])),
        "scorer_ratings": st.sampled_from(({}, {"r": 0.5})),
    },
)
given = st.fixed_dictionaries(
    {},
    optional={
        "created_at": st.integers(0, 10**16),
        "updated_at": st.integers(0, 10**16),
        "version": st.integers(1, 5),
    },
)
filters: st.SearchStrategy[Operation | None] = st.none() | st.sampled_from(
    (
        column("user_id", "ann"),
        column("creator", "c"),
        column("ref", "urn:a", "gt"),
        column("version", 1, "gt", "number"),
        # What counters answer, and what they do not: half a day, or half of a type.
        column("feedback_type", "score"),
        In(Field(Column("feedback_type", "text")), (Literal("note"), Literal("none"))),
        column("created_at", 57_870 * DAY, "gte", "time"),
        column("created_at", 57_870 * DAY - 1, "lte", "time"),
        column("created_at", 57_870 * DAY + 5, "lt", "time"),
        And((column("feedback_type", "note"), column("created_at", 20_000 * DAY - 1, "gt", "time"))),
        And((column("feedback_type", "note"), column("user_id", "ann"))),
        payload("n", 1),
        payload("a.1", 2),
        Not(payload("n", 1)),
        Or((payload("n", 2), column("feedback_type", "score"))),
        Convert(Field(PayloadPath(("n",))), "exists"),
        Compare("eq", Field(Column("creator", "text", nullable=True)), Literal(None)),
    )
)
_BY_ID = SortKey(Column("id", "text"))
orders = st.sampled_from(
    (
        BY_TIME,
        (_BY_ID,),
        (SortKey(Column("created_at", "time"), descending=True), _BY_ID),
        (SortKey(Column("creator", "text", nullable=True), descending=True), _BY_ID),
        (SortKey(PayloadPath(("n",))), SortKey(Column("ref", "text"), descending=True), _BY_ID),
        (SortKey(Column("version", "number"), descending=True), _BY_ID),
    )
)


@st.composite
def creates(draw: st.DrawFn) -> Create:
    project = draw(projects)
    found = draw(st.lists(numbers, min_size=1, max_size=4))
    records = [record(number, project=project, **draw(contents)) for number in found]
    return Create(project, records, atomic=draw(st.booleans()))


@st.composite
def imports(draw: st.DrawFn) -> Import:
    project = draw(projects)
    found = draw(st.lists(numbers, min_size=1, max_size=4))
    records = [record(number, project=project, **draw(contents), **draw(given)) for number in found]
    return Import(project, records, draw(st.sampled_from(Existing)))


@st.composite
def replaces(draw: st.DrawFn) -> Replace:
    project = draw(projects)
    new = record(draw(numbers), project=project, **draw(contents))
    return Replace(project, new, draw(st.integers(0, 4)), draw(owners))


@st.composite
def purges(draw: st.DrawFn) -> Purge:
    ids = draw(st.lists(numbers.map(id_of), max_size=4, unique=True))
    revisions = draw(st.lists(st.integers(1, 12), max_size=len(ids)))
    return Purge(draw(projects), draw(users), ids, revisions, draw(filters), draw(owners))


@st.composite
def retains(draw: st.DrawFn) -> Retain:
    ids = draw(st.lists(numbers.map(id_of), max_size=4, unique=True))
    # Between those that were imported with times of their own, and those that were created.
    before = draw(st.sampled_from((NOON, NOON + 6_000_000)) | st.integers(0, 10**16))
    return Retain(draw(projects), draw(st.sampled_from(("note", "score", None))), before, ids)


commands = st.one_of(creates(), creates(), creates(), imports(), replaces(), replaces(), purges(), retains())


def plain(outcome: Outcome | WriteFailed) -> Any:
    """An outcome as a value that can be compared."""
    if isinstance(outcome, list):
        return [plain(item) if isinstance(item, DomainError) else item for item in outcome]
    if isinstance(outcome, BatchRejected):
        return BatchRejected, {index: plain(error) for index, error in outcome.errors.items()}
    if isinstance(outcome, Exception):
        return type(outcome), vars(outcome)
    return outcome


class Congruence(RuleBasedStateMachine):
    """The same commands and queries to both stores, with one clock, give the same answers."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.directory = Path(tempfile.mkdtemp(prefix="plaudit-model-"))
        self.runner = asyncio.Runner()
        self.sqlite: SqlEngine = SqliteEngine(self.directory / "plaudit.db", clock=self.clock)
        self.feedback = FeedbackModel(self.clock)
        self.model = MemoryEngine(self.feedback)
        self.runner.run(self.sqlite.open())

    def teardown(self) -> None:
        self.runner.run(self.sqlite.close())
        self.runner.close()
        shutil.rmtree(self.directory)

    def both(self, read: Read[T]) -> tuple[T, T]:
        found, expected = (self.runner.run(store.read(read)) for store in (self.sqlite, self.model))
        return found, expected

    @rule(micros=st.sampled_from((-1_000_000, 1, 5_000_000)))
    def move_the_clock(self, micros: int) -> None:
        self.clock.now += micros

    @rule(group=st.lists(commands, min_size=1, max_size=4))
    def write(self, group: list[Command[Any]]) -> None:
        stored, expected = (self.runner.run(store.write(group)) for store in (self.sqlite, self.model))
        assert list(map(plain, stored.outcomes)) == list(map(plain, expected.outcomes))
        assert stored.revisions == expected.revisions

    @rule(project=projects, held=st.booleans())
    def hold(self, project: str, held: bool) -> None:
        """Put a project under a legal hold, or lift it; what is so already stays so."""

        def steps(sql: Prepared) -> Steps[None]:
            return put(sql, Hold(project, self.clock.now, "root", "")) if held else lift(sql, project, 1, "root")

        with suppress(StoreError):
            self.runner.run(self.sqlite.transact(steps))
            self.feedback.hold(project, held)
            self.clock.now += 1

    @rule(project=projects, type=st.sampled_from(("note", "score", None)), before=st.integers(0, 10**16), limit=limits)
    def find_due(self, project: str, type: str | None, before: int, limit: int) -> None:
        found, expected = self.both(FindDue(project, type, before, limit))
        assert found == expected
        if found.reached is not None:
            found, expected = self.both(FindDue(project, type, before, limit, found.reached))
            assert found == expected

    @rule(create=creates())
    def retry(self, create: Create) -> None:
        self.write([create])
        self.write([create])

    @rule(
        project=projects,
        filter=filters,
        owner=owners,
        limit=st.sampled_from((1, 2, 100)),
        dry_run=st.booleans(),
        window=st.sampled_from((0, 1, 3)),
    )
    def purge(
        self, project: str, filter: Operation | None, owner: str | None, limit: int, dry_run: bool, window: int
    ) -> None:
        async def whole(store: Engine) -> tuple[int, DomainError | None]:
            going = purging(store, project, owner=owner, dry_run=dry_run)
            progress: Progress | None = Progress(window=window)
            try:
                while progress is not None:
                    progress = await going.matches(filter, progress, going.removed + limit)
            except DomainError as error:
                return going.removed, error
            return going.removed, None

        (removed, error), (expected, expected_error) = (
            self.runner.run(whole(store)) for store in (self.sqlite, self.model)
        )
        assert removed == expected
        assert plain(error) == plain(expected_error)
        assert error is None or removed == 0

    @rule()
    def restart(self) -> None:
        self.runner.run(self.sqlite.close())
        self.runner.run(self.sqlite.open())

    @rule(project=projects, filter=filters, order=orders, limit=limits, offset=st.integers(0, 3), max_bytes=bounds)
    def query(
        self,
        project: str,
        filter: Operation | None,
        order: tuple[SortKey, ...],
        limit: int,
        offset: int,
        max_bytes: int,
    ) -> None:
        select = Select(project, filter, order, None, offset, limit, max_bytes, with_total=True)
        found, expected = self.both(select)
        while True:
            assert found._replace(last=None) == expected._replace(last=None)
            assert (found.last is None) == (expected.last is None)
            if found.last is None:
                return
            found, expected = (
                self.runner.run(store.read(Select(project, filter, order, page.last, 0, limit, max_bytes, True)))
                for store, page in ((self.sqlite, found), (self.model, expected))
            )

    @rule(project=projects, filter=filters, limit=limits)
    def count_and_list_refs(self, project: str, filter: Operation | None, limit: int) -> None:
        count, expected_count = self.both(Count(project, filter))
        assert count == expected_count
        for after in (None, "urn:a"):
            found, expected = self.both(SelectRefs(project, filter, after, limit))
            assert found == expected
        for order in ("count", "last_change"):
            found, expected = self.both(SelectRefs(project, None, None, limit, filter, "urn:", order))
            assert found == expected

    @rule(project=projects, number=numbers, limit=limits, after=st.integers(0, 4))
    def history(self, project: str, number: int, limit: int, after: int) -> None:
        found, expected = self.both(SelectVersions(project, id_of(number), after, limit))
        assert found == expected
        row, expected_row = self.both(Get(project, id_of(number), after))
        assert row == expected_row

    @rule(project=projects, filter=filters, limit=limits, max_bytes=bounds)
    def watch(self, project: str, filter: Operation | None, limit: int, max_bytes: int) -> None:
        # Each store may end a page at another row; nothing may be lost or repeated there.
        found, expected = (
            self.runner.run(self.every_change(store, project, filter, limit, max_bytes))
            for store in (self.sqlite, self.model)
        )
        assert found == expected
        if filter is not None:
            assert self.runner.run(tailed(self.sqlite, project, filter)) == expected

    async def every_change(
        self, store: Engine, project: str, filter: Operation | None, limit: int, max_bytes: int
    ) -> list[Change]:
        newest, position, changes = await store.read(ProjectRevision(project)), 0, list[Change]()
        while position < newest:
            found = await store.read(SelectChanges(project, position, filter, limit, max_bytes))
            assert found.revision > position
            assert len(found.changes) <= limit
            changes += found.changes
            position = found.revision
        return changes

    @invariant()
    def counters_are_those_of_the_rows(self) -> None:
        for project in (PROJECT, OTHER):
            assert self.runner.run(self.sqlite.read(Reading(partial(differences, project=project)))) == []
            for which, filter in (
                (Counted(), None),
                (Counted(types=frozenset({"note"})), column("feedback_type", "note")),
                (Counted(until=57_870), column("created_at", 57_870 * DAY, "lt", "time")),
            ):
                tally = self.runner.run(self.sqlite.read(Tally(project, which)))
                assert tally == self.runner.run(self.model.read(Count(project, filter)))

    @invariant()
    def revisions_agree(self) -> None:
        for project in (PROJECT, OTHER):
            found, expected = self.both(ProjectRevision(project))
            assert found == expected
        revisions, expected_revisions = self.both(ProjectRevisions((PROJECT, OTHER, "acme/none")))
        # PostgreSQL keeps the row of a project whose first write was refused; it stands where no project stands.
        written = [{name: at for name, at in each.items() if at} for each in (revisions, expected_revisions)]
        assert written[0] == written[1]


@pytest.mark.timeout(3600)
def test_stores_agree() -> None:
    """PLAUDIT_EXAMPLES runs of up to 50 steps each."""
    run_state_machine_as_test(
        Congruence,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # shrinking a failure takes minutes; its last steps mostly suffice
            suppress_health_check=list(HealthCheck),
        ),
    )
