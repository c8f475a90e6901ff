"""Feedback as a resource: what each of its RPCs declares, its commands and tables, and how it starts."""

from __future__ import annotations

from typing import Final

from plaudit._contract import limits
from plaudit.v1 import feedback_service_pb2
from plaudit_server.auth.permission import Right
from plaudit_server.feedback.aliases import ALIAS
from plaudit_server.feedback.commands import COMMANDS
from plaudit_server.feedback.errors import WatcherTooSlow
from plaudit_server.feedback.reacting import ClearReaction, React
from plaudit_server.feedback.records import FEEDBACK, GONE, HISTORY
from plaudit_server.feedback.retaining import Retain
from plaudit_server.feedback.servicer import FeedbackService
from plaudit_server.feedback.watch import Watches
from plaudit_server.rpc.declare import Bounded, Kind, ProjectIn, Rpc, Service, no_rows, one_row, rows_in
from plaudit_server.rpc.resource import Number, Parts, Resource, Running
from plaudit_server.store.counters import COUNT

_IN_FIELD: Final = ProjectIn.FIELD
_RECORDS: Final = (Bounded("feedback", None),)

SERVICE: Final = Service(
    feedback_service_pb2.DESCRIPTOR.services_by_name["FeedbackService"],
    (
        Rpc(
            method="CreateFeedback",
            right=Right.CREATE,
            project=_IN_FIELD,
            rows=one_row,
            kind=Kind.WRITE,
            bounded=_RECORDS,
        ),
        Rpc(
            method="BatchCreateFeedback",
            right=Right.CREATE,
            project=_IN_FIELD,
            rows=rows_in("feedback"),
            kind=Kind.WRITE,
            bounded=_RECORDS,
        ),
        Rpc(
            method="IngestFeedback",
            right=Right.CREATE,
            project=_IN_FIELD,
            rows=rows_in("feedback"),
            kind=Kind.STREAM_WRITE,
            bounded=_RECORDS,
        ),
        Rpc(
            method="ImportFeedback",
            right=Right.IMPORT,
            project=_IN_FIELD,
            rows=rows_in("feedback"),
            kind=Kind.STREAM_WRITE,
            bounded=_RECORDS,
        ),
        Rpc(method="GetFeedback", right=Right.READ, project=_IN_FIELD, rows=no_rows, kind=Kind.POINT),
        Rpc(method="QueryFeedback", right=Right.READ, project=_IN_FIELD, rows=no_rows, kind=Kind.SCAN),
        Rpc(method="StreamFeedback", right=Right.READ, project=_IN_FIELD, rows=no_rows, kind=Kind.STREAM_READ),
        Rpc(method="CountFeedback", right=Right.READ, project=_IN_FIELD, rows=no_rows, kind=Kind.SCAN),
        Rpc(method="ListRefs", right=Right.READ, project=_IN_FIELD, rows=no_rows, kind=Kind.SCAN),
        Rpc(
            method="ReplaceFeedback",
            right=Right.REPLACE,
            project=_IN_FIELD,
            rows=one_row,
            kind=Kind.WRITE,
            bounded=_RECORDS,
        ),
        Rpc(
            method="PurgeFeedback",
            right=Right.PURGE,
            project=_IN_FIELD,
            rows=rows_in("ids"),
            kind=Kind.WRITE,
            bounded=(Bounded("ids", limits.PURGE_ROWS),),
        ),
        Rpc(method="SetReaction", right=Right.CREATE, project=_IN_FIELD, rows=one_row, kind=Kind.WRITE),
        Rpc(method="ListFeedbackVersions", right=Right.READ, project=_IN_FIELD, rows=no_rows, kind=Kind.POINT),
        Rpc(method="WatchFeedback", right=Right.READ, project=_IN_FIELD, rows=no_rows, kind=Kind.WATCH),
        Rpc(method="GetServerInfo", right=Right.INFO, project=ProjectIn.NONE, rows=no_rows, kind=Kind.POINT),
    ),
)


def _start(parts: Parts) -> Running:
    watches = Watches(parts.store, poll=parts.store.poll_seconds)
    servicer = FeedbackService(parts, watches)

    def drain() -> None:
        watches.close()
        servicer.drain()

    return Running(
        servicers={SERVICE.name: servicer},
        committed=watches.committed,
        drain=drain,
        closed=watches.release,
        numbers=(
            Number("plaudit_watchers", "Open watches.", lambda: watches.watchers),
            Number(
                "plaudit_store_errors_total",
                "Reads for watches at which the store failed.",
                lambda: watches.failed_reads,
                "counter",
                ("operation", "watch"),
            ),
        ),
    )


RESOURCE: Final = Resource(
    name="feedback",
    tables=(FEEDBACK, HISTORY, ALIAS, GONE, COUNT),
    services=(SERVICE,),
    commands=(*COMMANDS, React, ClearReaction, Retain),
    refusals=(WatcherTooSlow.counted_as,),
    start=_start,
)
