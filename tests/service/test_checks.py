"""Large payloads are checked beside the event loop, in turn, and nobody may have too many in line."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty

from plaudit_server.config.sections import Limits
from plaudit_server.errors import Overloaded, QuotaExceeded
from plaudit_server.feedback.resource import SERVICE
from plaudit_server.rpc.admission import Admission, Places
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.checks import Checks
from plaudit_server.rpc.declare import Registry

LIMITS = Limits()
MIB = 1024 * 1024
HEAVY = "[" + ",".join(["[]"] * 20_000) + "]"


def call(principal: str, size: int = 1_000_000) -> Call:
    context: Any = None
    return Call("CreateFeedback", context, owner_name=principal, size=size)


def scenario(work: Any, limits: Limits = LIMITS, admission: Admission | None = None) -> None:
    async def run() -> None:
        checks = Checks(admission or Admission(Limits()), limits)
        try:
            await work(checks)
        finally:
            await checks.close()

    asyncio.run(run())


async def admitted(checks: Checks, call: Call) -> None:
    """Let a call in, after its turn."""
    waiting = checks.admit(call, Empty())
    if waiting is not None:
        await waiting


def thread() -> str:
    return threading.current_thread().name


def test_many_values_are_checked_apart_and_all_else_at_once() -> None:
    async def work(checks: Checks) -> None:
        assert await checks.run(call("a"), [HEAVY], os.getpid) != os.getpid()
        assert await checks.run(call("a"), ["x" * 900_000], thread) == thread()
        assert await checks.run(call("a", size=100), [HEAVY], thread) == thread()
        assert (await checks.apart(call("a"), thread)).startswith("plaudit-checker")

    scenario(work)


def joined(some: Sequence[int], before: list[int] | None) -> list[int]:
    return [*(before or []), *some, os.getpid()]


@pytest.mark.parametrize(("size", "payload"), [(100, ""), (1_000_000, ""), (1_000_000, HEAVY)])
def test_the_items_of_a_request_are_looked_at_in_parts_between_which_others_go_on(size: int, payload: str) -> None:
    async def work(checks: Checks) -> None:
        went_on = 0

        async def others() -> None:
            nonlocal went_on
            while True:
                went_on += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        await asyncio.sleep(0)
        began = went_on
        found = await checks.run_each(call("a", size), [payload], range(100), joined)
        beside.cancel()
        is_in_turn, process = size > 100 and not payload, found[-1]
        assert (process == os.getpid()) is not bool(payload)
        assert [number for number in found if number != process] == [n for n in range(100) if n != process]
        assert len(found) == 100 + (4 if is_in_turn else 1)
        if is_in_turn:
            assert went_on - began == 3

    scenario(work)


def test_the_time_of_others_is_no_time_of_a_turn() -> None:
    async def work(checks: Checks) -> None:
        async with checks.in_turn(call("a"), 0) as turn:
            beside = asyncio.get_running_loop().call_soon(time.sleep, 0.5)
            await turn.give_way()
            assert turn.seconds < 0.5
            beside.cancel()

    scenario(work)


def test_what_a_check_raises_is_raised() -> None:
    async def work(checks: Checks) -> None:
        for heavy in (HEAVY, ""):
            with pytest.raises(ZeroDivisionError):
                await checks.run(call("a"), [heavy], divmod, 1, 0)
        with pytest.raises(Overloaded):
            await checks.run(call("a"), [HEAVY], os._exit, 1)
        assert await checks.run(call("a"), [HEAVY], abs, -1) == 1

    scenario(work)


def test_what_waits_to_be_checked_apart_is_bounded_in_bytes() -> None:
    async def work(checks: Checks) -> None:
        first = asyncio.create_task(checks.run(call("a", size=9 * MIB), [HEAVY], time.sleep, 0.2))
        await asyncio.sleep(0)
        for principal, size in (("a", MIB), ("b", 8 * MIB)):
            with pytest.raises(QuotaExceeded):
                await checks.run(call(principal, size=size), [HEAVY], abs, -1)
        assert await checks.run(call("b", size=7 * MIB), [HEAVY], abs, -1) == 1
        await first
        assert await checks.run(call("b", size=8 * MIB), [HEAVY], abs, -1) == 1

    scenario(work)


def test_what_was_checked_when_its_time_is_over_is_refused_and_so_is_all_after_the_end() -> None:
    async def work(checks: Checks) -> None:
        late = replace(call("a"), asked=time.monotonic() - LIMITS.write_seconds)
        with pytest.raises(QuotaExceeded):
            await checks.run(late, [HEAVY], abs, -1)
        await checks.close()
        with pytest.raises(Overloaded):
            await checks.run(call("a"), [HEAVY], abs, -1)

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


def test_what_waits_for_its_turn_too_long_is_refused() -> None:
    async def work(checks: Checks) -> None:
        gate = threading.Event()
        first = asyncio.create_task(checks.apart(call("a"), lambda: gate.wait(10)))
        await asyncio.sleep(0)
        for principal in ("a", "b"):
            with pytest.raises(QuotaExceeded):
                await checks.apart(call(principal), thread)
        gate.set()
        assert await first
        assert await checks.apart(call("b"), thread)

    scenario(work, replace(LIMITS, read_seconds=0.05))


def test_a_page_of_a_stream_is_followed_by_a_rest_while_others_have_calls_in_flight() -> None:
    async def work(checks: Checks, places: Places) -> None:
        with places.place("a", 0.0):
            for _ in range(3):
                await checks.page(call("a"), 3600.0)
            with places.place("b", 0.0):
                await checks.page(call("a"), 3600.0)
                rest = asyncio.create_task(checks.page(call("a"), 3600.0))
                await asyncio.sleep(0.01)
                assert not rest.done()
                rest.cancel()

    admission = Admission(Limits())
    scenario(lambda checks: work(checks, admission.calls), admission=admission)


def test_many_watches_may_wait_to_be_opened_and_rows_are_removed_one_purge_after_the_other() -> None:
    async def work(checks: Checks) -> None:
        running, most = 0, 0

        async def take(turn: Any) -> None:
            nonlocal running, most
            async with turn:
                running += 1
                most = max(most, running)
                await asyncio.sleep(0)
                running -= 1

        await asyncio.gather(*(take(checks.opening(call("a"))) for _ in range(200)))
        await asyncio.gather(*(take(checks.removal(call(name))) for name in "abc"))
        assert most == 1

    scenario(work)


def test_a_place_is_taken_until_the_work_has_ended_whoever_has_left() -> None:
    async def work(checks: Checks) -> None:
        gate, order = threading.Event(), list[str]()
        left = asyncio.create_task(checks.apart(call("a"), lambda: order.append("left") if gate.wait(10) else None))
        await asyncio.sleep(0)
        left.cancel()
        other = asyncio.create_task(checks.apart(call("b"), lambda: order.append("other")))
        await asyncio.sleep(0.01)
        assert not left.done()
        gate.set()
        await asyncio.wait([left, other])
        assert left.cancelled()
        assert order == ["left", "other"]

    scenario(work)


def test_large_requests_leave_most_of_the_loop_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(checks: Checks) -> None:
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        monkeypatch.setattr(asyncio, "sleep", sleep)
        others = True
        monkeypatch.setattr(Admission, "has_others", lambda *_: others)
        count = Registry([SERVICE]).rpcs["CountFeedback"]
        for size in (1_000, 10_000, 10_000, 3_000_000, 10_000):
            await admitted(checks, replace(call("a", size), rpc=count))
        # The first is small; after each other one the next waits three times what it is thought to take.
        assert slept == pytest.approx([0.045, 0.045, 0.09], abs=0.01)
        others = False
        await admitted(checks, replace(call("a", 10_000), rpc=count))
        assert len(slept) == 3

    scenario(work)


def test_where_only_the_project_is_known_its_callers_are_in_line_together() -> None:
    async def work(checks: Checks) -> None:
        gate = threading.Event()
        first = asyncio.create_task(checks.apart_for("acme/a", lambda: gate.wait(10)))
        await asyncio.sleep(0)
        others = [asyncio.create_task(checks.apart_for(project, thread)) for project in ("acme/a", "acme/b")]
        await asyncio.sleep(0.01)
        assert not any(other.done() for other in others)
        gate.set()
        names = await asyncio.gather(*others)
        assert await first
        assert all(name.startswith("plaudit-checker") for name in names)

    scenario(work)
