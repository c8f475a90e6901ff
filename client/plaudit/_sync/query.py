"""Feedback that is read when it is looked at: queries, their paging, and the feedback of one ref.

`Pages` is the paging, `Asked` and `AskedOfRef` are what both clients share: they do no I/O. The classes of `_aio` are
the same, awaited.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar, overload

from plaudit import v1
from plaudit._contract.refs import Ref, parse_ref
from plaudit._core.errors import InvalidArgumentError, Violation
from plaudit._core.expr import Query, QueryLike, all_of, as_query, field
from plaudit._core.model import Feedback
from plaudit._core.records import canonical_id
from plaudit._results.feedbacks import Feedbacks, Refs
from plaudit._steps.step import Steps, finish
from plaudit._wire.methods import COUNT, PURGE, QUERY, Method

if TYPE_CHECKING:
    import pandas

    from plaudit._steps.operations import Operations
    from plaudit._sync.client import Client

REACTION_TYPE: Final = "wandb.reaction.1"
NOTE_TYPE: Final = "wandb.note.1"
AGENT_USER_FEEDBACK_TYPE: Final = "wandb.agent_user_feedback"
_RESERVED_PREFIX: Final = "wandb."
_ANNOTATION_PREFIX: Final = "wandb.annotation."
_AGENT_KINDS: Final = frozenset(("agent_turn", "agent_span", "agent_conversation"))


class _PagedRequest(Protocol):
    """A request whose answer comes in pages."""

    page_token: str

    def CopyFrom(self, other: Any, /) -> None:  # noqa: N802
        ...


class _PagedResponse(Protocol):
    """One page."""

    @property
    def next_page_token(self) -> str:
        """Where the next page starts; empty at the end."""


PagedRequestT = TypeVar("PagedRequestT", bound=_PagedRequest)
ClientT = TypeVar("ClientT", bound="Operations[Any]")


class Pages(Generic[PagedRequestT]):
    """The requests of a paged read, without the I/O: send `request`, give the answer to `advance`, until None.

    A request that failed may simply be sent again: the place is kept.
    """

    __slots__ = ("request",)

    def __init__(self, request: PagedRequestT) -> None:
        self.request: PagedRequestT | None = request

    def advance(self, response: _PagedResponse) -> None:
        """Move on to the page after `response`."""
        if self.request is None:
            raise RuntimeError("the last page was read")
        if not response.next_page_token:
            self.request = None
            return
        following = type(self.request)()
        following.CopyFrom(self.request)
        following.page_token = response.next_page_token
        self.request = following


class _Result:
    """The rows of one reading of a query, as far as they were read; grows by whole pages, and never changes else."""

    __slots__ = ("kept", "pages", "revision", "rows")

    def __init__(self, request: v1.QueryFeedbackRequest) -> None:
        self.pages = Pages(request)
        self.rows: list[Feedback] = []
        self.revision = 0
        """The project's revision before the first page was read: until it moves, the rows are what is there."""
        self.kept: Feedbacks | None = None

    def add(self, response: v1.QueryFeedbackResponse) -> None:
        """Take one page in."""
        self.pages.advance(response)
        if not self.rows:
            self.revision = response.revision
        self.rows.extend(map(Feedback, response.feedback))


