"""What each feedback type requires of a record, and what the server adds to it; pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import emoji

from plaudit._contract import limits
from plaudit._contract.refs import Ref, names_digest
from plaudit_server.errors import Violation

REACTION: Final = "wandb.reaction.1"
NOTE: Final = "wandb.note.1"
ANNOTATION: Final = "wandb.annotation"
RUNNABLE: Final = "wandb.runnable"
AGENT_MONITOR: Final = "wandb.agent_monitor"
AGENT_USER_FEEDBACK: Final = "wandb.agent_user_feedback"

_RULED: Final = "wandb."
"""What all of these types begin with."""
_SCORER_REFS: Final = ("runnable_ref", "call_ref", "trigger_ref")


class GivenRef(NamedTuple):
    """One of the four refs besides `ref`: its text and its parts, which are None when it cannot be parsed."""

    uri: str
    parsed: Ref | None


class Draft(NamedTuple):
    """What the rules look at. `ref` and `payload` are None when they break rules of their own.

    `refs` holds those of annotation_ref, runnable_ref, call_ref and trigger_ref that are given;
    `scorer_fields` names the non-empty `scorer_*` fields except scorer_trace_id.
    """

    project: str
    feedback_type: str
    ref: Ref | None
    payload: Mapping[str, Any] | None
    refs: Mapping[str, GivenRef]
    scorer_fields: Collection[str] = ()
    span_conversation_id: str = ""
    span_trace_id: str = ""


class Additions(NamedTuple):
    """What the server adds to a record: top-level text members of the payload, and derived ids (or empty)."""

    payload: Mapping[str, str]
    span_conversation_id: str = ""
    span_trace_id: str = ""


class Reaction(NamedTuple):
    """An emoji's name between colons, the emoji without its skin tones, and that one's name."""

    alias: str
    detoned: str
    detoned_alias: str


_NOTHING: Final = Additions({})


def has_rules(feedback_type: str) -> bool:
    """Whether a type may have rules of its own: others only rule some fields out, which `apply` looks for."""
    return feedback_type.startswith(_RULED)


def apply(draft: Draft, out: list[Violation], note_characters: int = limits.NOTE_CHARACTERS) -> Additions:
    """Check a record by the rules of its type; the first rule that names the type decides.

    Breaches are appended to `out`, their fields relative to the record (`payload.note`).
    """
    feedback_type = draft.feedback_type
    is_annotation = feedback_type.startswith(ANNOTATION)
    is_runnable = feedback_type.startswith(RUNNABLE)
    is_monitor = feedback_type == AGENT_MONITOR
    is_agent_feedback = is_monitor or feedback_type == AGENT_USER_FEEDBACK
    if draft.refs or is_annotation or is_runnable or is_monitor:
        _check_refs(draft, out, is_annotation, is_runnable or is_monitor)
    if draft.scorer_fields and not (is_runnable or is_agent_feedback):
        only = f"is for {RUNNABLE}.<name>, {AGENT_MONITOR} and {AGENT_USER_FEEDBACK} only"
        out += [Violation(name, only) for name in draft.scorer_fields]
    if feedback_type == REACTION:
        return _reaction(draft.payload, out)
    if feedback_type == NOTE:
        _note(draft.payload, note_characters, out)
    elif is_annotation:
        _annotation(draft, out)
    elif is_runnable:
        _runnable(draft, out)
    elif is_agent_feedback:
        if is_monitor:
            for name in _SCORER_REFS:
                _require_ref(draft, name, out)
        elif "scorer_tags" not in draft.scorer_fields:
            out.append(Violation("scorer_tags", f"must not be empty for {AGENT_USER_FEEDBACK}"))
        return _agent_ids(draft, out)
    return _NOTHING


# --- refs


def _check_refs(draft: Draft, out: list[Violation], takes_annotation: bool, takes_scorer: bool) -> None:
    """Check that each ref that is given is allowed, and of the right form."""
    for name, given in draft.refs.items():
        if name == "annotation_ref":
            if not takes_annotation:
                out.append(Violation(name, f"is for {ANNOTATION}.<name> only"))
        elif not takes_scorer:
            out.append(Violation(name, f"is for {RUNNABLE}.<name> and {AGENT_MONITOR} only"))
        elif given.parsed is None:
            continue
        elif name == "call_ref":
            if given.parsed.kind != "call":
                out.append(Violation(name, "must be a call ref"))
        elif given.parsed.kind not in ("object", "op") or not names_digest(given.uri):
            out.append(Violation(name, "must be an op or object ref with its digest"))


def _require_ref(draft: Draft, name: str, out: list[Violation]) -> GivenRef | None:
    given = draft.refs.get(name)
    if given is None:
        out.append(Violation(name, f"is required for {draft.feedback_type}"))
    return given


def _name_in_type(draft: Draft, prefix: str, out: list[Violation]) -> str:
    """The name after the prefix and a dot; empty, with a violation, where there is none."""
    dot, name = draft.feedback_type[len(prefix) : len(prefix) + 1], draft.feedback_type[len(prefix) + 1 :]
    if dot == "." and name:
        return name
    out.append(Violation("feedback_type", f"must be {prefix}.<name>"))
    return ""


def _require_key(draft: Draft, key: str, out: list[Violation]) -> None:
    if draft.payload is not None and key not in draft.payload:
        out.append(Violation(f"payload.{key}", f"is required for {draft.feedback_type}"))


def _annotation(draft: Draft, out: list[Violation]) -> None:
    name = _name_in_type(draft, ANNOTATION, out)
    given = _require_ref(draft, "annotation_ref", out)
    if given is not None and given.parsed is not None:
        parsed = given.parsed
        if parsed.kind != "object" or not names_digest(given.uri):
            out.append(Violation("annotation_ref", "must be an object ref with its digest"))
        else:
            if parsed.project_id != draft.project:
                out.append(Violation("annotation_ref", "must be of the record's project"))
            if name and parsed.name != name:
                out.append(Violation("annotation_ref", "must have the name that the type ends with"))
    _require_key(draft, "value", out)


def _runnable(draft: Draft, out: list[Violation]) -> None:
    name = _name_in_type(draft, RUNNABLE, out)
    given = _require_ref(draft, "runnable_ref", out)
    if given is not None and given.parsed is not None and given.parsed.kind in ("object", "op"):
        if name and given.parsed.name != name:
            out.append(Violation("runnable_ref", "must have the name that the type ends with"))
        if given.parsed.kind == "op" and "call_ref" not in draft.refs:
            out.append(Violation("call_ref", "is required where runnable_ref is an op"))
    _require_key(draft, "output", out)


def _agent_ids(draft: Draft, out: list[Violation]) -> Additions:
    """The ids that follow from an agent's ref; ids that were sent must agree with them."""
    ref = draft.ref
    if ref is None or ref.id is None or ref.kind not in ("agent_conversation", "agent_turn"):
        return _NOTHING
    if len(ref.id.encode()) > limits.SPAN_TEXT_BYTES:
        out.append(Violation("ref", f"has an id of more than {limits.SPAN_TEXT_BYTES} bytes"))
    if ref.kind == "agent_turn":
        if draft.span_trace_id not in ("", ref.id):
            out.append(Violation("span_trace_id", "must be empty or the id of the turn in ref"))
        return Additions({}, span_trace_id=ref.id)
    if draft.span_trace_id:
        out.append(Violation("span_trace_id", "must be empty where ref is a conversation"))
    if draft.span_conversation_id not in ("", ref.id):
        out.append(Violation("span_conversation_id", "must be empty or the id of the conversation in ref"))
    return Additions({}, span_conversation_id=ref.id)


