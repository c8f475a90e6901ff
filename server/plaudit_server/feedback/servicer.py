"""The RPCs of FeedbackService: each one validates, calls and answers; nothing else happens here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from typing import Final, TypeVar

from plaudit import v1 as wire
from plaudit._contract import limits, refs
from plaudit.v1 import (
    BatchCreateFeedbackRequest,
    BatchCreateFeedbackResult,
    Change,
    CountFeedbackRequest,
    CountFeedbackResponse,
    CreateFeedbackRequest,
    GetFeedbackRequest,
    GetServerInfoRequest,
    GetServerInfoResponse,
    ImportFeedbackRequest,
    IngestFeedbackRequest,
    ListFeedbackVersionsRequest,
    ListFeedbackVersionsResponse,
    ListRefsRequest,
    ListRefsResponse,
    PurgeFeedbackRequest,
    PurgeFeedbackResponse,
    Query,
    QueryFeedbackRequest,
    QueryFeedbackResponse,
    Ref,
    RefEdge,
    RefKind,
    RefSummary,
    ReplaceFeedbackRequest,
    StreamFeedbackRequest,
    WatchFeedbackRequest,
    WatchFeedbackResponse,
)
from plaudit_server.errors import (
    DomainError,
    FeedbackNotFound,
    InvalidFields,
    InvalidQuery,
    Violation,
    WatcherTooSlow,
    describe,
)
from plaudit_server.feedback import ingest, rules
from plaudit_server.feedback.records import Record, Row, message, set_timestamp, varint
from plaudit_server.feedback.watch import Watches
from plaudit_server.query.parse import parse_order, parse_query
from plaudit_server.query.tree import Operation, SortKey
from plaudit_server.rpc import paging
from plaudit_server.rpc.chain import Call, SlowReader
from plaudit_server.store.base import (
    Changes,
    Create,
    Purge,
    RefCount,
    Replace,
    Select,
    Store,
    Tombstone,
)
from plaudit_server.store.writer import Acknowledged, Writer

T = TypeVar("T")

# Below the 4 MiB that a client of any language takes by default, with room for a token of long sort keys.
_PAGE_BYTES: Final = limits.RESPONSE_BYTES - 512 * limits.KIB

# A stream's messages are smaller: as fast, sooner there, and less of many streams in memory at a time (ADR 0017).
_STREAM_BYTES: Final = limits.MIB

# A thousand refused items still fit a response beside the echo of those that were stored.
_ITEM_STATUS_BYTES: Final = limits.KIB

_Filtered = CountFeedbackRequest | ListRefsRequest | QueryFeedbackRequest | StreamFeedbackRequest | WatchFeedbackRequest


class FeedbackService:
    """One coroutine, or generator, per RPC, under the RPC's name."""

    def __init__(
        self, store: Store, writer: Writer, watches: Watches, version: str, acknowledged: Acknowledged
    ) -> None:
        self._store = store
        self._writer = writer
        self._watches = watches
        self._version = version
        self._acknowledged = acknowledged
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """End the streams of requests, each behind the answers to what it has read; watches end by themselves."""
        self._draining.set()

    async def CreateFeedback(self, call: Call, request: CreateFeedbackRequest) -> bytes:
        out: list[Violation] = []
        rules.check_project(request.project, out)
        record = rules.new_record(request.feedback, request.project, call.user_id, out)
        _refuse(out)
        assert record is not None
        [row] = _accepted(await self._writer.submit(Create(request.project, (record,), atomic=False)))
        answer = _encoded(_accepted(row))
        self._acknowledged(Create, 1)
        return answer

    async def BatchCreateFeedback(self, call: Call, request: BatchCreateFeedbackRequest) -> bytes:
        out: list[Violation] = []
        rules.check_project(request.project, out)
        rules.check_batch(len(request.feedback), out)
        if out:
            raise InvalidFields(out)
        results: list[Row | DomainError | None] = [None] * len(request.feedback)
        good: list[tuple[int, Record]] = []
        for index, item in enumerate(request.feedback):
            item_out: list[Violation] = []
            at = f"feedback[{index}]"
            record = rules.new_record(item, request.project, call.user_id, item_out, at)
            if record is not None:
                good.append((index, record))
            elif request.partial:
                results[index] = InvalidFields(item_out)
            else:
                out += item_out
        _refuse(out)
        if good:
            records = tuple(record for _, record in good)
            stored = _accepted(await self._writer.submit(Create(request.project, records, atomic=not request.partial)))
            for (index, _), row in zip(good, stored, strict=True):
                results[index] = row
        answer = _batch_response(results)
        self._acknowledged(Create, sum([isinstance(result, Row) for result in results]))
        return answer

    def IngestFeedback(self, call: Call, requests: AsyncIterator[IngestFeedbackRequest]) -> AsyncGenerator[bytes, None]:
        return ingest.answers(
            self._store, self._writer, requests, call, self._draining, self._acknowledged, imported=False
        )

    def ImportFeedback(self, call: Call, requests: AsyncIterator[ImportFeedbackRequest]) -> AsyncGenerator[bytes, None]:
        return ingest.answers(
            self._store, self._writer, requests, call, self._draining, self._acknowledged, imported=True
        )

    async def GetFeedback(self, call: Call, request: GetFeedbackRequest) -> bytes:
        out: list[Violation] = []
        rules.check_project(request.project, out)
        id = rules.check_id_lookup(request.id, out)
        rules.check_version(request.version, out)
        _refuse(out)
        row = await self._store.get(request.project, id, request.version)
        if row is None:
            raise FeedbackNotFound(request.project, request.id)
        return _encoded(row)

    async def QueryFeedback(self, call: Call, request: QueryFeedbackRequest) -> bytes:
        out: list[Violation] = []
        filter, order = _question(request, out)
        rules.check_offset_limit(request, out)
        size = rules.check_page_size(request.page_size, out)
        _refuse(out)
        limit = request.limit if request.HasField("limit") else None
        start = paging.Cursor((), limit)
        scope = paging.scope_of(request)
        if request.page_token:
            start = paging.unseal(request.page_token, scope, self._store.store_id)
        rows_wanted = size if start.remaining is None else min(size, start.remaining)
        page = await self._store.select(
            Select(
                request.project,
                filter,
                order,
                after=start.after or None,
                offset=0 if start.after else request.offset,
                limit=rows_wanted,
                max_bytes=_PAGE_BYTES,
                with_total=request.include_total_count,
            )
        )
        tail = QueryFeedbackResponse(revision=page.revision)
        if page.total is not None:
            tail.total_count = page.total
        remaining = None if start.remaining is None else start.remaining - len(page.rows)
        if page.last is not None and remaining != 0:
            tail.next_page_token = paging.seal(paging.Cursor(page.last, remaining), scope, self._store.store_id)
        return _joined(page.rows) + tail.SerializeToString()

    async def StreamFeedback(self, call: Call, request: StreamFeedbackRequest) -> AsyncGenerator[bytes, None]:
        out: list[Violation] = []
        filter, order = _question(request, out)
        rules.check_offset_limit(request, out)
        _refuse(out)
        remaining = request.limit if request.HasField("limit") else None
        after, offset = None, request.offset
        while remaining != 0:
            # Page by page, so that no reader's snapshot outlives one: a purge is not kept from erasing.
            wanted = limits.PAGE_ROWS if remaining is None else min(limits.PAGE_ROWS, remaining)
            page = await self._store.select(
                Select(request.project, filter, order, after, offset, wanted, max_bytes=_STREAM_BYTES)
            )
            if page.rows:
                yield _joined(page.rows)
            if page.last is None:
                return
            after, offset = page.last, 0
            if remaining is not None:
                remaining -= len(page.rows)

    async def CountFeedback(self, call: Call, request: CountFeedbackRequest) -> CountFeedbackResponse:
        out: list[Violation] = []
        filter = _filter(request, out)
        _refuse(out)
        return CountFeedbackResponse(count=await self._store.count(request.project, filter))

    async def ListRefs(self, call: Call, request: ListRefsRequest) -> ListRefsResponse:
        out: list[Violation] = []
        filter = _filter(request, out)
        size = rules.check_page_size(request.page_size, out)
        _refuse(out)
        scope = paging.scope_of(request)
        after = None
        if request.page_token:
            after = str(paging.unseal(request.page_token, scope, self._store.store_id).after[0])
        found = await self._store.refs(request.project, filter, after, size + 1)
        response = ListRefsResponse(refs=[_summary(ref) for ref in found[:size]])
        if len(found) > size:
            cursor = paging.Cursor((found[size - 1].ref,), None)
            response.next_page_token = paging.seal(cursor, scope, self._store.store_id)
        return response

    async def ReplaceFeedback(self, call: Call, request: ReplaceFeedbackRequest) -> bytes:
        out: list[Violation] = []
        rules.check_project(request.project, out)
        rules.check_version(request.expected_version, out, "expected_version")
        record = rules.new_record(request.feedback, request.project, call.user_id, out, id_lookup=True)
        _refuse(out)
        assert record is not None
        replace = Replace(request.project, record, request.expected_version, call.owner)
        answer = _encoded(_accepted(await self._writer.submit(replace)))
        self._acknowledged(Replace, 1)
        return answer

    async def ListFeedbackVersions(self, call: Call, request: ListFeedbackVersionsRequest) -> bytes:
        out: list[Violation] = []
        rules.check_project(request.project, out)
        id = rules.check_id_lookup(request.id, out)
        size = rules.check_page_size(request.page_size, out)
        _refuse(out)
        scope = paging.scope_of(request)
        after = 0
        if request.page_token:
            after = int(paging.unseal(request.page_token, scope, self._store.store_id).after[0] or 0)
        versions = await self._store.versions(request.project, id, after, size)
        if not versions.rows and versions.tombstone is None and not after:
            raise FeedbackNotFound(request.project, request.id)
        tail = ListFeedbackVersionsResponse()
        if versions.tombstone is not None:
            tail.tombstone.CopyFrom(_tombstone(versions.tombstone))
        if versions.more:
            last = message(versions.rows[-1]).version
            tail.next_page_token = paging.seal(paging.Cursor((last,), None), scope, self._store.store_id)
        return _joined(versions.rows) + tail.SerializeToString()

    async def WatchFeedback(self, call: Call, request: WatchFeedbackRequest) -> AsyncGenerator[bytes, None]:
        out: list[Violation] = []
        filter = _filter(request, out)
        rules.check_version(request.after_revision, out, "after_revision")
        _refuse(out)
        after = request.after_revision if request.HasField("after_revision") else None
        question = request.query.SerializeToString(deterministic=True) if filter is not None else b""
        told = after or 0
        watch = self._watches.watch(request.project, after, filter, question)
        async with aclosing(watch):
            async for found in watch:
                try:
                    yield _watch_response(found)
                except SlowReader:
                    raise WatcherTooSlow(request.project, told) from None
                told = found.revision

    async def PurgeFeedback(self, call: Call, request: PurgeFeedbackRequest) -> PurgeFeedbackResponse:
        out: list[Violation] = []
        rules.check_project(request.project, out)
        filter = None
        if request.HasField("query"):
            filter = _parsed(request.query, out)
        if bool(request.ids) == request.HasField("query"):
            out.append(Violation("ids", "give exactly one of ids and query"))
        ids = rules.check_ids(request.ids, out)
        _refuse(out)
        purged = await self._writer.submit(
            Purge(
                request.project,
                call.user_id,
                ids=ids if filter is None else None,
                filter=filter,
                limit=limits.PURGE_ROWS,
                dry_run=request.dry_run,
                owner=call.owner,
            )
        )
        done = _accepted(purged)
        return PurgeFeedbackResponse(purged_count=done.purged, more=done.more)

    async def GetServerInfo(self, call: Call, request: GetServerInfoRequest) -> GetServerInfoResponse:
        return GetServerInfoResponse(
            version=self._version,
            store=self._store.name,
            limits=limits.as_mapping(),
            erasure_pending=self._store.erasure_pending,
        )


