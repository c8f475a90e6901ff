"""What each operation of a client asks the server, and makes of the answers; nothing here does I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar
from uuid import UUID
from weakref import WeakSet

from plaudit import v1
from plaudit._contract.refs import Ref
from plaudit._core.batching import UNSEEN, Reading
from plaudit._core.changes import Tombstone
from plaudit._core.definitions import CheckResult, Definition
from plaudit._core.errors import InvalidArgumentError, PlauditError, Violation
from plaudit._core.expr import Query, QueryLike, as_query, field
from plaudit._core.grouping import Measured, measure_of
from plaudit._core.keys import Key, check_key
from plaudit._core.model import Feedback
from plaudit._core.position import Position
from plaudit._core.question import query_message
from plaudit._core.records import canonical_id, id_of, to_message
from plaudit._core.tracing import fill_trace_id
from plaudit._core.writing import BatchResult, Progress
from plaudit._results.history import History
from plaudit._results.refs import RefOverview, Refs
from plaudit._settings import Settings, check_project
from plaudit._steps.batch import created
from plaudit._steps.definitions import Known, checked, defined, listed
from plaudit._steps.editing import Doomed, purged, purged_matching, updated
from plaudit._steps.ingest import Ingestion
from plaudit._steps.query import reaction_query
from plaudit._steps.step import Call, Steps, all_pages
from plaudit._wire.methods import (
    COUNT,
    CREATE,
    GET,
    IMPORT,
    INGEST,
    LIST_REFS,
    LIST_VERSIONS,
    REPLACE,
    SUMMARIZE_REFS,
    Method,
)

TransportT = TypeVar("TransportT")


class Operations(Generic[TransportT]):
    """What both clients share: the settings, and the bodies of their methods."""

    _connect: ClassVar[Callable[[Settings], Any]]
    """Makes the transport of a client."""

    def __init__(self, settings: Settings, transport: TransportT, given: object = None) -> None:
        self._settings = settings
        self.transport = transport
        self._known_definitions: dict[str, Known] = {}
        self._given = given
        """What the caller made, and cannot be made anew from the settings: a channel or a transport."""
        self._writers: WeakSet[Any] = WeakSet()
        """The writers of `buffered`, which are closed with the client."""

    @classmethod
    def _of(cls, settings: Settings) -> Self:
        """A client with exactly these settings."""
        client = cls.__new__(cls)
        Operations.__init__(client, settings, cls._connect(settings))
        return client

    def __copy__(self) -> Self:
        if self._given is None:
            return self._of(self._settings)
        copy = type(self).__new__(type(self))
        Operations.__init__(copy, self._settings, self.transport, self._given)
        return copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        if self._given is not None:
            raise TypeError(
                "a client with a channel or transport of its own cannot be pickled: make one in each process"
            )
        return _client_of, (type(self), self._settings)

    @property
    def project(self) -> str | None:
        """`entity/project` of calls that name no project."""
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
        self, query: str | QueryLike | None, reaction: str | None, tones: str | None, project: str | None
    ) -> tuple[str, str, Query | None]:
        """Entity, project and query of `get_feedback`."""
        chosen: QueryLike | None = field("id") == canonical_id(query) if isinstance(query, str) else query
        entity, _, name = self.project_for(project).partition("/")
        return entity, name, reaction_query(reaction, tones, chosen)

    def _create(self, record: Mapping[str, Any], project: str | None, is_traced: bool = True) -> Steps[Feedback]:
        message = to_message(record)
        if is_traced and not id_of(record):
            fill_trace_id(message)
        project_id = self._project_of(project)(message)
        message.ClearField("project")
        response = yield from Call(CREATE, v1.CreateFeedbackRequest(project=project_id, feedback=message))
        return Feedback(response.feedback)

    def _summarize_refs(
        self,
        refs: Iterable[str | Ref],
        query: QueryLike | None,
        measures: dict[str, Measured],
        creator: str | None,
        include_newest: bool,
        any_tone: bool,
        project: str | None,
    ) -> Steps[list[RefOverview]]:
        request = v1.SummarizeRefsRequest(
            project=self.project_for(project),
            refs=[str(ref) for ref in refs],
            query=query_message(query),
            measures=[measure_of(name, measure) for name, measure in measures.items()],
            creator=creator,
            include_newest=include_newest,
            any_tone=any_tone,
        )
        response = yield from Call(SUMMARIZE_REFS, request)
        return [RefOverview(request, overview) for overview in response.refs]

    def _create_batch(
        self,
        records: Iterable[Mapping[str, Any]],
        partial: bool,
        key: Key | None,
        project: str | None,
        reading: Reading = UNSEEN,
    ) -> Steps[BatchResult[Feedback | PlauditError]]:
        return created(records, partial, self._project_of(project), check_key(key), reading)

    def _get(self, id: str | UUID, version: int, project: str | None) -> Steps[Feedback]:
        request = v1.GetFeedbackRequest(project=self.project_for(project), id=canonical_id(id), version=version)
        response = yield from Call(GET, request)
        return Feedback(response.feedback)

    def _replace(self, record: Mapping[str, Any], expected_version: int, project: str | None) -> Steps[Feedback]:
        message = to_message(record)
        if not record.get("id"):
            raise InvalidArgumentError.of([Violation("feedback.id", "is required: it tells which record to replace")])
        message.id = canonical_id(message.id)
        project_id = self._project_of(project)(message)
        message.ClearField("project")
        request = v1.ReplaceFeedbackRequest(project=project_id, feedback=message, expected_version=expected_version)
        response = yield from Call(REPLACE, request)
        return Feedback(response.feedback)

    def _defined(
        self,
        definition: Definition,
        found: CheckResult | None,
        expected_version: int | None,
        project: str | None,
    ) -> Steps[Definition]:
        project_id = self.project_for(project)
        stored = yield from defined(project_id, definition, expected_version, found)
        self._known_definitions.pop(project_id, None)
        return stored

    def _checked(
        self, definition: Definition | str, query: QueryLike | None, project: str | None
    ) -> Steps[CheckResult]:
        given = Definition(definition) if isinstance(definition, str) else definition
        return checked(self.project_for(project), given, query)

    def _listed(self, feedback_type: str, all_versions: bool, project: str | None) -> Steps[list[Definition]]:
        return listed(self.project_for(project), feedback_type, all_versions)

    def _history(self, id: str | UUID, project: str | None) -> Steps[History]:
        request = v1.ListFeedbackVersionsRequest(project=self.project_for(project), id=canonical_id(id))
        versions: list[Feedback] = []
        tombstone: Tombstone | None = None
        for page in (yield from all_pages(LIST_VERSIONS, request)):
            versions.extend(map(Feedback, page.versions))
            if page.HasField("tombstone"):
                # Purged between two pages: what was read before exists no more.
                versions, tombstone = [], Tombstone.from_proto(page.tombstone)
        return History(versions, tombstone)

    def _ingestion(
        self,
        project: str | None,
        partial: bool,
        key: Key | None,
        importing: Mapping[str, Any] | None,
        progress: Progress | None,
    ) -> tuple[Method[Any, Any], Ingestion[Any]]:
        method: Method[Any, Any] = INGEST if importing is None else IMPORT
        project_of = self._project_of(project)
        return method, Ingestion(method.request, project_of, partial, importing, progress, check_key(key))

    def _position(self, project: str | None, after: int | None, query: QueryLike | None, store_id: str) -> Position:
        return Position(self.project_for(project), after, query_message(query), store_id)

    def _update(
        self,
        id: str | UUID,
        payload: Mapping[str, Any] | None,
        changes: Mapping[str, Any],
        expected_version: int,
        project: str | None,
    ) -> Steps[Feedback]:
        return updated(self.project_for(project), canonical_id(id), payload, changes, expected_version)

    def _purge(
        self, ids: Iterable[Doomed] | None, query: QueryLike | None, dry_run: bool, project: str | None
    ) -> Steps[int]:
        if (ids is None) == (query is None):
            raise ValueError("give exactly one of ids and query")
        if query is not None:
            return purged_matching(as_query(query), dry_run, self.project_for(project))
        if isinstance(ids, str) or ids is None:
            raise TypeError("ids is a list of ids, not one id")
        given = None if project is None else self.project_for(project)
        return purged(ids, dry_run, given, lambda: self.project_for(None))

    def _count(self, query: QueryLike | None, project: str | None) -> Steps[int]:
        request = v1.CountFeedbackRequest(project=self.project_for(project), query=query_message(query))
        response = yield from Call(COUNT, request)
        return response.count

    def _refs(self, query: QueryLike | None, project: str | None) -> Steps[Refs]:
        request = v1.ListRefsRequest(project=self.project_for(project), query=query_message(query))
        pages = yield from all_pages(LIST_REFS, request)
        counts = {summary.ref.uri: summary.feedback_count for page in pages for summary in page.refs}
        return Refs(counts, counts)

    def _project_of(self, project: str | None) -> Callable[[v1.Feedback], str]:
        """What finds the project of a record: the call's, else the record's own, else the client's."""
        return lambda message: self.project_for(project or message.project or None)


def _client_of(kind: type[Operations[Any]], settings: Settings) -> Operations[Any]:
    return kind._of(settings)
