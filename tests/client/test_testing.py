"""`plaudit.testing`: its fixtures in a run of pytest of their own, what they cost when unused, and fake transports."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest

import plaudit
from plaudit import v1
from plaudit._contract.uuid7 import uuid7
from plaudit.testing import AsyncFakeTransport, FakeTransport, reset
from tests.client.blocking import Loop, blocking_client

PROJECT = "acme/chat"
REF = "weave:///acme/chat/call/1"

TESTS = """
import asyncio, os, subprocess, sys
import plaudit

def test_sync(plaudit_client, plaudit_project, plaudit_server):
    plaudit_client.ref("urn:x").add_reaction("👍")
    plaudit.RefFeedbackQuery("urn:x").add_note("by the default client")
    assert "alias" in plaudit_client.get_feedback()[0].payload  # a real server adds it
    assert {row.project for row in plaudit_client.get_feedback()} == {plaudit_project}
    assert "PLAUDIT_API_KEY" not in os.environ
    other = "import plaudit; print(plaudit.FeedbackQuery(*plaudit.Client().project.split('/'), None).count())"
    done = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=True)
    assert done.stdout == "2\\n"

def test_every_test_has_an_empty_server(plaudit_client):
    assert plaudit_client.count() == 0

def test_async(plaudit_async_client, plaudit_client):
    async def work():
        await plaudit_async_client.ref("urn:x").add_reaction("👍")
        await plaudit.AsyncRefFeedbackQuery("urn:x").add_note("by the default client")
    asyncio.run(work())
    assert plaudit_client.count() == 2

def test_async_with(plaudit_async_client):
    async def work():
        async with plaudit_async_client as client:
            return await client.count()
    assert asyncio.run(work()) == 0
