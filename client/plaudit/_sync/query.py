"""Queries that block: the feedback of a project, and that of one ref."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload
from uuid import UUID

from plaudit._contract.refs import Ref
from plaudit._core.model import Feedback
from plaudit._core.options import CallArguments, CallOptions
from plaudit._results.feedbacks import Feedbacks
from plaudit._results.refs import Reaction, Refs
from plaudit._show.grid import Grid
from plaudit._show.shown import Shown
from plaudit._steps.query import EVERY, Asked, AskedOfRef, Rows
from plaudit._steps.step import Steps
from plaudit._sync import default
from plaudit._sync.groups import Analysis
from plaudit._sync.run import ResultT, finish
from plaudit._sync.stream import FeedbackStream

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

    from plaudit._export.written import Exported
    from plaudit._frames.columns import PayloadForm
    from plaudit._sync.client import Client


class FeedbackQuery(Shown, Asked["Client"], Analysis):
    """The feedback of a project that matches a query; nothing is sent before the result is looked at.

    `query` is a dict `{"$expr": …}`, a `Query`, an expression of `field(…)`, or None for every record.
    `order_by` names columns, map keys and payload paths, with a `-` before those that descend; without it the
    oldest comes first. The first read fetches the result, which is kept; iterating fetches page by page; `refresh()`
    fetches again. Safe to share between threads. Reading raises PlauditError.

    Raises ValueError for a malformed entity, project or query.
    """

    @staticmethod
    def _new_lock() -> Any:
        return threading.RLock()

    def _default_client(self) -> Client:
        return default.client()

    def _client_of_settings(self) -> Client:
        return default.client()

    def _finished(self, steps: Steps[ResultT], call: CallArguments | None = None) -> ResultT:
        options = CallOptions.of(**call).over(self._options) if call else self._options
        return finish(steps, self.client.transport, options)

    def execute(self, **call: Unpack[CallArguments]) -> Feedbacks:
        """All records, fetched at the first call; later calls return the same object, until `refresh()`."""
        with self._lock:
            return self._finished(self._all(), call)

    def refresh(self, **call: Unpack[CallArguments]) -> Feedbacks:
        """Fetch again, keep the new result and return it. One small call while the project has not changed."""
        with self._lock:
            return self._finished(self._again(), call)

    def refs(self, **call: Unpack[CallArguments]) -> Refs:
        """The unique refs of the records, in the order in which they are first seen."""
        return self.execute(**call).refs()

    def count(self, **call: Unpack[CallArguments]) -> int:
        """How many records match now, whatever `offset` and `limit` are. The server counts; no record is fetched."""
        return self._finished(self._counted(), call)

    def purge(self, *, dry_run: bool = False, **call: Unpack[CallArguments]) -> int:
        """Remove every record that matches now, for good, and return how many; `dry_run` only counts.

        Raises ValueError for a query with a limit or an offset, and for one without a condition.
        """
        return self._finished(self._purged_all(dry_run), call)

    def to_arrow(self, payload: PayloadForm = "json", **call: Unpack[CallArguments]) -> pyarrow.Table:
        """A table of Arrow of the records: see `plaudit.frames.to_arrow`."""
        return self.execute(**call).to_arrow(payload)

    def to_pandas(self, payload: PayloadForm = "dict", **call: Unpack[CallArguments]) -> pandas.DataFrame:
        """A DataFrame of pandas of the records: see `plaudit.frames.to_pandas`."""
        return self.execute(**call).to_pandas(payload)

    def to_polars(self, payload: PayloadForm = "json", **call: Unpack[CallArguments]) -> polars.DataFrame:
        """A DataFrame of polars of the records: see `plaudit.frames.to_polars`."""
        return self.execute(**call).to_polars(payload)

    def stream(self, **call: Unpack[CallArguments]) -> FeedbackStream:
        """The records, one after the other over one stream of the server, in the same order.

        For results of any size: it holds one message at a time and keeps nothing, and each call asks again. A context
        manager; leaving it, or `close()`, ends the stream. When the connection breaks in the middle, it raises
        UnavailableError, with the number of records so far in its note.
        """
        request = self._question.stream_request(self.project_id)
        options = CallOptions.of(**call).over(self._options) if call else self._options
        return FeedbackStream(self.client.transport, request, options)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        form: Literal["jsonl", "csv", "parquet"] | None = None,
        resume: bool = False,
        excel: bool = False,
        extract: Sequence[str] = (),
        progress: bool | Callable[[int], None] = False,
    ) -> Exported:
        """Write all records that match to a file, as they are at one revision of the project; see docs/export.md.

        `path` is a file (its end says the form, else it is lines of JSON; `.gz` and `.zst` compress it), a directory,
        or an address that pyarrow knows, as `s3://bucket/feedback.parquet`. A manifest is put beside it. The order is
        that of creation. What is unfinished stays beside the file, and `resume` goes on with it. `excel` makes a CSV
        safe for spreadsheets; `extract=["payload.score:double"]` adds columns to Parquet. `progress`: True draws a bar
        on stderr; a function is called with the number of records read so far.

        Raises ValueError for a query with a limit, an offset or an order, ImportError for what is not installed.
        """
        from plaudit._sync.export import exported

        question = self._question
        if question.offset or question.limit is not None or question.order:
            raise ValueError(
                "an export has all records that match, in the order of creation: no limit, offset or order"
            )
        return exported(
            self.client,
            self.project_id,
            question.query,
            os.fspath(path),
            form=form,
            resume=resume,
            excel=excel,
            extract=extract,
            progress=progress,
        )[0]

    def __iter__(self) -> Iterator[Feedback]:
        """The records, fetched page by page as they are needed. Another iterator starts with the pages kept so far."""
        with self._lock:
            result = self._started()
        position = 0
        while position < len(result.rows) or self._there_is(result, position):
            yield result.rows[position]
            position += 1

    def _there_is(self, result: Rows, position: int) -> bool:
        with self._lock:
            return self._finished(self._read_beyond(result, position))

    def __len__(self) -> int:
        return len(self.execute())

    @overload
    def __getitem__(self, index: int) -> Feedback: ...
    @overload
    def __getitem__(self, index: slice) -> list[Feedback]: ...
    def __getitem__(self, index: int | slice) -> Feedback | list[Feedback]:
        with self._lock:
            return self._finished(self._picked(index))

    def __bool__(self) -> bool:
        """Whether there is any record; asks for one at most, and only if none is kept."""
        with self._lock:
            return self._finished(self._any())

    def _preview(self) -> Feedbacks:
        """What there is to show; a result that is larger than a table is not read to its end for it."""
        with self._lock:
            return self._finished(self._shown())

    def _grid(self) -> Grid:
        return self._preview()._grid()


class RefFeedbackQuery(AskedOfRef["Client"], FeedbackQuery):
    """The feedback of exactly this ref, and the place to add some.

    The project is the ref's own; for an external ref (`https://…`) the client's. Adding returns the new id when
    the server has stored the record, raises PlauditError when it has not, and drops what this object has kept.

    Raises InvalidRefError, a ValueError, for a text that is not a ref.
    """

    def add(
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
        """Store feedback of a type of your own, or an annotation; `kwargs` are merged over a copy of `payload`.

        `id` is the record's id, so that a call may be repeated; a new one when it is left out. Then, where
        OpenTelemetry is in use, `span_trace_id` is the trace of the current span.

        Raises, before anything is sent: ValueError for a reserved type (`wandb.…`) without `annotation_ref`, for an
        `annotation_ref` with a type that does not start with `wandb.annotation.`, and for a payload that JSON cannot
        hold; TypeError for an `annotation_ref` that is neither an object nor an op. A payload with a key `id` or
        `timeout` is given as `payload`.
        """
        return self._finished(
            self._added(feedback_type, payload, creator, annotation_ref, id, kwargs), {"timeout": timeout}
        )

    def add_reaction(self, emoji: str, creator: str | None = None, **call: Unpack[CallArguments]) -> str:
        """Store a reaction: exactly one emoji. On an agent's turn, span or conversation it is feedback on the agent."""
        return self._finished(self._reaction(emoji, creator), call)

    def set_reaction(
        self,
        emoji: str,
        reacted: bool = True,
        creator: str | None = None,
        *,
        any_tone: bool = False,
        **call: Unpack[CallArguments],
    ) -> Reaction:
        """Make one's reaction be there, or not be there: doing it twice is doing it once. Returns how it is now.

        `creator` is for whom, when you react for your own users; with `any_tone` skin tones count as one.
        """
        return self._finished(self._set_reaction(emoji, reacted, creator, any_tone), call)

    def toggle_reaction(
        self, emoji: str, creator: str | None = None, *, any_tone: bool = False, **call: Unpack[CallArguments]
    ) -> Reaction:
        """Turn one's reaction round: what is sent is how it is to be, so that a retry cannot turn it back."""
        return self._finished(self._toggle_reaction(emoji, creator, any_tone), call)

    def add_note(self, note: str, creator: str | None = None, **call: Unpack[CallArguments]) -> str:
        """Store a note: a text of 1 to 10,000 characters."""
        return self._finished(self._note(note, creator), call)

    def rate(
        self,
        feedback_type: str,
        value: Any,
        reason: str | None = None,
        *,
        creator: str | None = None,
        **call: Unpack[CallArguments],
    ) -> str:
        """Store a value of a defined type where its definition says, and return the record's id.

        A type without a definition has it in `value`. Refs in the value may be Ref objects. Raises
        InvalidArgumentError for a value that the definition refuses, AlreadyExistsError for a second one where only one
        may be.
        """
        return self._finished(self._rated(feedback_type, value, reason, creator), call)

    @overload
    def purge(self, feedback_id: str | UUID, **call: Unpack[CallArguments]) -> None: ...
    @overload
    def purge(self, *, dry_run: bool = False, **call: Unpack[CallArguments]) -> int: ...
    def purge(self, feedback_id: Any = EVERY, *, dry_run: bool = False, **call: Unpack[CallArguments]) -> int | None:
        """Remove one record of this ref for good; an id that does not exist is not an error.

        Without an id every record of the ref, and return how many; then `dry_run` only counts.
        """
        if feedback_id is EVERY:
            return self._finished(self._purged_all(dry_run), call)
        return self._finished(self._purged(feedback_id, dry_run), call)
