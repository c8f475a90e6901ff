"""Queries that are read when they are looked at: what they ask, what they keep, and the records of one ref; no I/O."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar
from uuid import UUID

from plaudit import v1
from plaudit._contract.refs import Ref, parse_ref
from plaudit._contract.uuid7 import uuid7
from plaudit._core.emoji import spellings
from plaudit._core.errors import InvalidArgumentError, Violation
from plaudit._core.expr import Query, QueryLike, all_of, as_query, field
from plaudit._core.feedback_types import AGENT_USER_FEEDBACK, ANNOTATION_PREFIX, NOTE, REACTION, RESERVED_PREFIX
from plaudit._core.model import Feedback
from plaudit._core.options import NONE
from plaudit._core.paging import Pages
from plaudit._core.question import Question
from plaudit._core.records import canonical_id
from plaudit._core.values import ref_uri
from plaudit._results.feedbacks import Feedbacks, Preview
from plaudit._results.refs import Reaction, reaction_of
from plaudit._results.view import SHOWN_ROWS
from plaudit._show.grid import FIELD_COLUMNS, Grid, field_row
from plaudit._steps.definitions import Known, rated
from plaudit._steps.editing import purged_matching
from plaudit._steps.step import Call, Steps
from plaudit._wire.methods import COUNT, PURGE, QUERY, SET_REACTION, SUMMARIZE_REFS

EVERY: Final = object()
"""In place of an id: every record of the ref. Not None, which a caller may have by mistake."""

_AGENT_KINDS: Final = frozenset(("agent_turn", "agent_span", "agent_conversation"))


class Asking(Protocol):
    """What a query needs of a client."""

    _known_definitions: dict[str, Known]
    """The newest definitions by project and type, as read last."""

    def project_for(self, project: str | None) -> str:
        """The given project, else the client's."""

    def _create(self, record: Mapping[str, Any], project: str | None, is_traced: bool = True) -> Steps[Feedback]:
        """Store one record; where it is traced, with the current trace."""


ClientT = TypeVar("ClientT", bound=Asking)


class Rows:
    """What one reading of a query has read so far: it grows by whole pages, and else never changes."""

    __slots__ = ("_record", "kept", "pages", "revision", "rows")

    def __init__(self, request: v1.QueryFeedbackRequest, record: type[Feedback]) -> None:
        self.pages = Pages(request)
        self._record = record
        self.rows: list[Feedback] = []
        self.revision = 0
        """The project's revision before the first page was read: while it stays the same, so do the rows."""
        self.kept: Feedbacks | None = None
        """The whole result; None until it was read to the end."""

    def add(self, response: v1.QueryFeedbackResponse) -> None:
        """Take one page in."""
        self.pages.advance(response)
        if not self.rows:
            self.revision = response.revision
        self.rows.extend(map(self._record, response.feedback))


