"""The feedback on refs at a glance, folded from counts; not how these are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from plaudit_server.analytics.records import Measure, Measured
from plaudit_server.feedback.types import AGENT_USER_FEEDBACK, REACTION, reaction_of
from plaudit_server.query.fields import PayloadPath
from plaudit_server.query.tree import Operation

REACTION_TYPES: Final = (REACTION, AGENT_USER_FEEDBACK)
"""The types whose records react with an emoji."""
EMOJI: Final = PayloadPath(("emoji",))


class Reacted(NamedTuple):
    """How many records of one owner and creator have one emoji, in one spelling, and when the first came."""

    emoji: str
    owner: str
    creator: str | None
    row_count: int
    first_created_at: int
    first_id: str


class Viewer(NamedTuple):
    """Whose reactions are "mine": those that `owner` owns, and of these only `creator`'s where one is given."""

    owner: str
    creator: str | None = None


@dataclass(frozen=True, slots=True)
class SummaryQuestion:
    """A question about refs of one project."""

    project: str
    refs: tuple[str, ...]
    filter: Operation | None
    measures: tuple[Measure, ...]
    viewer: Viewer
    any_tone: bool = False
    with_newest: bool = False


@dataclass(frozen=True, slots=True)
class ReactionSummary:
    """One emoji on one ref, in the spelling that came first."""

    emoji: str
    count: int
    user_count: int
    mine: bool


@dataclass(frozen=True, slots=True)
class Overview:
    """What there is on one ref; `newest_id` is None when there is nothing."""

    ref: str
    row_count: int
    types: tuple[tuple[str, int], ...]
    reactions: tuple[ReactionSummary, ...]
    newest_id: str | None
    measures: tuple[Measured, ...]


def fold_reactions(reacted: Iterable[Reacted], viewer: Viewer, any_tone: bool) -> tuple[ReactionSummary, ...]:
    """The reactions on one ref, in the order in which each first came; what is not exactly one emoji is none.

    Spellings of one emoji are one; with `any_tone` its skin tones are too, and the emoji is shown without any.
    """
    counts: Counter[str] = Counter()
    owners: dict[str, set[str]] = {}
    mine: set[str] = set()
    shown: dict[str, str] = {}
    for each in sorted(reacted, key=lambda each: (each.first_created_at, each.first_id)):
        reaction = reaction_of(each.emoji)
        if reaction is None:
            continue
        key = reaction.detoned_alias if any_tone else reaction.alias
        shown.setdefault(key, reaction.detoned if any_tone else each.emoji)
        counts[key] += each.row_count
        owners.setdefault(key, set()).add(each.owner)
        if each.owner == viewer.owner and viewer.creator in (None, each.creator):
            mine.add(key)
    return tuple(ReactionSummary(shown[key], counts[key], len(owners[key]), key in mine) for key in shown)


def reaction_on(reacted: Iterable[Reacted], emoji: str, viewer: Viewer, any_tone: bool = False) -> ReactionSummary:
    """One emoji on one ref, with zeros when nobody has reacted with it."""
    wanted = reaction_of(emoji)
    for summary in fold_reactions(reacted, viewer, any_tone):
        found = reaction_of(summary.emoji)
        if (
            found
            and wanted
            and (found.detoned_alias if any_tone else found.alias)
            == (wanted.detoned_alias if any_tone else wanted.alias)
        ):
            return summary
    return ReactionSummary(emoji, 0, 0, False)