class Asked(ABC, Generic[ClientT]):
    """What a query asks and what was read of it, for both clients; the bodies yield their calls."""

    _project_id: str | None
    _result: _Result | None

    def _start(
        self,
        project_id: str | None,
        query: QueryLike | None,
        offset: int | None,
        limit: int | None,
        show_refs: bool,
        order_by: str | Iterable[str] | None,
        client: ClientT | None,
    ) -> None:
        self._project_id = project_id
        self._query = None if query is None else as_query(query)
        self._offset = _integer(offset, "offset") or 0
        self._limit = _integer(limit, "limit")
        self._order_by = (order_by,) if isinstance(order_by, str) else tuple(order_by or ())
        self._order_keys = [_order_key(name) for name in self._order_by]
        self.show_refs = show_refs
        self._client = client
        self._result = None
        self._forgotten = 0

    @property
    def client(self) -> ClientT:
        """The client that is asked: the one given, else the default one."""
        if self._client is None:
            self._client = self._default_client()
        return self._client

    @abstractmethod
    def _default_client(self) -> ClientT:
        """The client of `init`, else one made from the environment."""

    @property
    def project_id(self) -> str:
        """`entity/project`."""
        return self._project_id or self.client.project_for(None)

    @property
    def entity(self) -> str:
        """The first part of the project."""
        return self.project_id.partition("/")[0]

    @property
    def project(self) -> str:
        """The second part of the project."""
        return self.project_id.partition("/")[2]

    @property
    def query(self) -> Query | None:
        """What is asked for; None for every record."""
        return self._query

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._described()})"

    def _described(self) -> str:
        parts = [repr(part) for part in self.project_id.split("/")] + [repr(self._query)]
        if self._offset:
            parts.append(f"offset={self._offset}")
        if self._limit is not None:
            parts.append(f"limit={self._limit}")
        if self.show_refs:
            parts.append("show_refs=True")
        if self._order_by:
            parts.append(f"order_by={self._order_by!r}")
        return ", ".join(parts)

    def _unary(self, method: Method[Any, Any], request: Any) -> Any:
        return self.client.transport.unary(method, request)

    def _started(self) -> _Result:
        if self._result is None:
            self._result = _Result(self._request())
        return self._result

    def _all(self) -> Steps[Feedbacks]:
        return self._finish(self._started())

    def _again(self) -> Steps[Feedbacks]:
        old = self._result
        if old is not None and old.kept is not None and (yield from self._is_current(old)):
            old.kept = Feedbacks(self.show_refs, old.rows)
            return old.kept
        result, forgotten = _Result(self._request()), self._forgotten
        rows = yield from self._finish(result)
        if forgotten == self._forgotten:  # else something was stored meanwhile, that the rows may lack
            self._result = result
        return rows

    def _counted(self) -> Steps[int]:
        request = v1.CountFeedbackRequest(project=self.project_id, query=self._query_message())
        count: int = (yield self._unary(COUNT, request)).count
        return count

    def _any(self) -> Steps[bool]:
        result = self._result
        if result is not None and (result.rows or result.pages.request is None):
            return bool(result.rows)
        if self._limit == 0:
            return False
        request = self._request()
        request.limit = 1
        return bool((yield self._unary(QUERY, request)).feedback)

    def _finish(self, result: _Result) -> Steps[Feedbacks]:
        while (yield from self._read_page(result)):
            pass
        if result.kept is None:
            result.kept = Feedbacks(self.show_refs, result.rows)
        return result.kept

    def _read_beyond(self, result: _Result, position: int) -> Steps[bool]:
        """Read pages until there is a row at `position`; False when there is none."""
        while position >= len(result.rows):
            if not (yield from self._read_page(result)):
                return False
        return True

    def _read_page(self, result: _Result) -> Steps[bool]:
        """Read one page more; False at the end."""
        request = result.pages.request
        if request is None:
            return False
        result.add((yield self._unary(QUERY, request)))
        return True

    def _is_current(self, result: _Result) -> Steps[bool]:
        """Whether the project has not changed since the rows were read, by one call that returns no rows."""
        if not result.rows or not result.revision:
            return False  # reading again costs no more than asking
        probe = v1.QueryFeedbackRequest(project=self.project_id, limit=0)
        return bool((yield self._unary(QUERY, probe)).revision == result.revision)

    def _request(self) -> v1.QueryFeedbackRequest:
        return v1.QueryFeedbackRequest(
            project=self.project_id,
            query=self._query_message(),
            order_by=self._order_keys,
            offset=self._offset,
            limit=self._limit,
        )

    def _query_message(self) -> v1.Query | None:
        return None if self._query is None else self._query.to_proto()


