"""What is asked about a server as a whole: what it is, which projects are in it, who calls; no I/O."""

from __future__ import annotations

from plaudit import v1
from plaudit._results.server import Caller, Project, ServerInfo
from plaudit._steps.step import Call, Steps, all_pages
from plaudit._wire.methods import CALLER, LIST_PROJECTS, SERVER_INFO


def server_info() -> Steps[ServerInfo]:
    """The server's version, store and limits."""
    info = yield from Call(SERVER_INFO, v1.GetServerInfoRequest())
    return ServerInfo(info.version, info.store, dict(info.limits), info.erasure_pending, info.store_id)


def projects(name_contains: str) -> Steps[list[Project]]:
    """The projects that the caller may read, by name."""
    pages = yield from all_pages(LIST_PROJECTS, v1.ListProjectsRequest(name_contains=name_contains))
    return [Project.from_proto(project) for page in pages for project in page.projects]


def caller() -> Steps[Caller]:
    """Who calls."""
    return Caller.from_proto((yield from Call(CALLER, v1.GetCallerRequest())))
