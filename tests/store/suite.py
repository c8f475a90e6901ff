"""How every store behaves, as a library: cases that take an empty store. Each engine's tests run all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

import pytest

from plaudit.v1 import Feedback, SpanStatusCode
from plaudit_server.errors import DomainError
from plaudit_server.feedback.commands import Purge, Purged, Replace
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.errors import (
    BatchRejected,
    FeedbackExists,
    FeedbackNotFound,
    FeedbackPurged,
    NotOwner,
    VersionMismatch,
)
from plaudit_server.feedback.importing import Existing, Fate, Import, Imported
from plaudit_server.feedback.purging import SLICE_BYTES, FindMatches, Key, Match, Progress, slices
from plaudit_server.feedback.reads import (
    Change,
    Count,
    Get,
    Page,
    PlacedRef,
    RefOrder,
    Select,
    SelectChanges,
    SelectRefs,
    SelectVersions,
    Versions,
)
from plaudit_server.feedback.records import ChangeKind, Retained, Row, Tombstone, message
from plaudit_server.feedback.retaining import FindDue, Removed, Retain, wire_form
from plaudit_server.query.fields import Column, Kind, PayloadPath
from plaudit_server.query.tree import Compare, Field, Literal, Op, Operation, SortKey
from plaudit_server.store.base import Command, Engine, Outcome, WriteFailed
from plaudit_server.store.ledger import ProjectRevision
from tests.store.factory import BY_TIME, PROJECT, REF, id_of, record
from tests.store.purges import purge, purging

T = TypeVar("T")

OTHER = "acme/other"
NOON = 1_750_000_000_000_000


class Clock:
    """A clock that tests set, in microseconds since 1970 UTC."""

    def __init__(self, now: int = NOON) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


@dataclass
class Bench:
    """An empty store to test, and its clock."""

    store: Engine
    clock: Clock

    async def write(self, *group: Command[Any]) -> list[Outcome | WriteFailed]:
        """Commit a group."""
        return (await self.store.write(group)).outcomes

    async def do(self, command: Command[Any]) -> Any:
        """Commit one command, and return its outcome."""
        [outcome] = await self.write(command)
        return outcome

    async def create(self, *numbers: int, **fields: Any) -> list[Feedback]:
        """Engine records of these numbers."""
        rows = await self.do(Create(fields.get("project", PROJECT), [record(number, **fields) for number in numbers]))
        return [message(row) for row in rows]

    async def rows(self, filter: Operation | None = None, project: str = PROJECT) -> list[Feedback]:
        """Every match, in the default order."""
        page = await self.store.read(Select(project, filter, BY_TIME, limit=10_000))
        return [message(row) for row in page.rows]

    async def changes(self, after: int = 0, filter: Operation | None = None, limit: int = 1000) -> list[Change]:
        """The changes that a watch yields."""
        return (await self.store.read(SelectChanges(PROJECT, after, filter, limit))).changes


Case = Callable[[Bench], Awaitable[None]]
CASES: list[Case] = []


def case(function: Case) -> Case:
    CASES.append(function)
    return function


def name_of(function: Case) -> str:
    """The name that a case has in test reports."""
    return str(getattr(function, "__name__", function))


def run(function: Case, make_store: Callable[[Clock], Engine]) -> None:
    """Run a case on a new store."""

    async def scenario() -> None:
        clock = Clock()
        store = make_store(clock)
        await store.open()
        try:
            await function(Bench(store, clock))
        finally:
            await store.close()

    asyncio.run(scenario())


def column(name: str, value: Any, op: Op = "eq", kind: Kind = "text") -> Operation:
    return Compare(op, Field(Column(name, kind)), Literal(value))


def payload(path: str, value: Any, op: Op = "eq") -> Operation:
    return Compare(op, Field(PayloadPath(tuple(path.split(".")))), Literal(value))


def ids(messages: Sequence[Feedback]) -> list[str]:
    return [feedback.id for feedback in messages]


def is_refused(outcome: object, kind: type[DomainError], id: str | None = None) -> bool:
    return type(outcome) is kind and (id is None or getattr(outcome, "id", None) == id)


async def refusal_of(purge: Awaitable[object]) -> DomainError:
    """What a purge is refused with."""
    with pytest.raises(DomainError) as refused:
        await purge
    return refused.value


# ── Create ───────────────────────────────────────────────────────────────────────────────────────────────


@case
async def a_created_record_comes_back_in_full(bench: Bench) -> None:
    fields = {
        "creator": "",
        "annotation_ref": "weave:///acme/chat/object/a:1",
        "queue_id": "q",
        "scorer_tags": ["b", "a", "b"],
        "scorer_ratings": {"x.y": 0.25},
        "span_status_code": SpanStatusCode.SPAN_STATUS_CODE_ERROR,
        "span_trace_id": "t",
    }
    text = '{"z": 9007199254740993, "a": [1.50, "\\u00e9 \' \\" ü\\n 👍🏽", null]}'
    [created] = await bench.do(Create(PROJECT, [record(1, text, user_id="ann", **fields)]))
    feedback = message(created)
    assert feedback.payload_json == text
    assert feedback.user_id == "ann"
    assert all(getattr(feedback, name) == value for name, value in fields.items())
    assert feedback.HasField("creator")
    assert not feedback.HasField("call_ref")
    assert (feedback.version, feedback.revision) == (1, 1)
    assert feedback.created_at == feedback.updated_at
    assert feedback.created_at.ToMicroseconds() == NOON
    assert await bench.store.read(Get(PROJECT, id_of(1))) == created
    assert await bench.rows() == [feedback]


@case
async def times_grow_in_the_order_of_the_batch_even_when_the_clock_steps_back(bench: Bench) -> None:
    first = await bench.create(3, 1, 2)
    bench.clock.now -= 5_000_000
    second = await bench.create(5, 4)
    bench.clock.now += 60_000_000
    third = await bench.create(6)
    times = [feedback.created_at.ToMicroseconds() for feedback in first + second + third]
    assert times == [NOON, NOON + 1, NOON + 2, NOON + 3, NOON + 4, NOON + 55_000_000]
    assert ids(await bench.rows()) == [id_of(n) for n in (3, 1, 2, 5, 4, 6)]


async def a_clock_that_is_ahead_is_noticed(bench: Bench) -> None:
    """For stores on disk: others have no clock of their own."""
    assert (await bench.store.write([Create(PROJECT, [record(1)])])).ahead == 0
    bench.clock.now -= 5_000_000
    for projects in ((PROJECT,), (OTHER, PROJECT)):
        group = [Create(project, [record(2 + len(projects), project=project)]) for project in projects]
        assert 5_000_000 <= (await bench.store.write(group)).ahead < 5_000_010
    bench.clock.now += 10_000_000
    assert (await bench.store.write([Create(PROJECT, [record(9)])])).ahead == 0


@case
async def a_retry_returns_the_record_and_changes_nothing(bench: Bench) -> None:
    [first] = await bench.create(1, payload={"a": 1})
    assert await bench.create(1, payload={"a": 1}) == [first]
    assert await bench.store.read(ProjectRevision(PROJECT)) == 1
    assert await bench.store.read(Count(PROJECT, None)) == 1


@case
async def a_retry_may_order_its_keys_otherwise(bench: Bench) -> None:
    [first] = await bench.create(1, payload='{"a": 1, "b": {"c": 2.50}}')
    assert await bench.create(1, payload='{"b":{"c":2.50},"a":1}') == [first]


@case
async def an_id_is_taken_by_other_content(bench: Bench) -> None:
    fields: dict[str, Any] = {"payload": '{"n": 5.0}', "creator": "c"}
    await bench.create(1, **fields)
    for change in (
        {"payload": '{"n": 5.00}'},
        {"payload": '{"n": "5.0"}'},
        {"payload": "{}"},
        {"ref": REF + "2"},
        {"feedback_type": "other"},
        {"creator": ""},
        {"creator": None},
        {"user_id": "another"},
        {"queue_id": "q"},
        {"scorer_tags": ["t"]},
        {"scorer_ratings": {"r": 1.0}},
        {"span_status_code": SpanStatusCode.SPAN_STATUS_CODE_OK},
        {"scorer_trace_id": "t"},
    ):
        create = Create(PROJECT, [record(1, **(fields | change))], atomic=False)
        [outcome] = await bench.do(create)
        assert is_refused(outcome, FeedbackExists, id_of(1)), change
    assert await bench.store.read(ProjectRevision(PROJECT)) == 1


@case
async def a_retry_after_a_replace_returns_the_record_as_it_is_now(bench: Bench) -> None:
    await bench.create(1, payload={"a": 1})
    replaced = await bench.do(Replace(PROJECT, record(1, {"a": 2})))
    await bench.do(Replace(PROJECT, record(1, {"a": 3})))
    assert message(replaced).version == 2
    [retried] = await bench.create(1, payload={"a": 1})
    assert (retried.version, retried.payload_json) == (3, '{"a": 3}')
    # The content is compared with the first version, not with what it became.
    [outcome] = await bench.do(Create(PROJECT, [record(1, {"a": 3})], atomic=False))
    assert is_refused(outcome, FeedbackExists)


@case
async def an_atomic_batch_is_stored_whole_or_not_at_all(bench: Bench) -> None:
    await bench.create(1, 2)
    await bench.do(Purge(PROJECT, "p", ids=[id_of(2)]))
    batch = [record(3), record(1, {"other": 1}), record(1), record(2), record(4)]
    rejected = await bench.do(Create(PROJECT, batch))
    assert isinstance(rejected, BatchRejected)
    assert {index: type(error) for index, error in rejected.errors.items()} == {1: FeedbackExists, 3: FeedbackPurged}
    assert ids(await bench.rows()) == [id_of(1)]
    assert await bench.store.read(ProjectRevision(PROJECT)) == 3
    [next_one] = await bench.create(3)
    assert next_one.created_at.ToMicroseconds() == NOON + 3
    assert next_one.revision == 4


@case
async def a_partial_batch_stores_what_is_good(bench: Bench) -> None:
    await bench.create(1)
    outcome = await bench.do(Create(PROJECT, [record(2), record(1, {"other": 1}), record(3)], atomic=False))
    assert [isinstance(result, Row) for result in outcome] == [True, False, True]
    assert [message(outcome[0]).revision, message(outcome[2]).revision] == [2, 3]
    assert ids(await bench.rows()) == [id_of(1), id_of(2), id_of(3)]


@case
async def an_id_twice_in_a_batch_is_a_retry(bench: Bench) -> None:
    rows = await bench.do(Create(PROJECT, [record(1), record(2), record(1)]))
    assert rows[0] == rows[2]
    rejected = await bench.do(Create(PROJECT, [record(3), record(3, {"other": 1})]))
    assert isinstance(rejected, BatchRejected)
    assert list(rejected.errors) == [1]
    [stored, refused] = await bench.do(Create(PROJECT, [record(3), record(3, {"other": 1})], atomic=False))
    assert message(stored).revision == 3
    assert is_refused(refused, FeedbackExists, id_of(3))


@case
async def ids_made_by_the_server_are_stored_beside_those_of_clients(bench: Bench) -> None:
    made = [record(number, new_id=True) for number in range(4)]
    given = record(9)
    [refused, stored] = await bench.write(
        Create(PROJECT, [made[0], given, record(9, {"other": 1}), made[1]], atomic=True),
        Create(PROJECT, [made[2], given, made[3]]),
    )
    assert isinstance(refused, BatchRejected)
    assert isinstance(stored, list)
    assert [message(row).revision for row in stored if isinstance(row, Row)] == [1, 2, 3]
    assert ids(await bench.rows()) == [made[2].id, given.id, made[3].id]


@case
async def an_id_made_by_the_server_is_never_held_twice(bench: Bench) -> None:
    # Such an id cannot exist, so the store does not look for it; the table's key would refuse it all the same.
    await bench.create(1)
    held = record(1, {"other": 1}, new_id=True)
    await bench.write(Create(PROJECT, [record(2)]), Create(PROJECT, [held]), Create(PROJECT, [record(3)]))
    assert [(found.id, found.payload_json) for found in await bench.rows()] == [(id_of(n), "{}") for n in (1, 2, 3)]


@case
async def commands_of_a_group_see_those_before_them(bench: Bench) -> None:
    outcomes: list[Any] = await bench.write(
        Create(PROJECT, [record(1), record(1, {"other": 1})]),
        Create(PROJECT, [record(1, {"a": 1})]),
        Create(PROJECT, [record(1, {"a": 1})], atomic=False),
        Create(PROJECT, [record(1)], atomic=False),
        Replace(PROJECT, record(1, {"a": 2}), expected_version=1),
        Create(PROJECT, [record(1, {"a": 1}), record(2)]),
        Purge(PROJECT, "p", ids=[id_of(1)]),
        Create(PROJECT, [record(1, {"a": 1}), record(3)], atomic=False),
        Replace(PROJECT, record(2, {"b": 1})),
        Replace(PROJECT, record(1, {"b": 1})),
    )
    assert list(outcomes[0].errors) == [1]
    assert message(outcomes[1][0]).revision == 1
    assert outcomes[2] == outcomes[1]
    assert is_refused(outcomes[3][0], FeedbackExists)
    assert message(outcomes[4]).revision == 2
    assert outcomes[5][0] == outcomes[4]
    assert message(outcomes[5][1]).revision == 3
    assert outcomes[6] == Purged(1)
    assert is_refused(outcomes[7][0], FeedbackPurged)
    assert message(outcomes[7][1]).revision == 5
    assert message(outcomes[8]).revision == 6
    assert is_refused(outcomes[9], FeedbackNotFound)
    assert [change.revision for change in await bench.changes()] == [3, 4, 5, 6]


@case
async def a_commit_tells_the_revision_of_each_of_its_projects(bench: Bench) -> None:
    written = await bench.store.write(
        [
            Create(PROJECT, [record(1), record(2)]),
            Create(OTHER, [record(1, project=OTHER)]),
            Create("acme/still", [record(1, project="acme/still"), record(1, {"x": 1}, project="acme/still")]),
            Create(PROJECT, [record(3)]),
        ]
    )
    assert written.revisions == {PROJECT: 3, OTHER: 1, "acme/still": 0}
    assert (await bench.store.write([Create(PROJECT, [record(3)])])).revisions == {PROJECT: 3}
    assert [await bench.store.read(ProjectRevision(project)) for project in (PROJECT, OTHER, "acme/still")] == [3, 1, 0]


@case
async def a_commit_tells_how_many_rows_were_there_already(bench: Bench) -> None:
    changed = Replace(PROJECT, record(1, {"x": 1}))
    written = await bench.store.write(
        [
            Create(PROJECT, [record(1), record(2), record(1)]),  # one of them twice
            Create(PROJECT, [record(2), record(3)]),  # one again
            Create(PROJECT, [record(3), record(2, {"x": 2}), record(4)]),  # refused as a whole
            Create(PROJECT, [record(3), record(2, {"x": 2}), record(4)], atomic=False),  # one again, one refused
            changed,
            changed,  # again
            Create(OTHER, [record(1, project=OTHER), record(1, project=OTHER)]),  # one of them twice
            Purge(PROJECT, "tester", ids=(id_of(4), id_of(9))),
        ]
    )
    assert written.repeated == 5
    assert (await bench.store.write([Create(PROJECT, [record(5)])])).repeated == 0


@case
async def projects_know_nothing_of_each_other(bench: Bench) -> None:
    await bench.create(1, 2)
    [other] = await bench.create(1, project=OTHER, payload={"x": 1})
    assert other.revision == 1
    assert await bench.do(Purge(OTHER, "p", ids=[id_of(2)])) == Purged(0)
    assert is_refused(await bench.do(Replace(OTHER, record(2, project=OTHER))), FeedbackNotFound)
    assert await bench.store.read(Get(OTHER, id_of(2))) is None
    assert await bench.store.read(Count(OTHER, None)) == 1
    assert [count.feedback_count for count in await bench.store.read(SelectRefs(OTHER, None, None, 10))] == [1]
    assert await bench.do(Purge(OTHER, "p", ids=[id_of(1)])) == Purged(1)
    assert ids(await bench.rows()) == [id_of(1), id_of(2)]
    assert len(await bench.changes()) == 2
    # An id that was purged in one project is free in another.
    await bench.create(1, project="acme/third")


@case
async def a_batch_of_a_thousand(bench: Bench) -> None:
    created = await bench.create(*range(1000))
    assert [feedback.revision for feedback in created] == list(range(1, 1001))
    assert await bench.rows() == created


# ── Import ───────────────────────────────────────────────────────────────────────────────────────────────


@case
async def an_import_keeps_what_only_the_server_sets(bench: Bench) -> None:
    given = record(1, user_id="ann", created_at=NOON + 10**12, updated_at=NOON + 10**12 + 5, version=7)
    [(fate, row)] = await bench.do(Import(PROJECT, [given]))
    assert fate is Fate.CREATED
    feedback = message(row)
    assert feedback.created_at.ToMicroseconds() == NOON + 10**12
    assert feedback.updated_at.ToMicroseconds() == NOON + 10**12 + 5
    assert (feedback.version, feedback.revision, feedback.user_id) == (7, 1, "ann")
    assert await bench.do(Import(PROJECT, [given])) == [Imported(Fate.THERE, row)]
    # The project's own clock has not moved.
    [created] = await bench.create(2)
    assert created.created_at.ToMicroseconds() == NOON
    replaced = message(await bench.do(Replace(PROJECT, record(1, {"a": 1}, user_id="ann"), expected_version=7)))
    assert replaced.version == 8
    assert replaced.created_at == feedback.created_at
    assert [message(r).version for r in (await bench.store.read(SelectVersions(PROJECT, id_of(1), 0, 10))).rows] == [
        7,
        8,
    ]


@case
async def an_import_without_times_is_stored_now(bench: Bench) -> None:
    [(_, row)] = await bench.do(Import(PROJECT, [record(1)]))
    assert message(row).created_at.ToMicroseconds() == message(row).updated_at.ToMicroseconds() == NOON
    [plain] = await bench.do(Create(PROJECT, [record(2, created_at=5, updated_at=6, version=9)]))
    assert message(plain).created_at.ToMicroseconds() == NOON + 1
    assert message(plain).version == 1


# ── Replace ──────────────────────────────────────────────────────────────────────────────────────────────


@case
async def a_replace_swaps_the_content_and_keeps_id_and_created_at(bench: Bench) -> None:
    [first] = await bench.create(1, payload={"a": 1}, creator="c", queue_id="q")
    bench.clock.now -= 1_000_000
    new = record(1, {"b": 2}, ref=REF + "2", feedback_type="score", user_id="bob", span_trace_id="t")
    row = await bench.do(Replace(PROJECT, new))
    second = message(row)
    assert (second.version, second.revision, second.user_id) == (2, 2, "bob")
    assert second.created_at == first.created_at
    assert second.updated_at.ToMicroseconds() == NOON + 1
    assert (second.payload_json, second.ref, second.feedback_type) == ('{"b": 2}', REF + "2", "score")
    assert not second.HasField("creator")
    assert not second.HasField("queue_id")
    assert await bench.rows() == [second]
    assert await bench.store.read(Get(PROJECT, id_of(1))) == row
    assert await bench.store.read(Get(PROJECT, id_of(1), 2)) == row
    old = await bench.store.read(Get(PROJECT, id_of(1), 1))
    assert old is not None
    assert message(old) == first
    assert await bench.store.read(Get(PROJECT, id_of(1), 3)) is None
    assert [
        (count.ref, count.feedback_count) for count in await bench.store.read(SelectRefs(PROJECT, None, None, 9))
    ] == [(REF + "2", 1)]


@case
async def a_replace_of_nothing_is_not_found(bench: Bench) -> None:
    assert is_refused(await bench.do(Replace(PROJECT, record(1))), FeedbackNotFound, id_of(1))
    await bench.create(1)
    await bench.do(Purge(PROJECT, "p", ids=[id_of(1)]))
    assert is_refused(await bench.do(Replace(PROJECT, record(1, {"a": 1}))), FeedbackNotFound, id_of(1))
    assert await bench.store.read(ProjectRevision(PROJECT)) == 2


@case
async def a_replace_checks_the_expected_version(bench: Bench) -> None:
    await bench.create(1)
    for expected in (2, 3, 99):
        refused = await bench.do(Replace(PROJECT, record(1, {"a": 1}), expected_version=expected))
        assert isinstance(refused, VersionMismatch)
        assert (refused.expected, refused.actual) == (expected, 1)
    assert message(await bench.do(Replace(PROJECT, record(1, {"a": 1}), expected_version=1))).version == 2
    assert is_refused(await bench.do(Replace(PROJECT, record(1, {"a": 2}), expected_version=1)), VersionMismatch)


@case
async def a_replace_with_equal_content_changes_nothing(bench: Bench) -> None:
    await bench.create(1)
    row = await bench.do(Replace(PROJECT, record(1, '{"a": 1, "b": 2}'), expected_version=1))
    for expected in (0, 1, 2):
        again = Replace(PROJECT, record(1, '{"b": 2, "a": 1}'), expected_version=expected)
        assert await bench.do(again) == row
    assert is_refused(await bench.do(Replace(PROJECT, record(1, '{"a": 1, "b": 2}'), 3)), VersionMismatch)
    await bench.do(Replace(PROJECT, record(1, {"c": 3})))
    await bench.do(Replace(PROJECT, record(1, {"c": 4})))
    assert is_refused(await bench.do(Replace(PROJECT, record(1, {"c": 4}), 2)), VersionMismatch)
    assert await bench.store.read(ProjectRevision(PROJECT)) == 4


@case
async def an_owner_replaces_only_its_own(bench: Bench) -> None:
    await bench.create(1, user_id="ann")
    refused = await bench.do(Replace(PROJECT, record(1, {"a": 1}, user_id="bob"), owner="bob"))
    assert is_refused(refused, NotOwner, id_of(1))
    assert isinstance(await bench.do(Replace(PROJECT, record(1, {"a": 1}, user_id="ann"), owner="ann")), Row)
    assert is_refused(await bench.do(Replace(PROJECT, record(2), owner="bob")), FeedbackNotFound)


# ── Purge ────────────────────────────────────────────────────────────────────────────────────────────────


@case
async def a_purge_leaves_a_tombstone_and_nothing_else(bench: Bench) -> None:
    await bench.create(1, 2, user_id="ann", payload={"secret": 1})
    await bench.do(Replace(PROJECT, record(1, {"secret": 2}, ref=REF + "2", feedback_type="score")))
    outcome = await bench.do(Purge(PROJECT, "bob", ids=[id_of(9), id_of(1), id_of(1)]))
    assert outcome == Purged(1)
    for version in (0, 1, 2):
        assert await bench.store.read(Get(PROJECT, id_of(1), version)) is None
    tombstone = Tombstone(id_of(1), REF + "2", "score", "bob", NOON + 3, 4)
    found = await bench.store.read(SelectVersions(PROJECT, id_of(1), 0, 10))
    assert (found.rows, found.more, found.tombstone) == ([], False, tombstone)
    assert ids(await bench.rows()) == [id_of(2)]
    assert await bench.store.read(Count(PROJECT, None)) == 1
    assert [change[0::3] for change in await bench.changes()] == [(2, None), (4, tombstone)]
    assert await bench.do(Purge(PROJECT, "bob", ids=[id_of(1)])) == Purged(0)
    assert await bench.store.read(ProjectRevision(PROJECT)) == 4
    [outcome] = await bench.do(Create(PROJECT, [record(1, {"secret": 1}, user_id="ann")], atomic=False))
    assert is_refused(outcome, FeedbackPurged, id_of(1))


@case
async def a_purge_by_filter_takes_the_oldest_within_its_limit(bench: Bench) -> None:
    await bench.create(1, 2, 3, payload={"n": 1})
    await bench.create(4, payload={"n": 2})
    await bench.create(5, 6, payload={"n": 1})
    ones = payload("n", 1)
    assert await purge(bench.store, PROJECT, filter=ones, limit=3, dry_run=True) == (3, True)
    assert await bench.store.read(ProjectRevision(PROJECT)) == 6
    assert await purge(bench.store, PROJECT, filter=ones, limit=3) == (3, True)
    assert ids(await bench.rows()) == [id_of(4), id_of(5), id_of(6)]
    assert await purge(bench.store, PROJECT, filter=ones, limit=3) == (2, False)
    assert await purge(bench.store, PROJECT, filter=ones, limit=3) == (0, False)
    assert ids(await bench.rows()) == [id_of(4)]
    assert [change.revision for change in await bench.changes() if change.tombstone] == [7, 8, 9, 10, 11]


@case
async def a_dry_run_of_a_purge_by_ids_counts_those_that_are_there(bench: Bench) -> None:
    await bench.create(3, 2, 1)
    every = [id_of(n) for n in (1, 2, 3, 9)]
    dry = purging(bench.store, PROJECT, dry_run=True)
    await dry.ids(every)
    assert dry.removed == 3
    assert len(await bench.rows()) == 3
    assert await bench.do(Purge(PROJECT, "p", ids=[])) == Purged(0)
    whole = purging(bench.store, PROJECT)
    await whole.ids(every)
    assert whole.removed == 3
    assert await bench.rows() == []


@case
async def a_purge_of_everything_is_a_filter_of_none(bench: Bench) -> None:
    assert await purge(bench.store, PROJECT) == (0, False)
    await bench.create(1, 2)
    assert await purge(bench.store, PROJECT) == (2, False)
    assert await bench.rows() == []


@case
async def an_owner_purges_only_its_own(bench: Bench) -> None:
    await bench.create(1, 2, user_id="ann")
    await bench.create(3, user_id="bob")
    await bench.create(4, 5, 6, 7, user_id="ann")
    mixed = [id_of(n) for n in (1, 2, 3, 4, 5, 6)]
    about = column("ref", REF)
    for attempt in (
        bench.do(Purge(PROJECT, "ann", ids=[id_of(1), id_of(3)], owner="ann")),
        refusal_of(purging(bench.store, PROJECT, "ann", owner="ann").ids(mixed)),
        refusal_of(purging(bench.store, PROJECT, "ann", owner="ann", dry_run=True).ids(mixed)),
        refusal_of(purge(bench.store, PROJECT, "ann", about, owner="ann")),
        refusal_of(purge(bench.store, PROJECT, "ann", about, owner="ann", limit=1)),
        refusal_of(purge(bench.store, PROJECT, "ann", about, owner="ann", dry_run=True)),
    ):
        assert is_refused(await attempt, NotOwner, id_of(3))
    assert await bench.store.read(Count(PROJECT, None)) == 7
    # Another's hand in the content changes nothing about whose it is.
    assert isinstance(await bench.do(Replace(PROJECT, record(1, {"a": 1}, user_id="root"))), Row)
    assert isinstance(await bench.do(Replace(PROJECT, record(3, {"a": 1}, user_id="ann"))), Row)
    assert is_refused(
        await refusal_of(purging(bench.store, PROJECT, "ann", owner="ann").ids(mixed)), NotOwner, id_of(3)
    )
    assert is_refused(await refusal_of(purge(bench.store, PROJECT, "ann", about, owner="ann")), NotOwner, id_of(3))
    own = [id_of(n) for n in (1, 2, 4, 5, 6)]
    counted = purging(bench.store, PROJECT, "ann", owner="ann", dry_run=True)
    await counted.ids(own)
    assert counted.removed == 5
    assert isinstance(await bench.do(Replace(PROJECT, record(1, {"a": 2}, user_id="ann"))), Row)
    assert isinstance(await bench.do(Replace(PROJECT, record(3, {"a": 2}, user_id="bob"))), Row)
    mine = column("user_id", "ann")
    assert await purge(bench.store, PROJECT, "ann", mine, owner="ann", dry_run=True) == (6, False)
    assert await purge(bench.store, PROJECT, "ann", mine, owner="ann") == (6, False)
    assert ids(await bench.rows()) == [id_of(3)]


@case
async def a_purge_looks_again_at_what_was_replaced_since_it_was_found(bench: Bench) -> None:
    await bench.create(1, 2, 3, payload={"n": 1})
    for number, value in ((2, 2), (3, 1)):
        await bench.do(Replace(PROJECT, record(number, {"n": value, "new": True})))
    found = [id_of(n) for n in (1, 2, 3)]
    assert await bench.do(Purge(PROJECT, "p", found, (1, 2, 3), payload("n", 1))) == Purged(2)
    assert ids(await bench.rows()) == [id_of(2)]


@case
async def a_purge_goes_on_where_it_stopped_and_ends_before_what_came_later(bench: Bench) -> None:
    await bench.create(*range(1, 9), payload={"n": 1})
    going = purging(bench.store, PROJECT)
    progress: Progress | None = Progress()
    seen = []
    while progress is not None:
        progress = await going.matches(payload("n", 1), progress, going.removed + 3)
        await bench.create(100 + going.removed, payload={"n": 1})
        seen.append(going.removed)
    assert seen == [3, 6, 8]
    assert ids(await bench.rows()) == [id_of(103), id_of(106), id_of(108)]


@case
async def a_purge_by_windows_finds_the_same(bench: Bench) -> None:
    await bench.create(*range(1, 21), payload={"n": 1})
    await bench.do(Replace(PROJECT, record(7, {"n": 2})))
    await bench.do(Replace(PROJECT, record(15, {"n": 2})))
    for window in (1, 3, 7, 20, 21):
        after: Key | None = None
        until = None
        found: list[str] = []
        while True:
            part = await bench.store.read(FindMatches(PROJECT, payload("n", 2), after, until, 1, None, window))
            found += [match.id for match in part.matches]
            after, until = part.reached, part.until
            if after is None:
                break
        assert found == [id_of(7), id_of(15)]
    # A purge whose share of the time is over looks at one window, and says where to go on.
    hurried = purging(bench.store, PROJECT, seconds=3600.0, share=0.0)
    progress: Progress | None = await hurried.matches(payload("n", 2), Progress(window=10), 10)
    assert progress is not None
    assert (hurried.removed, progress.after is not None, progress.window) == (1, True, 20)
    assert await hurried.matches(payload("n", 2), progress, 10) is None
    assert hurried.removed == 2


@case
async def a_large_purge_is_cut_by_rows_and_by_bytes(bench: Bench) -> None:
    await bench.create(*range(1000))
    told: list[int] = []
    going = purging(bench.store, PROJECT, told=told.append)
    await going.ids([id_of(n) for n in range(999)])
    assert told == [500, 499]
    assert [list(map(len, slices([Match("a", 1, size)] * 3))) for size in (10, SLICE_BYTES // 2, 5_000_000)] == [
        [3],
        [2, 1],
        [1, 1, 1],
    ]


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────


async def all_pages(bench: Bench, limit: int, order: tuple[SortKey, ...] = BY_TIME, **more: Any) -> list[Page]:
    pages = [await bench.store.read(Select(PROJECT, None, order, limit=limit, **more))]
    more.pop("offset", None)
    while pages[-1].last is not None:
        pages.append(await bench.store.read(Select(PROJECT, None, order, pages[-1].last, limit=limit, **more)))
    return pages


@case
async def pages_of_every_size_join_to_the_whole(bench: Bench) -> None:
    created = await bench.create(*range(7))
    for limit in range(1, 9):
        for offset in range(9):
            pages = await all_pages(bench, limit, offset=offset, with_total=True)
            joined = [message(row) for page in pages for row in page.rows]
            assert joined == created[offset:]
            assert all(0 < len(page.rows) <= limit for page in pages) or offset >= 7
            assert [page.last is None for page in pages] == [False] * (len(pages) - 1) + [True]
            assert {(page.total, page.revision) for page in pages} == {(7, 7)}


@case
async def the_newest_come_first_on_request(bench: Bench) -> None:
    created = await bench.create(*range(5))
    order = (SortKey(Column("created_at", "time"), descending=True), SortKey(Column("id", "text")))
    pages = await all_pages(bench, 2, order)
    assert [message(row) for page in pages for row in page.rows] == created[::-1]


@case
async def a_page_is_cut_by_bytes_but_has_one_row_at_least(bench: Bench) -> None:
    sizes = (10, 50_000, 10, 10, 100_000, 60_000, 10)
    for number, size in enumerate(sizes):
        await bench.create(number, payload={"x": "x" * size})
    pages = await all_pages(bench, 100, max_bytes=52_000)
    assert [len(page.rows) for page in pages] == [4, 1, 1, 1]
    assert [len(page.rows) for page in await all_pages(bench, 100, max_bytes=1)] == [1] * 7


@case
async def a_page_of_no_rows_tells_the_total(bench: Bench) -> None:
    await bench.create(1, 2)
    page = await bench.store.read(Select(PROJECT, None, BY_TIME, limit=0, with_total=True))
    assert page == Page([], None, 2, 2)
    page = await bench.store.read(Select("acme/empty", None, BY_TIME, with_total=True))
    assert page == Page([], None, 0, 0)


@case
async def filters_select_and_count(bench: Bench) -> None:
    await bench.create(1, 2, payload={"score": 1}, creator='it\'s "ann"')
    await bench.create(3, payload={"score": 5}, feedback_type="score")
    assert ids(await bench.rows(column("creator", 'it\'s "ann"'))) == [id_of(1), id_of(2)]
    assert ids(await bench.rows(column("feedback_type", "score"))) == [id_of(3)]
    assert ids(await bench.rows(payload("score", 2, "gt"))) == [id_of(3)]
    assert await bench.store.read(Count(PROJECT, payload("score", 1))) == 2
    assert await bench.store.read(Count(PROJECT, column("ref", "' OR 1=1 --"))) == 0


@case
async def refs_are_counted_and_paged_in_order(bench: Bench) -> None:
    for number, ref in enumerate(("urn:b", "urn:a", "urn:b", "urn:ä", "urn:B")):
        await bench.create(number, ref=ref, payload={"n": number})
    every = await bench.store.read(SelectRefs(PROJECT, None, None, 10))
    assert every == [("urn:B", 1, NOON + 4, NOON + 4, 0), ("urn:a", 1, NOON + 1, NOON + 1, 0),
                     ("urn:b", 2, NOON, NOON + 2, 0), ("urn:ä", 1, NOON + 3, NOON + 3, 0)]  # fmt: skip
    assert await bench.store.read(SelectRefs(PROJECT, None, None, 2)) == every[:2]
    assert await bench.store.read(SelectRefs(PROJECT, None, "urn:a", 2)) == every[2:]
    few = await bench.store.read(SelectRefs(PROJECT, payload("n", 2, "lte"), "urn:B", 10))
    assert [(count.ref, count.feedback_count) for count in few] == [("urn:a", 1), ("urn:b", 2)]


@case
async def refs_are_listed_by_count_and_change_and_by_what_they_lack(bench: Bench) -> None:
    for number, ref in enumerate(("urn:b", "urn:a", "urn:b", "urn:ä", "urn:B", "other:x")):
        await bench.create(number, ref=ref, payload={"n": number})
    await bench.do(Replace(PROJECT, record(1, ref="urn:a", payload={"n": 9})))

    async def listed(order: RefOrder, **more: Any) -> list[str]:
        """On pages of two."""
        refs: list[str] = []
        after = None
        while page := await bench.store.read(SelectRefs(PROJECT, None, after, 2, order=order, **more)):
            refs += [count.ref for count in page]
            after = PlacedRef(page[-1].place, page[-1].ref)
        return refs

    assert await listed("count") == ["urn:b", "other:x", "urn:B", "urn:a", "urn:ä"]
    assert await listed("last_change") == ["urn:a", "other:x", "urn:B", "urn:ä", "urn:b"]
    for order in get_args(RefOrder):
        assert sorted(await listed(order, prefix="urn:")) == ["urn:B", "urn:a", "urn:b", "urn:ä"]
        assert await listed(order, prefix="urn:ä") == ["urn:ä"]
        # Both records of urn:b count, though only one of them matches.
        assert "urn:b" not in await listed(order, without=payload("n", 2))
        assert len(await listed(order, without=payload("n", 2))) == 4
        assert await listed(order, without=payload("n", 0, "gte")) == []


@case
async def versions_are_paged(bench: Bench) -> None:
    assert await bench.store.read(SelectVersions(PROJECT, id_of(1), 0, 10)) == ([], False, None)
    await bench.create(1)
    for number in range(2, 6):
        await bench.do(Replace(PROJECT, record(1, {"n": number}, user_id=f"user {number}")))
    found = await bench.store.read(SelectVersions(PROJECT, id_of(1), 0, 5))
    assert [message(row).version for row in found.rows] == [1, 2, 3, 4, 5]
    assert [message(row).user_id for row in found.rows][1:] == [f"user {n}" for n in range(2, 6)]
    assert (found.more, found.tombstone) == (False, None)
    for limit in range(1, 5):
        first = await bench.store.read(SelectVersions(PROJECT, id_of(1), 0, limit))
        rest = await bench.store.read(SelectVersions(PROJECT, id_of(1), limit, 5))
        assert first.more
        assert first.rows + rest.rows == found.rows
    assert (await bench.store.read(SelectVersions(PROJECT, id_of(1), 5, 5))).rows == []


# ── Changes ──────────────────────────────────────────────────────────────────────────────────────────────


@case
async def changes_tell_the_history_in_order(bench: Bench) -> None:
    assert await bench.changes() == []
    created = await bench.create(1, 2)
    replaced = message(await bench.do(Replace(PROJECT, record(1, {"a": 1}))))
    await bench.do(Purge(PROJECT, "p", ids=[id_of(2)]))
    told = await bench.changes()
    assert [(change.revision, change.kind) for change in told] == [
        (1, ChangeKind.CREATED),
        (3, ChangeKind.REPLACED),
        (4, ChangeKind.PURGED),
    ]
    assert [message(change.row) for change in told if change.row] == [created[0], replaced]
    assert told[2].tombstone == Tombstone(id_of(2), REF, "note", "p", NOON + 3, 4)
    for after in range(6):
        assert await bench.changes(after) == [change for change in told if change.revision > after]


@case
async def changes_come_in_pages_without_loss(bench: Bench) -> None:
    await bench.create(*range(5))
    for number in (0, 2, 4):
        await bench.do(Replace(PROJECT, record(number, {"x": "x" * 1000})))
    await bench.do(Purge(PROJECT, "p", ids=[id_of(1), id_of(2)]))
    whole = await bench.changes()
    for limit, max_bytes in ((1, 10**6), (2, 10**6), (3, 10**6), (100, 1), (100, 1500), (100, 10**6)):
        joined: list[Change] = []
        position = 0
        while position < 10:
            found = await bench.store.read(SelectChanges(PROJECT, position, None, limit, max_bytes))
            assert found.revision > position
            assert 0 < len(found.changes) <= limit
            joined += found.changes
            position = found.revision
        assert joined == whole
    assert (await bench.store.read(SelectChanges(PROJECT, 10, None, 10))) == ([], 10)


@case
async def a_filtered_watch_sees_what_comes_and_what_goes(bench: Bench) -> None:
    await bench.create(1, payload={"n": 1})
    await bench.create(2, payload={"n": 2})
    for number in (2, 1, 3, 4):
        await bench.do(Replace(PROJECT, record(1, {"n": number})))
    await bench.do(Purge(PROJECT, "p", ids=[id_of(2)]))
    told = await bench.store.read(SelectChanges(PROJECT, 0, payload("n", 1), 100))
    # 1: is one. 3: was one. 4: is one again. 5: was one. 6: neither. 7: a purge always passes.
    assert [change.revision for change in told.changes] == [1, 3, 4, 5, 7]
    assert told.revision == 7
    nothing = await bench.store.read(SelectChanges(PROJECT, 0, payload("n", 9), 100))
    assert [change.revision for change in nothing.changes] == [7]
    assert nothing.revision == 7


@case
async def retention_keeps_ids_alone_and_makes_one_change(bench: Bench) -> None:
    await bench.create(1, 2, 3)
    await bench.create(4, feedback_type="score")
    await bench.do(Replace(PROJECT, record(1, {"n": 2})))
    bench.clock.now += 1_000_000
    await bench.create(5)
    before = NOON + 500_000
    found = await bench.store.read(FindDue(PROJECT, "note", before, 2))
    assert [match.id for match in found.matches] == [id_of(1), id_of(2)]
    assert found.matches[0].size == len('{}{"n": 2}')
    assert found.reached is not None
    rest = await bench.store.read(FindDue(PROJECT, "note", before, 2, found.reached))
    assert ([match.id for match in rest.matches], rest.reached) == ([id_of(3)], None)
    revision = await bench.store.read(ProjectRevision(PROJECT))
    # Only what is of the type, old enough, and there.
    everything = [id_of(number) for number in range(1, 7)]
    assert await bench.do(Retain(PROJECT, "note", before, everything)) == Removed(3)
    assert await bench.do(Retain(PROJECT, "note", before, everything)) == Removed(0)
    assert ids(await bench.rows()) == [id_of(4), id_of(5)]
    [change] = await bench.changes(revision)
    assert (change.revision, change.kind, change.tombstone) == (revision + 1, ChangeKind.RETAINED, None)
    assert change.row == wire_form(Retained("note", before, 3, bench.clock.now + 1))
    # It passes every filter, as a purge does.
    assert await bench.changes(revision, column("ref", "urn:none")) == [change]
    for number in (1, 2, 3):
        assert await bench.store.read(Get(PROJECT, id_of(number))) is None
        assert await bench.store.read(Get(PROJECT, id_of(number), 1)) is None
        assert await bench.store.read(SelectVersions(PROJECT, id_of(number), 0, 10)) == Versions([], False, None)
    assert await bench.do(Retain(PROJECT, None, before, everything)) == Removed(1)
    assert (await bench.changes(revision + 1))[0].row == wire_form(Retained(None, before, 1, bench.clock.now + 2))


@case
async def an_id_that_is_gone_is_never_used_again(bench: Bench) -> None:
    await bench.create(1, 2)
    assert await bench.do(Retain(PROJECT, None, NOON + 1000, [id_of(1), id_of(2)])) == Removed(2)
    [created] = await bench.do(Create(PROJECT, [record(1)], atomic=False))
    assert is_refused(created, FeedbackPurged, id_of(1))
    results = await bench.do(Create(PROJECT, [record(3), record(2)], atomic=False))
    assert is_refused(results[1], FeedbackPurged, id_of(2))
    assert is_refused(await bench.do(Create(PROJECT, [record(4), record(1)])), BatchRejected)
    for existing in Existing:
        [imported] = await bench.do(Import(PROJECT, [record(1, created_at=5)], existing))
        assert is_refused(imported, FeedbackPurged, id_of(1))
    assert is_refused(await bench.do(Replace(PROJECT, record(1, {"n": 1}))), FeedbackNotFound, id_of(1))
    assert await bench.do(Purge(PROJECT, "root", [id_of(1)])) == Purged(0)
    # In another project it is free.
    [row] = await bench.do(Create(OTHER, [record(1, project=OTHER)]))
    assert message(row).id == id_of(1)
    both: list[Any] = await bench.write(
        Create(PROJECT, [record(2), record(6)], atomic=False), Create(OTHER, [record(2, project=OTHER)])
    )
    assert is_refused(both[0][0], FeedbackPurged, id_of(2))
    assert message(both[1][0]).id == id_of(2)
