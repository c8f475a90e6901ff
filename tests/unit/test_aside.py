"""A project that the store cannot take now: its commands wait in their order, others go on, and none waits for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from plaudit_server.errors import Overloaded, StoreUnavailable
from plaudit_server.feedback.commands import Purge, Purged
from plaudit_server.feedback.model import FeedbackModel
from plaudit_server.store.base import Command, Written
from plaudit_server.store.engines.memory import MemoryEngine
from plaudit_server.store.work import Owner, Work
from plaudit_server.store.writer import Writer

HELD, FREE = "acme/held", "acme/free"


class HoldingStore(MemoryEngine):
    """Skips the projects in `held`; side by side, it waits for `gate` with those in `slow`."""

    def __init__(self) -> None:
        super().__init__(FeedbackModel(lambda: 0))
        self.held: set[str] = set()
        self.slow: set[str] = set()
        self.gate = asyncio.Event()
        self.done: list[str] = []
        self.tries = 0
        self.largest = 0

    async def write(self, group: Sequence[Command[Any]]) -> Written:
        self.largest = max(self.largest, len(group))
        if any(command.project in self.slow for command in group):
            await self.gate.wait()
        skipped = [index for index, command in enumerate(group) if command.project in self.held]
        self.tries += bool(skipped)
        outcomes: list[Any] = []
        for index, command in enumerate(group):
            assert isinstance(command, Purge)
            outcomes.append(None if index in skipped else Purged(len(self.done)))
            if index not in skipped:
                self.done.append(command.user_id)
        return Written(outcomes, skipped=skipped)


def purge(project: str, name: str, seconds: float | None = None) -> Purge:
    deadline = None if seconds is None else time.monotonic() + seconds
    return Purge(project, name, ("a",), work=Work(Owner("", project), deadline))


def run(scenario: Callable[[HoldingStore, Writer], Awaitable[None]], **options: Any) -> None:
    async def with_writer() -> None:
        store = HoldingStore()
        writer = Writer(store, **options)
        writer.start()
        await scenario(store, writer)
        await writer.close()
        assert (writer.pending_commands, writer.pending_rows, writer.pending_bytes) == (0, 0, 0)

    asyncio.run(with_writer())


def started(writer: Writer, *commands: Purge) -> list[asyncio.Future[Any]]:
    return [writer.enqueue(command) for command in commands]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def test_what_is_skipped_stays_in_line_in_order_while_others_go_on() -> None:
    async def scenario(store: HoldingStore, writer: Writer) -> None:
        store.held = {HELD}
        held = started(writer, *(purge(HELD, f"h{n}") for n in range(5)))
        await until(lambda: store.tries > 2)
        held += started(writer, *(purge(HELD, f"h{n}") for n in range(5, 200)))
        for number in range(20):
            await writer.submit(purge(FREE, f"f{number}"))
        assert store.done == [f"f{number}" for number in range(20)]
        assert not any(future.done() for future in held)
        assert writer.pending_commands == 200
        store.held.clear()
        await asyncio.gather(*held)
        assert store.done[20:] == [f"h{number}" for number in range(200)]
        assert writer.commands == 220

    run(scenario)


def test_what_waits_for_too_long_is_refused_alone() -> None:
    failures: list[int] = []

    async def scenario(store: HoldingStore, writer: Writer) -> None:
        store.held = {HELD}
        short, long = started(writer, purge(HELD, "short", 0.05), purge(HELD, "long", 3600.0))
        with pytest.raises(StoreUnavailable) as late:
            await short
        assert late.value.retry_delay is not None
        assert not long.done()
        store.held.clear()
        await long
        assert store.done == ["long"]
        # One that is late already is not begun, wherever it waits.
        with pytest.raises(StoreUnavailable):
            await writer.submit(purge(FREE, "late", -1.0))
        assert store.done == ["long"]
        assert failures == []

    run(scenario, on_failure=lambda: failures.append(1))


def test_a_held_project_takes_a_part_of_the_places_and_of_a_group_only() -> None:
    async def scenario(store: HoldingStore, writer: Writer) -> None:
        store.held = {HELD}
        held = started(writer, *(purge(HELD, f"h{n}") for n in range(200)))
        await until(lambda: store.tries > 0)
        with pytest.raises(Overloaded):
            started(writer, *(purge(HELD, f"h{n}") for n in range(200, 500)))
        before = writer.pending_commands
        assert before < 300
        await writer.submit(purge(FREE, "free"))
        store.largest = 0
        tries = store.tries
        await until(lambda: store.tries > tries)
        assert 0 < store.largest <= 64
        # Callers who leave leave nothing.
        for future in held:
            future.cancel()
        store.held.clear()
        await until(lambda: writer.pending_commands == 0)
        assert "h0" not in store.done

    run(scenario, max_pending_commands=1_000)


def test_a_writer_with_held_commands_closes_when_they_are_late() -> None:
    async def scenario(store: HoldingStore, writer: Writer) -> None:
        store.held = {HELD}
        [future] = started(writer, purge(HELD, "held", 0.2))
        await until(lambda: store.tries > 0)
        await writer.close()
        assert isinstance(future.exception(), StoreUnavailable)

    run(scenario)


def test_nobody_waits_while_a_held_project_is_tried_again() -> None:
    async def scenario(store: HoldingStore, writer: Writer) -> None:
        store.held = {HELD}
        held = started(writer, purge(HELD, "h0"), purge(HELD, "h1"))
        await until(lambda: store.tries > 0)
        store.slow, store.held = {HELD}, set()
        await until(lambda: writer._is_retrying)
        held += started(writer, purge(HELD, "h2"))
        for number in range(20):
            await writer.submit(purge(FREE, f"f{number}"))
        assert store.done == [f"f{number}" for number in range(20)]
        store.gate.set()
        await asyncio.gather(*held)
        assert store.done[20:] == ["h0", "h1", "h2"]

    run(scenario)


def test_side_by_side_a_slow_project_is_waited_for_by_nobody_else() -> None:
    async def scenario(store: HoldingStore, writer: Writer) -> None:
        store.side_by_side = True
        store.slow = {HELD}
        slow = started(writer, *(purge(HELD, f"h{n}") for n in range(3)))
        await asyncio.sleep(0.01)
        slow += started(writer, *(purge(HELD, f"h{n}") for n in range(3, 6)))
        for number in range(20):
            await writer.submit(purge(FREE, f"f{number}"))
        assert store.done == [f"f{number}" for number in range(20)]
        store.gate.set()
        await asyncio.gather(*slow)
        assert store.done[20:] == [f"h{number}" for number in range(6)]
        # What is skipped there waits and is tried again, too.
        store.held = {HELD}
        [held] = started(writer, purge(HELD, "again"))
        await until(lambda: store.tries > 2)
        store.held.clear()
        await held

    run(scenario)
