"""The client of asyncio: the operations of the service as coroutines, over one transport."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, cast, overload
from uuid import UUID

from plaudit import v1
from plaudit._async import default
from plaudit._async.closing import AsyncClosing
from plaudit._async.ingest import AwaitedIngestLine
from plaudit._async.projects import AsyncProjectOperations
from plaudit._async.query import AsyncFeedbackQuery, AsyncRefFeedbackQuery
from plaudit._async.stream import AsyncFeedbackStream
from plaudit._async.watch import AsyncWatch
from plaudit._contract import limits
from plaudit._core.errors import NotStoredError, PlauditError
from plaudit._core.expr import QueryLike
from plaudit._core.given import FeedbackChanges, FeedbackRecord
from plaudit._core.grouping import Measured
from plaudit._core.keys import Key
from plaudit._core.model import Feedback
from plaudit._core.options import CallArguments, CallOptions
from plaudit._core.writing import BatchResult, Existing, Ingested, Progress
from plaudit._results.history import History
from plaudit._results.refs import RefOverview, Refs
from plaudit._settings import Metadata, Options, Settings
from plaudit._show.progress import shown
from plaudit._steps.editing import Doomed
from plaudit._steps.ingest import import_options
from plaudit._wire.grpc_aio import GrpcAsyncTransport
from plaudit._wire.transport import AsyncTransport

if TYPE_CHECKING:
    import os

    import grpc.aio

    from plaudit._async.buffered import AsyncBufferedWriter
    from plaudit._contract.refs import Ref

RequestT = TypeVar("RequestT", v1.IngestFeedbackRequest, v1.ImportFeedbackRequest)
Records = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]


class AsyncClient(AsyncProjectOperations, AsyncClosing):
    """A `Client` whose calls are awaited. Belongs to the event loop of its first call, which connects.

    Arguments, defaults and errors are those of `Client`, and so are the methods; a function that is given as `api_key`
    may be a coroutine function. Each method that calls the server is a coroutine; a task that is cancelled cancels its
    call, which may have been carried out. Use it in an `async with` block.
    """

    _connect = GrpcAsyncTransport

    def __init__(
        self,
        project: str | None = None,
        *,
        channel: grpc.aio.Channel | None = None,
        transport: AsyncTransport | None = None,
        **options: Unpack[Options],
    ) -> None:
        settings = Settings.resolve(project, **options)
        given = channel if transport is None else transport
        super().__init__(settings, transport or GrpcAsyncTransport(settings, channel=channel), given)

    def get_feedback(
        self,
        query: str | QueryLike | None = None,
        *,
        reaction: str | None = None,
        tones: Literal["any"] | None = None,
        offset: int = 0,
        limit: int | None = None,
        order_by: str | Iterable[str] | None = None,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> AsyncFeedbackQuery:
        """As `Client.get_feedback`; sends nothing, so there is nothing to await."""
        entity, name, chosen = self._chosen(query, reaction, tones, project)
        made = AsyncFeedbackQuery(entity, name, chosen, offset, limit, show_refs=True, order_by=order_by, client=self)
        made._options = CallOptions.of(**call)
        return made

    def stream(
        self,
        query: str | QueryLike | None = None,
        *,
        reaction: str | None = None,
        tones: Literal["any"] | None = None,
        offset: int = 0,
        limit: int | None = None,
        order_by: str | Iterable[str] | None = None,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> AsyncFeedbackStream:
        """As `Client.stream`: `async for feedback in client.stream(…)`."""
        entity, name, chosen = self._chosen(query, reaction, tones, project)
        return AsyncFeedbackQuery(entity, name, chosen, offset, limit, order_by=order_by, client=self).stream(**call)

    def ref(
        self, uri: str | Ref, *, project: str | None = None, **call: Unpack[CallArguments]
    ) -> AsyncRefFeedbackQuery:
        """As `Client.ref`; sends nothing, so there is nothing to await."""
        query = AsyncRefFeedbackQuery(uri, client=self)
        query._move_to(project)
        query._options = CallOptions.of(**call)
        return query

    async def summarize_refs(
        self,
        refs: Iterable[str | Ref],
        query: QueryLike | None = None,
        *,
        creator: str | None = None,
        include_newest: bool = False,
        any_tone: bool = False,
        project: str | None = None,
        timeout: float | None = None,
        **measures: Measured,
    ) -> list[RefOverview]:
        """As `Client.summarize_refs`."""
        steps = self._summarize_refs(refs, query, measures, creator, include_newest, any_tone, project)
        return await self._finished(steps, {"timeout": timeout})

    async def create(
        self,
        record: FeedbackRecord | Mapping[str, Any],
        *,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> Feedback:
        """As `Client.create`."""
        return await self._finished(self._create(record, project), call)

    @overload
    async def create_batch(
        self,
        records: Iterable[Mapping[str, Any]],
        partial: Literal[False] = False,
        *,
        key: Key | None = None,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> BatchResult[Feedback]: ...
    @overload
    async def create_batch(
        self,
        records: Iterable[Mapping[str, Any]],
        partial: bool,
        *,
        key: Key | None = None,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> BatchResult[Feedback | PlauditError]: ...
    async def create_batch(
        self,
        records: Iterable[Mapping[str, Any]],
        partial: bool = False,
        *,
        key: Key | None = None,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> BatchResult[Feedback] | BatchResult[Feedback | PlauditError]:
        """As `Client.create_batch`."""
        return cast(
            "BatchResult[Feedback]", await self._finished(self._create_batch(records, partial, key, project), call)
        )

    async def get(
        self, id: str | UUID, version: int = 0, *, project: str | None = None, **call: Unpack[CallArguments]
    ) -> Feedback:
        """As `Client.get`."""
        return await self._finished(self._get(id, version, project), call)

    async def replace(
        self,
        record: Mapping[str, Any],
        *,
        expected_version: int = 0,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> Feedback:
        """As `Client.replace`."""
        return await self._finished(self._replace(record, expected_version, project), call)

    async def update(
        self,
        id: str | UUID,
        payload: Mapping[str, Any] | None = None,
        *,
        expected_version: int = 0,
        project: str | None = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        **changes: Unpack[FeedbackChanges],
    ) -> Feedback:
        """As `Client.update`."""
        steps = self._update(id, payload, changes, expected_version, project)
        return await self._finished(steps, {"timeout": timeout, "metadata": metadata})

    async def history(self, id: str | UUID, *, project: str | None = None, **call: Unpack[CallArguments]) -> History:
        """As `Client.history`."""
        return await self._finished(self._history(id, project), call)

    async def ingest(
        self,
        records: Records,
        *,
        partial: bool = False,
        key: Key | None = None,
        linger: float = 1.0,
        project: str | None = None,
        progress: bool | Progress = False,
        **call: Unpack[CallArguments],
    ) -> Ingested:
        """As `Client.ingest`; `records` may be an asynchronous iterable, too, of which alone `linger` holds."""
        return await self._ingested(records, partial, key, None, linger, project, progress, CallOptions.of(**call))

    async def import_records(
        self,
        records: Records | Iterable[Feedback],
        *,
        existing: Existing = "refuse",
        skip_definitions: bool = False,
        partial: bool = False,
        key: Key | None = None,
        linger: float = 1.0,
        project: str | None = None,
        progress: bool | Progress = False,
        **call: Unpack[CallArguments],
    ) -> Ingested:
        """As `Client.import_records`; `records` may be an asynchronous iterable, too."""
        importing = import_options(existing, skip_definitions)
        return await self._ingested(records, partial, key, importing, linger, project, progress, CallOptions.of(**call))

    def buffered(
        self,
        *,
        spool: str | os.PathLike[str] | None = None,
        max_records: int = 10_000,
        max_bytes: int = 32 * limits.MIB,
        linger: float = 0.05,
        key: Key | None = None,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> AsyncBufferedWriter:
        """As `Client.buffered`; to be used in an `async with` block, within the running event loop."""
        from plaudit._async.buffered import AsyncBufferedWriter

        options = CallOptions.of(**call)
        writer = AsyncBufferedWriter(
            self.transport,
            self._project_of(project),
            spool=spool,
            max_records=max_records,
            max_bytes=max_bytes,
            linger=linger,
            patience=options.timeout or self._settings.timeout,
            key=key,
            options=options,
        )
        self._writers.add(writer)
        return writer

    async def watch(
        self,
        project: str | None = None,
        *,
        after: int | None = None,
        query: QueryLike | None = None,
        store_id: str = "",
        **call: Unpack[CallArguments],
    ) -> AsyncWatch:
        """As `Client.watch`: `async for change in await client.watch(…)`."""
        return await AsyncWatch._opened(
            self.transport, self._position(project, after, query, store_id), CallOptions.of(**call)
        )

    async def purge(
        self,
        ids: Iterable[Doomed] | None = None,
        *,
        query: QueryLike | None = None,
        dry_run: bool = False,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> int:
        """As `Client.purge`."""
        return await self._finished(self._purge(ids, query, dry_run, project), call)

    async def count(
        self, query: QueryLike | None = None, *, project: str | None = None, **call: Unpack[CallArguments]
    ) -> int:
        """As `Client.count`."""
        return await self._finished(self._count(query, project), call)

    async def refs(
        self, query: QueryLike | None = None, *, project: str | None = None, **call: Unpack[CallArguments]
    ) -> Refs:
        """As `Client.refs`."""
        return await self._finished(self._refs(query, project), call)

    async def close(self) -> None:
        """As `Client.close`."""
        reports = [await writer._close_with_client() for writer in list(self._writers)]
        self._writers.clear()
        await self.transport.close()
        for report in reports:
            if report is not None:
                raise NotStoredError.of(report)

    async def _ingested(
        self,
        records: Any,
        partial: bool,
        key: Key | None,
        importing: Mapping[str, Any] | None,
        linger: float,
        project: str | None,
        progress: bool | Progress,
        options: CallOptions,
    ) -> Ingested:
        if not linger > 0:
            raise ValueError("linger is a number of seconds above 0")
        with shown(progress, records) as report:
            method, ingestion = self._ingestion(project, partial, key, importing, report)
            line = AwaitedIngestLine(self.transport, method, ingestion, records, options)
            async with line.lingering(linger):
                return await self._finished(ingestion.run(line), {})


default.make_by(AsyncClient._of)
