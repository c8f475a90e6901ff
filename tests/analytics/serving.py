"""The worked cases of analytics against a server: rows into its store, requests over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc

from plaudit.v1 import (
    AnalyticsServiceStub,
    Feedback,
    FeedbackServiceStub,
    QueryFeedbackRequest,
    SetReactionRequest,
    SpanStatusCode,
)
from plaudit_server.errors import Violation
from plaudit_server.feedback import rules
from plaudit_server.feedback.importing import Import
from plaudit_server.testing import RunningServer
from tests.analytics import cases

_ALIASES = {"weave_ref": "ref", "wb_user_id": "user_id", "project_id": "project"}


class Served:
    """One case in a project of its own. Whoever asks in it is anonymous, for the server has no authentication."""

    def __init__(self, case: Mapping[str, Any], running: RunningServer, channel: grpc.Channel) -> None:
        self.case = case
        self.running = running
        self.channel = channel
        self.stub = AnalyticsServiceStub(channel)
        self.project = f"acme/{case['id']}"
        self.when: dict[str, Any] = {**case["when"], "project_id": self.project}
        self.names: dict[str, str] = {}

    def store(self) -> None:
        """Put the rows of the case into the store, which alone can set the times."""
        for number, given in enumerate(self.case["given"], 1):
            self._store(given, f"00000000-0000-7000-8000-{number:012x}")

    def ask(self) -> dict[str, Any]:
        """The answer in the form of the cases."""
        when = self.when
        match when["op"]:
            case "aggregate":
                return cases.aggregate_answer(when, self.stub.AggregateFeedback(cases.aggregate_request(when)))
            case "describe":
                return cases.describe_answer(self.stub.DescribeFeedback(cases.describe_request(when)))
            case "summarize_refs":
                answer = cases.summary_answer(when, self.stub.SummarizeRefs(cases.summary_request(when)))
                for overview in answer["refs"]:
                    overview["newest"] = self.names.get(overview["newest"])
                return answer
            case "set_reaction":
                return self._set_reaction()
            case _:
                return cases.agreement_answer(when, self.stub.MeasureAgreement(cases.agreement_request(when)))

    def _set_reaction(self) -> dict[str, Any]:
        when, feedback = self.when, FeedbackServiceStub(self.channel)
        response = feedback.SetReaction(
            SetReactionRequest(
                project=self.project,
                ref=when["ref"],
                emoji=when["emoji"],
                reacted=when["reacted"],
                creator=when.get("creator"),
                any_tone=when.get("any_tone", False),
            )
        )
        found = feedback.QueryFeedback(QueryFeedbackRequest(project=self.project)).feedback
        assert response.HasField("feedback") == when["reacted"]
        return {
            "changed": response.changed,
            "ids_after": [self.names.get(each.id, "new") for each in found],
            "reaction": cases.reaction(response.reaction),
        }

    def _store(self, given: Mapping[str, Any], id: str) -> None:
        row = {_ALIASES.get(name, name): value for name, value in given.items() if value is not None}
        project = self.project if row.pop("project") == cases.PROJECT else "acme/elsewhere"
        user = row.pop("user_id", "alice")
        status = row.pop("span_status_code", "UNSET")
        self.names[id] = row.pop("id")
        times = {name: row.pop(name) for name in ("created_at", "updated_at") if name in row}
        message = Feedback(
            id=id,
            project=project,
            user_id="anonymous" if user == self.when.get("user") else user,
            payload_json=cases.json_text(row.pop("payload", {})),
            span_status_code=SpanStatusCode.Value(f"SPAN_STATUS_CODE_{'UNSPECIFIED' if status == 'UNSET' else status}"),
            **row,
        )
        for name, text in times.items():
            getattr(message, name).FromJsonString(text)
        out: list[Violation] = []
        record = rules.new_record(message, project, "alice", out, imported=True)
        assert record is not None, out
        self.running.run(self.running.server.store.write([Import(project, (record,))]))
