"""Who calls, and whether they may: the gate that authenticates each call, and the step that checks its permission."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from google.protobuf.message import Message

from plaudit_server.auth.authenticator import Authenticator, bearer
from plaudit_server.auth.permission import allowed
from plaudit_server.auth.principals import Principal
from plaudit_server.errors import PermissionDenied
from plaudit_server.rpc.call import Call
from plaudit_server.rpc.declare import ProjectIn


class Bearer(NamedTuple):
    """What a feedback token stands for: its principal, which is of one project, and what it allows."""

    principal: Principal
    token: Any


VerifyToken = Callable[[Call, str, float], Bearer]
"""Checks a feedback token that came with a call, at a time in Unix seconds. Raises Unauthenticated and others."""


class Authentication:
    """A gate that finds out who calls; on a stream it runs for each request, so that revoking a key ends the stream."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def check(self, call: Call) -> None:
        """Set the call's principal and user_id. Raises Unauthenticated."""
        if _by_token(call):
            return
        call.principal = self._authenticator.authenticate(call.metadata, call.context.auth_context)
        call.user_id = call.principal.name


class TokenAuthentication:
    """A gate for the RPCs whose project is in the credential: a feedback token is all that they take, also where
    everybody else is anonymous.
    """

    def __init__(self, verify: VerifyToken) -> None:
        self._verify = verify

    def check(self, call: Call) -> None:
        """Set the call's principal, user_id and token. Raises Unauthenticated."""
        if _by_token(call):
            call.principal, call.token = self._verify(call, bearer(call.metadata), time.time())
            call.user_id = call.principal.name


class Permission:
    """A step that refuses what the principal's role does not include, before anything is looked up."""

    def __call__(self, call: Call, request: Message) -> None:
        """Set whether the caller may change its own records only. Raises PermissionDenied."""
        rpc = call.rpc
        assert rpc is not None
        if _by_token(call):
            return
        project = call.project_of(request)
        decision = allowed(call.principal, rpc.right, project)
        if not decision.allowed:
            call.rows.setdefault(project, 0)
            raise PermissionDenied(project, rpc.right)
        call.own_only = decision.own_only


_CREDENTIAL: Final = ProjectIn.CREDENTIAL


def _by_token(call: Call) -> bool:
    return call.rpc is not None and call.rpc.project is _CREDENTIAL
