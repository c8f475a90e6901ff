"""RefFeedbackQuery: what it adds and refuses, and that it forgets what it read when it changes something."""

from __future__ import annotations

from typing import Any

import pytest

import plaudit
from tests.client.blocking import ref_query_class
from tests.client.fakes import PROJECT, REF, FakeTransport, message

OBJECT = "weave:///acme/chat/object/quality:d1"


@pytest.fixture
def ref(client: plaudit.Client) -> plaudit.RefFeedbackQuery:
    return client.ref(REF)


def test_query_is_the_exact_ref(client: plaudit.Client, transport: FakeTransport) -> None:
    transport.rows.append(message(9, ref=REF + "2"))

    assert {row.ref for row in client.ref(REF)} == {REF}


def test_project_is_the_refs_own(client: plaudit.Client, transport: FakeTransport) -> None:
    client.ref("weave:///other/p/call/1").add("t", x=1)

    assert transport.requests[-1].project == "other/p"


def test_project_of_an_external_ref_is_the_clients(client: plaudit.Client, transport: FakeTransport) -> None:
    query = client.ref("https://example.com/a")
    query.add_note("hi")

    assert transport.requests[-1].project == PROJECT
    assert (query.entity, query.project) == ("acme", "chat")


def test_external_ref_without_any_project_is_refused(transport: FakeTransport) -> None:
    with pytest.raises(ValueError, match="no project"):
        plaudit.Client(transport=transport).ref("urn:x").add_note("hi")
    assert transport.calls == 0


def test_project_may_be_told(client: plaudit.Client, transport: FakeTransport) -> None:
    client.ref(REF, project="x/y").add_note("hi")

    assert transport.requests[-1].project == "x/y"


@pytest.mark.parametrize("uri", ["", "weave:///a/b/call", "weave:/a/b/call/1", "no uri"])
def test_bad_ref_is_refused_when_built(uri: str, client: plaudit.Client) -> None:
    with pytest.raises(plaudit.InvalidRefError):
        ref_query_class(client)(uri, client=client)


def test_parsed_ref_will_do(client: plaudit.Client) -> None:
    assert client.ref(plaudit.parse_ref(REF)).ref == REF


def test_add_merges_over_a_copy_of_the_payload(ref: plaudit.RefFeedbackQuery, transport: FakeTransport) -> None:
    payload = {"value": 4, "a": 1}

    id = ref.add("t", payload, "Jane", value=5, x=[1])

    stored = plaudit.Feedback(transport.rows[-1])
    assert payload == {"value": 4, "a": 1}
    assert stored.payload == {"value": 5, "a": 1, "x": [1]}
    assert (stored.id, stored.creator, stored.feedback_type, stored.ref) == (id, "Jane", "t", REF)


def test_ids_are_uuid7_made_here(ref: plaudit.RefFeedbackQuery, transport: FakeTransport) -> None:
    id = ref.add("t")

    assert transport.requests[-1].feedback.id == id
    assert id[14] == "7"


def test_add_reaction(ref: plaudit.RefFeedbackQuery, transport: FakeTransport) -> None:
    ref.add_reaction("👍", creator="Jane")

    stored = plaudit.Feedback(transport.rows[-1])
    assert (stored.feedback_type, stored.payload, stored.creator) == ("wandb.reaction.1", {"emoji": "👍"}, "Jane")


@pytest.mark.parametrize("kind", ["agent_turn", "agent_span", "agent_conversation"])
def test_add_reaction_to_an_agent(client: plaudit.Client, transport: FakeTransport, kind: str) -> None:
    client.ref(f"weave:///acme/chat/{kind}/t1").add_reaction("👍")

    stored = plaudit.Feedback(transport.rows[-1])
    assert stored.feedback_type == "wandb.agent_user_feedback"
    assert stored.payload == {"emoji": "👍", "scorer_tags": ["👍"]}
    assert stored.scorer_tags == ["👍"]
    assert stored.scorer_tag_reasons == {"👍": "Set by user"}
    assert stored.scorer_tag_confidences == {"👍": 1.0}


