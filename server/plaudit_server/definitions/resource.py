"""Definitions as a resource: what each RPC declares, its commands and table, what it answers to feedback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plaudit.v1 import CheckDefinitionRequest, definition_service_pb2
from plaudit_server.auth.permission import Right
from plaudit_server.definitions.cache import Cache
from plaudit_server.definitions.commands import COMMANDS
from plaudit_server.definitions.judge import DefinitionJudge
from plaudit_server.definitions.records import DEFINITION
from plaudit_server.definitions.servicer import TRIED_RECORDS, DefinitionService
from plaudit_server.feedback.judging import Judge
from plaudit_server.rpc.declare import Bounded, Kind, ProjectIn, Rpc, Service, no_rows, one_row
from plaudit_server.rpc.resource import Number, Parts, Resource, Running
from plaudit_server.store.base import Engine

_IN_FIELD: Final = ProjectIn.FIELD
_DEFINITION: Final = (Bounded("definition", None),)


def _tried_rows(request: CheckDefinitionRequest) -> int:
    """How many rows a check may look at; a project's quota counts them like rows that are written."""
    return min(max(request.page_size, 0) or TRIED_RECORDS, TRIED_RECORDS)


SERVICE: Final = Service(
    definition_service_pb2.DESCRIPTOR.services_by_name["DefinitionService"],
    (
        Rpc(
            method="PutDefinition",
            right=Right.DEFINE,
            project=_IN_FIELD,
            rows=one_row,
            kind=Kind.WRITE,
            bounded=_DEFINITION,
        ),
        Rpc(method="GetDefinition", right=Right.READ, project=_IN_FIELD, rows=no_rows, kind=Kind.POINT),
        Rpc(method="ListDefinitions", right=Right.READ, project=_IN_FIELD, rows=no_rows, kind=Kind.POINT),
        Rpc(
            method="CheckDefinition",
            right=Right.CHECK,
            project=_IN_FIELD,
            rows=_tried_rows,
            kind=Kind.SCAN,
            bounded=_DEFINITION,
        ),
    ),
)


def _provides(store: Engine) -> Mapping[type[Any], Any]:
    return {Judge: DefinitionJudge(Cache(store))}


def _start(parts: Parts) -> Running:
    judge = parts.hooks[Judge]
    judge.checks = parts.checks
    return Running(
        servicers={SERVICE.name: DefinitionService(parts, judge.cache)},
        numbers=(
            Number(
                "plaudit_definition_breaches_total",
                "Records that broke the definition of their type.",
                lambda: judge.breaches,
                "counter",
            ),
        ),
    )


RESOURCE: Final = Resource(
    name="definitions",
    tables=(DEFINITION,),
    services=(SERVICE,),
    commands=COMMANDS,
    provides=_provides,
    start=_start,
)