"""


def run_pytest(folder: Path, environment: Mapping[str, str]) -> str:
    """What a run of pytest prints that knows only the tests of the folder."""
    environment = {**environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    plugins = ("-p", "plaudit.testing", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", *plugins, str(folder)]
    done = subprocess.run(command, check=False, cwd=folder, env=environment, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_fixtures_reach_a_real_server_with_a_project_for_each_test(tmp_path: Path) -> None:
    (tmp_path / "test_app.py").write_text(TESTS)
    environment = os.environ | {"PLAUDIT_API_KEY": "not for this server", "PLAUDIT_TARGET": "127.0.0.1:1"}
    printed = run_pytest(tmp_path, environment)

    assert "4 passed" in printed, printed


def test_unused_it_loads_nothing_but_pytest() -> None:
    heavy = "{'grpc', 'google', 'rich', 'plaudit_server', 'plaudit.v1'}"
    code = f"import plaudit.testing, sys; print(sorted({heavy} & sys.modules.keys()), 'pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[] True\n"


def test_without_pytest_the_rest_can_be_used() -> None:
    code = (
        "import sys; from importlib import util; found = util.find_spec;"
        "util.find_spec = lambda name, *more: None if name == 'pytest' else found(name, *more);"
        "import plaudit.testing; plaudit.testing.FakeTransport(); "
        "print('pytest' in sys.modules, plaudit.testing.__all__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False ['AsyncFakeTransport', 'FakeTransport', 'reset']\n"


def test_without_the_server_the_fixture_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "test_app.py").write_text("def test_it(plaudit_client): pass")
    (tmp_path / "conftest.py").write_text("import sys; sys.modules['uvloop'] = None")
    printed = run_pytest(tmp_path, os.environ)

    assert "uvloop is not installed, which a server needs: pip install 'plaudit[server]'" in printed
    assert "Traceback" not in printed


def test_reset_forgets_the_default_client() -> None:
    fake = FakeTransport()
    plaudit.init(PROJECT, transport=fake)
    plaudit.RefFeedbackQuery(REF).add_note("here")
    reset()

    assert [record.payload for record in fake.records] == [{"note": "here"}]
    assert plaudit.RefFeedbackQuery(REF).client.transport is not fake
    reset()


@pytest.fixture
def fake() -> FakeTransport:
    return FakeTransport()


@pytest.fixture(params=["blocking", "asyncio"])
def faked(request: pytest.FixtureRequest, fake: FakeTransport, loop: Loop) -> Any:
    """Either client over the same fake."""
    if request.param == "asyncio":
        return blocking_client(PROJECT, loop, transport=AsyncFakeTransport(fake))
    return plaudit.Client(PROJECT, transport=fake)


def test_a_fake_stores_and_finds(faked: Any, fake: FakeTransport) -> None:
    answer = faked.ref(REF)
    note, heart = answer.add_note("Right."), answer.add_reaction("❤️", creator="ana")
    faked.ref("urn:y").add("score", {"value": 1})

    assert [row.id for row in answer] == [note, heart]
    assert [row.id for row in faked.get_feedback(reaction="❤")] == [heart]
    assert [row.id for row in faked.get_feedback(plaudit.field("creator") == "ana")] == [heart]
    assert faked.get_feedback(note)[0].payload == {"note": "Right."}
    assert faked.get_feedback(plaudit.field("payload.note") == "Right.").count() == 1
    assert (faked.count(), faked.refs().counts) == (3, {"urn:y": 1, REF: 2})
    assert [row.id for row in faked.stream(limit=2)] == [note, heart]
    assert faked.count(project="acme/other") == 0
    answer.purge(note)
    assert [record.id for record in fake.records][:1] == [heart]
    assert [record.created_at for record in fake.records] == sorted(record.created_at for record in fake.records)
    assert len(fake.requests) >= 10


def test_a_fake_writes_as_the_client_is_used(faked: Any, fake: FakeTransport) -> None:
    records = [{"id": uuid7(), "ref": REF, "feedback_type": "score", "payload": {"n": n}} for n in range(2_500)]
    assert faked.ingest(records).stored == 2_500
    assert faked.ingest(records).stored == 2_500  # the same ids: stored once
    assert faked.create_batch(records[:3]).stored == 3
    assert len(fake.records) == 2_500
    assert [row.payload["n"] for row in faked.get_feedback()] == list(range(2_500))
    replaced = faked.replace(records[0] | {"payload": {"n": -1}})
    assert (replaced.version, faked.get(records[0]["id"]).payload) == (2, {"n": -1})
    with pytest.raises(plaudit.AlreadyExistsError):
        faked.create(records[1] | {"payload": {}})
    with pytest.raises(plaudit.NotFoundError):
        faked.get(uuid7())


def test_a_fake_fails_as_often_as_it_is_told_to(faked: Any, fake: FakeTransport) -> None:
    fake.fail(plaudit.PermissionDeniedError("no"), plaudit.UnavailableError("away"))

    with pytest.raises(plaudit.PermissionDeniedError):
        faked.ref(REF).add_note("x")
    assert faked.ingest([{"ref": REF, "feedback_type": "t"}]).stored == 1  # a stream is opened again
    assert len(fake.records) == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.get_feedback(plaudit.field("payload.score") > 1).count(),
        lambda client: client.get_feedback(plaudit.field("version") == 1).count(),
        lambda client: client.get_feedback((plaudit.field("id") == "x") & (plaudit.field("payload.n") != "x")).count(),
        lambda client: client.get_feedback(plaudit.field("scorer_ratings.a") == "x").count(),
        lambda client: client.get_feedback(order_by="-created_at")[0],
        lambda client: client.get_feedback().mean("payload.score"),
    ],
)
def test_what_a_fake_cannot_answer_is_an_error_and_no_wrong_answer(faked: Any, ask: Any) -> None:
    with pytest.raises(plaudit.PlauditError, match="use a real server") as caught:
        ask(faked)

    assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED


def test_a_number_in_the_payload_is_not_compared_with_a_text(faked: Any) -> None:
    faked.ref(REF).add("score", {"n": 5})

    with pytest.raises(plaudit.PlauditError, match="use a real server"):
        faked.get_feedback(plaudit.field("payload.n") == "5").count()


def test_a_subclass_answers_what_a_fake_lacks() -> None:
    class Measuring(FakeTransport):
        def AggregateFeedback(self, request: Any) -> Any:  # noqa: N802
            mean = v1.MeasureResult(value=v1.AggregateValue(double_value=0.5), value_count=1)
            return v1.AggregateFeedbackResponse(groups=[v1.AggregateGroup(measures=[mean])])

    assert plaudit.Client(PROJECT, transport=Measuring()).get_feedback().mean("payload.score") == 0.5


def test_a_stream_that_was_ended_is_an_error(fake: FakeTransport) -> None:
    plaudit.Client(PROJECT, transport=fake).ref(REF).add_note("x")
    stream = fake.stream(_stream_method(), v1.StreamFeedbackRequest(project=PROJECT))
    stream.cancel()
    with pytest.raises(plaudit.PlauditError):
        next(stream)

    async def ended() -> None:
        awaited = AsyncFakeTransport(fake).both_streams(_stream_method())
        awaited.cancel()
        with pytest.raises(plaudit.PlauditError):
            await anext(awaited)

    asyncio.run(ended())


def _stream_method() -> Any:
    from plaudit._wire.methods import STREAM

    return STREAM
