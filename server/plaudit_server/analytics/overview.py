"""The feedback on refs at a glance: the question, and what there is on one ref; not how it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from plaudit_server.analytics.records import Measure, Measured
from plaudit_server.feedback.reactions import ReactionSummary, Viewer
from plaudit_server.query.tree import Operation


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


class Overview(NamedTuple):
    """What there is on one ref; `newest_id` is None when there is nothing."""

    ref: str
    row_count: int
    types: tuple[tuple[str, int], ...]
    reactions: tuple[ReactionSummary, ...]
    newest_id: str | None
    measures: tuple[Measured, ...]
