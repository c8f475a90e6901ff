"""The rules of feedback types, and what the server adds."""

from __future__ import annotations

from typing import Any

import emoji
import pytest

from plaudit._contract import limits
from plaudit._contract.refs import InvalidRefError, parse_ref
from plaudit_server.errors import Violation
from plaudit_server.feedback import types
from plaudit_server.feedback.types import Additions, Draft, GivenRef, reaction_of

P = "weave:///acme/chat"
OBJECT, OP, CALL = f"{P}/object/score:d", f"{P}/op/score:d", f"{P}/call/9"
MONITOR: dict[str, Any] = {"runnable_ref": OP, "call_ref": CALL, "trigger_ref": OBJECT}
TONES = "🏻🏼🏽🏾🏿"


def apply(
    feedback_type: str,
    payload: dict[str, Any] | None = None,
    *,
    ref: str = f"{P}/call/1",
    scorer_fields: tuple[str, ...] = (),
    span_conversation_id: str = "",
    span_trace_id: str = "",
    note_characters: int = limits.NOTE_CHARACTERS,
    **refs: str,
) -> tuple[Additions, list[str]]:
    """What is added, and the fields in breach."""
    out: list[Violation] = []
    given = {name: GivenRef(uri, parse_ref(uri) if uri.startswith("weave:///") else None) for name, uri in refs.items()}
    draft = Draft(
        "acme/chat",
        feedback_type,
        parse_ref(ref),
        payload if payload is not None else {},
        given,
        scorer_fields,
        span_conversation_id,
        span_trace_id,
    )
    additions = types.apply(draft, out, note_characters)
    assert all(violation.description for violation in out)
    return additions, [violation.field for violation in out]


def fields(feedback_type: str, payload: dict[str, Any] | None = None, **rest: Any) -> list[str]:
    return apply(feedback_type, payload, **rest)[1]


# --- 1, reactions


@pytest.mark.parametrize(
    ("text", "alias", "detoned", "detoned_alias"),
    [
        ("👍", ":thumbs_up:", "👍", ":thumbs_up:"),
        ("👍🏽", ":thumbs_up_medium_skin_tone:", "👍", ":thumbs_up:"),
        ("👍\ufe0f", ":thumbs_up:", "👍", ":thumbs_up:"),
        ("❤", ":red_heart:", "❤\ufe0f", ":red_heart:"),
        ("❤\ufe0f", ":red_heart:", "❤\ufe0f", ":red_heart:"),
        ("✌🏿", ":victory_hand_dark_skin_tone:", "✌\ufe0f", ":victory_hand:"),
        ("🇩🇪", ":Germany:", "🇩🇪", ":Germany:"),
        ("1\ufe0f\u20e3", ":keycap_1:", "1\ufe0f\u20e3", ":keycap_1:"),
        ("#\u20e3", ":keycap_#:", "#\ufe0f\u20e3", ":keycap_#:"),
        ("©", ":copyright:", "©\ufe0f", ":copyright:"),
        ("👨\u200d👩\u200d👧", ":family_man_woman_girl:", "👨\u200d👩\u200d👧", ":family_man_woman_girl:"),
        ("👩🏽\u200d🦰", ":woman_medium_skin_tone_red_hair:", "👩\u200d🦰", ":woman_red_hair:"),
        (
            "👩🏻\u200d🤝\u200d👩🏿",
            ":women_holding_hands_light_skin_tone_dark_skin_tone:",
            "👭",
            ":women_holding_hands:",
        ),
        (
            "🧑🏿\u200d❤\ufe0f\u200d🧑🏻",
            ":couple_with_heart_person_person_dark_skin_tone_light_skin_tone:",
            "💑",
            ":couple_with_heart:",
        ),
        (
            "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
            ":England:",
            "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
            ":England:",
        ),
    ],
)
def test_a_reaction_is_named_and_detoned(text: str, alias: str, detoned: str, detoned_alias: str) -> None:
    additions, breaches = apply("wandb.reaction.1", {"emoji": text})
    assert breaches == []
    assert additions.payload == {"alias": alias, "detoned": detoned, "detoned_alias": detoned_alias}


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "hello",
        ":thumbs_up:",
        "👍👍",
        "👍 ",
        " 👍",
        "👍x",
        "👍\n",
        "👍🏽🏽",
        "👍\ufe0f\ufe0f",
        "👍\ufe0e",
        "❤\ufe0e",
        "\ufe0f",
        "\u200d",
        "👨\u200d",
        "1",
        "1\ufe0f",
        "#",
        "🇩",
        "🇩🇪🇫🇷",
        "🇩🇩",
        *TONES,
        "🦰",
        "e\u0301",
        "👍" * 1000,
        5,
        None,
        True,
        ["👍"],
        {"emoji": "👍"},
    ],
)
def test_a_reaction_is_exactly_one_emoji(text: object) -> None:
    assert fields("wandb.reaction.1", {"emoji": text}) == ["payload.emoji"]