class Asked(ABC, Generic[ClientT]):
    """What both clients share of a query: its question, what was read of it, and the bodies of its methods."""

    # What records become: `compat` has classes of its own.
    _record_class: ClassVar[type[Feedback]] = Feedback
    _collection_class: ClassVar[type[Feedbacks]] = Feedbacks

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
        client: ClientT | None = None,
    ) -> None:
        self._start(Question.of(project_id_of(entity, project), query, offset, limit, order_by), show_refs, client)

    def _start(self, question: Question, show_refs: bool, client: ClientT | None) -> None:
        self._question = question
        self.show_refs = show_refs
        self._client = client
        self._options = NONE
        """Those of `get_feedback`; a method's own come before them."""
        self._result: Rows | None = None
        self._forgotten = 0
        self._lock = self._new_lock()

    def __getstate__(self) -> dict[str, Any]:
        """The arguments: not what was read, and for the default client its settings."""
        kept = {name: value for name, value in vars(self).items() if name not in ("_result", "_forgotten", "_lock")}
        if self._client is None:
            kept["_client"] = self._client_of_settings()
        return kept

    def __setstate__(self, kept: Mapping[str, Any]) -> None:
        vars(self).update(kept, _result=None, _forgotten=0, _lock=self._new_lock())

    @staticmethod
    @abstractmethod
    def _new_lock() -> Any:
        """A lock that is held while rows are read, so that threads or tasks that share the query read them once."""

    @property
    def client(self) -> ClientT:
        """The client that is asked: the one given, else the default one."""
        if self._client is None:
            self._client = self._default_client()
        return self._client

    @abstractmethod
    def _default_client(self) -> ClientT:
        """The client of `init`, else one made from the environment."""

    @abstractmethod
    def _client_of_settings(self) -> ClientT:
        """A client with the settings of the default one, for another process."""

    @property
    def project_id(self) -> str:
        """`entity/project`."""
        return self._question.project or self.client.project_for(None)

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
        """The filter; None for every record."""
        return self._question.query

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._described()})"

    def _described(self) -> str:
        question = self._question
        parts = [repr(part) for part in self.project_id.split("/")] + [repr(question.query)]
        if question.offset:
            parts.append(f"offset={question.offset}")
        if question.limit is not None:
            parts.append(f"limit={question.limit}")
        if self.show_refs:
            parts.append("show_refs=True")
        if question.order:
            parts.append(f"order_by={question.order!r}")
        return ", ".join(parts)

    def _kept_grid(self) -> Grid:
        """The rows that are kept; before they are read, the question."""
        result = self._result
        if result is not None and result.kept is not None:
            return result.kept._grid()
        question = self._question
        asked = [
            ("project", self.project_id),
            ("query", None if question.query is None else repr(question.query)),
            ("order_by", ", ".join(question.order)),
            ("offset", question.offset or None),
            ("limit", question.limit),
        ]
        rows = [field_row(name, value) for name, value in asked if value not in (None, "")]
        return Grid(FIELD_COLUMNS, rows, "not read yet: await query.execute()")

    def _started(self) -> Rows:
        if self._result is None:
            self._result = Rows(self._request(), self._record_class)
        return self._result

    def _request(self) -> v1.QueryFeedbackRequest:
        return self._question.request(self.project_id)

    def _all(self) -> Steps[Feedbacks]:
        return self._read_to_end(self._started())

    def _again(self) -> Steps[Feedbacks]:
        old = self._result
        if old is not None and old.kept is not None and (yield from self._is_current(old)):
            old.kept = self._collection_class(self.show_refs, old.rows)
            return old.kept
        result, forgotten = Rows(self._request(), self._record_class), self._forgotten
        rows = yield from self._read_to_end(result)
        if forgotten == self._forgotten:  # else something was stored meanwhile, which the rows may not have
            self._result = result
        return rows

    def _picked(self, index: int | slice) -> Steps[Feedback | list[Feedback]]:
        """The record or records at an index, of which no more is read than that takes."""
        last = _last_row(index)
        if last is None:
            return (yield from self._read_to_end(self._started()))[index]
        result = self._started()
        yield from self._read_beyond(result, last)
        return result.rows[index]

    def _shown(self) -> Steps[Feedbacks]:
        """What a table shows: the first rows, and how many there are in all."""
        result = self._started()
        if not (yield from self._read_beyond(result, SHOWN_ROWS)):
            return (yield from self._read_to_end(result))
        question = self._question
        matching = max(0, (yield from self._counted()) - question.offset)
        total = matching if question.limit is None else min(matching, question.limit)
        return Preview(self.show_refs, result.rows[:SHOWN_ROWS], max(total, len(result.rows)))

    def _counted(self) -> Steps[int]:
        response = yield from Call(COUNT, self._question.count_request(self.project_id))
        return response.count

    def _any(self) -> Steps[bool]:
        result = self._result
        if result is not None and (result.rows or result.pages.request is None):
            return bool(result.rows)
        if self._question.limit == 0:
            return False
        response = yield from Call(QUERY, replace(self._question, limit=1).request(self.project_id))
        return bool(response.feedback)

    def _read_to_end(self, result: Rows) -> Steps[Feedbacks]:
        while (yield from self._read_page(result)):
            pass
        if result.kept is None:
            result.kept = self._collection_class(self.show_refs, result.rows)
        return result.kept

    def _read_beyond(self, result: Rows, position: int) -> Steps[bool]:
        """Read pages until there is a row at `position`; False when there is none."""
        while position >= len(result.rows):
            if not (yield from self._read_page(result)):
                return False
        return True

    def _read_page(self, result: Rows) -> Steps[bool]:
        """Read the next page; False when there is none."""
        request = result.pages.request
        if request is None:
            return False
        result.add((yield from Call(QUERY, request)))
        return True

    def _purged_all(self, dry_run: bool) -> Steps[int]:
        """Remove every record that matches. Raises ValueError for a query that must not be purged as a whole."""
        question = self._question
        if question.offset or question.limit is not None:
            raise ValueError("a query with a limit or an offset is not purged: its records are, with client.purge(…)")
        if question.query is None:
            raise ValueError("this query has no condition; to remove every record, ask for field('id').exists()")
        try:
            return (yield from purged_matching(question.query, dry_run, self.project_id))
        finally:
            if not dry_run:
                self._forget()

    def _forget(self) -> None:
        self._result = None
        self._forgotten += 1

    def _is_current(self, result: Rows) -> Steps[bool]:
        """Whether the project is the same as when the rows were read; asks in one call, which returns no rows."""
        if not result.rows or not result.revision:
            return False  # reading again costs no more than asking
        probe = yield from Call(QUERY, v1.QueryFeedbackRequest(project=self.project_id, limit=0))
        return probe.revision == result.revision


