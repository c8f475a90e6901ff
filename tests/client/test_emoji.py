"""The spellings of emoji, compared with the names that the server gives to every emoji there is."""

from __future__ import annotations

from collections import defaultdict

import emoji as emoji_data
import pytest

import plaudit
from plaudit import field
from plaudit._core.emoji import spellings
from plaudit_server.feedback.types import Reaction, reaction_of
from plaudit_server.testing import RunningServer

NAMED: dict[str, Reaction] = {text: named for text in emoji_data.EMOJI_DATA if (named := reaction_of(text)) is not None}


def test_the_spellings_of_an_emoji_are_those_with_its_name() -> None:
    by_name: defaultdict[str, set[str]] = defaultdict(set)
    for text, named in NAMED.items():
        by_name[named.alias].add(text)
    assert sum(len(texts) > 1 for texts in by_name.values()) > 1000
    for text, named in NAMED.items():
        found = spellings(text)
        assert {each for each in found if each in NAMED} == by_name[named.alias], text
        assert found[0] == text
        assert len(found) <= 64


def test_in_any_tone_they_are_those_with_its_name_without_tones() -> None:
    by_name: defaultdict[str, set[str]] = defaultdict(set)
    for text, named in NAMED.items():
        by_name[named.detoned_alias].add(text)
    for text, named in NAMED.items():
        found = spellings(text, any_tone=True)
        assert {each for each in found if each in NAMED} == by_name[named.detoned_alias], text
        assert len(found) <= 1000


@pytest.mark.parametrize("text", ["", "x", "👍👍", "a sentence, of more characters than any emoji has", "\ufe0f"])
def test_other_text_has_few_spellings(text: str) -> None:
    for any_tone in (False, True):
        assert text in spellings(text, any_tone=any_tone)
        assert len(spellings(text, any_tone=any_tone)) <= 100


def test_a_reaction_is_found_by_every_spelling_of_its_emoji(running: RunningServer) -> None:
    with plaudit.Client("acme/emoji", target=running.target) as client:
        heart, full = "\u2764", "\u2764\ufe0f"
        for ref in ("urn:x:1", "weave:///acme/emoji/agent_turn/t1"):
            client.ref(ref).add_reaction(heart)
            client.ref(ref).add_reaction(full)
        client.ref("urn:x:1").add("thought", {"emoji": heart})
        for spelling in (heart, full):
            assert client.get_feedback(reaction=spelling).count() == 4
            assert client.get_feedback(field("ref") == "urn:x:1", reaction=spelling).count() == 2
        assert client.get_feedback(reaction="💔").count() == 0


def test_any_tone_finds_every_tone_and_no_other_emoji(running: RunningServer) -> None:
    with plaudit.Client("acme/tones", target=running.target) as client:
        for emoji in ("👍", "👍🏽", "👍🏿", "👎🏽", "🤝", "🫱🏻\u200d🫲🏿"):
            client.ref("urn:x:1").add_reaction(emoji)
        assert client.get_feedback(reaction="👍").count() == 1
        assert client.get_feedback(reaction="👍🏽").count() == 1
        for emoji in ("👍", "👍🏻"):
            assert client.get_feedback(reaction=emoji, tones="any").count() == 3
        assert client.get_feedback(reaction="🤝", tones="any").count() == 2


def test_what_is_no_reaction_is_refused_before_anything_is_sent(running: RunningServer) -> None:
    with plaudit.Client("acme/tones", target=running.target) as client:
        with pytest.raises(TypeError, match="a reaction is an emoji"):
            client.get_feedback(reaction=5)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="tones is 'any'"):
            client.get_feedback(reaction="👍", tones="all")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="give the reaction"):
            client.get_feedback(tones="any")
