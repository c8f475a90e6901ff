"""The commands about declared indexes: their output, and a running server that uses the indexes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import grpc
import pytest

from plaudit import Query, field
from plaudit.v1 import FeedbackServiceStub, QueryFeedbackRequest
from plaudit_server.feedback.creating import Create
from plaudit_server.store.engines.sqlite.engine import SqliteEngine
from tests.service.process import server_process
from tests.service.test_cli import run
from tests.store.factory import record


@pytest.fixture
def store(tmp_path: Path) -> str:
    async def make() -> None:
        store = SqliteEngine(tmp_path / "plaudit.db")
        await store.open()
        await store.write([Create("acme/chat", [record(n, {"score": n / 10}) for n in range(10)])])
        await store.close()

    asyncio.run(make())
    return f"sqlite:{tmp_path / 'plaudit.db'}"


@pytest.mark.parametrize("arguments", [(), ("create",), ("list",), ("drop",)])
def test_help_explains_itself(arguments: tuple[str, ...]) -> None:
    shown = run("index", *arguments, "--help")
    assert shown.exit_code == 0
    assert "Usage:" in shown.output


def test_an_index_is_made_listed_and_dropped(store: str) -> None:
    create = ("index", "create", "--path", "payload.score", "--as", "number", "--store", store)
    made = run(*create)
    assert (made.exit_code, made.stderr) == (0, "")
    assert made.stdout.startswith("The index for payload.score as number is made and declared (")
    assert run(*create).stdout == "The index for payload.score as number is there already.\n"
    assert run("index", "create", "--path", "scorer_ratings.q", "--store", store).exit_code == 0
    listed = run("index", "list", "--store", store).stdout
    assert listed == "payload.score\tnumber\tready\nscorer_ratings.q\tnumber\tready\n"
    dropped = run("index", "drop", "--path", "payload.score", "--store", store)
    assert (dropped.exit_code, dropped.stdout) == (0, "The index for payload.score as number is dropped.\n")
    assert run("index", "list", PLAUDIT_STORE=store).stdout == "scorer_ratings.q\tnumber\tready\n"


def test_a_path_of_two_indexes_is_dropped_by_its_kind(store: str) -> None:
    for kind in ("number", "text"):
        run("index", "create", "--path", "payload.score", "--as", kind, "--store", store)
    drop = ("index", "drop", "--path", "payload.score", "--store", store)
    refused = run(*drop)
    assert (refused.exit_code, "is indexed as number and text; say which with --as or --for" in refused.stderr) == (
        1,
        True,
    )
    assert run(*drop, "--as", "text").exit_code == 0
    assert run(*drop).exit_code == 0
    assert run("index", "list", "--store", store).stdout == ""


def test_an_index_for_aggregates_and_one_of_a_column(store: str) -> None:
    create = ("index", "create", "--store", store, "--path")
    made = run(*create, "payload.score", "--for", "aggregates")
    assert (made.exit_code, made.stderr) == (0, "")
    assert made.stdout.startswith("The index for payload.score for aggregates is made and declared (")
    assert run(*create, "payload.score", "--as", "number").exit_code == 0
    for column in ("span_trace_id", "creator", "queue_id", "wb_user_id"):
        assert run(*create, column).exit_code == 0
    listed = run("index", "list", "--store", store).stdout.splitlines()
    columns = [f"{name}\tcolumn\tready" for name in ("creator", "queue_id", "span_trace_id", "user_id")]
    assert sorted(listed) == sorted(["payload.score\taggregates\tready", "payload.score\tnumber\tready", *columns])
    drop = ("index", "drop", "--store", store, "--path")
    assert run(*drop, "payload.score").exit_code == 1
    dropped = run(*drop, "payload.score", "--for", "aggregates")
    assert dropped.stdout == "The index for payload.score for aggregates is dropped.\n"
    assert run(*drop, "span_trace_id").stdout == "The index for span_trace_id is dropped.\n"
    refused = run(*create, "payload.score", "--for", "aggregates", "--as", "text")
    assert (refused.exit_code, "leave out --as" in refused.stderr) == (1, True)


def test_a_hostile_path_is_shown_on_one_line(store: str) -> None:
    path = "payload.'\n\x1b[2J\"); drop table feedback"
    made = run("index", "create", "--path", path, "--as", "text", "--store", store)
    assert made.exit_code == 0
    assert len(made.stdout.splitlines()) == 1
    [line] = run("index", "list", "--store", store).stdout.splitlines()
    assert line == "payload.\\'\\n\\x1b[2J\"); drop table feedback\ttext\tready"
    assert run("index", "drop", "--path", path, "--store", store).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("create", "--path", "payload.score"), "read payload.score as number, text or bool"),
        (("create", "--path", "created_at"), "created_at is a column"),
        (("create", "--path", "scorer_ratings.q", "--as", "text"), "are read as number, not as text"),
        (("create", "--path", "payload.score", "--as", "number", "--store", "mysql:x"), "unknown store"),
        (("create", "--path", "payload.score", "--as", "number"), "there is no store"),
        (("list",), "there is no store"),
        (("drop", "--path", "payload.score"), "there is no store"),
    ],
)
def test_what_an_operator_can_repair_is_one_line_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = run("index", *arguments)
    assert (refused.exit_code, refused.stdout) == (1, "")
    [line] = refused.stderr.splitlines()
    assert line.startswith("plaudit-server: ")
    assert told in line
    assert list(tmp_path.iterdir()) == []


def test_dropping_what_is_not_declared_is_an_error(store: str) -> None:
    refused = run("index", "drop", "--path", "payload.score", "--store", store)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "no such index is declared for payload.score" in refused.stderr


def test_a_running_server_answers_alike_before_with_and_after_an_index(store: str) -> None:
    with server_process(store) as server, grpc.insecure_channel(server.target) as channel:
        request = QueryFeedbackRequest(
            project="acme/chat",
            query=Query(field("payload.score") >= 0.7).to_proto(),
        )
        stub = FeedbackServiceStub(channel)

        def found() -> list[float]:
            return [json.loads(feedback.payload_json)["score"] for feedback in stub.QueryFeedback(request).feedback]

        before = found()
        assert run("index", "create", "--path", "payload.score", "--as", "number", "--store", store).exit_code == 0
        assert found() == before == [0.7, 0.8, 0.9]
        assert run("index", "drop", "--path", "payload.score", "--store", store).exit_code == 0
        assert found() == before
