"""The feedback API of W&B Weave by its own names: code that was written for Weave changes one import.

    from plaudit.compat import weave                          # in place of: import weave
    from plaudit.compat.weave import RefFeedbackQuery         # in place of: from weave.trace.feedback import …

docs/moving-from-weave.md lists what is different. Calls, ops and evaluations are not here: they stay in Weave.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Unpack, cast

import plaudit
from plaudit._contract.refs import parse_ref
from plaudit._core.feedback_types import AGENT_USER_FEEDBACK as AGENT_USER_FEEDBACK_TYPE
from plaudit._core.feedback_types import NOTE as NOTE_FEEDBACK_TYPE
from plaudit._core.feedback_types import REACTION as REACTION_FEEDBACK_TYPE
from plaudit._core.options import CallArguments
from plaudit._core.question import Question
from plaudit._core.records import canonical_id
from plaudit._results.view import table_grid
from plaudit._settings import Options
from plaudit._steps.query import reaction_query
from plaudit._sync import default
from plaudit.compat._weave_refs import (
    AgentConversationRef,
    AgentSpanRef,
    AgentTurnRef,
    CallRef,
    ExternalRef,
    ObjectRef,
    OpRef,
    Ref,
    TableRef,
    of,
)

if TYPE_CHECKING:
    from rich.table import Table

RUNNABLE_FEEDBACK_TYPE_PREFIX: Final = "wandb.runnable"

__all__ = [
    "AGENT_USER_FEEDBACK_TYPE",
    "NOTE_FEEDBACK_TYPE",
    "REACTION_FEEDBACK_TYPE",
    "RUNNABLE_FEEDBACK_TYPE_PREFIX",
    "AgentConversationRef",
    "AgentSpanRef",
    "AgentTurnRef",
    "Call",
    "CallRef",
    "ExternalRef",
    "Feedback",
    "FeedbackQuery",
    "Feedbacks",
    "ObjectRef",
    "OpRef",
    "Ref",
    "RefFeedbackQuery",
    "Refs",
    "TableRef",
    "WeaveClient",
    "get_client",
    "init",
]

_FIELDS: Final = (
    "id",
    "project_id",
    "weave_ref",
    "creator",
    "feedback_type",
    "payload",
    "annotation_ref",
    "runnable_ref",
    "call_ref",
    "trigger_ref",
    "queue_id",
    "scorer_tags",
    "scorer_tag_reasons",
    "scorer_tag_confidences",
    "scorer_ratings",
    "scorer_rating_reasons",
    "scorer_rating_confidences",
    "span_agent_name",
    "span_agent_version",
    "span_status_code",
    "span_conversation_id",
    "span_trace_id",
    "scorer_trace_id",
    "wb_user_id",
    "created_at",
)


class Feedback(plaudit.Feedback):
    """One record; a dict of it has the names of Weave's fields."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Every field that Weave has, by Weave's name; what a record has beyond them is an attribute."""
        return {name: getattr(self, name) for name in _FIELDS}

    def model_dump_json(self) -> str:
        """As `to_json`: a JSON object with the names of Weave's fields."""
        return self.to_json()

    def keys(self) -> Iterable[str]:
        """The names of Weave's fields."""
        return _FIELDS

    def __getitem__(self, name: str) -> Any:
        """A field by its name in Weave. Raises KeyError."""
        if name not in _FIELDS:
            raise KeyError(name)
        return getattr(self, name)


class Feedbacks(plaudit.Feedbacks):
    """Records in order."""

    item_type: Final = "Feedback"

    def __init__(self, show_refs: bool, feedbacks: Iterable[plaudit.Feedback] | None = None) -> None:
        found = feedbacks or ()
        super().__init__(show_refs, (row if isinstance(row, Feedback) else Feedback(row._message) for row in found))

    @property
    def items(self) -> list[Feedback]:
        """The records."""
        return cast("list[Feedback]", self._feedbacks)

    def refs(self) -> Refs:
        """The unique refs of the records, in the order in which they are first seen."""
        return Refs(feedback.ref for feedback in self._feedbacks)

    def as_rich_table(self) -> Table:
        """A table for rich, with a row for each of the first 200 records, also when there is one."""
        from plaudit._show.table import table

        return table(table_grid(self._feedbacks, self.show_refs))


class Refs(plaudit.Refs):
    """Unique URIs in order."""

    item_type: Final = "Ref"

    def __init__(self, refs: Iterable[str] | None = None) -> None:
        super().__init__(refs or ())

    @property
    def items(self) -> list[str]:
        """The URIs."""
        return list(self)

    def parsed(self) -> list[Any]:
        """The refs as objects of the class of their kind. Raises ValueError for a text that is not a ref."""
        return [of(ref) for ref in super().parsed()]

    def call_refs(self) -> Refs:  # type: ignore[override]
        """The URIs of calls."""
        return Refs(uri for uri in self if parse_ref(uri).kind == "call")

    def calls(self) -> list[Call]:
        """The calls: their refs and their feedback, since plaudit keeps no calls."""
        return [Call(ref) for ref in self.call_refs().parsed()]

    def as_rich_table(self) -> Table:
        """A table for rich, with a row for each of the first 200 refs."""
        from plaudit._show.table import table

        return table(self._grid())


