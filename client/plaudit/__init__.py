"""plaudit: feedback on machine-learning objects, stored for good and queried in milliseconds.

plaudit.init("acme/chat")
plaudit.RefFeedbackQuery("weave:///acme/chat/call/0192").add_reaction("👍")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from plaudit._async.client import AsyncClient, AsyncFeedbackQuery, AsyncRefFeedbackQuery, AsyncWatch
    from plaudit._contract.refs import InvalidRefError, Ref, parse_ref
    from plaudit._core.errors import (
        AbortedError,
        AlreadyExistsError,
        DeadlineExceededError,
        InternalError,
        InvalidArgumentError,
        NotFoundError,
        NotStoredError,
        PermissionDeniedError,
        PlauditError,
        ResourceExhaustedError,
        UnauthenticatedError,
        UnavailableError,
    )
    from plaudit._core.expr import Query, field
    from plaudit._core.model import Feedback
    from plaudit._results.feedbacks import Feedbacks, Refs
    from plaudit._results.history import Change, Tombstone
    from plaudit._settings import init
    from plaudit._steps.ingest import Ingested
    from plaudit._sync.buffered import BufferedWriter
    from plaudit._sync.client import Client
    from plaudit._sync.query import FeedbackQuery, RefFeedbackQuery

# Resolved at first use (PEP 562): `import plaudit.v1` must not load the client, nor `import plaudit` grpc.
_HOMES: Final = {
    "AbortedError": "_core.errors",
    "AlreadyExistsError": "_core.errors",
    "AsyncClient": "_async.client",
    "AsyncFeedbackQuery": "_async.client",
    "AsyncRefFeedbackQuery": "_async.client",
    "AsyncWatch": "_async.client",
    "BufferedWriter": "_sync.buffered",
    "Change": "_results.history",
    "Client": "_sync.client",
    "DeadlineExceededError": "_core.errors",
    "Feedback": "_core.model",
    "FeedbackQuery": "_sync.query",
    "Feedbacks": "_results.feedbacks",
    "Ingested": "_steps.ingest",
    "InternalError": "_core.errors",
    "InvalidArgumentError": "_core.errors",
    "InvalidRefError": "_contract.refs",
    "NotFoundError": "_core.errors",
    "NotStoredError": "_core.errors",
    "PermissionDeniedError": "_core.errors",
    "PlauditError": "_core.errors",
    "Query": "_core.expr",
    "Ref": "_contract.refs",
    "RefFeedbackQuery": "_sync.query",
    "Refs": "_results.feedbacks",
    "ResourceExhaustedError": "_core.errors",
    "Tombstone": "_results.history",
    "UnauthenticatedError": "_core.errors",
    "UnavailableError": "_core.errors",
    "field": "_core.expr",
    "init": "_settings",
    "parse_ref": "_contract.refs",
}

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "AsyncClient",
    "AsyncFeedbackQuery",
    "AsyncRefFeedbackQuery",
    "AsyncWatch",
    "BufferedWriter",
    "Change",
    "Client",
    "DeadlineExceededError",
    "Feedback",
    "FeedbackQuery",
    "Feedbacks",
    "Ingested",
    "InternalError",
    "InvalidArgumentError",
    "InvalidRefError",
    "NotFoundError",
    "NotStoredError",
    "PermissionDeniedError",
    "PlauditError",
    "Query",
    "Ref",
    "RefFeedbackQuery",
    "Refs",
    "ResourceExhaustedError",
    "Tombstone",
    "UnauthenticatedError",
    "UnavailableError",
    "field",
    "init",
    "parse_ref",
]


if not TYPE_CHECKING:  # a type checker would take every name for one of ours

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