class FeedbackQuery(Asked["Client"]):
    """The feedback of a project that matches a query; nothing is asked before it is looked at.

    `query` is a dict `{"$expr": …}`, a `Query`, an expression of `field(…)`, or None for every record.
    `order_by` names columns, map keys and payload paths, with a `-` before those that descend; without it the
    oldest comes first. The first read fetches and the result is kept; iterating fetches page by page; `refresh()`
    fetches again. Safe to share between threads. Reading raises PlauditError.

    Raises ValueError for a bad entity, project or query.
    """

    def __init__(
        self,
        entity: str,
        project: str,
        query: QueryLike | None,
        offset: int | None = None,
        limit: int | None = None,
        show_refs: bool = False,
        *,
        order_by: str | Iterable[str] | None = None,
        client: Client | None = None,
    ) -> None:
        self._lock = threading.RLock()
        self._start(project_id_of(entity, project), query, offset, limit, show_refs, order_by, client)

    def _default_client(self) -> Client:
        from plaudit._settings import default_client

        return default_client()

    def execute(self) -> Feedbacks:
        """All rows; fetched at the first time, then the same object until `refresh()`."""
        with self._lock:
            return finish(self._all())

    def refresh(self) -> Feedbacks:
        """Fetch again; the new result is kept and returned. One small call while nothing in the project has changed."""
        with self._lock:
            return finish(self._again())

    def refs(self) -> Refs:
        """The unique refs of the rows, in the order in which they are first seen."""
        return self.execute().refs()

    def count(self) -> int:
        """How many records match now, whatever `offset` and `limit` are; counted on the server, fetching none."""
        return finish(self._counted())

    def to_pandas(self) -> pandas.DataFrame:
        """A DataFrame with a row for each record and a column for each field. Needs pandas."""
        return self.execute().to_pandas()

    def __iter__(self) -> Iterator[Feedback]:
        """The rows, fetched page by page as they are needed. Another iterator starts with the pages kept so far."""
        with self._lock:
            result = self._started()
        position = 0
        while position < len(result.rows) or self._there_is(result, position):
            yield result.rows[position]
            position += 1

    def _there_is(self, result: _Result, position: int) -> bool:
        with self._lock:
            return finish(self._read_beyond(result, position))

    def __len__(self) -> int:
        return len(self.execute())

    @overload
    def __getitem__(self, index: int) -> Feedback: ...
    @overload
    def __getitem__(self, index: slice) -> list[Feedback]: ...
    def __getitem__(self, index: int | slice) -> Feedback | list[Feedback]:
        return self.execute()[index]

    def __bool__(self) -> bool:
        """Whether there is any row; asks for one at most, and only when none is kept."""
        with self._lock:
            return finish(self._any())

    def __rich__(self) -> Feedbacks:
        return self.execute()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        if cycle:
            printer.text(f"{type(self).__name__}(...)")
        else:
            self.execute()._repr_pretty_(printer, cycle)

    def _repr_html_(self) -> str:
        return self.execute()._repr_html_()


class AskedOfRef(Asked[ClientT]):
    """What a query of exactly one ref asks, and the records that are added to it."""

    def _start_ref(self, ref: str | Ref, client: ClientT | None) -> None:
        self._uri = str(ref) if isinstance(ref, Ref) else ref
        self._ref = parse_ref(self._uri)
        self._start(self._ref.project_id, field("ref") == self._uri, None, None, False, None, client)

    @property
    def ref(self) -> str:
        """The URI."""
        return self._uri

    def _described(self) -> str:
        return repr(self._uri)

    def _added(
        self,
        feedback_type: str,
        payload: Mapping[str, Any] | None,
        creator: str | None,
        annotation_ref: str | Ref | None,
        more: Mapping[str, Any],
    ) -> Steps[str]:
        if not isinstance(feedback_type, str):
            raise TypeError(f"a feedback type is a str, not {type(feedback_type).__name__}")
        if annotation_ref is None:
            if feedback_type.startswith(_RESERVED_PREFIX):
                raise ValueError(f"types that start with {_RESERVED_PREFIX} are reserved: {feedback_type!r}")
        else:
            if not feedback_type.startswith(_ANNOTATION_PREFIX):
                raise ValueError(f"annotation_ref goes with a type {_ANNOTATION_PREFIX}…, not with {feedback_type!r}")
            annotation = annotation_ref if isinstance(annotation_ref, Ref) else parse_ref(annotation_ref)
            if annotation.kind not in ("object", "op"):
                raise TypeError(f"annotation_ref must be the ref of an object or op, not of kind {annotation.kind}")
        if payload is not None and not isinstance(payload, Mapping):
            problem = f"must be a JSON object, not a {type(payload).__name__}"
            raise InvalidArgumentError.of([Violation("feedback.payload", problem)])
        return self._stored(
            feedback_type=feedback_type,
            payload={**(payload or {}), **more},
            creator=creator,
            annotation_ref=None if annotation_ref is None else str(annotation_ref),
        )

    def _reaction(self, emoji: str, creator: str | None) -> Steps[str]:
        if self._ref.kind not in _AGENT_KINDS:
            return self._stored(feedback_type=REACTION_TYPE, payload={"emoji": emoji}, creator=creator)
        return self._stored(
            feedback_type=AGENT_USER_FEEDBACK_TYPE,
            payload={"emoji": emoji, "scorer_tags": [emoji]},
            creator=creator,
            scorer_tags=[emoji],
            scorer_tag_reasons={emoji: "Set by user"},
            scorer_tag_confidences={emoji: 1.0},
        )

    def _note(self, note: str, creator: str | None) -> Steps[str]:
        return self._stored(feedback_type=NOTE_TYPE, payload={"note": note}, creator=creator)

    def _purged(self, feedback_id: str) -> Steps[None]:
        this = Query((field("id") == canonical_id(feedback_id)) & (field("ref") == self._uri))
        request = v1.PurgeFeedbackRequest(project=self.project_id, query=this.to_proto())
        try:
            yield self._unary(PURGE, request)
        finally:
            self._forget()

    def _stored(self, **record: Any) -> Steps[str]:
        try:
            stored: Feedback = yield from self.client._create({"ref": self._uri, **record}, self.project_id)
        finally:
            # Also after an error: a call without an answer may have stored the record.
            self._forget()
        return stored.id

    def _forget(self) -> None:
        self._result = None
        self._forgotten += 1


