"""Group commit: what shares a transaction, which caller gets which outcome, and what happens when too much waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from plaudit_server.errors import Overloaded, StoreUnavailable
from plaudit_server.feedback.commands import Purge, Purged, Replace
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.errors import BatchRejected
from plaudit_server.feedback.model import FeedbackModel
from plaudit_server.store import writer as writing
from plaudit_server.store.base import Command, Outcome, WriteFailed, Written
from plaudit_server.store.engines.memory import MemoryEngine
from plaudit_server.store.writer import Writer
from tests.store.factory import PROJECT, record


class GatedStore(MemoryEngine):
    """Commits when the test allows it; answers each command with its place in the order of all."""

    def __init__(self) -> None:
        super().__init__(FeedbackModel(lambda: 0))
        self.groups: list[list[Command[Any]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures: list[Exception] = []
        self.refused: list[Command[Any]] = []

    async def write(self, group: Sequence[Command[Any]]) -> Written:
        self.groups.append(list(group))
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        outcomes: list[Outcome | WriteFailed] = []
        for command in group:
            number = sum(map(len, self.groups[:-1])) + len(outcomes)
            outcomes.append(WriteFailed("no") if command in self.refused else Purged(number))
        return Written(outcomes, {PROJECT: len(self.groups)})


def purge(number: int) -> Purge:
    return Purge(PROJECT, str(number), ids=("a",))


def run(scenario: Callable[[GatedStore], Awaitable[None]]) -> None:
    async def with_store() -> None:
        await scenario(GatedStore())

    asyncio.run(with_store())


def wait_for_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a group wait for its callers without a time limit: only callers, rows or the end can end the wait."""
    monkeypatch.setattr(writing, "_GATHER_SECONDS", 3600.0)
    monkeypatch.setattr(writing, "_GATHER_LONGEST", 3600.0)


async def started(writer: Writer, *commands: Command[Any]) -> list[asyncio.Task[Any]]:
    """Submit each command in a task of its own, and let the tasks run as far as they can."""
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(writer.submit(command)) for command in commands]
    await settle()
    return tasks


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_arrives_while_one_group_commits_is_the_next_in_order() -> None:
    async def scenario(store: GatedStore) -> None:
        writer = Writer(store)
        writer.start()
        store.gate.clear()
        commands = [purge(number) for number in range(9)]
        tasks = await started(writer, commands[0])
        tasks += await started(writer, *commands[1:5])
        tasks += await started(writer, *commands[5:])
        assert writer.pending_commands == 9
        store.gate.set()
        outcomes = await asyncio.gather(*tasks)
        assert store.groups == [commands[:1], commands[1:]]
        assert [outcome.purged for outcome in outcomes] == list(range(9))
        assert (writer.groups, writer.commands, writer.pending_commands, writer.pending_bytes) == (2, 9, 0, 0)
        await writer.close()

    run(scenario)


def test_the_next_group_waits_for_most_of_those_whom_the_last_one_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_callers(monkeypatch)

    async def scenario(store: GatedStore) -> None:
        writer = Writer(store)
        writer.start()
        for number in range(3):
            await writer.submit(purge(number))  # each alone, so none waits
        await asyncio.gather(*await started(writer, *map(purge, range(10))))
        tasks = await started(writer, *map(purge, range(7)))
        assert [len(group) for group in store.groups] == [1, 1, 1, 10]
        tasks += await started(writer, purge(7))
        await asyncio.gather(*tasks)
        tasks = await started(writer, Create(PROJECT, [record(n) for n in range(64)]))
        await asyncio.gather(*tasks)  # as many rows as are worth waiting for
        assert [len(group) for group in store.groups] == [1, 1, 1, 10, 8, 1]
        await writer.submit(purge(0))
        await writer.close()

    run(scenario)


def test_nobody_waits_long_for_callers_who_do_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(store: GatedStore) -> None:
        writer = Writer(store)
        writer.start()
        await asyncio.gather(*await started(writer, *map(purge, range(10))))
        await writer.submit(purge(10))
        wait_for_callers(monkeypatch)
        await writer.submit(purge(11))
        await asyncio.gather(*await started(writer, *map(purge, range(10))))
        [task] = await started(writer, purge(12))
        await writer.close()
        await task
        assert [len(group) for group in store.groups] == [10, 1, 1, 10, 1]

    run(scenario)


def test_where_callers_do_not_come_back_each_group_waits_for_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_callers(monkeypatch)

    async def scenario(store: GatedStore) -> None:
        writer = Writer(store)
        writer.start()
        for size in (5, 4, 3, 2, 1, 1):
            await asyncio.gather(*await started(writer, *map(purge, range(size))))
        assert [len(group) for group in store.groups] == [5, 4, 3, 2, 1, 1]
        await writer.close()

    run(scenario)


def test_a_group_is_bounded_by_rows_and_by_bytes_but_holds_one_command_at_least() -> None:
    async def scenario(store: GatedStore) -> None:
        writer = Writer(store, max_group_rows=4, max_group_bytes=20_000)
        writer.start()
        store.gate.clear()
        first = await started(writer, purge(0))
        rows = [Create(PROJECT, [record(n) for n in range(size)]) for size in (2, 2, 1, 9, 4)]
        large = [Replace(PROJECT, record(1, {"x": "x" * size})) for size in (10_000, 8_000, 8_000, 90_000, 10)]
        tasks = first + await started(writer, *rows, *large)
        store.gate.set()
        await asyncio.gather(*tasks)
        assert store.groups[1:] == [
            rows[:2],
            rows[2:3],
            rows[3:4],
            rows[4:],
            large[:2],
            large[2:3],
            large[3:4],
            large[4:],
        ]
        await writer.close()

    run(scenario)


