"""Transports that keep records in memory: for tests of code that calls plaudit, without a server; not a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self, cast

import grpc
from google.protobuf.message import Message

from plaudit import v1
from plaudit._core.errors import AlreadyExistsError, NotFoundError, PlauditError
from plaudit._core.model import Feedback
from plaudit._core.retry import Retry, RetryPolicy
from plaudit._testing.matching import matching
from plaudit._wire.methods import Method, RequestT, ResponseT

_PAGE_ROWS: Final = 1_000
_MICROSECOND: Final = timedelta(microseconds=1)


class FakeTransport:
    """A store in memory behind a client: `plaudit.Client("acme/chat", transport=FakeTransport())`.

    It stores, replaces, purges, counts and reads records, finds them by texts that are equal (`id`, `ref`,
    `feedback_type`, texts in the payload, joined by `&`), and keeps each request. It does not judge records as a server
    does. Whatever it cannot do raises PlauditError with the code UNIMPLEMENTED: use a real server there, or give a
    subclass a method with the name of the RPC.
    """

    def __init__(self) -> None:
        self.requests: list[Message] = []
        """Every request so far, in order; of streams each message."""
        self.is_closed = False
        self._rows: dict[tuple[str, str], v1.Feedback] = {}
        self._failures: list[PlauditError] = []
        self._revision = 0
        self._newest = datetime.min.replace(tzinfo=UTC)

    @property
    def records(self) -> list[Feedback]:
        """The records of all projects, in the order in which they were stored."""
        return [Feedback.from_proto(row) for row in self._rows.values()]

    def fail(self, *errors: PlauditError) -> None:
        """Let the next calls, or messages of streams, raise these errors, one each, before anything is stored."""
        self._failures.extend(errors)

    def unary(self, method: Method[RequestT, ResponseT], request: RequestT, **options: Any) -> ResponseT:
        """The answer to one request; `options` have no effect."""
        return cast("ResponseT", self._answer(method, request))

    def stream(self, method: Method[RequestT, ResponseT], request: RequestT, **options: Any) -> FakeStream:
        """The answers to one request, which are made at once."""
        return FakeStream(iter(self._answer(method, request)))

    def both_streams(
        self, method: Method[RequestT, ResponseT], requests: Iterator[RequestT], **options: Any
    ) -> FakeStream:
        """An answer to each request."""
        return FakeStream(self._answer(method, request) for request in requests)

    def retry(self, patience: float | None = None) -> Retry:
        """When a broken stream is opened again: at once, within the time that is given."""
        policy = RetryPolicy(initial_delay=0.0)
        return Retry(policy, 10.0 if patience is None else patience, sleep=time.sleep, clock=time.monotonic)

    def close(self) -> None:
        """Note that the client was closed."""
        self.is_closed = True

    def _answer(self, method: Method[Any, Any], request: Message) -> Any:
        self.requests.append(request)
        if self._failures:
            raise self._failures.pop(0)
        answer: Callable[[Any], Any] | None = getattr(self, method.name, None)
        if answer is None:
            raise PlauditError(
                f"the fake transport has no {method.name}: use a real server, such as the fixture plaudit_server",
                code=grpc.StatusCode.UNIMPLEMENTED,
            )
        return answer(request)

    # The RPCs, by their names.

    def CreateFeedback(self, request: v1.CreateFeedbackRequest) -> v1.CreateFeedbackResponse:  # noqa: N802
        """Store one record."""
        return v1.CreateFeedbackResponse(feedback=self._stored(request.project, request.feedback))

    def BatchCreateFeedback(self, request: v1.BatchCreateFeedbackRequest) -> v1.BatchCreateFeedbackResponse:  # noqa: N802
        """Store all records."""
        rows = [self._stored(request.project, item) for item in request.feedback]
        return v1.BatchCreateFeedbackResponse(results=[v1.BatchCreateFeedbackResult(feedback=row) for row in rows])

    def IngestFeedback(self, request: v1.IngestFeedbackRequest) -> v1.IngestFeedbackResponse:  # noqa: N802
        """Store the records of one message."""
        rows = [self._stored(request.project, item) for item in request.feedback]
        return v1.IngestFeedbackResponse(sequence=request.sequence, stored_count=len(rows), revision=self._revision)

    def GetFeedback(self, request: v1.GetFeedbackRequest) -> v1.GetFeedbackResponse:  # noqa: N802
        """The newest version of one record."""
        row = self._row(request.project, request.id)
        if row is None or request.version not in (0, row.version):
            raise NotFoundError(f"there is no feedback {request.id}", reason="FEEDBACK_NOT_FOUND")
        return v1.GetFeedbackResponse(feedback=row)

    def QueryFeedback(self, request: v1.QueryFeedbackRequest) -> v1.QueryFeedbackResponse:  # noqa: N802
        """A page of records, oldest first."""
        rows = self._asked(request)
        start = int(request.page_token or 0)
        end = start + min(request.page_size or _PAGE_ROWS, _PAGE_ROWS)
        token = str(end) if end < len(rows) else ""
        return v1.QueryFeedbackResponse(feedback=rows[start:end], next_page_token=token, revision=self._revision)

    def StreamFeedback(self, request: v1.StreamFeedbackRequest) -> Iterable[v1.StreamFeedbackResponse]:  # noqa: N802
        """All records in one message."""
        return [v1.StreamFeedbackResponse(feedback=self._asked(request))]

    def CountFeedback(self, request: v1.CountFeedbackRequest) -> v1.CountFeedbackResponse:  # noqa: N802
        """The number of records."""
        return v1.CountFeedbackResponse(count=len(self._matching(request.project, request.query)))

    def ReplaceFeedback(self, request: v1.ReplaceFeedbackRequest) -> v1.ReplaceFeedbackResponse:  # noqa: N802
        """Swap the content of a record."""
        project = request.project or request.feedback.project
        row = self._row(project, request.feedback.id)
        if row is None:
            raise NotFoundError(f"there is no feedback {request.feedback.id}", reason="FEEDBACK_NOT_FOUND")
        if not _is_same(row, request.feedback):
            replaced = self._new(project, request.feedback)
            replaced.created_at.CopyFrom(row.created_at)
            replaced.version = row.version + 1
            row.CopyFrom(replaced)
        return v1.ReplaceFeedbackResponse(feedback=row)

    def PurgeFeedback(self, request: v1.PurgeFeedbackRequest) -> v1.PurgeFeedbackResponse:  # noqa: N802
        """Remove records by id or by query."""
        if request.HasField("query"):
            gone = self._matching(request.project, request.query)
        else:
            gone = [row for id in request.ids if (row := self._row(request.project, id)) is not None]
        if not request.dry_run:
            for row in gone:
                del self._rows[row.project, row.id]
            self._revision += len(gone)
        return v1.PurgeFeedbackResponse(purged_count=len(gone))

    def ListRefs(self, request: v1.ListRefsRequest) -> v1.ListRefsResponse:  # noqa: N802
        """The refs with their numbers of records, by URI."""
        counts: dict[str, int] = {}
        for row in self._matching(request.project, request.query):
            counts[row.ref] = counts.get(row.ref, 0) + 1
        refs = [v1.RefSummary(ref=v1.Ref(uri=uri), feedback_count=counts[uri]) for uri in sorted(counts)]
        return v1.ListRefsResponse(refs=refs)

    def GetServerInfo(self, request: v1.GetServerInfoRequest) -> v1.GetServerInfoResponse:  # noqa: N802
        """Says that this is no server."""
        return v1.GetServerInfoResponse(version="fake", store="memory")

    def _asked(self, request: v1.QueryFeedbackRequest | v1.StreamFeedbackRequest) -> list[v1.Feedback]:
        if request.order_by:
            raise PlauditError(
                "the fake transport does not sort: use a real server, such as the fixture plaudit_server",
                code=grpc.StatusCode.UNIMPLEMENTED,
            )
        rows = self._matching(request.project, request.query)[request.offset :]
        return rows[: request.limit] if request.HasField("limit") else rows

    def _matching(self, project: str, query: v1.Query) -> list[v1.Feedback]:
        rows = [row for row in self._rows.values() if row.project == project]
        if not query.HasField("expr"):
            return rows
        is_wanted = matching(query.expr)
        return [row for row in rows if is_wanted(Feedback(row))]

    def _row(self, project: str, id: str) -> v1.Feedback | None:
        return self._rows.get((project, id))

    def _stored(self, project: str, item: v1.Feedback) -> v1.Feedback:
        found = self._row(project, item.id)
        if found is None:
            found = self._rows[project, item.id] = self._new(project, item)
        elif not _is_same(found, item):
            raise AlreadyExistsError(f"the id {item.id} has other content", reason="FEEDBACK_EXISTS")
        return found

    def _new(self, project: str, item: v1.Feedback) -> v1.Feedback:
        row = v1.Feedback()
        row.CopyFrom(item)
        self._revision += 1
        self._newest = max(datetime.now(UTC), self._newest + _MICROSECOND)
        row.project, row.user_id, row.owner = project, "anonymous", "anonymous"
        row.version, row.revision = 1, self._revision
        row.created_at.FromDatetime(self._newest)
        row.updated_at.FromDatetime(self._newest)
        return row


def _is_same(row: v1.Feedback, item: v1.Feedback) -> bool:
    """Whether a record has the content of another one; what the server sets does not count."""
    content = v1.Feedback()
    content.CopyFrom(item)
    for name in ("project", "user_id", "owner", "version", "revision"):
        setattr(content, name, getattr(row, name))
    content.created_at.CopyFrom(row.created_at)
    content.updated_at.CopyFrom(row.updated_at)
    return content == row


class FakeStream:
    """A stream of answers that are there already, or are made when they are read."""

    def __init__(self, answers: Iterator[Any]) -> None:
        self._answers = answers
        self._is_cancelled = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._is_cancelled:
            raise PlauditError("the stream was ended here", code=grpc.StatusCode.CANCELLED)
        return next(self._answers)

    def cancel(self) -> None:
        """End the stream."""
        self._is_cancelled = True


class AsyncFakeTransport:
    """A FakeTransport for an AsyncClient; both clients can share one: `AsyncFakeTransport(fake)`."""

    def __init__(self, fake: FakeTransport | None = None) -> None:
        self.fake = FakeTransport() if fake is None else fake
        """Where records and requests are."""

    async def unary(self, method: Method[RequestT, ResponseT], request: RequestT, **options: Any) -> ResponseT:
        """As `FakeTransport.unary`; another task may run first, as with a server."""
        await asyncio.sleep(0)
        return self.fake.unary(method, request)

    def stream(self, method: Method[RequestT, ResponseT], request: RequestT, **options: Any) -> AsyncFakeStream:
        """As `FakeTransport.stream`."""
        stream = AsyncFakeStream(self.fake, method)
        stream.answer_all(request)
        return stream

    def both_streams(self, method: Method[RequestT, ResponseT], **options: Any) -> AsyncFakeStream:
        """An answer to each request that is sent."""
        return AsyncFakeStream(self.fake, method)

    def retry(self, patience: float | None = None) -> Retry:
        """As `FakeTransport.retry`."""
        policy = RetryPolicy(initial_delay=0.0)
        return Retry(policy, 10.0 if patience is None else patience, sleep=asyncio.sleep, clock=time.monotonic)

    async def close(self) -> None:
        """Note that the client was closed."""
        self.fake.close()


class AsyncFakeStream:
    """A stream whose answers wait in a queue; an exception among them is raised, and None is the end."""

    def __init__(self, fake: FakeTransport, method: Method[Any, Any]) -> None:
        self._fake = fake
        self._method = method
        self._answers: asyncio.Queue[Any] = asyncio.Queue()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        answer = await self._answers.get()
        if answer is None:
            raise StopAsyncIteration
        if isinstance(answer, PlauditError):
            raise answer
        return answer

    def answer_all(self, request: Message) -> None:
        """Make all answers to the one request."""
        try:
            for answer in self._fake._answer(self._method, request):
                self._answers.put_nowait(answer)
        except PlauditError as error:
            self._answers.put_nowait(error)
        self._answers.put_nowait(None)

    async def send(self, request: Message) -> None:
        """Make the answer to a request."""
        try:
            self._answers.put_nowait(self._fake._answer(self._method, request))
        except PlauditError as error:
            self._answers.put_nowait(error)

    async def finish(self) -> None:
        """End the answers after those that are made."""
        self._answers.put_nowait(None)

    def cancel(self) -> None:
        """End the stream."""
        self._answers.put_nowait(PlauditError("the stream was ended here", code=grpc.StatusCode.CANCELLED))
