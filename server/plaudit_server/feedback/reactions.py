"""Reactions with emojis, folded from counts: two spellings of one emoji are one; not how the counts are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from plaudit_server.feedback.types import AGENT_USER_FEEDBACK, REACTION, reaction_of
from plaudit_server.query.evaluate import Row, walk
from plaudit_server.query.fields import PayloadPath

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

    def owns(self, reacted: Reacted) -> bool:
        """Whether reactions are the viewer's."""
        return reacted.owner == self.owner and self.creator in (None, reacted.creator)


@dataclass(frozen=True, slots=True)
class ReactionSummary:
    """One emoji on one ref, in the spelling that came first."""

    emoji: str
    count: int
    user_count: int
    mine: bool


def fold_reactions(reacted: Iterable[Reacted], viewer: Viewer, any_tone: bool) -> tuple[ReactionSummary, ...]:
    """The reactions on one ref, in the order in which each first came; what is not exactly one emoji is none.

    Spellings of one emoji are one; with `any_tone` its skin tones are too, and the emoji is shown without any.
    """
    in_order = sorted(reacted, key=lambda each: (each.first_created_at, each.first_id))
    if not in_order:  # as on most refs
        return ()
    counts: Counter[str] = Counter()
    owners: dict[str, set[str]] = {}
    mine: set[str] = set()
    shown: dict[str, str] = {}
    for each in in_order:
        reaction = reaction_of(each.emoji)
        if reaction is None:
            continue
        key = reaction.detoned_alias if any_tone else reaction.alias
        shown.setdefault(key, reaction.detoned if any_tone else each.emoji)
        counts[key] += each.row_count
        owners.setdefault(key, set()).add(each.owner)
        if viewer.owns(each):
            mine.add(key)
    return tuple(ReactionSummary(shown[key], counts[key], len(owners[key]), key in mine) for key in shown)


def is_same(one: str, other: str, any_tone: bool) -> bool:
    """Whether two texts are spellings of one emoji, with `any_tone` whatever their skin tones are."""
    a, b = reaction_of(one), reaction_of(other)
    if a is None or b is None:
        return False
    return a.detoned_alias == b.detoned_alias if any_tone else a.alias == b.alias


def reaction_on(reacted: Iterable[Reacted], emoji: str, viewer: Viewer, any_tone: bool = False) -> ReactionSummary:
    """One emoji on one ref, with zeros when nobody has reacted with it."""
    for summary in fold_reactions(reacted, viewer, any_tone):
        if is_same(summary.emoji, emoji, any_tone):
            return summary
    return ReactionSummary(emoji, 0, 0, False)


def reactions(rows: Iterable[Row]) -> list[Reacted]:
    """The records that are reactions: with an emoji, of the reactions' own type or an agent's user feedback."""
    found = []
    for row in rows:
        emoji = walk(EMOJI, row["payload"]) if row["feedback_type"] in REACTION_TYPES else None
        if isinstance(emoji, str):
            owner = row["owner"]
            found.append(Reacted(emoji, owner, row["creator"], 1, row["created_at"], row["id"]))
    return found
