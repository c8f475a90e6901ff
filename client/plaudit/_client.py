"""The client: the operations of the service as methods, over one transport."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from plaudit import limits, v1
from plaudit._batch import Batch, cut
from plaudit._config import DEFAULT_TIMEOUT, Settings, check_project
from plaudit._errors import InvalidArgumentError, PlauditError, Violation, from_status
from plaudit._expr import Query, QueryLike, as_query, field
from plaudit._feedbacks import Refs
from plaudit._history import History, Tombstone
from plaudit._ingest import Ingested, Progress, ingest
from plaudit._model import Feedback, canonical_id, to_message
from plaudit._progress import shown
from plaudit._query import FeedbackQuery, Pages, RefFeedbackQuery, reaction_query
from plaudit._transport import (
    BATCH_CREATE,
    COUNT,
    CREATE,
    GET,
    IMPORT,
    INGEST,
    LIST_REFS,
    LIST_VERSIONS,
    PURGE,
    REPLACE,
    SERVER_INFO,
    GrpcTransport,
    Transport,
)
from plaudit._watch import Position, Watch

if TYPE_CHECKING:
    import os

    import grpc

    from plaudit._buffered import BufferedWriter
    from plaudit.refs import Ref


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What the server is."""

    version: str
    """The version of plaudit."""
    store: str
    """The kind of store: `sqlite` or `postgresql`."""
    limits: Mapping[str, int]
    """The limits in force, by name; bytes, characters or counts."""
    erasure_pending: bool
    """Whether bytes of purged content may still be in the store's files."""