class Call:
    """What plaudit knows of a call: its ref, and the feedback on it."""

    def __init__(self, ref: CallRef, *, client: plaudit.Client | None = None) -> None:
        self.ref = ref
        self.id = ref.id
        self.project_id = ref.project_id
        self.feedback = RefFeedbackQuery(ref.uri, client=client)
        """The feedback on the call, and the place to add some."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(f"plaudit keeps feedback, not calls: a call has no {name!r} here")

    def __repr__(self) -> str:
        return f"Call({str(self.ref)!r})"


class FeedbackQuery(plaudit.FeedbackQuery):
    """The feedback of a project that matches a query; the first read fetches it, and it is kept."""

    _record_class = Feedback
    _collection_class = Feedbacks

    def __init__(
        self,
        entity: str,
        project: str,
        query: Mapping[str, Any] | None,
        offset: int | None = None,
        limit: int | None = None,
        show_refs: bool = False,
        *,
        client: plaudit.Client | None = None,
    ) -> None:
        super().__init__(entity, project, query, offset, limit, show_refs, client=client)

    def _start(self, question: Question, show_refs: bool, client: plaudit.Client | None) -> None:
        super()._start(question, show_refs, client)
        self.offset = question.offset or None
        self.limit = question.limit

    @property
    def feedbacks(self) -> Feedbacks | None:
        """The result that is kept; None before it is read."""
        return None if self._result is None else cast("Feedbacks | None", self._result.kept)

    def execute(self, **call: Unpack[CallArguments]) -> Feedbacks:
        """All records, fetched at the first call."""
        return cast("Feedbacks", super().execute(**call))

    def refresh(self, **call: Unpack[CallArguments]) -> Feedbacks:
        """Fetch again, keep the new result and return it."""
        return cast("Feedbacks", super().refresh(**call))

    def refs(self, **call: Unpack[CallArguments]) -> Refs:
        """The unique refs of the records, in the order in which they are first seen."""
        return self.execute(**call).refs()

    def __iter__(self) -> Iterator[Feedback]:
        return cast("Iterator[Feedback]", super().__iter__())


class RefFeedbackQuery(FeedbackQuery, plaudit.RefFeedbackQuery):
    """The feedback of exactly this ref, and the place to add some."""

    def __init__(self, ref: str | Ref, *, client: plaudit.Client | None = None) -> None:
        plaudit.RefFeedbackQuery.__init__(self, str(ref), client=client)

    @property
    def weave_ref(self) -> str:
        """The URI."""
        return self.ref

    def add(  # type: ignore[override]
        self,
        feedback_type: str,
        payload: Mapping[str, Any] | None = None,
        creator: str | None = None,
        annotation_ref: str | Ref | None = None,
        **kwargs: Any,
    ) -> str:
        """Store feedback; `kwargs` are merged over a copy of `payload`, also `id` and `timeout`."""
        annotation = None if annotation_ref is None else str(annotation_ref) or None
        return self._finished(self._added(feedback_type, payload, creator, annotation, None, kwargs))

    def purge(self, feedback_id: str) -> None:  # type: ignore[override]
        """Remove one record of this ref for good; an id that does not exist is not an error."""
        super().purge(feedback_id)


class WeaveClient:
    """Weave's client, as far as feedback goes; `client` is plaudit's own."""

    def __init__(self, client: plaudit.Client) -> None:
        self.client = client

    @property
    def entity(self) -> str:
        """The first part of the project."""
        return self.client.project_for(None).partition("/")[0]

    @property
    def project(self) -> str:
        """The second part of the project."""
        return self.client.project_for(None).partition("/")[2]

    def get_feedback(
        self,
        query: Mapping[str, Any] | str | None = None,
        *,
        reaction: str | None = None,
        offset: int = 0,
        limit: int | None = None,
    ) -> FeedbackQuery:
        """The feedback of the project: all of it, one record by its id, what a query or a reaction finds."""
        chosen = plaudit.field("id") == canonical_id(query) if isinstance(query, str) else query
        found = reaction_query(reaction or None, None, chosen)
        expression = None if found is None else found.to_dict()
        return FeedbackQuery(self.entity, self.project, expression, offset, limit, show_refs=True, client=self.client)

    def get_call(self, call_id: str, **_: Any) -> Call:
        """The call with this id, which is not looked up: plaudit keeps the feedback on it."""
        return Call(CallRef(self.entity, self.project, call_id), client=self.client)

    def flush(self) -> None:
        """Does nothing: each write is stored when it returns."""

    def finish(self, use_progress_bar: bool = True, callback: Any = None) -> None:
        """Does nothing: each write is stored when it returns."""


def init(
    project_name: str,
    *,
    settings: Any = None,
    autopatch_settings: Any = None,
    postprocess_inputs: Any = None,
    postprocess_output: Any = None,
    attributes: Any = None,
    global_postprocess_inputs: Any = None,
    global_postprocess_output: Any = None,
    global_attributes: Any = None,
    **options: Unpack[Options],
) -> WeaveClient:
    """As `plaudit.init`: makes the default client. What Weave has beyond the project is about calls, and is ignored.

    `project_name` is `entity/project`. The other arguments are those of `plaudit.Client`. Raises ValueError for what is
    malformed.
    """
    return WeaveClient(plaudit.init(project_name, **options))


def get_client() -> WeaveClient:
    """Weave's client over the default client of plaudit."""
    return WeaveClient(default.client())


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        raise AttributeError(
            f"plaudit.compat.weave has Weave's feedback API, not {name!r}: keep `import weave` for ops, calls and "
            "evaluations"
        )
