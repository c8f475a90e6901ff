"""Retention as a resource: what each RPC declares, its command and tables, and the sweep that each server does."""

from __future__ import annotations

from typing import Final

from plaudit.v1 import retention_service_pb2
from plaudit_server.auth.permission import Right
from plaudit_server.retention.commands import COMMANDS
from plaudit_server.retention.holds import HOLD
from plaudit_server.retention.records import RULE
from plaudit_server.retention.servicer import RetentionService
from plaudit_server.retention.sweeping import Sweeper
from plaudit_server.rpc.declare import Kind, ProjectIn, Rpc, Service, no_rows, one_row
from plaudit_server.rpc.resource import Number, Parts, Resource, Running

_IN_FIELD: Final = ProjectIn.FIELD

SERVICE: Final = Service(
    retention_service_pb2.DESCRIPTOR.services_by_name["RetentionService"],
    (
        Rpc(method="PutRetentionRule", right=Right.RETAIN, project=_IN_FIELD, rows=one_row, kind=Kind.WRITE),
        Rpc(method="ListRetentionRules", right=Right.RETENTION, project=_IN_FIELD, rows=no_rows, kind=Kind.POINT),
        Rpc(method="CheckRetention", right=Right.RETENTION, project=_IN_FIELD, rows=no_rows, kind=Kind.SCAN),
    ),
)


def _start(parts: Parts) -> Running:
    sweeper = Sweeper(parts.store, parts.writer, is_audited=parts.config.is_audited)

    async def opened() -> None:
        sweeper.start()

    return Running(
        servicers={SERVICE.name: RetentionService(parts)},
        opened=opened,
        drain=sweeper.stop,
        closed=sweeper.close,
        numbers=(
            Number(
                "plaudit_retention_removed_total",
                "Records removed at the end of their time by this server.",
                lambda: sweeper.removed,
                "counter",
            ),
            Number(
                "plaudit_retention_failures_total",
                "Sweeps for records whose time is over that ended early, since the store failed or was busy.",
                lambda: sweeper.failed,
                "counter",
            ),
        ),
    )


RESOURCE: Final = Resource(name="retention", tables=(RULE, HOLD), services=(SERVICE,), commands=COMMANDS, start=_start)
