"""plaudit: feedback on machine-learning objects, stored durably and queried in milliseconds.

plaudit.init("acme/chat")
plaudit.RefFeedbackQuery("weave:///acme/chat/call/0192").add_reaction("👍")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from plaudit._async.buffered import AsyncBufferedWriter
    from plaudit._async.client import AsyncClient
    from plaudit._async.groups import AsyncGroups
    from plaudit._async.query import AsyncFeedbackQuery, AsyncRefFeedbackQuery
    from plaudit._async.stream import AsyncFeedbackStream
    from plaudit._async.watch import AsyncWatch
    from plaudit._contract.refs import InvalidRefError, Ref, parse_ref
    from plaudit._core.changes import Change, Retained, Tombstone
    from plaudit._core.definitions import (
        Boolean,
        Breakage,
        Categories,
        Category,
        CheckResult,
        Definition,
        JsonSchema,
        Numeric,
        Ranking,
        Spans,
        Text,
    )
    from plaudit._core.errors import (
        AbortedError,
        AlreadyExistsError,
        ClientClosedError,
        DeadlineExceededError,
        InternalError,
        InvalidArgumentError,
        NotFoundError,
        NotStoredError,
        PermissionDeniedError,
        PlauditError,
        ResourceExhaustedError,
        StoreChangedError,
        UnauthenticatedError,
        UnavailableError,
        Violation,
    )
    from plaudit._core.expr import Expr, Query, QueryLike, field
    from plaudit._core.given import FeedbackRecord
    from plaudit._core.model import Feedback
    from plaudit._core.retry import RetryPolicy
    from plaudit._core.writing import BatchResult, Ingested, Refused, Report
    from plaudit._default import init
    from plaudit._results.agreement import Agreement
    from plaudit._results.definitions import Check, DefinedType, Definitions
    from plaudit._results.feedbacks import Feedbacks
    from plaudit._results.history import History
    from plaudit._results.refs import Refs
    from plaudit._results.retention import RetentionCheck, RetentionDue, RetentionRule, RetentionRules
    from plaudit._results.server import Caller, Grant, Project, ServerInfo
    from plaudit._sync.buffered import BufferedWriter
    from plaudit._sync.client import Client
    from plaudit._sync.groups import Groups
    from plaudit._sync.query import FeedbackQuery, RefFeedbackQuery
    from plaudit._sync.stream import FeedbackStream
    from plaudit._sync.watch import Watch
    from plaudit._wire.transport import AsyncTransport, Transport

# Loaded at first use (PEP 562): `import plaudit.v1` must not load the client, nor `import plaudit` grpc.
_HOMES: Final = {
    "AbortedError": "_core.errors",
    "Agreement": "_results.agreement",
    "AlreadyExistsError": "_core.errors",
    "AsyncBufferedWriter": "_async.buffered",
    "AsyncClient": "_async.client",
    "AsyncFeedbackQuery": "_async.query",
    "AsyncFeedbackStream": "_async.stream",
    "AsyncGroups": "_async.groups",
    "AsyncRefFeedbackQuery": "_async.query",
    "AsyncTransport": "_wire.transport",
    "AsyncWatch": "_async.watch",
    "BatchResult": "_core.writing",
    "Boolean": "_core.definitions",
    "Breakage": "_core.definitions",
    "BufferedWriter": "_sync.buffered",
    "Caller": "_results.server",
    "Categories": "_core.definitions",
    "Category": "_core.definitions",
    "Change": "_core.changes",
    "Check": "_results.definitions",
    "CheckResult": "_core.definitions",
    "Client": "_sync.client",
    "ClientClosedError": "_core.errors",
    "DeadlineExceededError": "_core.errors",
    "DefinedType": "_results.definitions",
    "Definition": "_core.definitions",
    "Definitions": "_results.definitions",
    "Expr": "_core.expr",
    "Feedback": "_core.model",
    "FeedbackQuery": "_sync.query",
    "FeedbackRecord": "_core.given",
    "FeedbackStream": "_sync.stream",
    "Feedbacks": "_results.feedbacks",
    "Grant": "_results.server",
    "Groups": "_sync.groups",
    "History": "_results.history",
    "Ingested": "_core.writing",
    "InternalError": "_core.errors",
    "InvalidArgumentError": "_core.errors",
    "InvalidRefError": "_contract.refs",
    "JsonSchema": "_core.definitions",
    "NotFoundError": "_core.errors",
    "NotStoredError": "_core.errors",
    "Numeric": "_core.definitions",
    "PermissionDeniedError": "_core.errors",
    "PlauditError": "_core.errors",
    "Project": "_results.server",
    "Query": "_core.expr",
    "QueryLike": "_core.expr",
    "Ranking": "_core.definitions",
    "Ref": "_contract.refs",
    "RefFeedbackQuery": "_sync.query",
    "Refs": "_results.refs",
    "Refused": "_core.writing",
    "Report": "_core.writing",
    "ResourceExhaustedError": "_core.errors",
    "Retained": "_core.changes",
    "RetentionCheck": "_results.retention",
    "RetentionDue": "_results.retention",
    "RetentionRule": "_results.retention",
    "RetentionRules": "_results.retention",
    "RetryPolicy": "_core.retry",
    "ServerInfo": "_results.server",
    "Spans": "_core.definitions",
    "StoreChangedError": "_core.errors",
    "Text": "_core.definitions",
    "Tombstone": "_core.changes",
    "Transport": "_wire.transport",
    "UnauthenticatedError": "_core.errors",
    "UnavailableError": "_core.errors",
    "Violation": "_core.errors",
    "Watch": "_sync.watch",
    "field": "_core.expr",
    "init": "_default",
    "parse_ref": "_contract.refs",
}

__all__ = [
    "AbortedError",
    "Agreement",
    "AlreadyExistsError",
    "AsyncBufferedWriter",
    "AsyncClient",
    "AsyncFeedbackQuery",
    "AsyncFeedbackStream",
    "AsyncGroups",
    "AsyncRefFeedbackQuery",
    "AsyncTransport",
    "AsyncWatch",
    "BatchResult",
    "Boolean",
    "Breakage",
    "BufferedWriter",
    "Caller",
    "Categories",
    "Category",
    "Change",
    "Check",
    "CheckResult",
    "Client",
    "ClientClosedError",
    "DeadlineExceededError",
    "DefinedType",
    "Definition",
    "Definitions",
    "Expr",
    "Feedback",
    "FeedbackQuery",
    "FeedbackRecord",
    "FeedbackStream",
    "Feedbacks",
    "Grant",
    "Groups",
    "History",
    "Ingested",
    "InternalError",
    "InvalidArgumentError",
    "InvalidRefError",
    "JsonSchema",
    "NotFoundError",
    "NotStoredError",
    "Numeric",
    "PermissionDeniedError",
    "PlauditError",
    "Project",
    "Query",
    "QueryLike",
    "Ranking",
    "Ref",
    "RefFeedbackQuery",
    "Refs",
    "Refused",
    "Report",
    "ResourceExhaustedError",
    "Retained",
    "RetentionCheck",
    "RetentionDue",
    "RetentionRule",
    "RetentionRules",
    "RetryPolicy",
    "ServerInfo",
    "Spans",
    "StoreChangedError",
    "Text",
    "Tombstone",
    "Transport",
    "UnauthenticatedError",
    "UnavailableError",
    "Violation",
    "Watch",
    "field",
    "init",
    "parse_ref",
]


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