def test_a_reaction_needs_its_emoji() -> None:
    assert fields("wandb.reaction.1", {"alias": ":thumbs_up:"}) == ["payload.emoji"]


def test_every_emoji_of_the_library_loses_its_tones_and_stays_one() -> None:
    components = 0
    for text, data in emoji.EMOJI_DATA.items():
        reaction = reaction_of(text)
        if data["status"] == emoji.STATUS["component"]:
            components += 1
            assert reaction is None
            continue
        assert reaction is not None
        assert reaction.alias == emoji.demojize(text)
        assert not set(reaction.detoned) & set(TONES), text
        assert reaction_of(reaction.detoned) == (reaction.detoned_alias, reaction.detoned, reaction.detoned_alias)
        if not set(text) & set(TONES):
            assert reaction.detoned_alias == reaction.alias
    assert components >= 9


# --- 2, notes


@pytest.mark.parametrize("note", ["x", " ", "x" * 10_000, "é" * 10_000, "👍" * 10_000])
def test_a_note_has_1_to_10000_characters(note: str) -> None:
    assert fields("wandb.note.1", {"note": note, "extra": 1}) == []


@pytest.mark.parametrize(
    "payload", [{}, {"note": ""}, {"note": "x" * 10_001}, {"note": 5}, {"note": None}, {"Note": "x"}]
)
def test_any_other_note_is_refused(payload: dict[str, Any]) -> None:
    assert fields("wandb.note.1", payload) == ["payload.note"]


def test_the_length_of_notes_can_be_configured() -> None:
    assert fields("wandb.note.1", {"note": "abc"}, note_characters=3) == []
    assert fields("wandb.note.1", {"note": "abcd"}, note_characters=3) == ["payload.note"]


# --- 3 and 4, annotations


@pytest.mark.parametrize("value", [3, None, [], {}])
def test_an_annotation_has_a_spec_of_its_name_and_a_value(value: object) -> None:
    for name in ("quality", "a.b", "quality.1"):
        assert fields(f"wandb.annotation.{name}", {"value": value}, annotation_ref=f"{P}/object/{name}:d1") == []


@pytest.mark.parametrize(
    ("feedback_type", "payload", "refs", "expected"),
    [
        ("wandb.annotation.q", {"val": 1}, {"annotation_ref": f"{P}/object/q:d"}, ["payload.value"]),
        ("wandb.annotation.q", {"value": 1}, {}, ["annotation_ref"]),
        ("wandb.annotation.q", {}, {}, ["annotation_ref", "payload.value"]),
        ("wandb.annotation.", {"value": 1}, {"annotation_ref": f"{P}/object/q:d"}, ["feedback_type"]),
        ("wandb.annotation", {"value": 1}, {"annotation_ref": f"{P}/object/q:d"}, ["feedback_type"]),
        ("wandb.annotations.q", {"value": 1}, {"annotation_ref": f"{P}/object/q:d"}, ["feedback_type"]),
        ("wandb.annotation.r", {"value": 1}, {"annotation_ref": f"{P}/object/q:d"}, ["annotation_ref"]),
        ("wandb.annotation.q", {"value": 1}, {"annotation_ref": f"{P}/object/q"}, ["annotation_ref"]),
        ("wandb.annotation.q", {"value": 1}, {"annotation_ref": f"{P}/op/q:d"}, ["annotation_ref"]),
        ("wandb.annotation.q", {"value": 1}, {"annotation_ref": f"{P}/call/q"}, ["annotation_ref"]),
        ("wandb.annotation.q", {"value": 1}, {"annotation_ref": "weave:///acme/other/object/q:d"}, ["annotation_ref"]),
        ("wandb.annotation.q", {"value": 1}, {"annotation_ref": "no ref: told elsewhere"}, []),
        ("wandb.annotation.q", {"value": 1}, {"annotation_ref": f"{P}/object/q:d", "call_ref": CALL}, ["call_ref"]),
    ],
)
def test_any_other_annotation_is_refused(
    feedback_type: str, payload: dict[str, Any], refs: dict[str, Any], expected: list[str]
) -> None:
    assert fields(feedback_type, payload, **refs) == expected


@pytest.mark.parametrize(
    "feedback_type", ["custom", "wandb.reaction.1", "wandb.note.1", "wandb.other", "Wandb.annotation.q"]
)
def test_only_annotations_have_an_annotation_ref(feedback_type: str) -> None:
    payload = {"emoji": "👍", "note": "n"}
    assert fields(feedback_type, payload, annotation_ref=f"{P}/object/q:d") == ["annotation_ref"]


