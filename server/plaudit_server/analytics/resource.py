"""Analytics as a resource: what each of its RPCs declares, and how it starts; it has no tables and no commands."""

from __future__ import annotations

from typing import Final

from plaudit._contract import limits
from plaudit.v1 import analytics_service_pb2
from plaudit_server.analytics.servicer import AnalyticsService
from plaudit_server.auth.permission import Right
from plaudit_server.rpc.declare import Bounded, Kind, ProjectIn, Rpc, Service, no_rows
from plaudit_server.rpc.resource import Parts, Resource, Running

_IN_FIELD: Final = ProjectIn.FIELD

SERVICE: Final = Service(
    analytics_service_pb2.DESCRIPTOR.services_by_name["AnalyticsService"],
    (
        Rpc(method="AggregateFeedback", right=Right.READ, project=_IN_FIELD, rows=no_rows, kind=Kind.SCAN),
        Rpc(method="DescribeFeedback", right=Right.READ, project=_IN_FIELD, rows=no_rows, kind=Kind.SCAN),
        Rpc(
            method="SummarizeRefs",
            right=Right.READ,
            project=_IN_FIELD,
            rows=no_rows,
            kind=Kind.SCAN,
            bounded=(Bounded("refs", limits.SUMMARY_REFS),),
        ),
        Rpc(method="MeasureAgreement", right=Right.READ, project=_IN_FIELD, rows=no_rows, kind=Kind.SCAN),
    ),
)


def _start(parts: Parts) -> Running:
    return Running(servicers={SERVICE.name: AnalyticsService(parts)})


RESOURCE: Final = Resource(name="analytics", tables=(), services=(SERVICE,), start=_start)