def _refuse(out: list[Violation]) -> None:
    if out:
        if all(v.field.startswith(("query", "order_by")) for v in out):
            raise InvalidQuery(out)
        raise InvalidFields(out)


def _parsed(query: Query, out: list[Violation]) -> Operation | None:
    try:
        return parse_query(query)
    except InvalidQuery as error:
        out += error.violations
        return None


def _filter(request: _Filtered, out: list[Violation]) -> Operation | None:
    rules.check_project(request.project, out)
    return _parsed(request.query, out) if request.HasField("query") else None


def _question(
    request: QueryFeedbackRequest | StreamFeedbackRequest, out: list[Violation]
) -> tuple[Operation | None, tuple[SortKey, ...]]:
    filter = _filter(request, out)
    try:
        return filter, parse_order(request.order_by)
    except InvalidQuery as error:
        out += error.violations
        return filter, ()


def _accepted(outcome: T | DomainError) -> T:
    """What a command came to; what the store's rules refused is raised."""
    if isinstance(outcome, DomainError):
        raise outcome
    return outcome


def _encoded(row: Row) -> bytes:
    """A response whose field 1 is the record."""
    return row.head + row.payload


def _element(encoded: bytes) -> bytes:
    """One element of a repeated field 1 whose messages are encoded already."""
    return b"".join((b"\x0a", varint(len(encoded)), encoded))


