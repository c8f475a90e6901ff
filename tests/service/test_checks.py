"""Large payloads are checked beside the event loop, in turn, and nobody may have too many in line."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from plaudit_server.config.sections import Limits
from plaudit_server.errors import QuotaExceeded
from plaudit_server.rpc.admission import Admission
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.checks import Checks

HEAVY = "[" + ",".join(["[]"] * 20_000) + "]"


def call(principal: str, size: int = 1_000_000) -> Call:
    context: Any = None
    return Call("CreateFeedback", context, owner_name=principal, size=size)


def scenario(work: Any) -> None:
    async def run() -> None:
        checks = Checks(Admission(Limits()))
        try:
            await work(checks)
        finally:
            checks.close()

    asyncio.run(run())


def thread() -> str:
    return threading.current_thread().name


def test_many_values_are_checked_apart_and_all_else_at_once() -> None:
    async def work(checks: Checks) -> None:
        assert (await checks.run(call("a"), [HEAVY], thread)).startswith("plaudit-checker")
        assert await checks.run(call("a"), ["x" * 900_000], thread) == thread()
        assert await checks.run(call("a", size=100), [HEAVY], thread) == thread()

    scenario(work)


def test_what_a_check_raises_is_raised() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    async def work(checks: Checks) -> None:
        with pytest.raises(ZeroDivisionError):
            await checks.run(call("a"), [HEAVY], broken)

    scenario(work)


def test_principals_take_turns_and_none_has_many_in_line() -> None:
    async def work(checks: Checks) -> None:
        gate, order = threading.Event(), list[str]()

        def check(name: str) -> None:
            gate.wait(10)
            order.append(name)

        greedy = [asyncio.create_task(checks.apart(call("greedy"), lambda: check("greedy"))) for _ in range(32)]
        await asyncio.sleep(0)
        with pytest.raises(QuotaExceeded):
            await checks.apart(call("greedy"), lambda: check("greedy"))
        other = asyncio.create_task(checks.apart(call("other"), lambda: check("other")))
        await asyncio.sleep(0.01)
        gate.set()
        await asyncio.gather(other, *greedy)
        assert order.index("other") <= 2
        assert len(order) == 33
        await checks.apart(call("greedy"), lambda: check("greedy"))

    scenario(work)
