"""The blocking client: the operations of the service as methods, over one transport."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast, overload
from uuid import UUID

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
from plaudit._sync import default
from plaudit._sync.closing import Closing
from plaudit._sync.ingest import BlockingIngestLine
from plaudit._sync.interrupts import Interrupts, Reading
from plaudit._sync.projects import ProjectOperations
from plaudit._sync.query import FeedbackQuery, RefFeedbackQuery
from plaudit._sync.stream import FeedbackStream
from plaudit._sync.watch import Watch
from plaudit._wire.grpc import GrpcTransport
from plaudit._wire.transport import Transport

if TYPE_CHECKING:
    import os

    import grpc

    from plaudit._contract.refs import Ref
    from plaudit._sync.buffered import BufferedWriter


class Client(ProjectOperations, Closing):
    """A client of one server. Connects at the first call; safe to share between threads, usable after a fork.

    `project` is `entity/project` for calls that name no project. The other arguments say how to reach the server; what
    is left out comes from the environment:

    - `target`: `host:port`, `https://host:port` for TLS, or `unix:/path` (PLAUDIT_TARGET, else `localhost:50051`);
    - `api_key`: the key, or a function that returns it and is called for each call, for tokens that expire
      (PLAUDIT_API_KEY); or `api_key_file`, which is read again when it changes (PLAUDIT_API_KEY_FILE);
    - `timeout`: the deadline of one call with all its attempts, in seconds, counted from when it is sent (10);
    - `retry`: a RetryPolicy, which says when a failed call is sent again;
    - `metadata`: sent with each call, such as `{"x-request-id": "…"}`;
    - `ca_file`: a PEM file of the root certificates to trust in place of the system's (PLAUDIT_CA_FILE);
      `certificate_file` and `key_file`: the client's own, for mutual TLS (PLAUDIT_CERTIFICATE_FILE, PLAUDIT_KEY_FILE);
      or `credentials` of gRPC in place of the files. Each of them means TLS.

    A `channel` is used as it is and is yours to close; a `transport` replaces all of this. Calls beyond 200 at a time
    wait for others. A server on this machine is never reached through a proxy of the environment.

    Every method that calls the server raises PlauditError, and takes a `project`, a `timeout` and `metadata` of its
    own. A client is pickled and copied as its settings: the text of a key is left out of a pickle, and must come from
    the environment, or from a function, where it is read.

    Raises ValueError for a target to which no connection can ever be opened, and for settings that exclude each other.
    """

    _connect = GrpcTransport

    def __init__(
        self,
        project: str | None = None,
        *,
        channel: grpc.Channel | None = None,
        transport: Transport | None = None,
        **options: Unpack[Options],
    ) -> None:
        settings = Settings.resolve(project, **options)
        given = channel if transport is None else transport
        super().__init__(settings, transport or GrpcTransport(settings, channel=channel), given)

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
    ) -> FeedbackQuery:
        """The feedback with this id (a str), or all that matches this query; everything in the project for None.

        With `reaction` only reactions with this emoji, in any of its spellings (`❤` and `❤️` are one), on agents too;
        with `tones="any"` in every skin tone. Nothing is sent before the result is looked at. Raises TypeError for a
        query of another type, ValueError for a malformed one.
        """
        entity, name, chosen = self._chosen(query, reaction, tones, project)
        made = FeedbackQuery(entity, name, chosen, offset, limit, show_refs=True, order_by=order_by, client=self)
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
    ) -> FeedbackStream:
        """The records that `get_feedback` finds, one after the other over one stream: for results of any size.

        It holds one message of the server at a time, and keeps nothing.
        """
        entity, name, chosen = self._chosen(query, reaction, tones, project)
        return FeedbackQuery(entity, name, chosen, offset, limit, order_by=order_by, client=self).stream(**call)

    def ref(self, uri: str | Ref, *, project: str | None = None, **call: Unpack[CallArguments]) -> RefFeedbackQuery:
        """The feedback of exactly this ref, and the place to add some; in the ref's own project or the given one."""
        query = RefFeedbackQuery(uri, client=self)
        query._move_to(project)
        query._options = CallOptions.of(**call)
        return query

    def summarize_refs(
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
        """What there is on each of up to 1,000 refs, in order: counts, reactions, measures, the newest record.

        `score=field("payload.score").mean()` measures each ref. Reactions are "mine" when the caller owns them, and
        with `creator` only those of this creator. With `any_tone` skin tones of an emoji count as one.
        """
        steps = self._summarize_refs(refs, query, measures, creator, include_newest, any_tone, project)
        return self._finished(steps, {"timeout": timeout})

    def create(
        self,
        record: FeedbackRecord | Mapping[str, Any],
        *,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> Feedback:
        """Store one record, a mapping of its fields, and return it as stored. It is on disk when this returns.

        The fields, their types and meanings are those of `FeedbackRecord`.

        Without an `id` it gets a new UUIDv7. Creating the same record with the same id again returns the record.
        Fields that only the server sets are ignored. Where OpenTelemetry is in use, an empty `span_trace_id` of a
        record without an id is that of the current span.
        """
        return self._finished(self._create(record, project), call)

    @overload
    def create_batch(
        self,
        records: Iterable[Mapping[str, Any]],
        partial: Literal[False] = False,
        *,
        key: Key | None = None,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> BatchResult[Feedback]: ...
    @overload
    def create_batch(
        self,
        records: Iterable[Mapping[str, Any]],
        partial: bool,
        *,
        key: Key | None = None,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> BatchResult[Feedback | PlauditError]: ...
    def create_batch(
        self,
        records: Iterable[Mapping[str, Any]],
        partial: bool = False,
        *,
        key: Key | None = None,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> BatchResult[Feedback] | BatchResult[Feedback | PlauditError]:
        """Store any number of records, and return them as stored, in the order of the input.

        They are sent in requests of at most 1,000 records and 3 MiB, one after the other. Each request is atomic: one
        bad record means that none of its request is stored, and the error is raised. Requests before it stay stored
        (the error's note says how many records that is), those after it are not sent. So a batch that fits in one
        request is stored as a whole or not at all. Give records an `id` of your own to repeat a batch that failed:
        what is stored already is not stored twice. Or give a `key`, as for `ingest`.

        With `partial`, good records are stored whatever the others are, nothing is raised, and the list holds a
        PlauditError in place of each record that is not stored, or not known to be; `stored`, `refused` and `pending`
        of the list say how many.
        """
        with Interrupts() as interrupts:
            steps = self._create_batch(records, partial, key, project, Reading(interrupts))
            # Without `partial` none of them is an error.
            return cast("BatchResult[Feedback]", self._finished(steps, call))

    def get(
        self, id: str | UUID, version: int = 0, *, project: str | None = None, **call: Unpack[CallArguments]
    ) -> Feedback:
        """One record by its id: the given version of it, or the newest (0). Raises NotFoundError."""
        return self._finished(self._get(id, version, project), call)

    def replace(
        self,
        record: Mapping[str, Any],
        *,
        expected_version: int = 0,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> Feedback:
        """Replace the whole content of the record with this `id`, in one step, and return it as stored.

        `id` and `created_at` stay, `version` grows by one, the old version goes to the history; content equal to the
        stored content changes nothing. To change a record that was read:
        `client.replace({**read.to_dict(), "payload": …}, expected_version=read.version)`.

        Raises NotFoundError for an id that does not exist, and AbortedError when the record has another version than
        `expected_version` (0 means any): read it again, and decide again.
        """
        return self._finished(self._replace(record, expected_version, project), call)

    def update(
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
        """Change some fields of a record, keep the others to the character, and return the record as stored.

        `payload` sets its top-level keys, and leaves the others: `client.update(id, {"score": 0.5})`. Any other field
        is given by its name, and emptied by None: `client.update(id, creator="ana", queue_id=None)`.

        The record is read and replaced in one step only if nobody replaced it in between; else what is there now is
        read and changed again. With `expected_version` it is changed in that version alone. Raises NotFoundError, and
        AbortedError for another version than the expected one.
        """
        steps = self._update(id, payload, changes, expected_version, project)
        return self._finished(steps, {"timeout": timeout, "metadata": metadata})

    def history(self, id: str | UUID, *, project: str | None = None, **call: Unpack[CallArguments]) -> History:
        """The versions of one record, oldest first; after a purge its tombstone alone. Raises NotFoundError."""
        return self._finished(self._history(id, project), call)

    def ingest(
        self,
        records: Iterable[Mapping[str, Any]],
        *,
        partial: bool = False,
        key: Key | None = None,
        linger: float = 1.0,
        project: str | None = None,
        progress: bool | Progress = False,
        **call: Unpack[CallArguments],
    ) -> Ingested:
        """Store records from any iterable, also one that never ends, over one stream: the fast way for many.

        The iterable is read no faster than the server stores, in requests of 1,000 records or 3 MiB; of a slow one a
        record is sent after `linger` seconds at the latest. When the server goes away, what is unanswered is sent
        again: the call fails only when the server is away for longer than the client's timeout. When the iterable
        raises, or Ctrl-C interrupts it, what was read is stored first; a second Ctrl-C ends at once.

        The first record that is refused ends the reading, and its error is raised with a note of what is stored:
        everything before it, and some of what came after it. With `partial`, the refused ones are in the result with
        their positions, and all others are stored. Give records an `id` of your own to repeat an ingest that failed:
        what is stored already is not stored twice. Or give a `key`: names of fields, such as
        `("ref", "feedback_type", "creator")`, or a function of a record; a record without an id gets one that is
        derived (UUIDv5) from what the key says of it. Records of which it says the same are one record.

        `progress`: True draws a bar on stderr; a function is called with the result so far after each answer.
        """
        return self._ingested(records, partial, key, None, linger, project, progress, CallOptions.of(**call))

    def import_records(
        self,
        records: Iterable[Mapping[str, Any] | Feedback],
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
        """Like `ingest`, but fields that otherwise only the server sets are kept as given; for administrators.

        These are `created_at`, which each record needs, and `updated_at`, `user_id` and `version`: to restore an
        export, or to move in from elsewhere. Times are datetimes or RFC 3339 texts, in UTC when they have no zone. A
        record is a mapping, such as `Feedback.to_dict()` returns, or a Feedback, whose payload is kept to the
        character.

        `existing` says what becomes of a record whose id is stored with other content: "refuse" it; "keep" what is
        stored; or "update" it, to a new version with the record's own `user_id` and `updated_at`, where that is later
        than what is stored, and keep it otherwise. The result counts `created`, `updated` and `kept`. With
        `skip_definitions`, records are stored that break the definitions in force.
        """
        importing = import_options(existing, skip_definitions)
        return self._ingested(records, partial, key, importing, linger, project, progress, CallOptions.of(**call))

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
    ) -> BufferedWriter:
        """A writer that takes records without waiting for the server, and stores them in batches in the background.

        It holds at most `max_records` and `max_bytes` in memory; when it is full, adding waits. A record waits at most
        `linger` seconds for others before it is sent. `spool` is the path of a file that takes what waits while the
        server is away, and what is left at the end; what an earlier process left in it is sent first. Use it in a
        `with` block, whose end stores all that was added, or raises NotStoredError; when the block ends by an error,
        the error's note says how many are stored. `key` is that of `ingest`.

        Raises ValueError for a file that is not a spool, RuntimeError for one that another buffer uses, OSError for one
        that cannot be used.
        """
        from plaudit._sync.buffered import BufferedWriter

        options = CallOptions.of(**call)
        writer = BufferedWriter(
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

    def watch(
        self,
        project: str | None = None,
        *,
        after: int | None = None,
        query: QueryLike | None = None,
        store_id: str = "",
        **call: Unpack[CallArguments],
    ) -> Watch:
        """The changes of a project from now on, or after a revision (0: from the start), as an endless iterator.

        Each `Change` comes once, in the order of the revisions. With a `query`, a replace comes when the old or the new
        version matches, a creation when the record does, a purge always. It connects before it returns, and reconnects
        by itself whenever the server was away. Keep its `revision` and `store_id` to go on later.

        Raises InvalidArgumentError for a revision above the project's; StoreChangedError when the store is not the one
        of `store_id` any more, since a backup was restored: also later, when it reconnects.
        """
        return Watch(self.transport, self._position(project, after, query, store_id), CallOptions.of(**call))

    def purge(
        self,
        ids: Iterable[Doomed] | None = None,
        *,
        query: QueryLike | None = None,
        dry_run: bool = False,
        project: str | None = None,
        **call: Unpack[CallArguments],
    ) -> int:
        """Remove records for good, by id or all that match a query, and return how many; `dry_run` only counts.

        `ids` are ids, or records that were read, such as a `Feedbacks`, each of which is removed from its own project.

        It sends as many requests as it takes; after an error, what was purged before stays purged. An id that does not
        exist is not an error and counts 0, so a purge that is repeated may return less. Give exactly one of `ids` and
        `query`. Raises ValueError, before anything is purged, for a record of another project than the given one.
        """
        return self._finished(self._purge(ids, query, dry_run, project), call)

    def count(
        self, query: QueryLike | None = None, *, project: str | None = None, **call: Unpack[CallArguments]
    ) -> int:
        """How many records match; all of the project for None."""
        return self._finished(self._count(query, project), call)

    def refs(
        self, query: QueryLike | None = None, *, project: str | None = None, **call: Unpack[CallArguments]
    ) -> Refs:
        """The unique refs of the records that match, in the order of their URIs, with the number of records of each."""
        return self._finished(self._refs(query, project), call)

    def close(self) -> None:
        """Store what the writers of `buffered` still hold, and close the connections.

        Calls in progress and after this raise ClientClosedError. Raises NotStoredError when a writer that was still
        open could not store all of its records.
        """
        left = [report for writer in list(self._writers) if (report := writer._close_with_client()) is not None]
        self._writers.clear()
        self.transport.close()
        if left:
            raise NotStoredError.of(left[0])

    def _ingested(
        self,
        records: Iterable[Mapping[str, Any] | Feedback],
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
            with Interrupts() as interrupts:
                line = BlockingIngestLine(self.transport, method, ingestion, records, interrupts, options)
                with nullcontext() if isinstance(records, list | tuple) else line.lingering(linger):
                    return self._finished(ingestion.run(line), {})


default.make_by(Client._of)
