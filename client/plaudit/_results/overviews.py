"""Refs at a glance as they were answered: counts, reactions, the newest record, measures by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from plaudit import v1
from plaudit._core.measures import result_of
from plaudit._core.model import Feedback
from plaudit._show.grid import FIELD_COLUMNS, Grid, field_row
from plaudit._show.shown import Shown


@dataclass(frozen=True, slots=True)
class Reaction:
    """One emoji on one ref: its records, the distinct users who own them, and whether one is the caller's."""

    emoji: str
    count: int
    user_count: int
    mine: bool


class RefOverview(Shown):
    """What there is on one ref; `overview["score"]` is a measure, None where there is no value."""

    __slots__ = ("_measures", "newest", "newest_id", "reactions", "ref", "row_count", "types")

    def __init__(self, request: v1.SummarizeRefsRequest, message: v1.RefOverview) -> None:
        self.ref = message.ref
        self.row_count = message.row_count
        """How many records it has; 0 is an answer, too."""
        self.types = {each.feedback_type: each.count for each in message.types}
        """How many records have each type."""
        self.reactions = [reaction_of(each) for each in message.reactions]
        """In the order in which each first came."""
        self.newest_id = message.newest_id or None
        self.newest = Feedback(message.newest) if message.HasField("newest") else None
        """The newest record, if it was asked for."""
        pairs = zip(request.measures, message.measures, strict=True)
        self._measures = {asked.name: result_of(asked, result) for asked, result in pairs}

    def __getitem__(self, name: str) -> Any:
        return self._measures[name]

    def _grid(self) -> Grid:
        """What there is, and each measure."""
        reactions = ", ".join(f"{each.emoji} {each.count}{' (mine)' if each.mine else ''}" for each in self.reactions)
        rows = [
            field_row("ref", self.ref),
            field_row("row_count", self.row_count),
            *(field_row(feedback_type, count) for feedback_type, count in self.types.items()),
            *([field_row("reactions", reactions)] if reactions else []),
            *([field_row("newest_id", self.newest_id)] if self.newest_id else []),
            *(field_row(name, "–" if value is None else value) for name, value in self._measures.items()),
        ]
        return Grid(FIELD_COLUMNS, rows)

    def __repr__(self) -> str:
        return f"RefOverview({self.ref!r}, row_count={self.row_count}, reactions={self.reactions})"


def reaction_of(message: v1.ReactionCount) -> Reaction:
    """One emoji on one ref."""
    return Reaction(message.emoji, message.count, message.user_count, message.mine)