class RefFeedbackQuery(AskedOfRef["Client"], FeedbackQuery):
    """The feedback of exactly this ref, and the place to add some.

    The project is the ref's own; for an external ref (`https://…`) the client's. Adding returns the new id when
    the server has stored the record, raises PlauditError when it has not, and drops what this object has kept.

    Raises InvalidRefError, a ValueError, for a text that is no ref.
    """

    def __init__(self, ref: str | Ref, *, client: Client | None = None) -> None:
        self._lock = threading.RLock()
        self._start_ref(ref, client)

    @classmethod
    def _of(cls, ref: str | Ref, client: Client, project: str | None) -> RefFeedbackQuery:
        """The feedback of a ref in a project that need not be the ref's own."""
        made = cls(ref, client=client)
        if project is not None:
            made._project_id = client.project_for(project)
        return made

    def add(
        self,
        feedback_type: str,
        payload: Mapping[str, Any] | None = None,
        creator: str | None = None,
        annotation_ref: str | Ref | None = None,
        **kwargs: Any,
    ) -> str:
        """Store feedback of a type of your own, or an annotation; `kwargs` are merged over a copy of `payload`.

        Raises, before anything is sent: ValueError for a reserved type (`wandb.…`) without `annotation_ref`, for an
        `annotation_ref` with a type that is no `wandb.annotation.…`, and for a payload that JSON can not hold;
        TypeError for an `annotation_ref` that is no object and no op.
        """
        return finish(self._added(feedback_type, payload, creator, annotation_ref, kwargs))

    def add_reaction(self, emoji: str, creator: str | None = None) -> str:
        """Store a reaction: exactly one emoji. On an agent's turn, span or conversation it is feedback on the agent."""
        return finish(self._reaction(emoji, creator))

    def add_note(self, note: str, creator: str | None = None) -> str:
        """Store a note: a text of 1 to 10,000 characters."""
        return finish(self._note(note, creator))

    def purge(self, feedback_id: str) -> None:
        """Remove one record of this ref for good; an id that is not there is no error."""
        finish(self._purged(feedback_id))


def reaction_query(emoji: str, query: QueryLike | None) -> Query:
    """What matches `query` and is a reaction with this emoji."""
    reaction = all_of([field("feedback_type") == REACTION_TYPE, field("payload.emoji") == emoji])
    if query is None:
        return Query(reaction)
    return Query(all_of([as_query(query).expr, reaction]))


def project_id_of(entity: str, project: str) -> str:
    """`entity/project`. Raises TypeError for what is no text, ValueError for an empty part or one with a slash."""
    for name, part in (("entity", entity), ("project", project)):
        if not isinstance(part, str):
            raise TypeError(f"{name} is a str, not {type(part).__name__}")
        if not part or "/" in part:
            raise ValueError(f"{name} must not be empty and must not hold a slash: {part!r}")
    return f"{entity}/{project}"


def _integer(value: int | None, name: str) -> int | None:
    """An offset or a limit, as the wire can hold it; the server refuses negative ones."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"{name} is an int or None, not {type(value).__name__}")
    if value is not None and not -(2**63) <= value < 2**63:
        raise InvalidArgumentError.of([Violation(name, "is an integer beyond 64 bits")])
    return value


def _order_key(name: str) -> v1.OrderBy:
    if not isinstance(name, str):
        raise TypeError(f"order_by holds names of fields, not a {type(name).__name__}")
    return v1.OrderBy(field=name.removeprefix("-"), descending=name.startswith("-"))
