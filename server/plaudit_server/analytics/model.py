"""Questions about many records over the plain model of feedback: what the steps are tested against."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from plaudit_server.analytics import evaluate
from plaudit_server.analytics.aggregation import Aggregated
from plaudit_server.analytics.overview import Overview, SummaryQuestion
from plaudit_server.analytics.reads import (
    Described,
    Rated,
    SelectFields,
    SelectGroups,
    SelectOverviews,
    SelectRatings,
    Summarized,
)
from plaudit_server.feedback.model import FeedbackModel
from plaudit_server.feedback.reads import Get


class _Answered:
    """Groups that need no more work."""

    is_small = True

    def __init__(self, aggregated: Aggregated) -> None:
        self._aggregated = aggregated

    def answer(self) -> Aggregated:
        """The groups in the order asked for."""
        return self._aggregated


class AnalyticsModel:
    """Reads of analytics by the plain evaluator, over what the model of feedback holds; it has no commands."""

    def __init__(self, feedback: FeedbackModel) -> None:
        self._feedback = feedback
        self.reads: dict[type[Any], Callable[[Any], Any]] = {
            SelectGroups: self._groups,
            SelectFields: self._fields,
            SelectOverviews: self._overviews,
            SelectRatings: self._ratings,
        }
        self.commands: dict[type[Any], Callable[[Any], Any]] = {}

    def revision(self, project: str) -> int:
        """The project's revision."""
        return self._feedback.revision(project)

    def _groups(self, read: SelectGroups) -> _Answered:
        project = read.question.project
        found = evaluate.aggregate(read.question, self._feedback.rows(project), read.wanted)
        return _Answered(Aggregated(found.arranged, found.total, self.revision(project), read.question))

    def _fields(self, read: SelectFields) -> Described:
        project = read.question.project
        return Described(*evaluate.describe(read.question, self._feedback.rows(project)), self.revision(project))

    def _overviews(self, read: SelectOverviews) -> Summarized:
        project = read.question.project
        overviews = evaluate.summarize(read.question, self._feedback.rows(project))
        return Summarized(overviews, self.revision(project), self._newest(read.question, overviews))

    def _newest(self, question: SummaryQuestion, overviews: Iterable[Overview]) -> dict[str, Any]:
        get = self._feedback.reads[Get]
        ids = [each.newest_id for each in overviews if each.newest_id] if question.with_newest else []
        return {id: get(Get(question.project, id)) for id in ids}

    def _ratings(self, read: SelectRatings) -> Rated:
        project = read.question.project
        return Rated(evaluate.rate(read.question, self._feedback.rows(project)), self.revision(project))
