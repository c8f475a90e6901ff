"""The RPCs of FeedbackService: each one validates, calls and answers; nothing else happens here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, nullcontext
from functools import partial
from typing import Final

from plaudit._contract import limits
from plaudit.v1 import (
    BatchCreateFeedbackRequest,
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
    QueryFeedbackRequest,
    QueryFeedbackResponse,
    ReplaceFeedbackRequest,
    SetReactionRequest,
    SetReactionResponse,
    StreamFeedbackRequest,
    WatchFeedbackRequest,
)
from plaudit_server.errors import DomainError, InvalidFields, StoreChanged, Violation
from plaudit_server.feedback import ingest, rules
from plaudit_server.feedback.answers import (
    batch_response,
    encoded,
    joined,
    reaction_message,
    summary,
    tombstone,
    watch_response,
)
from plaudit_server.feedback.commands import Purge, Purged, Replace
from plaudit_server.feedback.counted import Tally, counters_of
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.errors import FeedbackNotFound, WatcherTooSlow
from plaudit_server.feedback.judging import Judge, NoJudge, Subject
from plaudit_server.feedback.purging import Progress, Purging
from plaudit_server.feedback.questions import check_ref_order, filter_of, parsed, question_of, refuse
from plaudit_server.feedback.reacting import ClearReaction, React
from plaudit_server.feedback.reaction_rules import check_reaction
from plaudit_server.feedback.reads import Changes, Count, Get, PlacedRef, RefCount, Select, SelectRefs, SelectVersions
from plaudit_server.feedback.records import Row, message
from plaudit_server.feedback.watch import Watches
from plaudit_server.feedback.writing import Draft, Writing, drafted, owner_of_replaced, single
from plaudit_server.rpc import paging
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.chain import SlowReader
from plaudit_server.rpc.checks import Turn, seconds_of_query
from plaudit_server.rpc.resource import Parts
from plaudit_server.rpc.wire import element
from plaudit_server.store.base import accepted

# Below the 4 MiB that a client of any language takes by default, with room for a token of long sort keys.
_PAGE_BYTES: Final = limits.RESPONSE_BYTES - 512 * limits.KIB

# More take longer than a millisecond, in turn with other large answers. Others go on after each so many of them, and
# the turn is charged what the database and the loop take for one: with what the loop takes alone, 16 callers had
# three fifths of a processor. That is what the read took, as the machine is today, from once to four times as much.
_FEW_REFS: Final = 100
_SECONDS_PER_REF: Final = 2e-5
_MOST_SECONDS_PER_REF: Final = 8e-5

# What a page takes of processors, in reading, sending and the kernel; larger ones have a turn.
_SECONDS_PER_BYTE: Final = 1e-8
_LARGE_PAGE_BYTES: Final = 64 * 1024

# As few as this are removed like any other write.
_FEW_PURGED: Final = 50

# Where the record of a request with one is.
_PLACES: Final = ("feedback",)

# A stream's messages are smaller: as fast, they arrive sooner, and many streams need less memory (ADR 0017).
_STREAM_BYTES: Final = limits.MIB


class FeedbackService:
    """One coroutine, or generator, per RPC, under the RPC's name."""

    def __init__(self, parts: Parts, watches: Watches) -> None:
        self._parts = parts
        self._store = parts.store
        self._writer = parts.writer
        self._watches = watches
        self._version = parts.version
        self._acknowledged = parts.acknowledged
        self._deadlines = parts.deadlines
        self._checks = parts.checks
        self._writing = Writing(parts.writer, parts.hooks.get(Judge, NoJudge()))
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """End the streams of requests, each after the answers to what it has read; watches end by themselves."""
        self._draining.set()

    async def CreateFeedback(self, call: Call, request: CreateFeedbackRequest) -> bytes:
        out: list[Violation] = []
        rules.check_new_project(request.project, out)
        draft = await self._draft(call, request, out, partial(owner_of_replaced, call, request.project))
        [row] = await self._writing.create(draft)
        answer = encoded(accepted(row))
        self._acknowledged(Create.kind, 1)
        return answer

    async def _draft(
        self,
        call: Call,
        request: CreateFeedbackRequest | ReplaceFeedbackRequest,
        out: list[Violation],
        owner: Callable[[], str | None],
        *,
        id_lookup: bool = False,
    ) -> Draft:
        """The record of a request. Raises what it breaks, with what is in `out` already."""
        project, item = request.project, request.feedback
        known, glance = self._writing.known(project)
        if self._checks.are_small(call):
            subjects: list[Subject] | None = None if glance is None else []
            record = rules.new_record(
                item, project, call.user_id, out, id_lookup=id_lookup, subjects=subjects, glance=glance
            )
        else:
            check = rules.checked_one, item, project, call.user_id, id_lookup, known is None
            record, found, subjects = await self._checks.run(call, (item.payload_json,), *check)
            out += found
        if out:
            out += await self._writing.violations(project, subjects or (), ["feedback"])
        refuse(out)
        assert record is not None
        if glance is not None and not subjects:
            known = glance.nothing or glance.judgement((record,))
        work = self._deadlines.write(call, project)
        return Draft(project, (record,), _PLACES, subjects or (), atomic=False, owner=owner, known=known, work=work)

    async def BatchCreateFeedback(self, call: Call, request: BatchCreateFeedbackRequest) -> bytes:
        out: list[Violation] = []
        rules.check_new_project(request.project, out)
        rules.check_batch(len(request.feedback), out)
        if out:
            raise InvalidFields(out)
        known, glance = self._writing.known(request.project)
        check = partial(
            rules.new_records, project=request.project, user_id=call.user_id, collects=known is None, glance=glance
        )
        payloads = (item.payload_json for item in request.feedback)
        checked = await self._checks.run_each(call, payloads, list(request.feedback), check)
        if checked.refused and not request.partial:
            raise InvalidFields(await self._writing.all_violations(request.project, checked))
        refused = await self._writing.refusals(request.project, checked)
        results: list[Row | DomainError | None] = [refused.get(index) for index in range(len(request.feedback))]
        if checked.records:
            work = self._deadlines.write(call, request.project)
            owner = partial(owner_of_replaced, call, request.project)
            draft = drafted(
                checked, request.project, work, atomic=not request.partial, owner=owner, known=known, glance=glance
            )
            for index, row in zip(checked.places, await self._writing.create(draft), strict=True):
                results[index] = row
        answer = batch_response(results)
        self._acknowledged(Create.kind, sum([isinstance(result, Row) for result in results]))
        return answer

    def IngestFeedback(self, call: Call, requests: AsyncIterator[IngestFeedbackRequest]) -> AsyncGenerator[bytes, None]:
        return ingest.answers(self._parts, self._writing, requests, call, self._draining, imported=False)

    def ImportFeedback(self, call: Call, requests: AsyncIterator[ImportFeedbackRequest]) -> AsyncGenerator[bytes, None]:
        return ingest.answers(self._parts, self._writing, requests, call, self._draining, imported=True)

    async def GetFeedback(self, call: Call, request: GetFeedbackRequest) -> bytes:
        out: list[Violation] = []
        rules.check_project(request.project, out)
        id = rules.check_id_lookup(request.id, out)
        rules.check_version(request.version, out)
        refuse(out)
        row = await self._store.read(
            Get(request.project, id, request.version), self._deadlines.read(call, request.project)
        )
        if row is None:
            raise FeedbackNotFound(request.project, request.id)
        return encoded(row)

    async def QueryFeedback(self, call: Call, request: QueryFeedbackRequest) -> bytes:
        out: list[Violation] = []
        filter, order = question_of(request, out)
        rules.check_offset_limit(request, out)
        size = rules.check_page_size(request.page_size, out)
        refuse(out)
        limit = request.limit if request.HasField("limit") else None
        start = paging.Cursor((), limit)
        scope = paging.scope_of(request)
        if request.page_token:
            start = paging.unseal(request.page_token, scope, self._store.store_id)
        rows_wanted = size if start.remaining is None else min(size, start.remaining)
        page = await self._store.read(
            Select(
                request.project,
                filter,
                order,
                after=start.after or None,
                offset=0 if start.after else request.offset,
                limit=rows_wanted,
                max_bytes=_PAGE_BYTES,
                with_total=request.include_total_count,
            ),
            self._deadlines.read(call, request.project),
        )
        tail = QueryFeedbackResponse(revision=page.revision)
        if page.total is not None:
            tail.total_count = page.total
        remaining = None if start.remaining is None else start.remaining - len(page.rows)
        if page.last is not None and remaining != 0:
            tail.next_page_token = paging.seal(paging.Cursor(page.last, remaining), scope, self._store.store_id)
        answer = joined(page.rows) + tail.SerializeToString()
        if len(answer) >= _LARGE_PAGE_BYTES:
            await self._checks.page(call, len(answer) * _SECONDS_PER_BYTE)
        return answer

    async def StreamFeedback(self, call: Call, request: StreamFeedbackRequest) -> AsyncGenerator[bytes, None]:
        out: list[Violation] = []
        filter, order = question_of(request, out)
        rules.check_offset_limit(request, out)
        refuse(out)
        remaining = request.limit if request.HasField("limit") else None
        after, offset = None, request.offset
        while remaining != 0:
            # Page by page, so that no snapshot lasts longer than a page: a longer one would keep a purge from erasing.
            wanted = limits.PAGE_ROWS if remaining is None else min(limits.PAGE_ROWS, remaining)
            page = await self._store.read(
                Select(request.project, filter, order, after, offset, wanted, max_bytes=_STREAM_BYTES),
                self._deadlines.read(call, request.project),
            )
            size = 0
            if page.rows:
                encoded_page = joined(page.rows)
                size = len(encoded_page)
                yield encoded_page
            if page.last is None:
                return
            await self._checks.page(call, size * _SECONDS_PER_BYTE)
            after, offset = page.last, 0
            if remaining is not None:
                remaining -= len(page.rows)

    async def CountFeedback(self, call: Call, request: CountFeedbackRequest) -> CountFeedbackResponse:
        out: list[Violation] = []
        filter = filter_of(request, out)
        refuse(out)
        work = self._deadlines.read(call, request.project)
        which = counters_of(filter)
        # The counters are read in the lane of few rows. Where they cannot be used, the rows are counted in another.
        count = None if which is None else await self._store.read(Tally(request.project, which), work)
        if count is None:
            count = await self._store.read(Count(request.project, filter), work)
        return CountFeedbackResponse(count=count)

    async def ListRefs(self, call: Call, request: ListRefsRequest) -> bytes:
        out: list[Violation] = []
        filter = filter_of(request, out)
        without = parsed(request.without, out, "without") if request.HasField("without") else None
        order = check_ref_order(request.order, out)
        rules.check_ref_prefix(request.ref_prefix, out)
        size = rules.check_page_size(request.page_size, out)
        refuse(out)
        assert order is not None
        scope = paging.scope_of(request)
        after = None
        if request.page_token:
            # In the order of URIs the ref alone, as tokens have always had it.
            *value, last_ref = paging.unseal(request.page_token, scope, self._store.store_id).after
            after = PlacedRef(int(value[0] or 0) if value else 0, str(last_ref))
        work = self._deadlines.read(call, request.project)
        read = SelectRefs(request.project, filter, after, size + 1, without, request.ref_prefix, order)
        began = time.monotonic()
        found = await self._store.read(read, work)
        took, rows = time.monotonic() - began, len(found)
        seconds = min(max(took, rows * _SECONDS_PER_REF), rows * _MOST_SECONDS_PER_REF)
        alone = self._checks.in_turn(call, seconds) if rows > _FEW_REFS else nullcontext(Turn())
        async with alone as turn:
            shown = await _refs(found[:size], turn)
        rest = ListRefsResponse()
        if len(found) > len(shown):
            last = found[len(shown) - 1]
            place = (last.ref,) if order == "uri" else (last.place, last.ref)
            rest.next_page_token = paging.seal(paging.Cursor(place, None), scope, self._store.store_id)
        return b"".join([*shown, rest.SerializeToString()])

    async def ReplaceFeedback(self, call: Call, request: ReplaceFeedbackRequest) -> bytes:
        out: list[Violation] = []
        rules.check_new_project(request.project, out)
        rules.check_version(request.expected_version, out, "expected_version")
        draft = await self._draft(call, request, out, lambda: call.owner, id_lookup=True)
        answer = encoded(await self._writing.replace(draft, request.expected_version))
        self._acknowledged(Replace.kind, 1)
        return answer

    async def SetReaction(self, call: Call, request: SetReactionRequest) -> SetReactionResponse:
        out: list[Violation] = []
        checked = check_reaction(request, call.user_id, out)
        refuse(out)
        assert checked is not None
        reaction, record = checked
        work = self._deadlines.write(call, request.project)
        if request.reacted:
            draft = single(request.project, record, work)
            done = await self._writing.committed(draft, lambda judgement: React(reaction, record, judgement, work))
        else:
            done = accepted(await self._writer.submit(ClearReaction(reaction, work)))
        response = SetReactionResponse(
            changed=done.changed, reaction=reaction_message(done.summary), revision=done.revision
        )
        if done.row is not None:
            response.feedback.CopyFrom(message(done.row))
            self._acknowledged(React.kind, 1)
        return response

    async def ListFeedbackVersions(self, call: Call, request: ListFeedbackVersionsRequest) -> bytes:
        out: list[Violation] = []
        rules.check_project(request.project, out)
        id = rules.check_id_lookup(request.id, out)
        size = rules.check_page_size(request.page_size, out)
        refuse(out)
        scope = paging.scope_of(request)
        after = 0
        if request.page_token:
            after = int(paging.unseal(request.page_token, scope, self._store.store_id).after[0] or 0)
        work = self._deadlines.read(call, request.project)
        versions = await self._store.read(SelectVersions(request.project, id, after, size), work)
        if not versions.rows and versions.tombstone is None and not after:
            raise FeedbackNotFound(request.project, request.id)
        tail = ListFeedbackVersionsResponse()
        if versions.tombstone is not None:
            tail.tombstone.CopyFrom(tombstone(versions.tombstone))
        if versions.more:
            last = message(versions.rows[-1]).version
            tail.next_page_token = paging.seal(paging.Cursor((last,), None), scope, self._store.store_id)
        return joined(versions.rows) + tail.SerializeToString()

    async def WatchFeedback(self, call: Call, request: WatchFeedbackRequest) -> AsyncGenerator[bytes, None]:
        seen, store_id = request.after_revision, self._store.store_id.public
        async with AsyncExitStack() as ending:
            async with self._checks.opening(call):
                watch = await ending.enter_async_context(aclosing(self._watch(call, request)))
                found: Changes | None = await anext(watch)
            while found is not None:
                try:
                    yield watch_response(found, store_id)
                except SlowReader:
                    raise WatcherTooSlow(request.project, seen) from None
                seen, store_id = found.revision, ""  # which only the first answer has
                found = await anext(watch, None)

    def _watch(self, call: Call, request: WatchFeedbackRequest) -> AsyncGenerator[Changes, None]:
        out: list[Violation] = []
        filter = filter_of(request, out)
        rules.check_version(request.after_revision, out, "after_revision")
        refuse(out)
        if request.store_id and request.store_id != self._store.store_id.public:
            raise StoreChanged(self._store.store_id.public)
        after = request.after_revision if request.HasField("after_revision") else None
        question = request.query.SerializeToString(deterministic=True) if filter is not None else b""
        work = partial(self._deadlines.read, call, request.project)
        # What it has missed is read with the filter for either table, and for versions that were replaced.
        turn = partial(self._checks.page, call, 3 * seconds_of_query(call))
        return self._watches.watch(request.project, after, filter, work, question, turn)

    async def PurgeFeedback(self, call: Call, request: PurgeFeedbackRequest) -> PurgeFeedbackResponse:
        out: list[Violation] = []
        rules.check_project(request.project, out)
        filter = None
        if request.HasField("query"):
            filter = parsed(request.query, out)
        elif request.page_token:
            out.append(Violation("page_token", "is for a purge by query"))
        if bool(request.ids) == request.HasField("query"):
            out.append(Violation("ids", "give exactly one of ids and query"))
        ids = rules.check_ids(request.ids, out)
        refuse(out)
        purging = Purging(
            self._store,
            partial(self._purge, call),
            project=request.project,
            user_id=call.user_id,
            owner=call.owner,
            dry_run=request.dry_run,
            work=self._deadlines.write(call, request.project),
            told=partial(call.wrote, request.project) if request.HasField("query") else None,
        )
        if ids:
            await purging.ids(ids)
            return PurgeFeedbackResponse(purged_count=purging.removed)
        # Who has checked that all matches are his is part of it.
        scope = paging.scope_of(request, call.owner or "")
        start = Progress()
        if request.page_token:
            start = Progress.of(paging.unseal(request.page_token, scope, self._store.store_id).after)
        progress = await purging.matches(filter, start, limits.PURGE_ROWS)
        response = PurgeFeedbackResponse(purged_count=purging.removed, more=progress is not None)
        if progress is not None:
            response.next_page_token = paging.seal(paging.Cursor(progress, None), scope, self._store.store_id)
        return response

    async def _purge(self, call: Call, purge: Purge) -> Purged | DomainError:
        if purge.rows <= _FEW_PURGED:
            return await self._writer.submit(purge)
        async with self._checks.removal(call):
            return await self._writer.submit(purge)

    async def GetServerInfo(self, call: Call, request: GetServerInfoRequest) -> GetServerInfoResponse:
        return GetServerInfoResponse(
            version=self._version,
            store=self._store.name,
            limits=limits.as_mapping(),
            erasure_pending=self._store.erasure_pending,
            store_id=self._store.store_id.public,
            http_url=self._parts.config.http.public_url,
        )


async def _refs(found: Sequence[RefCount], turn: Turn) -> list[bytes]:
    """As many of them as an answer holds, each as an element of it."""
    elements: list[bytes] = []
    room = _PAGE_BYTES
    for number, ref in enumerate(found, 1):
        shown = element(summary(ref).SerializeToString())
        room -= len(shown)
        if room < 0:
            break
        elements.append(shown)
        if number % _FEW_REFS == 0:
            await turn.give_way()
    return elements
