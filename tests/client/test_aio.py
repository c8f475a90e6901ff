"""What only the asyncio client has: its names compared with the blocking ones, one loop, cancellation, reconnecting."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

import plaudit
from plaudit import _default
from plaudit._contract.uuid7 import uuid7
from plaudit._sync.watch import Watch
from plaudit_server.testing import RunningServer
from tests.client.network import Network

# What only one of the two clients has, and why.
WITHOUT_TWIN = {
    (plaudit.FeedbackQuery, "__len__"): "can not be awaited: len(await query.execute())",
    (plaudit.FeedbackQuery, "__getitem__"): "can not be awaited: (await query.execute())[0]",
    (plaudit.FeedbackQuery, "__bool__"): "can not be awaited: await query.any()",
}
TWINS = {"__iter__": "__aiter__", "__next__": "__anext__", "__enter__": "__aenter__", "__exit__": "__aexit__"}
PAIRS = [
    (plaudit.Client, plaudit.AsyncClient),
    (plaudit.FeedbackQuery, plaudit.AsyncFeedbackQuery),
    (plaudit.RefFeedbackQuery, plaudit.AsyncRefFeedbackQuery),
    (Watch, plaudit.AsyncWatch),
]


def public(of: type) -> dict[str, Any]:
    """Methods and properties, those of Python's protocols too."""
    names = {name for home in of.__mro__[:-1] for name in vars(home) if home.__module__.startswith("plaudit")}
    shown = {"_repr_html_", "_repr_pretty_"}
    return {
        name: inspect.getattr_static(of, name)
        for name in names
        if (not name.startswith("_") or name in shown or (name.startswith("__") and name.endswith("__")))
        and (callable(inspect.getattr_static(of, name)) or isinstance(inspect.getattr_static(of, name), property))
        and name not in ("__init__", "__class_getitem__", "__init_subclass__")
    }


@pytest.mark.parametrize(("blocking", "of_asyncio"), PAIRS)
def test_what_one_client_has_the_other_has_too(blocking: type, of_asyncio: type) -> None:
    left_out = {name for home, name in WITHOUT_TWIN if issubclass(blocking, home)}
    here = {TWINS.get(name, name) for name in public(blocking)} - left_out
    there = set(public(of_asyncio))

    assert here - there == set()
    assert there - here <= ({"any"} if issubclass(blocking, plaudit.FeedbackQuery) else set())
    assert left_out <= set(public(blocking))


@pytest.mark.parametrize(("blocking", "of_asyncio"), PAIRS)
def test_methods_of_both_take_the_same(blocking: type, of_asyncio: type) -> None:
    for name, method in public(blocking).items():
        twin = public(of_asyncio).get(TWINS.get(name, name))
        if twin is None or isinstance(method, property):
            assert twin is None or isinstance(twin, property), name
            continue
        here, there = inspect.signature(method).parameters, inspect.signature(twin).parameters
        assert [(p.name, p.kind, p.default) for p in here.values()] == [
            (p.name, p.kind, p.default) for p in there.values()
        ], name
    here, there = inspect.signature(blocking).parameters, inspect.signature(of_asyncio).parameters
    assert list(here) == list(there)


def record(number: int = 0) -> dict[str, Any]:
    return {"ref": "urn:x", "feedback_type": "t", "payload": {"n": number}}


def project() -> str:
    return f"aio/{uuid7()}"


def test_a_client_belongs_to_one_loop(running: RunningServer) -> None:
    client = plaudit.AsyncClient(project(), target=running.target)

    async def first() -> int:
        return await client.count()

    async def other() -> None:
        with pytest.raises(RuntimeError, match="belongs to the event loop of its first call"):
            await client.count()

    async def end() -> None:
        assert await client.count() == 0
        await client.close()
        with pytest.raises(RuntimeError, match="closed"):
            await client.count()

    with asyncio.Runner() as runner:
        assert runner.run(first()) == 0
        with asyncio.Runner() as another:
            another.run(other())
        runner.run(end())