def test_scorers_have_no_annotation_ref_either() -> None:
    spec = f"{P}/object/score:d"
    refs: dict[str, Any] = {"runnable_ref": OBJECT, "call_ref": CALL, "trigger_ref": OBJECT, "annotation_ref": spec}
    assert fields("wandb.runnable.score", {"output": 1}, **refs) == ["annotation_ref"]
    assert fields("wandb.agent_monitor", **refs) == ["annotation_ref"]
    assert fields("wandb.agent_user_feedback", scorer_fields=("scorer_tags",), annotation_ref=spec) == [
        "annotation_ref"
    ]


# --- 5, runnables


@pytest.mark.parametrize(
    ("feedback_type", "payload", "refs", "expected"),
    [
        ("wandb.runnable.score", {"output": 1}, {"runnable_ref": OBJECT}, []),
        ("wandb.runnable.score", {"output": None}, {"runnable_ref": OP, "call_ref": CALL, "trigger_ref": OBJECT}, []),
        ("wandb.runnable.score", {"output": 1}, {"runnable_ref": "weave:///x/y/object/score:d"}, []),
        ("wandb.runnable.score", {"output": 1}, {"runnable_ref": OP}, ["call_ref"]),
        ("wandb.runnable.score", {"output": 1}, {}, ["runnable_ref"]),
        ("wandb.runnable.score", {}, {}, ["runnable_ref", "payload.output"]),
        ("wandb.runnable.score", {"out": 1}, {"runnable_ref": OBJECT}, ["payload.output"]),
        ("wandb.runnable.other", {"output": 1}, {"runnable_ref": OBJECT}, ["runnable_ref"]),
        ("wandb.runnable.", {"output": 1}, {"runnable_ref": OBJECT}, ["feedback_type"]),
        ("wandb.runnable", {"output": 1}, {"runnable_ref": OBJECT}, ["feedback_type"]),
        ("wandb.runnablescore", {"output": 1}, {"runnable_ref": OBJECT}, ["feedback_type"]),
        ("wandb.runnable.score", {"output": 1}, {"runnable_ref": f"{P}/object/score"}, ["runnable_ref"]),
        ("wandb.runnable.score", {"output": 1}, {"runnable_ref": CALL}, ["runnable_ref"]),
        ("wandb.runnable.score", {"output": 1}, {"runnable_ref": OBJECT, "call_ref": OBJECT}, ["call_ref"]),
        ("wandb.runnable.score", {"output": 1}, {"runnable_ref": OBJECT, "trigger_ref": CALL}, ["trigger_ref"]),
        ("wandb.runnable.score", {"output": 1}, {"runnable_ref": OBJECT, "trigger_ref": f"{P}/op/t"}, ["trigger_ref"]),
        ("wandb.runnable.score", {"output": 1}, {"runnable_ref": "no ref", "trigger_ref": "nor this"}, []),
    ],
)
def test_a_runnable_has_its_scorer_and_an_output(
    feedback_type: str, payload: dict[str, Any], refs: dict[str, Any], expected: list[str]
) -> None:
    assert fields(feedback_type, payload, **refs) == expected


# --- 6 and 7, agents


def test_a_monitor_has_all_three_refs() -> None:
    refs: dict[str, Any] = {"runnable_ref": OP, "call_ref": CALL, "trigger_ref": f"{P}/object/watch:v1"}
    assert fields("wandb.agent_monitor", {"any": 1}, **refs) == []
    for name in refs:
        assert fields("wandb.agent_monitor", **{other: uri for other, uri in refs.items() if other != name}) == [name]
    assert fields("wandb.agent_monitor") == list(refs)
    assert fields("wandb.agent_monitor", **(refs | {"call_ref": OP, "trigger_ref": CALL})) == [
        "call_ref",
        "trigger_ref",
    ]


def test_user_feedback_on_agents_has_tags_and_no_scorer_refs() -> None:
    tags = ("scorer_tags", "scorer_tag_reasons")
    assert fields("wandb.agent_user_feedback", scorer_fields=tags) == []
    assert fields("wandb.agent_user_feedback") == ["scorer_tags"]
    assert fields("wandb.agent_user_feedback", scorer_fields=("scorer_ratings",)) == ["scorer_tags"]
    for name, uri in MONITOR.items():
        assert fields("wandb.agent_user_feedback", scorer_fields=tags, **{name: uri}) == [name]


