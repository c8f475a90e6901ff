"""Records that are changed in part, moved, traced and purged, with both clients, against a real server."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

import plaudit
from plaudit import v1
from plaudit._core import records
from plaudit._wire.methods import CREATE
from plaudit_server.testing import RunningServer, server
from tests.client.blocking import Loop, blocking_client

REF = "urn:edit:1"
_projects = itertools.count()


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with server() as running:
        yield running


@pytest.fixture(params=["blocking", "asyncio"])
def client(request: pytest.FixtureRequest, running: RunningServer, loop: Loop) -> Iterator[Any]:
    """Either client, in a project of its own."""
    project = f"edit/p{next(_projects)}"
    if request.param == "asyncio":
        made = blocking_client(project, loop, target=running.target)
    else:
        made = plaudit.Client(project, target=running.target)
    with made:
        yield made


def given(**fields: Any) -> dict[str, Any]:
    return {"ref": REF, "feedback_type": "score", **fields}


def test_an_update_changes_what_is_given_and_keeps_the_rest_to_the_character(client: Any) -> None:
    wide = 2**53 + 1
    stored = client.create(given(payload={"score": 0.5, "wide": wide, "deep": {"a": [1, None]}}, creator="ana"))

    updated = client.update(stored.id, {"score": 1, "new": "é"}, queue_id="q", scorer_trace_id="t")

    assert updated.payload_json == f'{{"score":1,"wide":{wide},"deep":{{"a":[1,null]}},"new":"é"}}'
    assert (updated.version, updated.creator, updated.queue_id, updated.created_at) == (
        2,
        "ana",
        "q",
        stored.created_at,
    )
    cleared = client.update(uuid.UUID(stored.id), creator=None, queue_id=None, scorer_trace_id=None)
    assert (cleared.creator, cleared.queue_id, cleared.scorer_trace_id) == (None, None, "")
    assert cleared.payload_json == updated.payload_json
    assert client.update(stored.id, {}).version == 3
    assert client.create(given(feedback_type="x", payload={"n": 1}, id=str(uuid.uuid4()))).version == 1


def test_digits_of_what_is_kept_stay(client: Any, running: RunningServer) -> None:
    id = str(uuid.uuid4())
    with plaudit.Client(client.project, target=running.target) as wire:
        message = v1.Feedback(id=id, ref=REF, feedback_type="score", payload_json='{ "a": 5.00, "b": 1E5 }')
        wire.transport.unary(CREATE, v1.CreateFeedbackRequest(project=client.project, feedback=message))
    assert client.update(id, {"b": 2}).payload_json == '{ "a": 5.00, "b": 2 }'


def test_an_update_of_the_expected_version_alone(client: Any) -> None:
    stored = client.create(given(payload={"n": 1}))
    client.update(stored.id, {"n": 2}, expected_version=1)
    with pytest.raises(plaudit.AbortedError):
        client.update(stored.id, {"n": 3}, expected_version=1)
    assert client.get(stored.id).payload == {"n": 2}
    with pytest.raises(plaudit.NotFoundError):
        client.update(str(uuid.uuid4()), {"n": 3})


def test_an_edit_in_between_is_kept_too(client: Any, running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = client.create(given(payload={"a": 1, "b": 1}))
    other = running.client(client.project)
    real, interfering = records.edited, iter(range(2, 5))

    def edited(read: v1.Feedback, *arguments: Any) -> v1.Feedback:
        made = real(read, *arguments)
        if read.id and (number := next(interfering, None)) is not None:
            other.replace({**other.get(stored.id).to_dict(), "payload": {"a": number, "b": 1}})
        return made

    monkeypatch.setattr("plaudit._steps.editing.edited", edited)
    assert client.update(stored.id, {"b": 9}).payload == {"a": 4, "b": 9}
    assert client.get(stored.id).version == 5


def test_what_is_wrong_with_an_update_costs_no_call(client: Any) -> None:
    for payload, changes, path in (
        ({"n": float("nan")}, {}, "feedback.payload.n"),
        ([1], {}, "feedback.payload"),
        (None, {"scorer_tags": "a"}, "feedback.scorer_tags"),
        (None, {"version": 5}, "feedback.version"),
        (None, {"nope": 5}, "feedback.nope"),
    ):
        with pytest.raises(plaudit.InvalidArgumentError) as raised:
            client.update("no id", payload, **changes)
        assert [violation.field for violation in raised.value.violations] == [path]


def test_records_are_purged_where_they_are(client: Any) -> None:
    here = client.create_batch([given(payload={"n": n}) for n in range(4)])
    there = client.create(given(project="edit/elsewhere"))
    read = client.get_feedback().execute()

    with pytest.raises(ValueError, match="nothing was purged"):
        client.purge([here[0], there], project=client.project)
    assert client.purge([*read[:2], there, uuid.UUID(here[2].id)], dry_run=True) == 4
    assert client.purge([*read[:2], there, uuid.UUID(here[2].id)]) == 4
    assert client.purge(read) == 1
    assert client.count() == client.count(project="edit/elsewhere") == 0


def test_a_query_purges_what_it_matches(client: Any) -> None:
    client.create_batch([given(payload={"n": n}) for n in range(5)])
    query = client.get_feedback(plaudit.field("payload.n") >= 2)
    assert len(query) == 3
    assert query.purge(dry_run=True) == 3
    assert query.purge() == 3
    assert len(query) == 0
    for wrong in (client.get_feedback(), client.get_feedback(plaudit.field("payload.n") < 9, limit=1)):
        with pytest.raises(ValueError, match=r"a query with a limit|has no condition"):
            wrong.purge()
    ref = client.ref(REF)
    for missing in (None, 5):
        with pytest.raises(TypeError, match="an id is"):
            ref.purge(missing)
    first = ref.add("score", n=1)
    ref.purge(first, dry_run=True)
    assert ref.count() == 3
    ref.purge(first)
    assert ref.purge(dry_run=True) == ref.count() == 2
    assert (ref.purge(), ref.count()) == (2, 0)


def test_records_that_were_read_move_to_another_project(client: Any) -> None:
    client.create_batch([given(payload={"n": n}, creator="ana") for n in range(3)])
    before = list(client.get_feedback())
    for number, moved in enumerate((before, [each.to_dict() for each in before])):
        other = f"{client.project}-{number}"
        assert client.import_records(moved, project=other).stored == 3
        after = list(client.get_feedback(project=other))
        assert [one.created_at for one in after] == [one.created_at for one in before]
        assert {one.project for one in after} == {other}
    [copy] = client.create_batch([before[0].to_dict()], project="edit/copy")
    assert copy.project == "edit/copy"
    assert client.create(before[1].to_dict(), project="edit/copy").project == "edit/copy"
    client.purge([before[0].id, before[1].id], project="edit/copy")


def test_the_current_span_is_noted_where_there_is_one(client: Any) -> None:
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("request") as span:
        trace_id = f"{span.get_span_context().trace_id:032x}"
        ref = client.ref(REF)
        added = client.get(ref.add("score", n=1))
        created = client.create(given())
        assert added.span_trace_id == created.span_trace_id == trace_id
        own = client.create(given(span_trace_id="mine"))
        assert own.span_trace_id == "mine"
        # What may be sent again, in another span, must be the same then.
        id = str(uuid.uuid4())
        assert (
            client.create(given(id=id)).span_trace_id
            == client.get(ref.add("score", id=uuid.uuid4())).span_trace_id
            == ""
        )
        turn = client.ref("weave:///edit/x/agent_turn/t1", project=client.project)
        turn.add_reaction("👍")
        client.create(
            {
                "ref": "weave:///edit/x/agent_turn/t1",
                "feedback_type": "wandb.agent_user_feedback",
                "scorer_tags": ["a"],
                "payload": {},
            }
        )
        assert [one.span_trace_id for one in turn] == ["t1", "t1"]
    assert client.create(given()).span_trace_id == ""
    assert client.create(given(id=id)).id == id


def test_which_projects_there_are_and_who_calls(client: Any) -> None:
    client.create(given())
    [project] = client.projects(client.project.upper())
    assert (project.name, project.revision) == (client.project, 1)
    assert project.last_changed_at == client.get_feedback()[0].created_at
    assert client.projects("no such project") == []
    caller = client.caller()
    assert (caller.name, caller.credential, caller.grants, caller.expires_at) == ("anonymous", "none", (), None)
