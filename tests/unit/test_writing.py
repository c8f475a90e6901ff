"""Records that are judged again because definitions move: nothing is in line when the caller is sent away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from plaudit_server.errors import Overloaded, Violation
from plaudit_server.feedback.judging import Judgement, Known, Seen, Stale, Subject
from plaudit_server.feedback.records import Record
from plaudit_server.feedback.writing import Draft, Writing
from plaudit_server.store.writer import Writer
from tests.store.factory import PROJECT, record


class Moving:
    """A judge by definitions that have always changed meanwhile."""

    def __init__(self) -> None:
        self.number = 0

    def known(self, project: str) -> Known:
        return Known(Judgement(self.number), None)

    async def judge(
        self, project: str, records: Sequence[Record], subjects: Seen, at: Sequence[str], *, skip: bool = False
    ) -> Judgement:
        return Judgement(self.number)

    async def violations(self, project: str, subjects: Sequence[Subject], at: Sequence[str]) -> list[Violation]:
        return []

    async def refresh(self, project: str, number: int) -> None:
        self.number = number


class Line:
    """A writer that finds every judgement stale, up to a number of times."""

    def __init__(self, stale: int) -> None:
        self.stale = stale
        self.open: list[asyncio.Future[Any]] = []

    def enqueue(self, command: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.open.append(future)

        def answer() -> None:
            self.open.remove(future)
            self.stale -= 1
            future.set_result(Stale(command.judgement.number + 1) if self.stale >= 0 else ["a row"])

        asyncio.get_running_loop().call_soon(answer)
        return future


@pytest.mark.parametrize(("stale", "stored"), [(0, True), (1, True), (19, True), (20, False), (1_000, False)])
def test_a_caller_who_is_sent_away_has_nothing_in_line(stale: int, stored: bool) -> None:
    async def scenario() -> None:
        line: Any = Line(stale)
        writer: Writer = line
        writing = Writing(writer, Moving())
        draft = Draft(PROJECT, (record(1),), ("feedback",))
        if stored:
            rows: list[Any] = await writing.create(draft)
            assert rows == ["a row"]
        else:
            with pytest.raises(Overloaded):
                await writing.create(draft)
        assert line.open == []

    asyncio.run(scenario())
