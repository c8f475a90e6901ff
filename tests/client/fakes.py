"""A transport that answers from memory and keeps every request: what the lazy objects really send."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import plaudit
from plaudit import v1
from plaudit._transport import Method

PROJECT = "acme/chat"
REF = "weave:///acme/chat/call/1"


def message(number: int, **fields: Any) -> v1.Feedback:
    """A stored record, number `number` of its project."""
    made = v1.Feedback(
        **{
            "id": f"00000000-0000-7000-8000-{number:012x}",
            "project": PROJECT,
            "ref": REF,
            "feedback_type": "custom",
            "payload_json": "{}",
            "user_id": "alice",
            "version": 1,
            "revision": number,
            **fields,
        }
    )
    made.created_at.FromSeconds(1_740_823_200 + 60 * number)
    made.updated_at.CopyFrom(made.created_at)
    return made


def feedback(number: int, **fields: Any) -> plaudit.Feedback:
    return plaudit.Feedback(message(number, **fields))


class FakeTransport:
    """The service over a list of records. Knows no filters but `id` and `ref` with `$eq`, joined by `$and`."""

    def __init__(self, rows: Iterable[v1.Feedback] = (), page_rows: int = 1000) -> None:
        self.rows = list(rows)
        self.page_rows = page_rows
        self.revision = len(self.rows)
        self.requests: list[Any] = []
        self.failures: list[Exception] = []
        self.is_closed = False

    @property
    def calls(self) -> int:
        return len(self.requests)

    def unary(self, method: Method[Any, Any], request: Any) -> Any:
        assert type(request) is method.request
        self.requests.append(request)
        if self.failures:
            raise self.failures.pop(0)
        answer: Callable[[Any], Any] = getattr(self, method.name)
        return answer(request)

    def close(self) -> None:
        self.is_closed = True

    def matching(self, query: v1.Query) -> list[v1.Feedback]:
        conditions = query.expr.all_of.expressions or ([query.expr] if query.HasField("expr") else [])
        wanted = [(c.comparison.left.field, c.comparison.right.literal.string_value) for c in conditions]
        return [row for row in self.rows if all(getattr(row, name) == value for name, value in wanted)]

    def QueryFeedback(self, request: v1.QueryFeedbackRequest) -> v1.QueryFeedbackResponse:  # noqa: N802
        rows = self.matching(request.query)[request.offset :]
        if request.HasField("limit"):
            rows = rows[: request.limit]
        start = int(request.page_token or 0)
        end = start + min(request.page_size or self.page_rows, self.page_rows)
        return v1.QueryFeedbackResponse(
            feedback=rows[start:end], next_page_token=str(end) if end < len(rows) else "", revision=self.revision
        )

    def CountFeedback(self, request: v1.CountFeedbackRequest) -> v1.CountFeedbackResponse:  # noqa: N802
        return v1.CountFeedbackResponse(count=len(self.matching(request.query)))

    def GetFeedback(self, request: v1.GetFeedbackRequest) -> v1.GetFeedbackResponse:  # noqa: N802
        [row] = [row for row in self.rows if row.id == request.id]
        return v1.GetFeedbackResponse(feedback=row)

    def CreateFeedback(self, request: v1.CreateFeedbackRequest) -> v1.CreateFeedbackResponse:  # noqa: N802
        return v1.CreateFeedbackResponse(feedback=self.stored(request.project, request.feedback))

    def BatchCreateFeedback(self, request: v1.BatchCreateFeedbackRequest) -> v1.BatchCreateFeedbackResponse:  # noqa: N802
        results = [
            v1.BatchCreateFeedbackResult(feedback=self.stored(request.project, item)) for item in request.feedback
        ]
        return v1.BatchCreateFeedbackResponse(results=results)

    def PurgeFeedback(self, request: v1.PurgeFeedbackRequest) -> v1.PurgeFeedbackResponse:  # noqa: N802
        gone = self.matching(request.query) if request.HasField("query") else []
        gone += [row for row in self.rows if row.id in request.ids]
        gone = gone[: self.page_rows]
        more = request.HasField("query") and len(self.matching(request.query)) > len(gone)
        if not request.dry_run:
            self.rows = [row for row in self.rows if row not in gone]
            self.revision += len(gone)
        return v1.PurgeFeedbackResponse(purged_count=len(gone), more=more)

    def ListRefs(self, request: v1.ListRefsRequest) -> v1.ListRefsResponse:  # noqa: N802
        counts: dict[str, int] = {}
        for row in self.matching(request.query):
            counts[row.ref] = counts.get(row.ref, 0) + 1
        start = int(request.page_token or 0)
        end = start + self.page_rows
        refs = [v1.RefSummary(ref=v1.Ref(uri=uri), feedback_count=counts[uri]) for uri in sorted(counts)[start:end]]
        return v1.ListRefsResponse(refs=refs, next_page_token=str(end) if end < len(counts) else "")

    def GetServerInfo(self, request: v1.GetServerInfoRequest) -> v1.GetServerInfoResponse:  # noqa: N802
        return v1.GetServerInfoResponse(version="1.2.3", store="sqlite", limits={"batch_items": 1000})

    def stored(self, project: str, item: v1.Feedback) -> v1.Feedback:
        row = message(len(self.rows) + 1)
        row.MergeFrom(item)
        row.project = project
        self.rows.append(row)
        self.revision += 1
        return row
