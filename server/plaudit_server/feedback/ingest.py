"""Batches on a stream: several in flight, each answered in order and only when it is durable."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from plaudit.v1 import (
    ImportFeedbackRequest,
    ImportFeedbackResponse,
    IngestFeedbackRequest,
    IngestFeedbackResponse,
    RejectedFeedback,
)
from plaudit_server.errors import DomainError, InvalidFields, Violation
from plaudit_server.feedback import rules
from plaudit_server.feedback.creating import Create
from plaudit_server.feedback.importing import Existing, Fate, Imported
from plaudit_server.feedback.judging import Glance, Judgement
from plaudit_server.feedback.writing import Draft, Writing, drafted, owner_of_replaced
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.errors import describe
from plaudit_server.rpc.resource import Parts
from plaudit_server.store.base import Outcome
from plaudit_server.store.ledger import ProjectRevision
from plaudit_server.store.work import Work

# Enough for the next groups to form while one commits; more would only wait in memory.
_IN_FLIGHT: Final = 4
# A thousand refused records still fit one answer.
_STATUS_BYTES: Final = 1024

_Request = IngestFeedbackRequest | ImportFeedbackRequest
_Failure = Exception


@dataclass(slots=True)
class _Batch:
    """A request whose good records are in line; `places` are their indexes."""

    request: _Request
    places: list[int]
    refused: dict[int, DomainError]
    draft: Draft
    outcome: asyncio.Future[Outcome] | None = None


async def answers(
    parts: Parts,
    writing: Writing,
    requests: AsyncIterator[_Request],
    call: Call,
    draining: asyncio.Event,
    *,
    imported: bool,
) -> AsyncGenerator[bytes, None]:
    """An encoded answer for each request, in order, as soon as it is durable.

    While the writer is full or answers are not taken, no further request is read: the client's stream waits.
    When the server begins to drain, or nothing comes for a while, what has been read is answered, and then the stream
    ends: the client goes on with another one, elsewhere.
    """
    line: asyncio.Queue[_Batch | _Failure | None] = asyncio.Queue(_IN_FLIGHT)

    async def read() -> None:
        try:
            while (request := await _next(requests, parts.config.connections.ingest_idle_seconds)) is not None:
                _refuse_batch(request)
                known, glance = writing.known(request.project)
                if not isinstance(request, IngestFeedbackRequest) and request.skip_definitions:
                    glance = None
                check = partial(
                    rules.new_records,
                    project=request.project,
                    user_id=call.user_id,
                    id_required=True,
                    imported=imported,
                    collects=known is None,
                    glance=glance,
                )
                payloads = (item.payload_json for item in request.feedback)
                checked = await parts.checks.run_each(call, payloads, list(request.feedback), check)
                work = parts.deadlines.write(call, request.project)
                draft = _drafted(request, checked, known, glance, call, work)
                batch = _Batch(request, checked.places, await writing.refusals(request.project, checked), draft)
                if draft.records:
                    batch.outcome = await writing.enqueue(draft)
                await line.put(batch)
            await line.put(None)
        except Exception as error:
            await line.put(error)

    async def end_when_draining() -> None:
        await draining.wait()
        reader.cancel()
        await line.put(None)

    reader = asyncio.create_task(read())
    drain = asyncio.create_task(end_when_draining())
    try:
        while (batch := await line.get()) is not None:
            if isinstance(batch, _Failure):
                try:
                    raise batch
                finally:
                    batch = None  # a cycle, with all that this stream has in memory
            yield await _answer(parts, writing, call, batch)
            # Only now: grpc has taken the answer.
            parts.acknowledged(Create.kind, len(batch.request.feedback) - len(batch.refused))
    finally:
        drain.cancel()
        reader.cancel()


async def _next(requests: AsyncIterator[_Request], idle_seconds: float) -> _Request | None:
    """The next request; None when there is none, or none comes within the time: an idle stream holds a place."""
    try:
        async with asyncio.timeout(idle_seconds):
            return await anext(requests, None)
    except TimeoutError:
        return None


def _refuse_batch(request: _Request) -> None:
    """Raises InvalidFields for a request that is refused as a whole."""
    out: list[Violation] = []
    check = rules.check_project if isinstance(request, ImportFeedbackRequest) else rules.check_new_project
    check(request.project, out)
    rules.check_batch(len(request.feedback), out)
    if isinstance(request, ImportFeedbackRequest) and request.existing not in (0, *Existing):
        out.append(Violation("existing", f"has the unknown number {request.existing}"))
    if out:
        raise InvalidFields(out)


def _drafted(
    request: _Request,
    checked: rules.Checked,
    known: Judgement | None,
    glance: Glance | None,
    call: Call,
    work: Work,
) -> Draft:
    """The good records of a request, which wait for room in the line."""
    if isinstance(request, IngestFeedbackRequest):
        owner = partial(owner_of_replaced, call, request.project)
        return drafted(checked, request.project, work, owner=owner, known=known, glance=glance, waits=True)
    skip, existing = request.skip_definitions, Existing(request.existing or Existing.REFUSE)
    if skip:
        call.notes["skip_definitions"] = True
    if existing is not Existing.REFUSE:
        call.notes["existing"] = existing.name
    return drafted(checked, request.project, work, existing=existing, skip=skip, known=known, glance=glance, waits=True)


async def _answer(parts: Parts, writing: Writing, call: Call, batch: _Batch) -> bytes:
    refused, project = batch.refused, batch.request.project
    revision = None
    fates: Counter[Fate] = Counter()
    if batch.outcome is not None:
        outcome = await writing.settled(batch.draft, batch.outcome)
        for place, result in zip(batch.places, outcome, strict=True):
            if isinstance(result, DomainError):
                refused[place] = result
            elif isinstance(result, Imported):
                fates[result.fate] += 1
        revision = parts.writer.revision_after(project)
    if revision is None:  # nothing of the batch was written
        revision = await parts.store.read(ProjectRevision(project), parts.deadlines.read(call, project))
    stored = len(batch.request.feedback) - len(refused)
    rejected = [
        RejectedFeedback(index=index, status=describe(refused[index]).status(room=_STATUS_BYTES))
        for index in sorted(refused)
    ]
    sequence = batch.request.sequence
    response: IngestFeedbackResponse | ImportFeedbackResponse
    if isinstance(batch.request, IngestFeedbackRequest):
        response = IngestFeedbackResponse(sequence=sequence, stored_count=stored, rejected=rejected, revision=revision)
    else:
        response = ImportFeedbackResponse(
            sequence=sequence,
            stored_count=stored,
            rejected=rejected,
            revision=revision,
            created_count=fates[Fate.CREATED],
            updated_count=fates[Fate.UPDATED],
            kept_count=fates[Fate.KEPT],
        )
    return response.SerializeToString()