def test_a_full_queue_refuses_with_a_delay_and_takes_commands_again() -> None:
    async def scenario(store: GatedStore) -> None:
        writer = Writer(store, max_pending_commands=3)
        writer.start()
        store.gate.clear()
        tasks = await started(writer, *map(purge, range(3)))
        with pytest.raises(Overloaded) as overloaded:
            await writer.submit(purge(3))
        assert 0 < overloaded.value.retry_delay <= 5
        assert writer.refused_commands == 1
        store.gate.set()
        await asyncio.gather(*tasks)
        assert await writer.submit(purge(4)) == Purged(3)
        await writer.close()

    run(scenario)


def test_the_queue_is_bounded_by_bytes_too_but_one_command_always_fits() -> None:
    async def scenario(store: GatedStore) -> None:
        writer = Writer(store, max_pending_bytes=10_000)
        writer.start()
        store.gate.clear()
        tasks = await started(writer, Create(PROJECT, [record(1, {"x": "x" * 20_000})]))
        with pytest.raises(Overloaded):
            writer.enqueue(purge(0))
        store.gate.set()
        await asyncio.gather(*tasks)
        assert writer.pending_bytes == 0
        await writer.close()

    run(scenario)


def test_a_waiter_that_gives_up_disturbs_nobody() -> None:
    async def scenario(store: GatedStore) -> None:
        writer = Writer(store)
        writer.start()
        store.gate.clear()
        commands = [purge(number) for number in range(4)]
        tasks = await started(writer, commands[0])
        tasks += await started(writer, *commands[1:])
        tasks[0].cancel()  # commits already
        tasks[2].cancel()  # still waits
        await settle()
        store.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert store.groups == [commands[:1], [commands[1], commands[3]]]
        assert [type(result) for result in results] == [
            asyncio.CancelledError, Purged, asyncio.CancelledError, Purged,
        ]  # fmt: skip
        assert (writer.pending_commands, writer.pending_bytes) == (0, 0)
        await writer.close()

    run(scenario)


def test_a_store_that_fails_fails_the_group_and_not_the_next() -> None:
    async def scenario(store: GatedStore) -> None:
        told: list[int] = []
        writer = Writer(store, on_failure=lambda: told.append(1))
        writer.start()
        store.failures = [StoreUnavailable("memory"), RuntimeError("a defect")]
        results = await asyncio.gather(*map(writer.submit, map(purge, range(3))), return_exceptions=True)
        assert [type(result) for result in results] == [StoreUnavailable] * 3
        assert len({id(result) for result in results}) == 3
        with pytest.raises(WriteFailed):
            await writer.submit(purge(3))
        assert await writer.submit(purge(4)) == Purged(4)
        assert (told, writer.failed_groups) == ([1, 1], 2)
        await writer.close()

    run(scenario)


def test_a_command_that_failed_alone_is_raised_to_its_waiter_alone() -> None:
    async def scenario(store: GatedStore) -> None:
        writer = Writer(store)
        writer.start()
        commands = [purge(number) for number in range(3)]
        store.refused = [commands[1]]
        results = await asyncio.gather(*map(writer.submit, commands), return_exceptions=True)
        assert [type(result) for result in results] == [Purged, WriteFailed, Purged]
        await writer.close()

    run(scenario)


def test_listeners_hear_of_a_commit_before_its_waiters_and_may_fail() -> None:
    async def scenario(store: GatedStore) -> None:
        heard: list[object] = []

        def listen(revisions: dict[str, int]) -> None:
            heard.append(revisions)
            raise RuntimeError("a listener's own trouble")

        writer = Writer(store, on_commit=listen)
        writer.start()
        [task] = await started(writer, purge(0))
        task.add_done_callback(lambda _: heard.append("woken"))
        await task
        await settle()
        assert heard == [{PROJECT: 1}, "woken"]
        await writer.close()

    run(scenario)


def test_closing_commits_what_waits_and_takes_no_more() -> None:
    async def scenario(store: GatedStore) -> None:
        writer = Writer(store, max_group_rows=1)
        writer.start()
        store.gate.clear()
        tasks = await started(writer, *map(purge, range(3)))
        closing = asyncio.create_task(writer.close())
        await settle()
        with pytest.raises(StoreUnavailable) as refused:
            await writer.submit(purge(9))
        assert refused.value.retry_delay is not None
        store.gate.set()
        await closing
        assert [outcome.purged for outcome in await asyncio.gather(*tasks)] == [0, 1, 2]
        await writer.close()

    run(scenario)


def test_a_writer_that_was_never_started_takes_nothing() -> None:
    async def scenario(store: GatedStore) -> None:
        writer = Writer(store)
        with pytest.raises(StoreUnavailable):
            await writer.submit(purge(0))
        await writer.close()

    run(scenario)


def test_refusals_are_outcomes() -> None:
    async def scenario() -> None:
        writer = Writer(MemoryEngine(FeedbackModel(lambda: 1)))
        writer.start()
        outcome = await writer.submit(Create(PROJECT, [record(1), record(1, {"other": 1})]))
        assert isinstance(outcome, BatchRejected)
        await writer.close()

    asyncio.run(scenario())
