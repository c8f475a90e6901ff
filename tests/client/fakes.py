"""A transport that answers from memory and keeps every request: what the lazy objects really send."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import plaudit
from plaudit import v1
from plaudit._core.retry import Retry, RetryPolicy
from plaudit._wire.methods import Method

PROJECT = "acme/chat"
POLICY = RetryPolicy(initial_delay=0.002, max_delay=0.02)
REF = "weave:///acme/chat/call/1"


def message(number: int, **fields: Any) -> v1.Feedback:
    """A stored record; `number` is its revision in the project."""
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


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.naps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds

    def __call__(self) -> float:
        return self.now


class FakeStream:
    """Answers that exist already, or are made on demand; an exception among them is raised."""

    def __init__(self, answers: Iterable[Any]) -> None:
        self._answers = iter(answers)
        self.is_cancelled = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def cancel(self) -> None:
        self.is_cancelled = True


class FakeTransport:
    """The service over a list of records. Knows no filters but `id` and `ref` with `$eq`, joined by `$and`.

    A stream of answers is what stands next in `scripts`; requests on streams are kept, too.
    """

    def __init__(self, rows: Iterable[v1.Feedback] = (), page_rows: int = 1000) -> None:
        self.rows = list(rows)
        self.page_rows = page_rows
        self.revision = len(self.rows)
        self.requests: list[Any] = []
        self.options: list[dict[str, Any]] = []
        self.failures: list[Exception] = []
        self.scripts: list[Iterable[Any]] = []
        self.streams: list[FakeStream] = []
        self.time = Time()
        self.is_closed = False

    @property
    def calls(self) -> int:
        return len(self.requests)

    def unary(self, method: Method[Any, Any], request: Any, *, retried: bool = True, **options: Any) -> Any:
        assert type(request) is method.request
        self.requests.append(request)
        self.options.append(options)
        if self.failures:
            raise self.failures.pop(0)
        answer: Callable[[Any], Any] = getattr(self, method.name)
        return answer(request)

    def stream(self, method: Method[Any, Any], request: Any, **options: Any) -> FakeStream:
        assert type(request) is method.request
        self.requests.append(request)
        self.options.append(options)
        return self._opened(self.scripts.pop(0))

    def both_streams(self, method: Method[Any, Any], requests: Iterator[Any], **options: Any) -> FakeStream:
        def kept() -> Iterator[Any]:
            for request in requests:
                assert type(request) is method.request
                self.requests.append(request)
                yield request

        self.options.append(options)
        answer: Callable[[Iterator[Any]], Iterator[Any]] = getattr(self, method.name)
        return self._opened(answer(kept()))

    def _opened(self, answers: Iterable[Any]) -> FakeStream:
        self.streams.append(FakeStream(answers))
        return self.streams[-1]

    def retry(self, patience: float | None = None) -> Retry:
        policy = POLICY
        return Retry(policy, 10.0 if patience is None else patience, sleep=self.time.sleep, clock=self.time)

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

    def ReplaceFeedback(self, request: v1.ReplaceFeedbackRequest) -> v1.ReplaceFeedbackResponse:  # noqa: N802
        [row] = [row for row in self.rows if row.id == request.feedback.id]
        version = row.version + 1
        row.MergeFrom(request.feedback)
        row.version = version
        return v1.ReplaceFeedbackResponse(feedback=row)

    def IngestFeedback(  # noqa: N802
        self, requests: Iterator[v1.IngestFeedbackRequest]
    ) -> Iterator[v1.IngestFeedbackResponse | Exception]:
        for request in requests:
            if self.failures:
                yield self.failures.pop(0)
            stored = [self.stored(request.project, item) for item in request.feedback]
            yield v1.IngestFeedbackResponse(sequence=request.sequence, stored_count=len(stored), revision=self.revision)

    def PurgeFeedback(self, request: v1.PurgeFeedbackRequest) -> v1.PurgeFeedbackResponse:  # noqa: N802
        gone = [row for row in self.rows if row.id in request.ids]
        token = ""
        if request.HasField("query"):
            # Looks at a page of records, as a purge does whose time is up: none of them may match.
            above = sorted((row for row in self.rows if row.id > request.page_token), key=lambda row: row.id)
            looked_at = above[: self.page_rows]
            gone = [row for row in self.matching(request.query) if row in looked_at]
            token = looked_at[-1].id if len(above) > len(looked_at) else ""
        if not request.dry_run:
            self.rows = [row for row in self.rows if row not in gone]
            self.revision += len(gone)
        return v1.PurgeFeedbackResponse(purged_count=len(gone), more=bool(token), next_page_token=token)

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
