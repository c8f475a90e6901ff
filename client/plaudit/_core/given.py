"""The type of a record that is given to be stored, for editors and type checkers; what is checked is in `records`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict

from plaudit._contract.refs import Ref


class _Required(TypedDict):
    ref: str | Ref
    feedback_type: str


class _Described(TypedDict, total=False):
    creator: str | None
    annotation_ref: str | Ref | None
    runnable_ref: str | Ref | None
    call_ref: str | Ref | None
    trigger_ref: str | Ref | None
    queue_id: str | None
    scorer_tags: Sequence[str] | None
    scorer_tag_reasons: Mapping[str, str] | None
    scorer_tag_confidences: Mapping[str, float] | None
    scorer_ratings: Mapping[str, float] | None
    scorer_rating_reasons: Mapping[str, str] | None
    scorer_rating_confidences: Mapping[str, float] | None
    span_agent_name: str | None
    span_agent_version: str | None
    span_status_code: Literal["UNSET", "OK", "ERROR"] | None
    span_conversation_id: str | None
    span_trace_id: str | None
    scorer_trace_id: str | None


class FeedbackRecord(_Required, _Described, total=False):
    """A record to store, as `create` and `create_batch` take it. Only `ref` and `feedback_type` are required.

    A value of None, NaN, or pandas' NA and NaT is the same as leaving the field out. At most 100 entries in each
    `scorer_*` field.

    - `id`: a UUID; a new UUIDv7 when left out. The same record may be stored again with the same id.
    - `project`: `entity/project`; that of the client when left out.
    - `ref`: the URI of what the feedback is about, or a `Ref`, or one of Weave's; at most 2,048 bytes.
    - `feedback_type`: `wandb.note.1`, `wandb.reaction.1`, … or a type of your own; at most 128 bytes.
    - `payload`: the content, a JSON object of at most 1 MiB and 32 levels; in rows of a file also its text, or in those
      of a frame columns such as `payload.score`.
    - `creator`: the display name of who gave the feedback; at most 256 bytes.
    - `annotation_ref`: the annotation spec; with a type `wandb.annotation.<name>`, which requires it.
    - `runnable_ref`: the scorer, an op or object; with the types `wandb.runnable.<name>` and `wandb.agent_monitor`.
    - `call_ref`: the scorer's own call; with the same types.
    - `trigger_ref`: what made the scorer run; with the same types.
    - `queue_id`: the annotation queue that the feedback came from; at most 128 bytes.
    - `scorer_tags`: tags, in the order given.
    - `scorer_tag_reasons`: why a tag was given, by tag.
    - `scorer_tag_confidences`: how sure the scorer is of a tag, by tag, from 0 to 1.
    - `scorer_ratings`: ratings by name, from 0 to 1.
    - `scorer_rating_reasons`: why a rating was given, by name.
    - `scorer_rating_confidences`: how sure the scorer is of a rating, by name, from 0 to 1.
    - `span_agent_name`, `span_agent_version`: the agent.
    - `span_status_code`: how the span ended.
    - `span_conversation_id`: the conversation that the feedback is about.
    - `span_trace_id`: the trace, or turn, that the feedback is about.
    - `scorer_trace_id`: the trace in which the scorer itself ran.
    - `user_id`, `created_at`, `updated_at`, `version`: set by the server; `create` ignores them, and `import_records`,
      for administrators, keeps them as given.
    - `revision`, `owner`: set by the server, and always ignored.
    """

    id: str | uuid.UUID | None
    project: str
    payload: Mapping[str, Any] | None
    user_id: str | None
    created_at: datetime | str | None
    updated_at: datetime | str | None
    version: int | None
    revision: int | None
    owner: str | None


class FeedbackChanges(_Described, total=False):
    """What `update` changes besides the payload, by the names of `FeedbackRecord`; None empties a field."""

    ref: str | Ref
    feedback_type: str