class AskedOfRef(Asked[ClientT]):
    """What both clients share of a query for exactly one ref, and of adding records to it."""

    def __init__(self, ref: str | Ref, *, client: ClientT | None = None) -> None:
        self._uri = _uri(ref)
        self._ref = parse_ref(self._uri)
        self._reacted: dict[tuple[str, str | None, bool], bool] = {}
        self._start(Question.of(self._ref.project_id, field("ref") == self._uri), False, client)

    def _move_to(self, project: str | None) -> None:
        """Ask in another project than the ref's own, unless it is None."""
        if project is not None:
            self._question = replace(self._question, project=self.client.project_for(project))

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
        id: str | UUID | None,
        more: Mapping[str, Any],
    ) -> Steps[str]:
        if not isinstance(feedback_type, str):
            raise TypeError(f"a feedback type is a str, not {type(feedback_type).__name__}")
        if annotation_ref is None:
            if feedback_type.startswith(RESERVED_PREFIX):
                raise ValueError(f"types that start with {RESERVED_PREFIX} are reserved: {feedback_type!r}")
        else:
            if not feedback_type.startswith(ANNOTATION_PREFIX):
                raise ValueError(f"annotation_ref goes with a type {ANNOTATION_PREFIX}…, not with {feedback_type!r}")
            annotation = parse_ref(_uri(annotation_ref))
            if annotation.kind not in ("object", "op"):
                raise TypeError(f"annotation_ref must be the ref of an object or op, not of kind {annotation.kind}")
        if payload is not None and not isinstance(payload, Mapping):
            problem = f"must be a JSON object, not a {type(payload).__name__}"
            raise InvalidArgumentError.of([Violation("feedback.payload", problem)])
        return self._stored(
            is_traced=True,
            feedback_type=feedback_type,
            payload={**(payload or {}), **more},
            creator=creator,
            annotation_ref=None if annotation_ref is None else _uri(annotation_ref),
            id=id,
        )

    def _reaction(self, emoji: str, creator: str | None) -> Steps[str]:
        if self._ref.kind not in _AGENT_KINDS:
            return self._stored(feedback_type=REACTION, payload={"emoji": emoji}, creator=creator)
        return self._stored(
            feedback_type=AGENT_USER_FEEDBACK,
            payload={"emoji": emoji, "scorer_tags": [emoji]},
            creator=creator,
            scorer_tags=[emoji],
            scorer_tag_reasons={emoji: "Set by user"},
            scorer_tag_confidences={emoji: 1.0},
        )

    def _set_reaction(self, emoji: str, reacted: bool, creator: str | None, any_tone: bool) -> Steps[Reaction]:
        request = v1.SetReactionRequest(
            project=self.project_id, ref=self._uri, emoji=emoji, reacted=reacted, creator=creator, any_tone=any_tone
        )
        try:
            response = yield from Call(SET_REACTION, request)
        finally:
            self._forget()
        reaction = reaction_of(response.reaction)
        self._reacted[emoji, creator, any_tone] = reaction.mine
        return reaction

    def _toggle_reaction(self, emoji: str, creator: str | None, any_tone: bool) -> Steps[Reaction]:
        """The opposite of what was seen last; the server is asked when nothing was seen yet."""
        seen = self._reacted.get((emoji, creator, any_tone))
        if seen is None:
            request = v1.SummarizeRefsRequest(
                project=self.project_id, refs=[self._uri], creator=creator, any_tone=any_tone
            )
            response = yield from Call(SUMMARIZE_REFS, request)
            mine = [each.emoji for each in response.refs[0].reactions if each.mine]
            seen = not set(mine).isdisjoint(spellings(emoji, any_tone=any_tone))
        return (yield from self._set_reaction(emoji, not seen, creator, any_tone))

    def _note(self, note: str, creator: str | None) -> Steps[str]:
        return self._stored(feedback_type=NOTE, payload={"note": note}, creator=creator)

    def _rated(self, feedback_type: str, value: Any, reason: str | None, creator: str | None) -> Steps[str]:
        record = {"ref": self._uri, "creator": creator, "id": uuid7()}
        try:
            return (
                yield from rated(self.client._known_definitions, self.project_id, record, feedback_type, value, reason)
            )
        finally:
            self._forget()

    def _purged(self, feedback_id: str | UUID, dry_run: bool) -> Steps[None]:
        this = Query((field("id") == canonical_id(feedback_id)) & (field("ref") == self._uri))
        request = v1.PurgeFeedbackRequest(project=self.project_id, query=this.to_proto(), dry_run=dry_run)
        try:
            yield from Call(PURGE, request)
        finally:
            self._forget()

    def _stored(self, is_traced: bool = False, **record: Any) -> Steps[str]:
        try:
            stored = yield from self.client._create({"ref": self._uri, **record}, self.project_id, is_traced)
        finally:
            # After an error, too: a call without an answer may have stored the record.
            self._forget()
        return stored.id


