"""Who calls, and whether they may: the gate that authenticates each call, and the step that checks its permission."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from plaudit_server.auth.authenticator import Authenticator
from plaudit_server.auth.permission import allowed
from plaudit_server.errors import PermissionDenied
from plaudit_server.rpc.call import Call


class Authentication:
    """A gate that finds out who calls; on a stream it runs for each request, so that revoking a key ends the stream."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def check(self, call: Call) -> None:
        """Set the call's principal and user_id. Raises Unauthenticated."""
        metadata: Any = call.context.invocation_metadata() or ()
        call.principal = self._authenticator.authenticate(metadata, call.context.auth_context)
        call.user_id = call.principal.name


class Permission:
    """A step that refuses what the principal's role does not include, before anything is looked up."""

    async def __call__(self, call: Call, request: Message) -> None:
        """Set whether the caller may change its own records only. Raises PermissionDenied."""
        rpc = call.rpc
        assert rpc is not None
        project = call.project_of(request)
        decision = allowed(call.principal, rpc.right, project)
        if not decision.allowed:
            call.rows.setdefault(project, 0)
            raise PermissionDenied(project, rpc.right)
        call.own_only = decision.own_only