class Client:
    """A client of one server. Connects at the first call; safe to share between threads, usable after a fork.

    `project` is `entity/project` for calls that name none; `target` is `host:port`, or `https://host:port` for TLS;
    `timeout` is the deadline of one call with all its attempts, in seconds. What is left out comes from
    PLAUDIT_PROJECT, PLAUDIT_TARGET and PLAUDIT_API_KEY. `credentials` replace the system's for TLS; a `channel` is
    used as it is and is yours to close; a `transport` replaces all of this.

    Every method that calls the server raises PlauditError; each takes a `project` of its own.
    """

    def __init__(
        self,
        project: str | None = None,
        *,
        target: str | None = None,
        api_key: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
        channel: grpc.Channel | None = None,
        transport: Transport | None = None,
    ) -> None:
        settings = Settings.resolve(project, target, api_key, timeout)
        self._settings = settings
        self.transport: Transport = transport or GrpcTransport(
            settings.target,
            api_key=settings.api_key,
            timeout=settings.timeout,
            credentials=credentials,
            channel=channel,
        )

    @property
    def project(self) -> str | None:
        """`entity/project` of the calls that name none."""
        return self._settings.project

    @property
    def target(self) -> str:
        """Where the server listens."""
        return self._settings.target

    def project_for(self, project: str | None) -> str:
        """The given project, else this client's. Raises ValueError when there is none, or it is malformed."""
        if project is not None:
            return check_project(project)
        if self.project is None:
            raise ValueError(
                "no project: give project='entity/project', or name one in plaudit.init, Client or PLAUDIT_PROJECT"
            )
        return self.project

    def get_feedback(
        self,
        query: str | QueryLike | None = None,
        *,
        reaction: str | None = None,
        offset: int = 0,
        limit: int | None = None,
        order_by: str | Iterable[str] | None = None,
        project: str | None = None,
    ) -> FeedbackQuery:
        """The feedback with this id (a str), or that matches this query; all of the project for None.

        `reaction` adds: and is a reaction with exactly this emoji. Sends nothing before the result is looked at.
        Raises TypeError for a query of another type, ValueError for a malformed one.
        """
        chosen: QueryLike | None = field("id") == canonical_id(query) if isinstance(query, str) else query
        if chosen is not None:
            chosen = as_query(chosen)
        if reaction is not None:
            chosen = reaction_query(reaction, chosen)
        entity, _, name = self.project_for(project).partition("/")
        return FeedbackQuery(entity, name, chosen, offset, limit, show_refs=True, order_by=order_by, client=self)

    def ref(self, uri: str | Ref, *, project: str | None = None) -> RefFeedbackQuery:
        """The feedback of exactly this ref, and the place to add some; in the ref's own project unless told."""
        return RefFeedbackQuery._of(uri, self, project)

    def create(self, record: Mapping[str, Any], *, project: str | None = None) -> Feedback:
        """Store one record, a mapping of its fields, and return it as stored. On disk when this returns.

        Without an `id` it gets a new UUIDv7. Creating the same record with the same id again returns the record.
        What only the server sets is ignored.
        """
        message = to_message(record)
        project_id = self.project_for(project or message.project or None)
        request = v1.CreateFeedbackRequest(project=project_id, feedback=message)
        return Feedback(self.transport.unary(CREATE, request).feedback)

    @overload
    def create_batch(
        self, records: Iterable[Mapping[str, Any]], partial: Literal[False] = False, *, project: str | None = None
    ) -> list[Feedback]: ...
    @overload
    def create_batch(
        self, records: Iterable[Mapping[str, Any]], partial: bool, *, project: str | None = None
    ) -> list[Feedback | PlauditError]: ...
    def create_batch(
        self, records: Iterable[Mapping[str, Any]], partial: bool = False, *, project: str | None = None
    ) -> list[Feedback] | list[Feedback | PlauditError]:
        """Store any number of records, and return them as stored, in the order of the input.

        They are sent in requests of at most 1,000 records and 3 MiB, one after the other. Each request is atomic: its
        first bad record stores none of it, and raises; the requests before it stay stored (the error's note says how
        many records that are), those after it are not sent. So a batch that fits one request is all or nothing.
        Give records an `id` of your own to repeat a batch that failed: what is stored already is not stored twice.

        With `partial`, good records are stored whatever the others are, nothing is raised, and the list holds a
        PlauditError in the place of each record that was not (or not for sure) stored.
        """
        outcomes: dict[int, Feedback | PlauditError] = {}

        def refuse(position: int, record: object, error: PlauditError) -> bool:
            if not partial:
                raise _with_note(error, len(outcomes))
            outcomes[position] = error
            return True

        def new_request(project_id: str) -> v1.BatchCreateFeedbackRequest:
            return v1.BatchCreateFeedbackRequest(project=project_id, partial=partial)

        for batch in cut(records, self._project_of(project), new_request=new_request, refuse=refuse):
            try:
                outcomes.update(self._store(batch))
            except PlauditError as failure:
                error = failure.moved(batch.positions)
                if not partial:
                    raise _with_note(error, len(outcomes)) from failure.__cause__
                outcomes.update(dict.fromkeys(batch.positions, error))
        return [outcomes[position] for position in range(len(outcomes))]

    def get(self, id: str, version: int = 0, *, project: str | None = None) -> Feedback:
        """One record by its id; in one of its versions, or the newest (0). Raises NotFoundError."""
        request = v1.GetFeedbackRequest(project=self.project_for(project), id=canonical_id(id), version=version)
        return Feedback(self.transport.unary(GET, request).feedback)

    def replace(self, record: Mapping[str, Any], *, expected_version: int = 0, project: str | None = None) -> Feedback:
        """Swap the whole content of the record whose `id` is given, in one step, and return it as stored.

        `id` and `created_at` stay, `version` grows by one, the old version goes to the history; content equal to the
        stored one changes nothing. To change a record that was read:
        `client.replace({**read.to_dict(), "payload": …}, expected_version=read.version)`.

        Raises NotFoundError for an id that is not there, and AbortedError when the record has another version than
        `expected_version` (0 means any): read it again, and decide again.
        """
        message = to_message(record)
        if not record.get("id"):
            raise InvalidArgumentError.of([Violation("feedback.id", "is required: it tells which record to replace")])
        message.id = canonical_id(message.id)
        request = v1.ReplaceFeedbackRequest(
            project=self.project_for(project or message.project or None),
            feedback=message,
            expected_version=expected_version,
        )
        return Feedback(self.transport.unary(REPLACE, request).feedback)

    def history(self, id: str, *, project: str | None = None) -> History:
        """The versions of one record, oldest first; after a purge its tombstone alone. Raises NotFoundError."""
        request = v1.ListFeedbackVersionsRequest(project=self.project_for(project), id=canonical_id(id))
        pages = Pages(request)
        versions: list[Feedback] = []
        tombstone: Tombstone | None = None
        while pages.request is not None:
            response = self.transport.unary(LIST_VERSIONS, pages.request)
            versions.extend(map(Feedback, response.versions))
            if response.HasField("tombstone"):
                # Purged between two pages: what was read before is no more.
                versions, tombstone = [], Tombstone.from_proto(response.tombstone)
            pages.advance(response)
        return History(versions, tombstone)

    def ingest(
        self,
        records: Iterable[Mapping[str, Any]],
        *,
        partial: bool = False,
        project: str | None = None,
        progress: bool | Progress = False,
    ) -> Ingested:
        """Store records from any iterable, also one that never ends, over one stream: the fast way for many.

        The iterable is read no faster than the server stores, in requests of 1,000 records or 3 MiB (for a source
        that is slower than that, `buffered` stores sooner). When the server goes away, what is unanswered is sent
        again: the call fails only when the server is away for longer than the client's timeout.

        The first record that is refused ends the reading, and is raised with a note of what was stored: everything
        before it, and some of what came after it. With `partial`, the refused ones are in the result, with their
        positions, and nothing else is held up. Give records an `id` of your own to repeat an ingest that failed:
        what is stored already is not stored twice.

        `progress`: True draws a bar on stderr; a function is called with the result so far after each answer.
        """
        with shown(progress, records) as tell:
            return ingest(self.transport, INGEST, records, self._project_of(project), partial=partial, progress=tell)

    def import_records(
        self,
        records: Iterable[Mapping[str, Any] | Feedback],
        *,
        partial: bool = False,
        project: str | None = None,
        progress: bool | Progress = False,
    ) -> Ingested:
        """Like `ingest`, but what else only the server sets is kept as given; for administrators.

        That is `created_at`, which each record needs, and `updated_at`, `user_id` and `version`: to restore an export,
        or to move in from elsewhere. Times are datetimes or RFC 3339 texts, in UTC when they have no zone. A record may
        be a mapping, as of `Feedback.to_dict()`, or a Feedback, whose payload is kept to the character.
        """
        with shown(progress, records) as tell:
            return ingest(
                self.transport,
                IMPORT,
                records,
                self._project_of(project),
                partial=partial,
                imported=True,
                progress=tell,
            )

    def buffered(
        self,
        *,
        spool: str | os.PathLike[str] | None = None,
        max_records: int = 10_000,
        max_bytes: int = 32 * limits.MIB,
        linger: float = 0.05,
        project: str | None = None,
    ) -> BufferedWriter:
        """A writer that takes records without waiting for the server, and stores them in batches in the background.

        It holds at most `max_records` and `max_bytes` in memory, then adding waits. A record waits at most `linger`
        seconds for others before it is sent. `spool` is the path of a file that takes what waits while the server is
        away, and what is left at the end; what an earlier process left in it is sent first. Use it in a `with` block,
        whose end stores all that was added, or raises NotStoredError.

        Raises ValueError for a file that is no spool, RuntimeError for one that another buffer uses, OSError for one
        that can not be used.
        """
        from plaudit._buffered import BufferedWriter

        return BufferedWriter(
            self.transport,
            self._project_of(project),
            spool=spool,
            max_records=max_records,
            max_bytes=max_bytes,
            linger=linger,
            patience=self._settings.timeout,
        )

    def watch(self, project: str | None = None, *, after: int | None = None, query: QueryLike | None = None) -> Watch:
        """The changes of a project from now on, or after a revision (0: from the start), as an endless iterator.

        Each `Change` comes once, in the order of the revisions. `query` lets a replace pass when the old or the new
        version matches, a creation when the record does, a purge always. Connects before it returns; after that it
        comes back by itself whenever the server was away. Keep `revision` to go on later.

        Raises InvalidArgumentError for a revision above the project's.
        """
        return Watch(self.transport, Position(self.project_for(project), after, _query_message(query)))

    def purge(
        self,
        ids: Iterable[str] | None = None,
        *,
        query: QueryLike | None = None,
        dry_run: bool = False,
        project: str | None = None,
    ) -> int:
        """Remove records for good, by id or all that match a query, and return how many; `dry_run` only counts.

        Sends as many requests as it takes; an error leaves purged what was purged before. An id that is not there
        is no error and counts 0, so a purge that is repeated may tell fewer. Give exactly one of `ids` and `query`.
        """
        if (ids is None) == (query is None):
            raise ValueError("give exactly one of ids and query")
        project_id = self.project_for(project)
        if query is not None:
            return self._purge_matching(as_query(query), dry_run, project_id)
        if isinstance(ids, str) or ids is None:
            raise TypeError("ids is a list of ids, not one id")
        purged = 0
        for some in _chunks(dict.fromkeys(map(canonical_id, ids)), limits.PURGE_ROWS):
            request = v1.PurgeFeedbackRequest(project=project_id, ids=some, dry_run=dry_run)
            purged += self.transport.unary(PURGE, request).purged_count
        return purged

    def count(self, query: QueryLike | None = None, *, project: str | None = None) -> int:
        """How many records match; all of the project for None."""
        request = v1.CountFeedbackRequest(project=self.project_for(project), query=_query_message(query))
        return self.transport.unary(COUNT, request).count

    def refs(self, query: QueryLike | None = None, *, project: str | None = None) -> Refs:
        """The unique refs of the records that match, in the order of their URIs, with the number of records of each."""
        pages = Pages(v1.ListRefsRequest(project=self.project_for(project), query=_query_message(query)))
        counts: dict[str, int] = {}
        while pages.request is not None:
            response = self.transport.unary(LIST_REFS, pages.request)
            counts.update((summary.ref.uri, summary.feedback_count) for summary in response.refs)
            pages.advance(response)
        return Refs(counts, counts)

    def server_info(self) -> ServerInfo:
        """The server's version, store and limits."""
        info = self.transport.unary(SERVER_INFO, v1.GetServerInfoRequest())
        return ServerInfo(info.version, info.store, dict(info.limits), info.erasure_pending)

    def close(self) -> None:
        """Close the connection; calls after it raise RuntimeError."""
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.project!r}, target={self.target!r})"

    def _project_of(self, project: str | None) -> Callable[[v1.Feedback], str]:
        """Where a record goes: the project of the call, else its own, else the client's."""
        return lambda message: self.project_for(project or message.project or None)

    def _store(self, batch: Batch[v1.BatchCreateFeedbackRequest]) -> Iterator[tuple[int, Feedback | PlauditError]]:
        response = self.transport.unary(BATCH_CREATE, batch.request)
        return zip(batch.positions, map(_outcome, response.results), strict=True)

    def _purge_matching(self, query: Query, dry_run: bool, project: str) -> int:
        request = v1.PurgeFeedbackRequest(project=project, query=query.to_proto(), dry_run=dry_run)
        purged = 0
        while True:
            response = self.transport.unary(PURGE, request)
            purged += response.purged_count
            if not response.more or not response.purged_count:
                return purged
            if dry_run:
                return self.count(query, project=project)


def _outcome(result: v1.BatchCreateFeedbackResult) -> Feedback | PlauditError:
    return from_status(result.status) if result.WhichOneof("result") == "status" else Feedback(result.feedback)


def _with_note(error: PlauditError, stored: int) -> PlauditError:
    if stored:
        error.add_note(f"The {stored} records before were stored, by earlier requests of this batch.")
    return error


def _chunks(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(ids)
    while chunk := list(islice(rest, size)):
        yield chunk


def _query_message(query: QueryLike | None) -> v1.Query | None:
    return None if query is None else as_query(query).to_proto()
