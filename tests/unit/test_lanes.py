"""Turns are fair: by what projects and principals have used, with one place of a project while others wait."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit_server.errors import Overloaded
from plaudit_server.store import lanes
from plaudit_server.store.lanes import Company, LaneUse, Overruns, Places, Turns
from plaudit_server.store.work import Owner

ADA, BOB = Owner("ada", "acme/a"), Owner("bob", "acme/b")


def served(turns: Turns[str], rounds: int, seconds: Callable[[str], float] = lambda item: 1.0) -> list[str]:
    """What is given out when each item, whose owner asks again at once, uses a place for `seconds`."""
    order = []
    for _ in range(rounds):
        taken = turns.take()
        assert taken is not None
        owner, item = taken
        order.append(item)
        turns.done(owner, seconds(item))
        turns.put(owner, item)
    return order


def test_one_owners_items_keep_their_order() -> None:
    turns: Turns[int] = Turns()
    for number in range(5):
        turns.put(ADA, number)
    assert turns.use == LaneUse(0, 5)
    assert list(turns) == list(range(5))
    order = []
    while (taken := turns.take()) is not None:
        order.append(taken[1])
        assert turns.take() is None, "there is one place"
        turns.done(ADA, 1.0)
    assert order == list(range(5))
    assert turns.use == LaneUse(0, 0)


def test_a_flood_of_one_owner_leaves_another_its_turns() -> None:
    turns: Turns[str] = Turns()
    for _ in range(1_000):
        turns.put(ADA, "flood")
    turns.take()
    turns.put(BOB, "other")
    turns.done(ADA, 1.0)
    assert "other" in served(turns, 2)


@pytest.mark.parametrize(
    "flood",
    [
        [Owner("ada", f"acme/{number}") for number in range(50)],
        [Owner(f"key-{number}", "acme/a") for number in range(50)],
    ],
    ids=["many projects of a principal", "many principals of a project"],
)
def test_neither_many_projects_nor_many_principals_get_more(flood: list[Owner]) -> None:
    turns: Turns[str] = Turns()
    for owner in flood:
        turns.put(owner, "flood")
    served(turns, 10)
    turns.put(BOB, "other")
    assert Counter(served(turns, 100))["other"] >= 49


def test_who_uses_little_goes_before_who_uses_much() -> None:
    turns: Turns[str] = Turns()
    turns.put(ADA, "long")
    turns.put(BOB, "short")
    counted = Counter(served(turns, 110, lambda item: 1.0 if item == "long" else 0.1))
    assert 8 <= counted["long"] <= 12


def test_a_pause_earns_nothing() -> None:
    turns: Turns[str] = Turns()
    turns.put(ADA, "steady")
    served(turns, 100)
    turns.put(BOB, "back")
    assert 4 <= Counter(served(turns, 10))["back"] <= 6


def test_a_project_has_one_place_while_others_wait_and_all_but_one_alone() -> None:
    turns: Turns[str] = Turns(3)
    for _ in range(4):
        turns.put(ADA, "a")
    assert [turns.take(), turns.take(), turns.take()] == [(ADA, "a"), (ADA, "a"), None]
    turns.put(BOB, "b")
    turns.put(BOB, "b")
    assert turns.take() == (BOB, "b")
    assert turns.take() is None
    turns.done(ADA, 1.0)
    # A place is free: each project has one already, and the last is kept for a third.
    assert turns.take() is None
    turns.put(Owner("eve", "acme/e"), "e")
    assert turns.take() == (Owner("eve", "acme/e"), "e")
    assert turns.use == LaneUse(3, 3)


def test_what_is_removed_is_not_given_out() -> None:
    turns: Turns[str] = Turns()
    turns.put(ADA, "first")
    turns.put(ADA, "second")
    assert turns.remove(ADA, "first")
    assert not turns.remove(ADA, "first")
    assert not turns.remove(BOB, "second")
    assert turns.take() == (ADA, "second")
    assert not turns.remove(ADA, "second")


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["put", "take", "done", "remove"]), st.integers(0, 3), st.integers(0, 3))),
)
def test_whatever_happens_nothing_is_lost_and_no_bound_is_broken(
    places: int, actions: list[tuple[str, int, int]]
) -> None:
    turns: Turns[int] = Turns(places)
    waiting: list[tuple[Owner, int]] = []
    running: list[Owner] = []
    for number, (action, project, principal) in enumerate(actions):
        owner = Owner(f"p{principal}", f"acme/{project}")
        if action == "put":
            turns.put(owner, number)
            waiting.append((owner, number))
        elif action == "remove" and waiting:
            assert turns.remove(*waiting.pop(project % len(waiting)))
        elif action == "done" and running:
            turns.done(running.pop(project % len(running)), principal / 10)
        elif action == "take":
            held = {owner.project for owner in running}
            taken = turns.take()
            if taken is None:
                others = [owner for owner, _ in waiting if owner.project not in held]
                assert len(running) == places or not others
            else:
                waiting.remove(taken)
                if taken[0].project in held:
                    assert all(owner.project in held for owner, _ in waiting)
                    assert len(running) < places - 1
                running.append(taken[0])
        assert turns.use == LaneUse(len(running), len(waiting))
        assert sorted(turns) == sorted(number for _, number in waiting)


def test_tasks_get_places_in_turn_and_leave_when_they_are_cancelled_or_late() -> None:
    async def scenario() -> None:
        places = Places(1, most_waiting=3)
        held = asyncio.Event()
        order: list[str] = []

        async def use(owner: Owner, name: str, deadline: float | None = None) -> None:
            async with places.place(owner, deadline):
                order.append(name)
                await held.wait()

        loop = asyncio.get_running_loop()
        first = asyncio.create_task(use(ADA, "first"))
        await asyncio.sleep(0)
        late = asyncio.create_task(use(ADA, "late", loop.time() + 0.01))
        cancelled = asyncio.create_task(use(ADA, "cancelled"))
        with pytest.raises(Overloaded) as refused:
            await late
        assert refused.value.retry_delay > 0
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        waiting = [asyncio.create_task(use(ADA, f"ada {n}")) for n in range(2)]
        await asyncio.sleep(0)
        waiting.append(asyncio.create_task(use(BOB, "bob")))
        await asyncio.sleep(0)
        assert places.use == LaneUse(1, 3)
        with pytest.raises(Overloaded):
            await use(BOB, "too many")
        held.set()
        await asyncio.gather(first, *waiting)
        assert order == ["first", "bob", "ada 0", "ada 1"]
        assert places.use == LaneUse(0, 0)

    asyncio.run(scenario())


def test_a_place_rests_while_others_read_until_one_of_them_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_REST", 1e9)

    async def scenario() -> None:
        company = Company()
        places = Places(1, most_waiting=8, company=company)

        async def use(owner: Owner) -> None:
            async with places.place(owner, None):
                await asyncio.sleep(0)

        company.note(ADA.project)
        company.note("")
        for _ in range(3):
            await use(ADA)
        company.note(BOB.project)
        await use(ADA)
        again = asyncio.create_task(use(ADA))
        await asyncio.sleep(0.01)
        assert places.use == LaneUse(0, 1)
        await use(BOB)
        await again

    asyncio.run(scenario())


def test_a_place_that_is_given_at_the_moment_of_a_cancellation_is_not_lost() -> None:
    async def scenario() -> None:
        places = Places(1, most_waiting=8)
        release = asyncio.Event()

        async def use() -> None:
            async with places.place(ADA, None):
                await release.wait()

        first, second = asyncio.create_task(use()), asyncio.create_task(use())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        release.set()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        # The place has been given to the second, which has not run since.
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert places.use == LaneUse(0, 0)
        await use()

    asyncio.run(scenario())


def test_what_was_over_its_budget_is_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    overruns = Overruns()
    assert not overruns.has_recent(ADA)
    overruns.note(ADA, "count")
    overruns.note(BOB, None)
    assert overruns.has_recent(ADA)
    assert overruns.has_recent(BOB)
    assert overruns.is_long("count")
    assert not overruns.is_long(None)
    now += 2
    assert not overruns.has_recent(ADA)
    assert overruns.is_long("count")
    for number in range(1_001):
        overruns.note(Owner(f"p{number}", "acme/a"), f"count {number}")
    assert not overruns.is_long("count"), "the oldest is forgotten"
    assert overruns.is_long("count 1")
    now += 61
    assert not overruns.is_long("count 1")