def test_add_note(ref: plaudit.RefFeedbackQuery, transport: FakeTransport) -> None:
    ref.add_note("hi", creator="Jane")

    stored = plaudit.Feedback(transport.rows[-1])
    assert (stored.feedback_type, stored.payload, stored.creator) == ("wandb.note.1", {"note": "hi"}, "Jane")


@pytest.mark.parametrize("annotation_ref", [OBJECT, plaudit.parse_ref(OBJECT)])
def test_add_annotation(
    ref: plaudit.RefFeedbackQuery, transport: FakeTransport, annotation_ref: str | plaudit.Ref
) -> None:
    ref.add("wandb.annotation.quality", {"value": 1}, annotation_ref=annotation_ref)

    assert plaudit.Feedback(transport.rows[-1]).annotation_ref == OBJECT


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"feedback_type": "wandb.x"}, ValueError, "reserved"),
        ({"feedback_type": "wandb.annotation.q"}, ValueError, "reserved"),
        ({"feedback_type": "custom", "annotation_ref": OBJECT}, ValueError, "annotation_ref goes with"),
        ({"feedback_type": "wandb.annotation", "annotation_ref": OBJECT}, ValueError, "annotation_ref goes with"),
        ({"feedback_type": "wandb.annotation.q", "annotation_ref": REF}, TypeError, "kind call"),
        ({"feedback_type": "wandb.annotation.q", "annotation_ref": "nothing"}, plaudit.InvalidRefError, "absolute URI"),
        ({"feedback_type": "t", "payload": [1]}, plaudit.InvalidArgumentError, "must be a JSON object"),
        ({"feedback_type": "t", "x": float("nan")}, plaudit.InvalidArgumentError, r"feedback\.payload\.x"),
        ({"feedback_type": "t", "x": 2**64}, plaudit.InvalidArgumentError, r"feedback\.payload\.x"),
        ({"feedback_type": "t", "x": {1, 2}}, plaudit.InvalidArgumentError, r"feedback\.payload\.x"),
        ({"feedback_type": 5}, TypeError, "a feedback type is a str"),
    ],
)
def test_what_is_refused_before_anything_is_sent(
    ref: plaudit.RefFeedbackQuery,
    transport: FakeTransport,
    arguments: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        ref.add(**arguments)
    assert transport.calls == 0


def test_only_the_prefix_with_the_dot_is_reserved(ref: plaudit.RefFeedbackQuery, transport: FakeTransport) -> None:
    ref.add("wandbx.y")

    assert transport.rows[-1].feedback_type == "wandbx.y"


def test_adding_drops_what_was_kept(ref: plaudit.RefFeedbackQuery) -> None:
    assert len(ref) == 5
    ref.add_note("a")
    assert len(ref) == 6
    ref.add_reaction("👍")
    assert len(ref) == 7


def test_add_without_an_answer_drops_what_was_kept_too(ref: plaudit.RefFeedbackQuery, transport: FakeTransport) -> None:
    assert len(ref) == 5
    transport.failures.append(plaudit.DeadlineExceededError("no answer"))
    with pytest.raises(plaudit.DeadlineExceededError):
        ref.add_note("a")
    transport.rows.append(message(6))

    assert len(ref) == 6


def test_purge_stays_within_the_ref(
    client: plaudit.Client, ref: plaudit.RefFeedbackQuery, transport: FakeTransport
) -> None:
    transport.rows.append(message(9, ref="urn:other"))
    ref.execute()

    ref.purge(message(9).id)
    assert len(transport.rows) == 6

    ref.purge(message(2).id.upper())
    assert len(transport.rows) == 5
    assert len(ref) == 4


def test_purge_of_what_is_not_there_is_no_error(ref: plaudit.RefFeedbackQuery) -> None:
    ref.purge("nothing of ours")
    assert len(ref) == 5