@pytest.mark.parametrize(
    ("ref", "conversation", "trace", "derived", "expected"),
    [
        (f"{P}/agent_turn/t%2F1", "", "", ("", "t%2F1"), []),
        (f"{P}/agent_turn/t1", "c", "t1", ("", "t1"), []),
        (f"{P}/agent_turn/t1", "", "t2", None, ["span_trace_id"]),
        (f"{P}/agent_conversation/c%2F1", "", "", ("c/1", ""), []),
        (f"{P}/agent_conversation/c%2F1", "c/1", "", ("c/1", ""), []),
        (f"{P}/agent_conversation/c%2F1", "c%2F1", "", None, ["span_conversation_id"]),
        (f"{P}/agent_conversation/c", "", "t", None, ["span_trace_id"]),
        (f"{P}/agent_conversation/c", "d", "t", None, ["span_trace_id", "span_conversation_id"]),
        (f"{P}/agent_span/s", "c", "t", ("", ""), []),
        (f"{P}/call/1", "c", "t", ("", ""), []),
        (f"{P}/agent_turn/{'t' * 256}", "", "", ("", "t" * 256), []),
        (f"{P}/agent_turn/{'t' * 257}", "", "", None, ["ref"]),
        (f"{P}/agent_conversation/{'%C3%A9' * 128}", "", "", ("é" * 128, ""), []),
        (f"{P}/agent_conversation/{'%C3%A9' * 129}", "", "", None, ["ref"]),
    ],
)
def test_an_agents_ref_gives_its_id(
    ref: str, conversation: str, trace: str, derived: tuple[str, str] | None, expected: list[str]
) -> None:
    for feedback_type, rest in (
        ("wandb.agent_user_feedback", {"scorer_fields": ("scorer_tags",)}),
        ("wandb.agent_monitor", MONITOR),
    ):
        additions, breaches = apply(
            feedback_type,
            ref=ref,
            span_conversation_id=conversation,
            span_trace_id=trace,
            **rest,
        )
        assert breaches == expected
        if derived is not None:
            assert additions == Additions({}, *derived)


@pytest.mark.parametrize("feedback_type", ["wandb.note.1", "custom", "wandb.runnable.score"])
def test_other_types_derive_no_id(feedback_type: str) -> None:
    rest: dict[str, Any] = {"runnable_ref": OBJECT} if feedback_type.startswith("wandb.runnable") else {}
    additions, breaches = apply(
        feedback_type, {"note": "n", "output": 1}, ref=f"{P}/agent_turn/t1", span_trace_id="t2", **rest
    )
    assert (additions, breaches) == (Additions({}), [])


# --- 8, and what holds for all


@pytest.mark.parametrize(
    "feedback_type",
    ["custom", "wandb.note.2", "wandb.reaction.2", "wandb.", "wandb.agent_monitor2", "WANDB.note.1", "wandb.note.1 "],
)
def test_any_other_type_is_free_but_has_no_scorer_refs(feedback_type: str) -> None:
    assert fields(feedback_type, {"note": 5}) == []
    for name, uri in MONITOR.items():
        assert fields(feedback_type, **{name: uri}) == [name]


@pytest.mark.parametrize("name", MONITOR)
def test_reactions_and_notes_have_no_scorer_refs(name: str) -> None:
    for feedback_type in ("wandb.reaction.1", "wandb.note.1"):
        assert fields(feedback_type, {"emoji": "👍", "note": "n"}, **{name: MONITOR[name]}) == [name]


def test_scorer_fields_are_for_scorers() -> None:
    scorer_fields = ("scorer_tags", "scorer_ratings")
    for feedback_type in ("custom", "wandb.note.1", "wandb.reaction.1"):
        payload = {"emoji": "👍", "note": "n"}
        assert fields(feedback_type, payload, scorer_fields=scorer_fields) == list(scorer_fields)
    spec = f"{P}/object/q:d"
    assert fields("wandb.annotation.q", {"value": 1}, annotation_ref=spec, scorer_fields=scorer_fields) == list(
        scorer_fields
    )
    assert fields("wandb.runnable.score", {"output": 1}, runnable_ref=OBJECT, scorer_fields=scorer_fields) == []
    assert fields("wandb.agent_monitor", scorer_fields=("scorer_ratings",), **MONITOR) == []


@pytest.mark.parametrize(
    "feedback_type", ["wandb.reaction.1", "wandb.note.1", "wandb.annotation.q", "wandb.runnable.score"]
)
def test_what_is_in_breach_itself_is_not_judged_again(feedback_type: str) -> None:
    out: list[Violation] = []
    refs = {"annotation_ref": GivenRef("x", None)} if "annotation" in feedback_type else {}
    refs |= {"runnable_ref": GivenRef("x", None)} if "runnable" in feedback_type else {}
    assert types.apply(Draft("acme/chat", feedback_type, None, None, refs), out) == Additions({})
    types.apply(Draft("acme/chat", "wandb.agent_user_feedback", None, None, {}, ("scorer_tags",)), out)
    assert out == []


def test_the_refs_of_these_tests_are_what_they_seem() -> None:
    assert [parse_ref(uri).kind for uri in (OBJECT, OP, CALL)] == ["object", "op", "call"]
    with pytest.raises(InvalidRefError):
        parse_ref("no ref")