# --- notes and reactions


def _note(payload: Mapping[str, Any] | None, characters: int, out: list[Violation]) -> None:
    if payload is None:
        return
    note = payload.get("note")
    if not isinstance(note, str):
        out.append(Violation("payload.note", "is required, and is text"))
    elif not 1 <= len(note) <= characters:
        out.append(Violation("payload.note", f"has {len(note)} characters, allowed are 1 to {characters}"))


def _reaction(payload: Mapping[str, Any] | None, out: list[Violation]) -> Additions:
    if payload is None:
        return _NOTHING
    text = payload.get("emoji")
    reaction = reaction_of(text) if isinstance(text, str) else None
    if reaction is None:
        out.append(Violation("payload.emoji", "is required, and is exactly one emoji"))
        return _NOTHING
    return Additions(reaction._asdict())


_SKIN_TONE: Final = re.compile(r"_(?:light|medium-light|medium|medium-dark|dark)_skin_tone")
_EMOJI_PRESENTATION: Final = "\ufe0f"


def reaction_of(text: str) -> Reaction | None:
    """The names of an emoji; None for text that is not exactly one.

    A skin tone or a hair style alone is only part of an emoji. An emoji without its presentation selectors (`❤`) is
    accepted, and so is one with a selector that it does not need; one with the selector of text presentation is not.
    """
    alias = _alias(text) or (_alias(text[0]) if len(text) == 2 and text[1] == _EMOJI_PRESENTATION else None)
    if alias is None:
        return None
    detoned_alias = _SKIN_TONE.sub("", alias) if "skin_tone" in alias else alias
    if detoned_alias not in _by_alias():
        # Two people of different tones are spelled out, those without tones are not: "kiss_person_person", "kiss".
        detoned_alias = detoned_alias.replace("_person_person", "")
    return Reaction(alias, _by_alias().get(detoned_alias, text), detoned_alias)


def _alias(text: str) -> str | None:
    data = emoji.EMOJI_DATA.get(text)
    if data is None or data["status"] == emoji.STATUS["component"]:
        return None
    alias: str = data["en"]
    return alias


@lru_cache(maxsize=1)
def _by_alias() -> Mapping[str, str]:
    """Every emoji in its full form, by its name between colons."""
    full = emoji.STATUS["fully_qualified"]
    return {data["en"]: text for text, data in emoji.EMOJI_DATA.items() if data["status"] == full}