def _joined(rows: Iterable[Row]) -> bytes:
    """A response whose repeated field 1 are the records."""
    return b"".join([part for row in rows for part in row])


def _batch_response(results: Iterable[Row | DomainError | None]) -> bytes:
    """A BatchCreateFeedbackResponse; a row is already the encoding of a result whose field 1 it is."""
    encoded = []
    for result in results:
        match result:
            case Row():
                encoded.append(_encoded(result))
            case DomainError():
                status = describe(result).status(room=_ITEM_STATUS_BYTES)
                encoded.append(BatchCreateFeedbackResult(status=status).SerializeToString())
    return b"".join(map(_element, encoded))


def _watch_response(found: Changes) -> bytes:
    """A WatchFeedbackResponse; a row is already field 1 of a Change."""
    parts = []
    for change in found.changes:
        facts = Change(kind=change.kind, revision=change.revision)  # type: ignore[arg-type]
        if change.tombstone is not None:
            facts.tombstone.CopyFrom(_tombstone(change.tombstone))
        encoded = facts.SerializeToString() if change.row is None else _encoded(change.row) + facts.SerializeToString()
        parts.append(_element(encoded))
    parts.append(WatchFeedbackResponse(revision=found.revision).SerializeToString())
    return b"".join(parts)


def _tombstone(tombstone: Tombstone) -> wire.Tombstone:
    left = wire.Tombstone(
        id=tombstone.id,
        ref=tombstone.ref,
        feedback_type=tombstone.feedback_type,
        user_id=tombstone.user_id,
        revision=tombstone.revision,
    )
    set_timestamp(left.purged_at, tombstone.purged_at)
    return left


def _summary(counted: RefCount) -> RefSummary:
    parsed = refs.parse_ref(counted.ref)
    summary = RefSummary(
        ref=Ref(
            uri=counted.ref,
            kind=RefKind.Value(f"REF_KIND_{parsed.kind.upper()}"),
            entity=parsed.entity or "",
            project=parsed.project or "",
            name=parsed.name or "",
            digest=parsed.digest or "",
            id=parsed.id or "",
            path=[RefEdge(edge=edge.edge, value=edge.value) for edge in parsed.path],
        ),
        feedback_count=counted.feedback_count,
    )
    set_timestamp(summary.first_created_at, counted.first_created_at)
    set_timestamp(summary.last_created_at, counted.last_created_at)
    return summary
