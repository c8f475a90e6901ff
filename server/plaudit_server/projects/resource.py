"""Projects as a resource: what each of its RPCs declares, and how it starts; it has no tables of its own."""

from __future__ import annotations

from typing import Final

from plaudit.v1 import project_service_pb2
from plaudit_server.auth.permission import Right
from plaudit_server.projects.servicer import ProjectService
from plaudit_server.rpc.declare import Kind, ProjectIn, Rpc, Service, no_rows
from plaudit_server.rpc.resource import Parts, Resource, Running

SERVICE: Final = Service(
    project_service_pb2.DESCRIPTOR.services_by_name["ProjectService"],
    (
        Rpc(method="ListProjects", right=Right.INFO, project=ProjectIn.NONE, rows=no_rows, kind=Kind.SCAN),
        Rpc(method="GetCaller", right=Right.INFO, project=ProjectIn.NONE, rows=no_rows, kind=Kind.POINT),
    ),
)


def _start(parts: Parts) -> Running:
    return Running(servicers={SERVICE.name: ProjectService(parts)})


RESOURCE: Final = Resource(name="projects", tables=(), services=(SERVICE,), start=_start)
