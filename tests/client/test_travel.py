"""Clients and queries in another process, or copied: as their settings and arguments, without the text of a key."""

from __future__ import annotations

import asyncio
import copy
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import plaudit
from plaudit import _default
from plaudit_server.testing import RunningServer
from tests.client.fakes import FakeTransport

QUERY = plaudit.field("payload.score") > 0.5
OPTIONS: dict[str, Any] = {
    "target": "localhost:7",
    "timeout": 3.0,
    "metadata": {"x-team": "chat"},
    "retry": plaudit.RetryPolicy(max_attempts=3),
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("PLAUDIT_")]:
        monkeypatch.delenv(name)
    yield
    _default.reset()


def key_of_function() -> str:
    return "from a function"


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


WAYS: dict[str, Callable[[Any], Any]] = {"pickle": pickled, "copy": copy.copy, "deepcopy": copy.deepcopy}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [plaudit.Client, plaudit.AsyncClient])
def test_a_client_travels_as_its_settings(kind: type[Any], way: str) -> None:
    client = kind("a/b", api_key=key_of_function, **OPTIONS)
    other = WAYS[way](client)

    assert type(other) is kind
    assert other is not client
    assert other.transport is not client.transport
    assert other._settings == client._settings


@pytest.mark.parametrize("kind", [plaudit.Client, plaudit.AsyncClient])
def test_the_text_of_a_key_is_left_out(kind: type[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = pickle.dumps(kind("a/b", api_key="hunter2"))
    assert b"hunter2" not in data
    with pytest.raises(ValueError, match="PLAUDIT_API_KEY"):
        pickle.loads(data)

    monkeypatch.setenv("PLAUDIT_API_KEY", "another")
    assert pickle.loads(data)._settings.api_key == "another"
    monkeypatch.delenv("PLAUDIT_API_KEY")
    (tmp_path / "key").write_text("of file")
    monkeypatch.setenv("PLAUDIT_API_KEY_FILE", str(tmp_path / "key"))
    assert pickle.loads(data)._settings.api_key_file == str(tmp_path / "key")


def test_a_key_of_the_environment_is_left_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAUDIT_API_KEY", "hunter2")
    data = pickle.dumps(plaudit.Client("a/b"))
    assert b"hunter2" not in data
    assert pickle.loads(data)._settings.api_key == "hunter2"


def test_a_copy_in_the_same_process_keeps_the_key() -> None:
    assert copy.copy(plaudit.Client("a/b", api_key="k"))._settings.api_key == "k"


def test_what_cannot_be_made_anew_says_so() -> None:
    fake: Any = FakeTransport()
    with grpc.insecure_channel("localhost:1") as channel:
        for client in (plaudit.Client(channel=channel), plaudit.Client(transport=fake)):
            with pytest.raises(TypeError, match="make one in each process"):
                pickle.dumps(client)
            assert copy.copy(client).transport is client.transport
    with pytest.raises(TypeError, match="credentials of its own"):
        pickle.dumps(plaudit.Client(credentials=grpc.ssl_channel_credentials()))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [plaudit.Client, plaudit.AsyncClient])
def test_queries_travel_as_their_arguments(kind: type[Any], way: str) -> None:
    client = kind("a/b", **OPTIONS)
    query = client.get_feedback(QUERY, offset=1, limit=5, order_by="-created_at", timeout=2.0)
    ref = client.ref("weave:///acme/chat/call/1", project="c/d")
    moved, moved_ref = WAYS[way](query), WAYS[way](ref)

    assert type(moved) is type(query)
    assert (moved._question, moved.show_refs, moved._options) == (query._question, True, query._options)
    assert (moved_ref.ref, moved_ref.project_id) == (ref.ref, "c/d")
    assert moved.client._settings == client._settings
    assert moved._result is None


def test_a_query_without_a_client_travels_with_the_settings_of_init() -> None:
    plaudit.init("a/b", target="localhost:7")
    data = pickle.dumps([plaudit.FeedbackQuery("a", "b", None), plaudit.RefFeedbackQuery("urn:x")])
    data_of_asyncio = pickle.dumps(plaudit.AsyncFeedbackQuery("a", "b", None))
    _default.reset()

    query, ref = pickle.loads(data)
    assert (query.client.target, ref.project_id) == ("localhost:7", "a/b")
    assert pickle.loads(data_of_asyncio).client.target == "localhost:7"


def test_an_async_query_that_was_read_travels_and_reads_again(running: RunningServer) -> None:
    async def talk() -> None:
        async with plaudit.AsyncClient("travel/aio", target=running.target) as client:
            await client.ref("urn:x").add("t", {"n": 1})
            query = client.get_feedback()
            first = await query.execute()
            moved = pickled(query)
            assert await moved.execute() == first
            await moved.client.close()

    asyncio.run(talk())


def counted(query: Any) -> int:
    return len(list(query))


def test_another_process_reads_a_query(running: RunningServer) -> None:
    with plaudit.Client("travel/process", target=running.target) as client:
        client.create_batch([{"ref": "urn:x", "feedback_type": "t"}] * 3)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.map(counted, [client.get_feedback(limit=2), client.ref("urn:x")]) == [2, 3]
