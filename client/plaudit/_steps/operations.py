"""What each operation asks the server and makes of the answers, for both clients; nothing here does I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from plaudit import v1
from plaudit._contract import limits
from plaudit._core.batching import Batch, Cutter, cut
from plaudit._core.errors import InvalidArgumentError, PlauditError, Violation
from plaudit._core.expr import Query, QueryLike, as_query, field
from plaudit._core.model import Feedback
from plaudit._core.records import canonical_id, to_message
from plaudit._core.statuses import from_status
from plaudit._results.feedbacks import Refs
from plaudit._results.history import History, Tombstone
from plaudit._settings import Settings, check_project
from plaudit._steps.ingest import Ingestion, Progress
from plaudit._steps.step import Steps
from plaudit._sync.query import Pages, reaction_query
from plaudit._wire.methods import (
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
    Method,
)

TransportT = TypeVar("TransportT", bound=Any)


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


class Operations(Generic[TransportT]):
    """The bodies of a client's methods, each a generator of calls over `transport`, blocking or awaited."""

    def __init__(self, settings: Settings, transport: TransportT) -> None:
        self._settings = settings
        self.transport: TransportT = transport

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

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.project!r}, target={self.target!r})"

    def _chosen(
        self, query: str | QueryLike | None, reaction: str | None, project: str | None
    ) -> tuple[str, str, Query | None]:
        """Entity, project and query of `get_feedback`."""
        chosen: QueryLike | None = field("id") == canonical_id(query) if isinstance(query, str) else query
        if chosen is not None:
            chosen = as_query(chosen)
        if reaction is not None:
            chosen = reaction_query(reaction, chosen)
        entity, _, name = self.project_for(project).partition("/")
        return entity, name, chosen

    def _create(self, record: Mapping[str, Any], project: str | None) -> Steps[Feedback]:
        message = to_message(record)
        project_id = self.project_for(project or message.project or None)
        request = v1.CreateFeedbackRequest(project=project_id, feedback=message)
        return Feedback((yield self.transport.unary(CREATE, request)).feedback)

    def _create_batch(
        self, records: Iterable[Mapping[str, Any]], partial: bool, project: str | None
    ) -> Steps[list[Feedback | PlauditError]]:
        outcomes: dict[int, Feedback | PlauditError] = {}

        def refuse(position: int, record: object, error: PlauditError) -> bool:
            if not partial:
                raise _with_note(error, len(outcomes))
            outcomes[position] = error
            return True

        def new_request(project_id: str) -> v1.BatchCreateFeedbackRequest:
            return v1.BatchCreateFeedbackRequest(project=project_id, partial=partial)

        cutter = Cutter(self._project_of(project), new_request=new_request, refuse=refuse)
        for batch in cut(records, cutter):
            try:
                outcomes.update((yield from self._store(batch)))
            except PlauditError as failure:
                error = failure.moved(batch.positions)
                if not partial:
                    raise _with_note(error, len(outcomes)) from failure.__cause__
                outcomes.update(dict.fromkeys(batch.positions, error))
        return [outcomes[position] for position in range(len(outcomes))]

    def _store(
        self, batch: Batch[v1.BatchCreateFeedbackRequest]
    ) -> Steps[Iterable[tuple[int, Feedback | PlauditError]]]:
        response = yield self.transport.unary(BATCH_CREATE, batch.request)
        return zip(batch.positions, map(_outcome, response.results), strict=True)

    def _get(self, id: str, version: int, project: str | None) -> Steps[Feedback]:
        request = v1.GetFeedbackRequest(project=self.project_for(project), id=canonical_id(id), version=version)
        return Feedback((yield self.transport.unary(GET, request)).feedback)

    def _replace(self, record: Mapping[str, Any], expected_version: int, project: str | None) -> Steps[Feedback]:
        message = to_message(record)
        if not record.get("id"):
            raise InvalidArgumentError.of([Violation("feedback.id", "is required: it tells which record to replace")])
        message.id = canonical_id(message.id)
        request = v1.ReplaceFeedbackRequest(
            project=self.project_for(project or message.project or None),
            feedback=message,
            expected_version=expected_version,
        )
        return Feedback((yield self.transport.unary(REPLACE, request)).feedback)

    def _history(self, id: str, project: str | None) -> Steps[History]:
        request = v1.ListFeedbackVersionsRequest(project=self.project_for(project), id=canonical_id(id))
        pages = Pages(request)
        versions: list[Feedback] = []
        tombstone: Tombstone | None = None
        while pages.request is not None:
            response = yield self.transport.unary(LIST_VERSIONS, pages.request)
            versions.extend(map(Feedback, response.versions))
            if response.HasField("tombstone"):
                # Purged between two pages: what was read before is no more.
                versions, tombstone = [], Tombstone.from_proto(response.tombstone)
            pages.advance(response)
        return History(versions, tombstone)

    def _ingestion(
        self, project: str | None, partial: bool, imported: bool, progress: Progress | None
    ) -> tuple[Method[Any, Any], Ingestion[Any]]:
        method: Method[Any, Any] = IMPORT if imported else INGEST
        return method, Ingestion(method.request, self._project_of(project), partial, imported, progress)

    def _purge(
        self, ids: Iterable[str] | None, query: QueryLike | None, dry_run: bool, project: str | None
    ) -> Steps[int]:
        if (ids is None) == (query is None):
            raise ValueError("give exactly one of ids and query")
        project_id = self.project_for(project)
        if query is not None:
            return (yield from self._purge_matching(as_query(query), dry_run, project_id))
        if isinstance(ids, str) or ids is None:
            raise TypeError("ids is a list of ids, not one id")
        purged: int = 0
        for some in _chunks(dict.fromkeys(map(canonical_id, ids)), limits.PURGE_ROWS):
            request = v1.PurgeFeedbackRequest(project=project_id, ids=some, dry_run=dry_run)
            purged += (yield self.transport.unary(PURGE, request)).purged_count
        return purged

    def _purge_matching(self, query: Query, dry_run: bool, project: str) -> Steps[int]:
        request = v1.PurgeFeedbackRequest(project=project, query=query.to_proto(), dry_run=dry_run)
        purged: int = 0
        while True:
            response = yield self.transport.unary(PURGE, request)
            purged += response.purged_count
            if not response.more or not response.purged_count:
                return purged
            if dry_run:
                return (yield from self._count(query, project))

    def _count(self, query: QueryLike | None, project: str | None) -> Steps[int]:
        request = v1.CountFeedbackRequest(project=self.project_for(project), query=query_message(query))
        count: int = (yield self.transport.unary(COUNT, request)).count
        return count

    def _refs(self, query: QueryLike | None, project: str | None) -> Steps[Refs]:
        pages = Pages(v1.ListRefsRequest(project=self.project_for(project), query=query_message(query)))
        counts: dict[str, int] = {}
        while pages.request is not None:
            response = yield self.transport.unary(LIST_REFS, pages.request)
            counts.update((summary.ref.uri, summary.feedback_count) for summary in response.refs)
            pages.advance(response)
        return Refs(counts, counts)

    def _server_info(self) -> Steps[ServerInfo]:
        info = yield self.transport.unary(SERVER_INFO, v1.GetServerInfoRequest())
        return ServerInfo(info.version, info.store, dict(info.limits), info.erasure_pending)

    def _project_of(self, project: str | None) -> Callable[[v1.Feedback], str]:
        """Where a record goes: the project of the call, else its own, else the client's."""
        return lambda message: self.project_for(project or message.project or None)


def query_message(query: QueryLike | None) -> v1.Query | None:
    """A query as the wire has it; None for every record."""
    return None if query is None else as_query(query).to_proto()


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
