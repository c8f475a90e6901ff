"""Queries of asyncio: the feedback of a project, and that of one ref."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload
from uuid import UUID

from plaudit._async import default
from plaudit._async.groups import AsyncAnalysis
from plaudit._async.run import ResultT, finish
from plaudit._async.stream import AsyncFeedbackStream
from plaudit._core.model import Feedback
from plaudit._core.options import CallArguments, CallOptions
from plaudit._results.feedbacks import Feedbacks
from plaudit._results.refs import Reaction, Refs
from plaudit._show.grid import Grid
from plaudit._show.shown import Shown
from plaudit._steps.query import EVERY, Asked, AskedOfRef, Rows
from plaudit._steps.step import Steps

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

    from plaudit._async.client import AsyncClient
    from plaudit._contract.refs import Ref
    from plaudit._export.written import Exported
    from plaudit._frames.columns import PayloadForm


class AsyncFeedbackQuery(Shown, Asked["AsyncClient"], AsyncAnalysis):
    """A `FeedbackQuery` whose reads are awaited: `async for feedback in query`, `await query.execute()`.

    What Python cannot await is done with what `execute` returns: `len`, index and slice. `await query.any()` stands
    for `bool(query)`. Without a `client`, the running loop's own is used: it reaches the server of `plaudit.init`, or
    else the one that the environment names.
    """

    @staticmethod
    def _new_lock() -> asyncio.Lock:
        return asyncio.Lock()

    def _default_client(self) -> AsyncClient:
        return default.client()

    def _client_of_settings(self) -> AsyncClient:
        return default.unbound()

    async def _finished(self, steps: Steps[ResultT], call: CallArguments | None = None) -> ResultT:
        options = CallOptions.of(**call).over(self._options) if call else self._options
        return await finish(steps, self.client.transport, options)

    async def execute(self, **call: Unpack[CallArguments]) -> Feedbacks:
        """As `FeedbackQuery.execute`."""
        async with self._lock:
            return await self._finished(self._all(), call)

    async def refresh(self, **call: Unpack[CallArguments]) -> Feedbacks:
        """As `FeedbackQuery.refresh`."""
        async with self._lock:
            return await self._finished(self._again(), call)

    async def refs(self, **call: Unpack[CallArguments]) -> Refs:
        """As `FeedbackQuery.refs`."""
        return (await self.execute(**call)).refs()

    async def count(self, **call: Unpack[CallArguments]) -> int:
        """As `FeedbackQuery.count`."""
        return await self._finished(self._counted(), call)

    async def any(self, **call: Unpack[CallArguments]) -> bool:
        """Whether there is any record; asks for one at most, and only if none is kept."""
        async with self._lock:
            return await self._finished(self._any(), call)

    async def purge(self, *, dry_run: bool = False, **call: Unpack[CallArguments]) -> int:
        """As `FeedbackQuery.purge`."""
        return await self._finished(self._purged_all(dry_run), call)

    async def to_arrow(self, payload: PayloadForm = "json", **call: Unpack[CallArguments]) -> pyarrow.Table:
        """As `FeedbackQuery.to_arrow`."""
        return (await self.execute(**call)).to_arrow(payload)

    async def to_pandas(self, payload: PayloadForm = "dict", **call: Unpack[CallArguments]) -> pandas.DataFrame:
        """As `FeedbackQuery.to_pandas`."""
        return (await self.execute(**call)).to_pandas(payload)

    async def to_polars(self, payload: PayloadForm = "json", **call: Unpack[CallArguments]) -> polars.DataFrame:
        """As `FeedbackQuery.to_polars`."""
        return (await self.execute(**call)).to_polars(payload)

    def stream(self, **call: Unpack[CallArguments]) -> AsyncFeedbackStream:
        """As `FeedbackQuery.stream`: `async for feedback in query.stream()`."""
        request = self._question.stream_request(self.project_id)
        options = CallOptions.of(**call).over(self._options) if call else self._options
        return AsyncFeedbackStream(self.client.transport, request, options)

    async def export(
        self,
        path: str | os.PathLike[str],
        *,
        form: Literal["jsonl", "csv", "parquet"] | None = None,
        resume: bool = False,
        excel: bool = False,
        extract: Sequence[str] = (),
        progress: bool | Callable[[int], None] = False,
    ) -> Exported:
        """As `FeedbackQuery.export`, in a thread and over a connection of its own; cancelling does not stop it.

        Raises TypeError for a client whose `api_key` is a function, or that was given a channel or a transport.
        """
        from plaudit._sync.client import Client
        from plaudit._sync.query import FeedbackQuery

        settings = self.client._settings
        if callable(settings.api_key) or self.client._given is not None:
            raise TypeError("an export asks over its own connection: no function for keys, no channel or transport")

        def run() -> Exported:
            question = self._question
            with Client._of(settings) as client:
                query = FeedbackQuery(
                    self.entity, self.project, question.query, question.offset, question.limit,
                    order_by=question.order, client=client,
                )  # fmt: skip
                return query.export(path, form=form, resume=resume, excel=excel, extract=extract, progress=progress)

        return await asyncio.to_thread(run)

    async def __aiter__(self) -> AsyncIterator[Feedback]:
        """The records, fetched page by page as they are needed. Another iterator starts with the pages kept so far."""
        async with self._lock:
            result = self._started()
        position = 0
        while position < len(result.rows) or await self._there_is(result, position):
            yield result.rows[position]
            position += 1

    async def _there_is(self, result: Rows, position: int) -> bool:
        async with self._lock:
            return await self._finished(self._read_beyond(result, position))

    def _grid(self) -> Grid:
        return self._kept_grid()


class AsyncRefFeedbackQuery(AskedOfRef["AsyncClient"], AsyncFeedbackQuery):
    """A `RefFeedbackQuery` whose calls are awaited."""

    async def add(
        self,
        feedback_type: str,
        payload: Mapping[str, Any] | None = None,
        creator: str | None = None,
        annotation_ref: str | Ref | None = None,
        *,
        id: str | UUID | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> str:
        """As `RefFeedbackQuery.add`."""
        return await self._finished(
            self._added(feedback_type, payload, creator, annotation_ref, id, kwargs), {"timeout": timeout}
        )

    async def add_reaction(self, emoji: str, creator: str | None = None, **call: Unpack[CallArguments]) -> str:
        """As `RefFeedbackQuery.add_reaction`."""
        return await self._finished(self._reaction(emoji, creator), call)

    async def set_reaction(
        self,
        emoji: str,
        reacted: bool = True,
        creator: str | None = None,
        *,
        any_tone: bool = False,
        **call: Unpack[CallArguments],
    ) -> Reaction:
        """As `RefFeedbackQuery.set_reaction`."""
        return await self._finished(self._set_reaction(emoji, reacted, creator, any_tone), call)

    async def toggle_reaction(
        self, emoji: str, creator: str | None = None, *, any_tone: bool = False, **call: Unpack[CallArguments]
    ) -> Reaction:
        """As `RefFeedbackQuery.toggle_reaction`."""
        return await self._finished(self._toggle_reaction(emoji, creator, any_tone), call)

    async def add_note(self, note: str, creator: str | None = None, **call: Unpack[CallArguments]) -> str:
        """As `RefFeedbackQuery.add_note`."""
        return await self._finished(self._note(note, creator), call)

    async def rate(
        self,
        feedback_type: str,
        value: Any,
        reason: str | None = None,
        *,
        creator: str | None = None,
        **call: Unpack[CallArguments],
    ) -> str:
        """As `RefFeedbackQuery.rate`."""
        return await self._finished(self._rated(feedback_type, value, reason, creator), call)

    @overload
    async def purge(self, feedback_id: str | UUID, **call: Unpack[CallArguments]) -> None: ...
    @overload
    async def purge(self, *, dry_run: bool = False, **call: Unpack[CallArguments]) -> int: ...
    async def purge(
        self, feedback_id: Any = EVERY, *, dry_run: bool = False, **call: Unpack[CallArguments]
    ) -> int | None:
        """As `RefFeedbackQuery.purge`."""
        if feedback_id is EVERY:
            return await self._finished(self._purged_all(dry_run), call)
        return await self._finished(self._purged(feedback_id, dry_run), call)
