"""The client of asyncio: the same operations and queries as in `_client` and `_query`, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Self, TypeVar, cast, overload
from weakref import WeakKeyDictionary

from plaudit import v1
from plaudit._core.batching import Batch, cut, cut_async
from plaudit._core.errors import PlauditError, UnavailableError
from plaudit._core.expr import QueryLike
from plaudit._core.model import Feedback
from plaudit._results.feedbacks import Feedbacks, Refs
from plaudit._results.history import Change, History
from plaudit._settings import DEFAULT_TIMEOUT, Settings, default_client
from plaudit._show.progress import shown
from plaudit._steps.ingest import Ingested, Progress, answered
from plaudit._steps.operations import Operations, ServerInfo, query_message
from plaudit._steps.step import finish_async
from plaudit._sync.query import Asked, AskedOfRef, project_id_of
from plaudit._sync.watch import Position, watched
from plaudit._wire.grpc_aio import GrpcAsyncTransport
from plaudit._wire.methods import WATCH, Method
from plaudit._wire.transport import AsyncStream, AsyncTransport

if TYPE_CHECKING:
    import grpc
    import grpc.aio
    import pandas

    from plaudit._contract.refs import Ref

RequestT = TypeVar("RequestT", v1.IngestFeedbackRequest, v1.ImportFeedbackRequest)
Records = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]
_FOR_EVER: Final = float("inf")


class AsyncClient(Operations[AsyncTransport]):
    """A `Client` whose calls are awaited. Belongs to the event loop of its first call, which connects.

    Arguments, defaults and errors are those of `Client`, and so are the methods, but for `buffered`: its writer takes
    records without waiting, which in an event loop a task does. Each method that calls the server is a coroutine; a
    task that is cancelled cancels its call, which may have been carried out. Use it in an `async with` block.
    """

    def __init__(
        self,
        project: str | None = None,
        *,
        target: str | None = None,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
        channel: grpc.aio.Channel | None = None,
        transport: AsyncTransport | None = None,
    ) -> None:
        settings = Settings.resolve(project, target, api_key, timeout)
        made = transport or GrpcAsyncTransport(
            settings.target,
            api_key=settings.api_key,
            timeout=settings.timeout,
            credentials=credentials,
            channel=channel,
        )
        super().__init__(settings, made)

    def get_feedback(
        self,
        query: str | QueryLike | None = None,
        *,
        reaction: str | None = None,
        offset: int = 0,
        limit: int | None = None,
        order_by: str | Iterable[str] | None = None,
        project: str | None = None,
    ) -> AsyncFeedbackQuery:
        """As `Client.get_feedback`; sends nothing, so there is nothing to await."""
        entity, name, chosen = self._chosen(query, reaction, project)
        return AsyncFeedbackQuery(entity, name, chosen, offset, limit, show_refs=True, order_by=order_by, client=self)

    def ref(self, uri: str | Ref, *, project: str | None = None) -> AsyncRefFeedbackQuery:
        """As `Client.ref`; sends nothing, so there is nothing to await."""
        return AsyncRefFeedbackQuery._of(uri, self, project)

    async def create(self, record: Mapping[str, Any], *, project: str | None = None) -> Feedback:
        """As `Client.create`."""
        return await finish_async(self._create(record, project))

    @overload
    async def create_batch(
        self, records: Iterable[Mapping[str, Any]], partial: Literal[False] = False, *, project: str | None = None
    ) -> list[Feedback]: ...
    @overload
    async def create_batch(
        self, records: Iterable[Mapping[str, Any]], partial: bool, *, project: str | None = None
    ) -> list[Feedback | PlauditError]: ...
    async def create_batch(
        self, records: Iterable[Mapping[str, Any]], partial: bool = False, *, project: str | None = None
    ) -> list[Feedback] | list[Feedback | PlauditError]:
        """As `Client.create_batch`."""
        return cast("list[Feedback]", await finish_async(self._create_batch(records, partial, project)))

    async def get(self, id: str, version: int = 0, *, project: str | None = None) -> Feedback:
        """As `Client.get`."""
        return await finish_async(self._get(id, version, project))

    async def replace(
        self, record: Mapping[str, Any], *, expected_version: int = 0, project: str | None = None
    ) -> Feedback:
        """As `Client.replace`."""
        return await finish_async(self._replace(record, expected_version, project))

    async def history(self, id: str, *, project: str | None = None) -> History:
        """As `Client.history`."""
        return await finish_async(self._history(id, project))

    async def ingest(
        self,
        records: Records,
        *,
        partial: bool = False,
        project: str | None = None,
        progress: bool | Progress = False,
    ) -> Ingested:
        """As `Client.ingest`; `records` may be an asynchronous iterable, too."""
        return await self._ingested(records, partial, False, project, progress)

    async def import_records(
        self,
        records: Records | Iterable[Feedback],
        *,
        partial: bool = False,
        project: str | None = None,
        progress: bool | Progress = False,
    ) -> Ingested:
        """As `Client.import_records`; `records` may be an asynchronous iterable, too."""
        return await self._ingested(records, partial, True, project, progress)

    async def watch(
        self, project: str | None = None, *, after: int | None = None, query: QueryLike | None = None
    ) -> AsyncWatch:
        """As `Client.watch`: `async for change in await client.watch(…)`."""
        position = Position(self.project_for(project), after, query_message(query))
        return await AsyncWatch._opened(self.transport, position)

    async def purge(
        self,
        ids: Iterable[str] | None = None,
        *,
        query: QueryLike | None = None,
        dry_run: bool = False,
        project: str | None = None,
    ) -> int:
        """As `Client.purge`."""
        return await finish_async(self._purge(ids, query, dry_run, project))

    async def count(self, query: QueryLike | None = None, *, project: str | None = None) -> int:
        """As `Client.count`."""
        return await finish_async(self._count(query, project))

    async def refs(self, query: QueryLike | None = None, *, project: str | None = None) -> Refs:
        """As `Client.refs`."""
        return await finish_async(self._refs(query, project))

    async def server_info(self) -> ServerInfo:
        """As `Client.server_info`."""
        return await finish_async(self._server_info())

    async def close(self) -> None:
        """Close the connection; calls after it raise RuntimeError."""
        await self.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _ingested(
        self, records: Any, partial: bool, imported: bool, project: str | None, progress: bool | Progress
    ) -> Ingested:
        with shown(progress, records) as tell:
            method, ingestion = self._ingestion(project, partial, imported, tell)
            cutter = ingestion.cutter()
            if isinstance(records, AsyncIterable):
                batches = cut_async(records, cutter)
            else:
                batches = _awaited(cut(records, cutter))
            return await finish_async(ingestion.run(_AwaitedLine(self.transport, method, batches)))


class AsyncFeedbackQuery(Asked[AsyncClient]):
    """A `FeedbackQuery` whose reads are awaited: `async for feedback in query`, `await query.execute()`.

    What Python can not await is a method of what `execute` returns: `len`, index and slice. `await query.any()` stands
    for `bool(query)`. Without a `client`, the running loop's own is used: it reaches the server of `plaudit.init`, else
    the one that the environment names.
    """

    def __init__(
        self,
        entity: str,
        project: str,
        query: QueryLike | None,
        offset: int | None = None,
        limit: int | None = None,
        show_refs: bool = False,
        *,
        order_by: str | Iterable[str] | None = None,
        client: AsyncClient | None = None,
    ) -> None:
        self._lock = asyncio.Lock()
        self._start(project_id_of(entity, project), query, offset, limit, show_refs, order_by, client)

    def _default_client(self) -> AsyncClient:
        return default_async_client()

    async def execute(self) -> Feedbacks:
        """As `FeedbackQuery.execute`."""
        async with self._lock:
            return await finish_async(self._all())

    async def refresh(self) -> Feedbacks:
        """As `FeedbackQuery.refresh`."""
        async with self._lock:
            return await finish_async(self._again())

    async def refs(self) -> Refs:
        """As `FeedbackQuery.refs`."""
        return (await self.execute()).refs()

    async def count(self) -> int:
        """As `FeedbackQuery.count`."""
        return await finish_async(self._counted())

    async def any(self) -> bool:
        """Whether there is any row; asks for one at most, and only when none is kept."""
        async with self._lock:
            return await finish_async(self._any())

    async def to_pandas(self) -> pandas.DataFrame:
        """As `FeedbackQuery.to_pandas`."""
        return (await self.execute()).to_pandas()

    async def __aiter__(self) -> AsyncIterator[Feedback]:
        """The rows, fetched page by page as they are needed. Another iterator starts with the pages kept so far."""
        async with self._lock:
            result = self._started()
        position = 0
        while position < len(result.rows) or await self._there_is(result, position):
            yield result.rows[position]
            position += 1

    async def _there_is(self, result: Any, position: int) -> bool:
        async with self._lock:
            return await finish_async(self._read_beyond(result, position))


class AsyncRefFeedbackQuery(AskedOfRef[AsyncClient], AsyncFeedbackQuery):
    """A `RefFeedbackQuery` whose calls are awaited."""

    def __init__(self, ref: str | Ref, *, client: AsyncClient | None = None) -> None:
        self._lock = asyncio.Lock()
        self._start_ref(ref, client)

    @classmethod
    def _of(cls, ref: str | Ref, client: AsyncClient, project: str | None) -> AsyncRefFeedbackQuery:
        made = cls(ref, client=client)
        if project is not None:
            made._project_id = client.project_for(project)
        return made

    async def add(
        self,
        feedback_type: str,
        payload: Mapping[str, Any] | None = None,
        creator: str | None = None,
        annotation_ref: str | Ref | None = None,
        **kwargs: Any,
    ) -> str:
        """As `RefFeedbackQuery.add`."""
        return await finish_async(self._added(feedback_type, payload, creator, annotation_ref, kwargs))

    async def add_reaction(self, emoji: str, creator: str | None = None) -> str:
        """As `RefFeedbackQuery.add_reaction`."""
        return await finish_async(self._reaction(emoji, creator))

    async def add_note(self, note: str, creator: str | None = None) -> str:
        """As `RefFeedbackQuery.add_note`."""
        return await finish_async(self._note(note, creator))

    async def purge(self, feedback_id: str) -> None:
        """As `RefFeedbackQuery.purge`."""
        await finish_async(self._purged(feedback_id))


class AsyncWatch:
    """A `Watch` to be iterated with `async for`; made by `await client.watch(…)`, and an async context manager."""

    def __init__(self, transport: AsyncTransport, position: Position) -> None:
        self._transport = transport
        self._position = position
        self._stream: AsyncStream[Any, v1.WatchFeedbackResponse] | None = None
        self._is_closed = False
        self._retry = transport.retry()

    @classmethod
    async def _opened(cls, transport: AsyncTransport, position: Position) -> AsyncWatch:
        watch = cls(transport, position)
        try:
            await watch._receive()
        except BaseException:
            await watch.close()
            raise
        watch._retry = transport.retry(_FOR_EVER)
        return watch

    @property
    def revision(self) -> int:
        """Everything up to here was given out: keep it with what you did, and give it as `after` to go on later."""
        return self._position.revision or 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        while not self._is_closed:
            change = self._position.take()
            if change is not None:
                return change
            await self._receive()
        raise StopAsyncIteration

    async def close(self) -> None:
        """End the watch, from any task of its loop; iterating stops."""
        self._is_closed = True
        if self._stream is not None:
            self._stream.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncWatch(revision={self.revision}{', closed' if self._is_closed else ''})"

    async def _receive(self) -> None:
        """Read the next response, over as many streams as it takes; none once the watch is closed."""
        while not self._is_closed:
            try:
                self._position.received(await self._next())
            except PlauditError as error:
                self._stream = None
                if self._is_closed:
                    return
                if not await self._retry.wait_async(error):
                    raise
            else:
                self._retry.succeeded()
                return

    async def _next(self) -> v1.WatchFeedbackResponse:
        if self._stream is not None:
            return watched(await anext(self._stream, None))
        stream = self._stream = self._transport.stream(WATCH, self._position.request())
        seconds = self._retry.remaining()
        try:
            # A stream has no deadline: end it when there is no answer at all in time.
            async with asyncio.timeout(None if seconds == _FOR_EVER else seconds):
                return watched(await anext(stream, None))
        except TimeoutError as error:
            stream.cancel()
            raise UnavailableError(f"no answer to the watch within {seconds:.3g} s") from error


class _AwaitedLine(Generic[RequestT]):
    """The `Line` of an event loop."""

    def __init__(
        self, transport: AsyncTransport, method: Method[RequestT, Any], batches: AsyncIterator[Batch[RequestT]]
    ) -> None:
        self._transport = transport
        self._method: Method[RequestT, Any] = method
        self._batches: AsyncIterator[Batch[RequestT]] = batches
        self._retry = transport.retry()
        self._stream: AsyncStream[RequestT, Any] | None = None
        self.succeeded = self._retry.succeeded
        self.wait = self._retry.wait_async

    @property
    def is_open(self) -> bool:
        return self._stream is not None

    async def next_batch(self) -> Batch[RequestT] | None:
        return await anext(self._batches, None)

    async def open(self, unanswered: list[RequestT]) -> None:
        self._stream = self._transport.both_streams(self._method)
        for request in unanswered:
            await self._stream.send(request)

    async def send(self, request: RequestT) -> None:
        assert self._stream is not None
        await self._stream.send(request)

    async def answer(self) -> Any:
        assert self._stream is not None
        return answered(await anext(self._stream, None))

    async def finish(self) -> None:
        assert self._stream is not None
        await self._stream.finish()
        with suppress(PlauditError):
            async for _ in self._stream:
                pass

    def cancel(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None


async def _awaited(batches: Iterable[Batch[RequestT]]) -> AsyncIterator[Batch[RequestT]]:
    for batch in batches:
        yield batch


def default_async_client() -> AsyncClient:
    """The running loop's client, with the default client's settings. Raises RuntimeError without a running loop."""
    loop = asyncio.get_running_loop()
    settings = default_client()._settings
    client = _defaults.get(loop)
    if client is None or client._settings != settings:
        client = _defaults[loop] = AsyncClient(
            settings.project, target=settings.target, api_key=settings.api_key, timeout=settings.timeout
        )
    return client


_defaults: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncClient] = WeakKeyDictionary()
