"""`plaudit.compat.weave` has Weave's names and signatures, written here from Weave 0.54, and behaves as they do."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from typing import Any

import pytest
from rich.table import Table

import plaudit
from plaudit.compat import weave
from plaudit.testing import FakeTransport, reset

CALL = "weave:///acme/chat/call/1"
OBJECT = "weave:///acme/chat/object/spec:v1"

# Class or module, name, and the parameters that Weave has, with their defaults.
SIGNATURES = [
    (weave.FeedbackQuery, "__init__", "self, entity, project, query, offset=None, limit=None, show_refs=False"),
    (weave.FeedbackQuery, "execute", "self"),
    (weave.FeedbackQuery, "refresh", "self"),
    (weave.FeedbackQuery, "refs", "self"),
    (weave.RefFeedbackQuery, "__init__", "self, ref"),
    (
        weave.RefFeedbackQuery,
        "add",
        "self, feedback_type, payload=None, creator=None, annotation_ref=None, **kwargs",
    ),
    (weave.RefFeedbackQuery, "add_reaction", "self, emoji, creator=None"),
    (weave.RefFeedbackQuery, "add_note", "self, note, creator=None"),
    (weave.RefFeedbackQuery, "purge", "self, feedback_id"),
    (weave.Feedbacks, "__init__", "self, show_refs, feedbacks=None"),
    (weave.Feedbacks, "refs", "self"),
    (weave.Feedbacks, "as_rich_table", "self"),
    (weave.Refs, "__init__", "self, refs=None"),
    (weave.Refs, "parsed", "self"),
    (weave.Refs, "call_refs", "self"),
    (weave.Refs, "calls", "self"),
    (weave.Refs, "as_rich_table", "self"),
    (weave.WeaveClient, "get_feedback", "self, query=None, *, reaction=None, offset=0, limit=None"),
    (weave.WeaveClient, "finish", "self, use_progress_bar=True, callback=None"),
    (weave.WeaveClient, "flush", "self"),
    (weave.Ref, "parse_uri", "uri"),
    (weave.Ref, "maybe_parse_uri", "s"),
    (weave.CallRef, "__init__", "self, entity, project, id, _extra=()"),
    (weave.ObjectRef, "__init__", "self, entity, project, name, _digest, _extra=()"),
    (weave.AgentTurnRef, "__init__", "self, entity, project, trace_id"),
    (weave.AgentConversationRef, "__init__", "self, entity, project, conversation_id"),
    (weave.AgentSpanRef, "__init__", "self, entity, project, span_id"),
    (weave, "init", "project_name, *, settings=None, autopatch_settings=None"),
]


@pytest.mark.parametrize(("home", "name", "parameters"), SIGNATURES, ids=lambda value: getattr(value, "__name__", ""))
def test_signatures_are_weaves(home: Any, name: str, parameters: str) -> None:
    named = "".join(str(inspect.signature(getattr(home, name)).replace(return_annotation=inspect.Signature.empty)))
    ours = [
        str(parameter.replace(annotation=inspect.Parameter.empty)).replace("'", "")
        for parameter in inspect.signature(getattr(home, name)).parameters.values()
    ]
    wanted = [part for part in parameters.split(", ") if part != "*"]

    assert ours[: len(wanted)] == wanted, named
    more = list(inspect.signature(getattr(home, name)).parameters.values())[len(wanted) :]
    assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in more)


@pytest.fixture
def client() -> Any:
    fake = FakeTransport()
    plaudit.init("acme/chat", transport=fake)
    yield weave.get_client()
    reset()


def test_what_is_read_has_weaves_classes_and_names(client: weave.WeaveClient) -> None:
    id = client.get_call("1").feedback.add_note("Right.", creator="ana")
    client.get_call("1").feedback.add_reaction("👍")
    plaudit.RefFeedbackQuery("https://a.example").add_note("outside")
    query = client.get_feedback()

    assert query.feedbacks is None
    found = query.execute()
    assert query.feedbacks is found is query.execute()
    assert found.items == list(query) == list(found) == query[:]
    assert (found.item_type, query.offset, query.limit, query.show_refs) == ("Feedback", None, None, True)
    assert all(isinstance(row, weave.Feedback) for row in (*query, *found, query[0], *query[:2]))
    assert (query.entity, query.project) == (client.entity, client.project) == ("acme", "chat")
    first = found[0]
    assert (first.id, first.weave_ref, first.wb_user_id, first.project_id) == (id, CALL, "anonymous", "acme/chat")
    assert list(first.to_dict())[:3] == ["id", "project_id", "weave_ref"]
    assert first.to_dict() == first.model_dump() == dict(first)
    assert (first["weave_ref"], "ref" in first.keys()) == (CALL, False)  # noqa: SIM118
    assert json.loads(first.model_dump_json()).items() >= {"weave_ref": CALL, "payload": {"note": "Right."}}.items()
    assert client.get_feedback(id.upper())[0] == first == pickle.loads(pickle.dumps(first))
    assert client.get_feedback(reaction="👍")[0].payload["emoji"] == "👍"
    limited = client.get_feedback(offset=1, limit=1)
    assert (limited.offset, limited.limit, len(limited)) == (1, 1, 1)
    assert (copy.copy(limited).offset, len(copy.copy(limited))) == (1, 1)


def test_refs_are_texts_with_weaves_methods(client: weave.WeaveClient) -> None:
    for uri in (CALL, OBJECT, CALL, "https://a.example"):
        weave.FeedbackQuery("acme", "chat", None, client=client.client)
        plaudit.RefFeedbackQuery(uri).add_note("x")
    refs = client.get_feedback().refs()

    assert isinstance(refs, weave.Refs)
    assert refs.items == [CALL, OBJECT, "https://a.example"]
    assert (list(refs.call_refs()), type(refs.call_refs())) == ([CALL], weave.Refs)
    assert [type(ref) for ref in refs.parsed()] == [weave.CallRef, weave.ObjectRef, weave.ExternalRef]
    [call] = refs.calls()
    assert (call.id, call.project_id, call.ref.uri, len(call.feedback)) == ("1", "acme/chat", CALL, 2)
    with pytest.raises(AttributeError, match="keeps feedback, not calls"):
        call.inputs  # type: ignore[attr-defined]  # noqa: B018
    assert isinstance(refs.as_rich_table(), Table)


def test_as_rich_table_has_a_row_for_each_record(client: weave.WeaveClient) -> None:
    assert client.get_feedback().execute().as_rich_table().row_count == 0
    client.get_call("1").feedback.add_note("x")
    table = client.get_feedback().execute().as_rich_table()

    assert table.row_count == 1
    assert [column.header for column in table.columns] == ["Ref", "Type", "Feedback", "Created", "ID", "Creator"]


def test_every_keyword_goes_into_the_payload(client: weave.WeaveClient) -> None:
    feedback = weave.RefFeedbackQuery(CALL)
    stored = feedback.add("score", {"value": 1}, id="7", timeout=3)

    assert stored != "7"
    assert feedback[0].payload == {"value": 1, "id": "7", "timeout": 3}
    assert feedback.weave_ref == CALL
    feedback.purge(stored)
    assert len(feedback) == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"feedback_type": "wandb.mine"}, ValueError),
        ({"feedback_type": "mine", "annotation_ref": OBJECT}, ValueError),
        ({"feedback_type": "wandb.annotation.spec", "annotation_ref": CALL}, TypeError),
    ],
)
def test_reserved_types_raise_as_in_weave(
    client: weave.WeaveClient, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        weave.RefFeedbackQuery(CALL).add(**arguments)
    weave.RefFeedbackQuery(CALL).add("wandb.annotation.spec", {"value": 1}, annotation_ref=OBJECT)
    weave.RefFeedbackQuery(CALL).add("mine", {"value": 1}, annotation_ref="")


@pytest.mark.parametrize(
    ("uri", "cls"),
    [
        (CALL, weave.CallRef),
        (CALL + "/attr/a%20b/index/3", weave.CallRef),
        (OBJECT, weave.ObjectRef),
        ("weave:///acme/chat/op/f:v2/key/x", weave.OpRef),
        ("weave:///acme/chat/table/d1", weave.TableRef),
        ("weave:///acme/chat/agent_turn/t", weave.AgentTurnRef),
        ("weave:///acme/chat/agent_span/s", weave.AgentSpanRef),
        ("weave:///acme/chat/agent_conversation/a%2Fb", weave.AgentConversationRef),
        ("https://a.example/x", weave.ExternalRef),
    ],
)
def test_refs_come_back_as_they_were(uri: str, cls: type[weave.Ref]) -> None:
    ref = weave.Ref.parse_uri(uri)

    assert type(ref) is cls
    assert ref == cls.parse_uri(uri) == weave.Ref.maybe_parse_uri(uri)
    assert (str(ref), ref.uri, ref.uri()) == (uri, uri, uri)
    assert cls(**ref.as_param_dict()) == ref
    other = weave.TableRef if cls is not weave.TableRef else weave.CallRef
    with pytest.raises(TypeError, match="URI is not for"):
        other.parse_uri(uri)


def test_parts_of_refs_have_weaves_names() -> None:
    spec = weave.Ref.parse_uri(OBJECT)

    assert (spec.entity, spec.project, spec.name, spec.digest, spec.extra) == ("acme", "chat", "spec", "v1", ())
    assert spec.with_attr("rows").with_index(0).with_key("a b").with_item("d").uri == (
        OBJECT + "/attr/rows/index/0/key/a%20b/id/d"
    )
    assert weave.AgentConversationRef("acme", "chat", "a/b").uri == "weave:///acme/chat/agent_conversation/a%2Fb"
    assert weave.Ref.maybe_parse_uri("no ref") is None
    assert issubclass(weave.OpRef, weave.ObjectRef)


def test_what_is_about_calls_says_where_it_is() -> None:
    with pytest.raises(AttributeError, match="keep `import weave` for ops"):
        weave.op  # type: ignore[attr-defined]  # noqa: B018


def test_init_takes_weaves_arguments_and_plaudits() -> None:
    made = weave.init("acme/chat", settings={"disabled": True}, target="127.0.0.1:7")
    try:
        assert (made.entity, made.project, made.client.target) == ("acme", "chat", "127.0.0.1:7")
        made.flush()
        made.finish()
        with pytest.raises(ValueError, match="entity/project"):
            weave.init("chat")
    finally:
        reset()
