"""Answers of feedback's RPCs in wire form: rows are joined as they are stored, and never encoded again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, get_args

from plaudit import v1 as wire
from plaudit._contract import limits, refs
from plaudit.v1 import (
    BatchCreateFeedbackResult,
    Change,
    ReactionCount,
    Ref,
    RefEdge,
    RefKind,
    RefSummary,
    WatchFeedbackResponse,
)
from plaudit_server.errors import DomainError
from plaudit_server.feedback.reactions import ReactionSummary
from plaudit_server.feedback.reads import Changes, RefCount
from plaudit_server.feedback.records import Row, Tombstone
from plaudit_server.rpc.errors import describe
from plaudit_server.rpc.wire import element, set_timestamp

# A thousand refused items still fit a response beside the echo of those that were stored.
_ITEM_STATUS_BYTES: Final = limits.KIB
_KINDS: Final = {kind: RefKind.Value(f"REF_KIND_{kind.upper()}") for kind in get_args(refs.RefKind)}


def encoded(row: Row) -> bytes:
    """A response whose field 1 is the record."""
    return row.head + row.payload


def joined(rows: Iterable[Row]) -> bytes:
    """A response whose repeated field 1 are the records."""
    return b"".join([part for row in rows for part in row])


def batch_response(results: Iterable[Row | DomainError | None]) -> bytes:
    """A BatchCreateFeedbackResponse; a row is already the encoding of a result whose field 1 it is."""
    items = []
    for result in results:
        match result:
            case Row():
                items.append(encoded(result))
            case DomainError():
                status = describe(result).status(room=_ITEM_STATUS_BYTES)
                items.append(BatchCreateFeedbackResult(status=status).SerializeToString())
    return b"".join(map(element, items))


def watch_response(found: Changes, store_id: str = "") -> bytes:
    """A WatchFeedbackResponse; a row is already the subject of a Change."""
    parts = []
    for change in found.changes:
        facts = Change(kind=change.kind, revision=change.revision)  # type: ignore[arg-type]
        if change.tombstone is not None:
            facts.tombstone.CopyFrom(tombstone(change.tombstone))
        whole = facts.SerializeToString() if change.row is None else encoded(change.row) + facts.SerializeToString()
        parts.append(element(whole))
    parts.append(WatchFeedbackResponse(revision=found.revision, store_id=store_id).SerializeToString())
    return b"".join(parts)


def tombstone(tombstone: Tombstone) -> wire.Tombstone:
    """What is left of a purged record, as a message."""
    left = wire.Tombstone(
        id=tombstone.id,
        ref=tombstone.ref,
        feedback_type=tombstone.feedback_type,
        user_id=tombstone.user_id,
        revision=tombstone.revision,
    )
    set_timestamp(left.purged_at, tombstone.purged_at)
    return left


def summary(counted: RefCount) -> RefSummary:
    """A ref in its parts, with how many records are about it, as a message."""
    parsed = refs.parse_ref(counted.ref)
    summary = RefSummary(
        ref=Ref(
            uri=counted.ref,
            kind=_KINDS[parsed.kind],
            entity=parsed.entity or "",
            project=parsed.project or "",
            name=parsed.name or "",
            digest=parsed.digest or "",
            id=parsed.id or "",
            path=[RefEdge(edge=edge.edge, value=edge.value) for edge in parsed.path],
        ),
        feedback_count=counted.feedback_count,
    )
    set_timestamp(summary.first_created_at, counted.first_created_at)
    set_timestamp(summary.last_created_at, counted.last_created_at)
    return summary


def reaction_message(reaction: ReactionSummary) -> ReactionCount:
    """One emoji on one ref."""
    return ReactionCount(emoji=reaction.emoji, count=reaction.count, user_count=reaction.user_count, mine=reaction.mine)
