"""Authentication, permission, limits and audit as steps around every call, in the order of `security`."""

from __future__ import annotations

import json
import logging
import queue
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener, WatchedFileHandler
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.message import Message

from plaudit_server.auth.authenticator import Authenticator
from plaudit_server.auth.permission import RPC_RIGHTS, WRITES, allowed
from plaudit_server.config import Config, Limits
from plaudit_server.errors import PermissionDenied, StartError
from plaudit_server.rpc.chain import Call, Gate, Observer, Step
from plaudit_server.rpc.quotas import InFlight, ProjectQuotas

audit_logger = logging.getLogger("plaudit_server.audit")

_WRITE_RPCS: Final = frozenset(rpc for rpc, right in RPC_RIGHTS.items() if right in WRITES)
_REFUSALS: Final = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})
_WATCH: Final = "WatchFeedback"


class Security(NamedTuple):
    """What a server runs before the bytes of a call are parsed, before its method, and at its end."""

    admission: Admission
    gates: Sequence[Gate]
    steps: Sequence[Step]
    observers: Sequence[Observer]


def security(config: Config, authenticator: Authenticator) -> Security:
    """The steps that a configuration asks for, in their order; a part that is off costs a call nothing."""
    admission = Admission(config.limits)
    gates: list[Gate] = [admission.enter]
    steps: list[Step] = []
    observers: list[Observer] = [admission.leave]
    if config.authenticated:
        gates.append(Authentication(authenticator).check)
        steps.append(Permission())
    steps.append(Accounting(config.limits))
    if config.audit_log != "off" and (config.authenticated or config.audit_log != "auto"):
        observers.append(audit)
    return Security(admission, gates, steps, observers)


class Admission:
    """Counts the calls in flight; a stream of requests is one call."""

    def __init__(self, limits: Limits) -> None:
        self.calls = InFlight("in_flight_calls", limits.in_flight_calls)
        self.watches = InFlight("in_flight_watches", limits.in_flight_watches, retry_delay=1.0)

    def enter(self, call: Call) -> None:
        """Let the call in, or raise QuotaExceeded."""
        if not call.admitted:
            self._of(call).enter(call.started)
            call.admitted = True

    def leave(self, call: Call, code: grpc.StatusCode) -> None:
        """The call has ended."""
        if call.admitted:
            call.admitted = False
            self._of(call).leave()

    def _of(self, call: Call) -> InFlight:
        return self.watches if call.method == _WATCH else self.calls


class Authentication:
    """Finds out who calls; on a stream of requests anew with each, so that a revocation ends it."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def check(self, call: Call) -> None:
        """Set the call's principal and user_id, or raise Unauthenticated."""
        metadata: Any = call.context.invocation_metadata() or ()
        call.principal = self._authenticator.authenticate(metadata, call.context.auth_context)
        call.user_id = call.principal.name


class Permission:
    """Refuses what the principal's role does not include, before anything is looked up."""

    async def __call__(self, call: Call, request: Message) -> None:
        """Set whether the call is for the caller's own records alone, or raise PermissionDenied."""
        project = project_of(request)
        decision = allowed(call.principal, call.method, project)
        if not decision.allowed:
            call.rows.setdefault(project, 0)
            raise PermissionDenied(project, RPC_RIGHTS.get(call.method, "call"))
        call.own_only = decision.own_only


class Accounting:
    """Charges each request to its project's quotas, and notes what it is about for the audit log."""

    def __init__(self, limits: Limits) -> None:
        self._quotas = ProjectQuotas(limits.calls_per_second, limits.rows_per_second, limits.burst_seconds)

    async def __call__(self, call: Call, request: Message) -> None:
        """Let the request pass, or raise QuotaExceeded."""
        project, rows = project_of(request), rows_of(request)
        call.rows[project] = call.rows.get(project, 0) + rows
        self._quotas.admit(project, rows, time.monotonic())


def project_of(request: Message) -> str:
    """The request's project; empty for those that have none."""
    return getattr(request, "project", "")


def rows_of(request: Message) -> int:
    """How many rows a request writes at most, as it says itself: its records, or the ids to purge."""
    feedback = getattr(request, "feedback", ())
    if isinstance(feedback, Message):
        return 1
    return len(feedback) or len(getattr(request, "ids", ()))


def audit(call: Call, code: grpc.StatusCode) -> None:
    """Log a line of JSON for each project that a call wrote to, and for each refusal."""
    if call.method not in _WRITE_RPCS and code not in _REFUSALS:
        return
    for project, rows in (call.rows or {"": 0}).items():
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": call.request_id,
            "rpc": call.method,
            "code": code.name,
            "user_id": None if code is grpc.StatusCode.UNAUTHENTICATED else call.user_id,
            "credential": call.principal.credential,
            "project": project[:300],
            "rows": rows,
            "peer": call.context.peer(),
        }
        audit_logger.info("%s", json.dumps(line, ensure_ascii=False))


class AuditLog:
    """Where audit lines go: written by a thread of its own, so that a slow disk stops no call."""

    def __init__(self, config: Config) -> None:
        """Open the log that `audit_log` names. Raises StartError when its file can not be written."""
        handler: logging.Handler
        if config.audit_log in ("auto", "stderr", "off"):
            handler = logging.StreamHandler(sys.stderr)
        else:
            try:
                handler = WatchedFileHandler(config.audit_log, encoding="utf-8")
            except OSError as error:
                raise StartError(f"can not write the audit log {config.audit_log}: {error.strerror}") from error
        handler.setFormatter(logging.Formatter("%(message)s"))
        lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._handler = handler
        self._entry = QueueHandler(lines)
        self._listener = QueueListener(lines, handler)
        self._open = False

    def open(self) -> None:
        """Begin to write."""
        audit_logger.setLevel(logging.INFO)
        audit_logger.propagate = False
        audit_logger.addHandler(self._entry)
        self._listener.start()
        self._open = True

    def close(self) -> None:
        """Write what waits, and end. Safe to call twice, and without `open`."""
        if self._open:
            self._open = False
            audit_logger.removeHandler(self._entry)
            self._listener.stop()
        self._handler.close()
