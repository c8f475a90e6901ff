"""The audit log: a line of JSON for each project that a call wrote to, and for each refusal."""

from __future__ import annotations

import json
import logging
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener, WatchedFileHandler
from typing import Any, Final

import grpc

from plaudit_server.config import Config
from plaudit_server.errors import StartError
from plaudit_server.rpc.call import Call

audit_logger = logging.getLogger("plaudit_server.audit")

_REFUSALS: Final = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})


def audit(call: Call, code: grpc.StatusCode) -> None:
    """Log a line of JSON for each project that a call wrote to, and for each refusal."""
    if (call.rpc is None or not call.rpc.writes) and code not in _REFUSALS:
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
            **call.notes,
        }
        audit_logger.info("%s", json.dumps(line, ensure_ascii=False))


def note_own(act: str, project: str, rows: int, **facts: object) -> None:
    """Log a line of JSON for what the server, or an operator on its machine, did to a project by itself."""
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "act": act,
        "project": project,
        "rows": rows,
        **facts,
    }
    audit_logger.info("%s", json.dumps(line, ensure_ascii=False))


@contextmanager
def noting(config: Config) -> Iterator[None]:
    """The audit log of a command until the block ends. Raises StartError before it, so that nothing is done unnoted."""
    log = AuditLog(config)
    if config.audit_log != "off":
        log.open()
    try:
        yield
    finally:
        log.close()


class AuditLog:
    """Where audit lines go; a thread of its own writes them, so that a slow disk delays no call."""

    def __init__(self, config: Config) -> None:
        """Open the log that `audit_log` names. Raises StartError when its file cannot be written."""
        handler: logging.Handler
        if config.audit_log in ("auto", "stderr", "off"):
            handler = logging.StreamHandler(sys.stderr)
        else:
            try:
                handler = WatchedFileHandler(config.audit_log, encoding="utf-8")
            except OSError as error:
                raise StartError(f"cannot write the audit log {config.audit_log}: {error.strerror}") from error
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
        """Write the lines that wait, then stop. Safe to call twice, and without `open`."""
        if self._open:
            self._open = False
            audit_logger.removeHandler(self._entry)
            self._listener.stop()
        self._handler.close()