def _last_row(index: int | slice) -> int | None:
    """The last row that an index needs, -1 for none; None when it counts from the end, or has none."""
    if not isinstance(index, slice):
        position = operator.index(index)
        return position if position >= 0 else None
    start, stop, step = (
        None if part is None else operator.index(part) for part in (index.start, index.stop, index.step)
    )
    if stop is None or stop < 0 or (start or 0) < 0 or (step or 1) < 0:
        return None
    return stop - 1 if stop > (start or 0) else -1


def reaction_query(emoji: str | None, tones: str | None, query: QueryLike | None) -> Query | None:
    """What matches `query`, if there is one, and reacts with this emoji, if there is one, in any spelling.

    `tones` is "any" for every skin tone. Raises TypeError for an emoji that is not text, ValueError for other `tones`,
    and for tones of no reaction.
    """
    if tones not in (None, "any"):
        raise ValueError(f"tones is 'any', or left out for the tone of the emoji, not {tones!r}")
    if emoji is None:
        if tones is not None:
            raise ValueError("tones says which skin tones of a reaction are found: give the reaction, too")
        return None if query is None else as_query(query)
    if not isinstance(emoji, str):
        raise TypeError(f"a reaction is an emoji, a str, not {type(emoji).__name__}")
    types = field("feedback_type").in_([REACTION, AGENT_USER_FEEDBACK])
    reaction = all_of([types, field("payload.emoji").in_(spellings(emoji, any_tone=tones == "any"))])
    if query is None:
        return Query(reaction)
    return Query(all_of([as_query(query).expr, reaction]))


def _uri(ref: object) -> str:
    """The URI of a ref, as text or as an object. Raises TypeError for anything else."""
    uri = ref_uri(ref)
    if uri is None:
        raise TypeError(f"a ref is a str or a Ref, not {type(ref).__name__}")
    return uri


def project_id_of(entity: str, project: str) -> str:
    """`entity/project`. Raises TypeError for what is not text, ValueError for an empty part or one with a slash."""
    for name, part in (("entity", entity), ("project", project)):
        if not isinstance(part, str):
            raise TypeError(f"{name} is a str, not {type(part).__name__}")
        if not part or "/" in part:
            raise ValueError(f"{name} must not be empty and must not hold a slash: {part!r}")
    return f"{entity}/{project}"
