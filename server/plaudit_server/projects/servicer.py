"""The RPCs of ProjectService: validate, call, answer."""

from __future__ import annotations

import math
from typing import Final

from plaudit.v1 import (
    CallerGrant,
    GetCallerRequest,
    GetCallerResponse,
    ListProjectsRequest,
    ListProjectsResponse,
)
from plaudit_server.auth.principals import ANONYMOUS
from plaudit_server.config.grants import Role
from plaudit_server.errors import InvalidFields, Violation
from plaudit_server.feedback import rules
from plaudit_server.projects.reads import EVERYWHERE, SelectProjects
from plaudit_server.rpc import paging
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.resource import Parts
from plaudit_server.rpc.wire import set_timestamp

# What certificates and anonymous callers may do is in the server's settings: it is not shown.
_SHOWN_TO: Final = frozenset({"api_key", "jwt"})
_CONTAINS_BYTES: Final = 128


class ProjectService:
    """One coroutine per RPC, under the RPC's name."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._deadlines = parts.deadlines

    async def ListProjects(self, call: Call, request: ListProjectsRequest) -> ListProjectsResponse:
        out: list[Violation] = []
        size = rules.check_page_size(request.page_size, out)
        if len(request.name_contains.encode()) > _CONTAINS_BYTES:
            out.append(Violation("name_contains", f"has more than {_CONTAINS_BYTES} bytes"))
        if out:
            raise InvalidFields(out)
        patterns = _readable(call)
        # The page token of another caller, or of one who might read other projects then, would leave projects out.
        scope = paging.scope_of(request, f"{call.user_id}\0{patterns}")
        after = ""
        if request.page_token:
            after = str(paging.unseal(request.page_token, scope, self._store.store_id).after[0])
        read = SelectProjects(patterns, request.name_contains, after, size + 1)
        found = await self._store.read(read, self._deadlines.read(call, ""))
        response = ListProjectsResponse()
        for row in found[:size]:
            project = response.projects.add(name=row.name, revision=row.revision)
            set_timestamp(project.last_changed_at, row.changed_at)
            if row.records is not None:
                project.record_count = row.records
        if len(found) > size:
            cursor = paging.Cursor((found[size - 1].name,), None)
            response.next_page_token = paging.seal(cursor, scope, self._store.store_id)
        return response

    async def GetCaller(self, call: Call, request: GetCallerRequest) -> GetCallerResponse:
        principal = call.principal
        response = GetCallerResponse(name=principal.name, credential=principal.credential)
        if principal.credential in _SHOWN_TO:
            response.grants.extend(
                CallerGrant(role=grant.role.label, projects=grant.projects) for grant in principal.grants
            )
        if principal.expires_at is not None:
            response.expires_at.FromMicroseconds(math.floor(principal.expires_at * 1_000_000))
        return response


def _readable(call: Call) -> tuple[str, ...]:
    """The patterns of the projects that the caller may read."""
    if call.principal is ANONYMOUS:
        return (EVERYWHERE,)
    return tuple(
        sorted({pattern for grant in call.principal.grants if grant.role >= Role.READER for pattern in grant.projects})
    )