def test_many_calls_at_once_and_streams_of_both_kinds(running: RunningServer) -> None:
    async def talk() -> None:
        async with plaudit.AsyncClient(project(), target=running.target) as client:
            watch = await client.watch(after=0)
            await asyncio.gather(*(client.create(record(number)) for number in range(50)))

            async def more() -> AsyncIterator[dict[str, Any]]:
                for number in range(50, 2100):
                    yield record(number)
                    if number % 1000 == 0:
                        await asyncio.sleep(0)

            assert (await client.ingest(more())).stored == 2050
            assert (await client.ingest([record(2100)])).stored == 1
            seen = [change.revision async for change, _ in _first(watch, 2101)]
            assert seen == list(range(1, 2102))
            assert watch.revision == 2101
            rows = [row.payload["n"] async for row in client.get_feedback(order_by="payload.n")]
            assert rows == list(range(2101))
            assert await client.ref("urn:x").any()
            assert not await client.ref("urn:y").any()

    asyncio.run(talk())


async def _first(watch: plaudit.AsyncWatch, number: int) -> AsyncIterator[tuple[plaudit.Change, int]]:
    for position in range(number):
        yield await anext(watch), position


def test_a_watch_comes_back_and_ends_when_it_is_closed(running: RunningServer) -> None:
    async def talk(network: Network) -> None:
        name = project()
        async with (
            plaudit.AsyncClient(name, target=network.target) as through,
            plaudit.AsyncClient(name, target=running.target) as direct,
        ):
            watch = await through.watch()
            for number in range(1, 6):
                await direct.create(record(number))
                assert (await anext(watch)).revision == number
                await asyncio.to_thread(network.cut)
            waiting = asyncio.create_task(anext(watch, None))
            await asyncio.sleep(0.3)
            await watch.close()
            assert await waiting is None
            assert await anext(watch, None) is None

    with Network(running.target).running() as network:
        asyncio.run(talk(network))


def test_ingest_goes_on_when_the_line_is_cut(running: RunningServer) -> None:
    async def talk(network: Network) -> None:
        async def records() -> AsyncIterator[dict[str, Any]]:
            for number in range(8000):
                if number in (2500, 5500):
                    await asyncio.to_thread(network.cut)
                yield record(number)

        async with plaudit.AsyncClient(project(), target=network.target) as client:
            assert (await client.ingest(records())).stored == 8000
            assert await client.count() == 8000

    with Network(running.target).running() as network:
        asyncio.run(talk(network))


def test_a_cancelled_task_is_cancelled(running: RunningServer) -> None:
    async def talk() -> None:
        async with plaudit.AsyncClient(project(), target=running.target) as client:
            watch = await client.watch()
            task = asyncio.create_task(anext(watch))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

            async def endless() -> AsyncIterator[dict[str, Any]]:
                while True:
                    yield record()
                    await asyncio.sleep(0)

            started = asyncio.Event()
            told = asyncio.create_task(client.ingest(endless(), progress=lambda result: started.set()))
            await started.wait()
            told.cancel()
            with pytest.raises(asyncio.CancelledError) as raised:
                await told
            assert "records are stored" in raised.value.__notes__[0]

    asyncio.run(talk())


def test_a_server_that_is_not_there_is_told_within_the_deadline() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{taken.getsockname()[1]}"

        async def talk() -> None:
            async with plaudit.AsyncClient("a/b", target=target, timeout=0.4) as client:
                with pytest.raises(plaudit.UnavailableError):
                    await client.create(record())
                with pytest.raises(plaudit.UnavailableError):
                    await client.watch()
                with pytest.raises(plaudit.UnavailableError) as raised:
                    await client.ingest([record()])
                assert "0 records are stored" in raised.value.__notes__[0]

        asyncio.run(talk())


def test_a_server_that_says_nothing_is_told_to_a_watch() -> None:
    async def talk(port: int) -> None:
        async with plaudit.AsyncClient("a/b", target=f"127.0.0.1:{port}", timeout=0.3) as client:
            with pytest.raises(plaudit.UnavailableError, match="no answer to the watch"):
                await client.watch()

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        asyncio.run(talk(silent.getsockname()[1]))


def test_without_a_client_the_server_of_init_is_asked(running: RunningServer, request: pytest.FixtureRequest) -> None:
    request.addfinalizer(_default.reset)
    plaudit.init(project(), target=running.target)

    async def talk() -> None:
        ref = plaudit.AsyncRefFeedbackQuery("urn:x")
        id = await ref.add_note("hello")
        query = plaudit.AsyncFeedbackQuery(ref.entity, ref.project, None)
        assert [row.id async for row in query] == [id]
        assert query.client is ref.client
        await ref.client.close()

    asyncio.run(talk())
