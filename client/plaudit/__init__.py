"""plaudit: feedback on machine-learning objects, stored for good and queried in milliseconds.

plaudit.init("acme/chat")
plaudit.RefFeedbackQuery("weave:///acme/chat/call/0192").add_reaction("👍")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from plaudit._aio import AsyncClient, AsyncFeedbackQuery, AsyncRefFeedbackQuery, AsyncWatch
    from plaudit._buffered import BufferedWriter
    from plaudit._client import Client
    from plaudit._config import init
    from plaudit._contract.refs import InvalidRefError, Ref, parse_ref
    from plaudit._errors import (
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
    from plaudit._expr import Query, field
    from plaudit._feedbacks import Feedbacks, Refs
    from plaudit._history import Change, Tombstone
    from plaudit._ingest import Ingested
    from plaudit._model import Feedback
    from plaudit._query import FeedbackQuery, RefFeedbackQuery

# Resolved at first use (PEP 562): `import plaudit.v1` must not load the client, nor `import plaudit` grpc.
_HOMES: Final = {
    "AbortedError": "_errors",
    "AlreadyExistsError": "_errors",
    "AsyncClient": "_aio",
    "AsyncFeedbackQuery": "_aio",
    "AsyncRefFeedbackQuery": "_aio",
    "AsyncWatch": "_aio",
    "BufferedWriter": "_buffered",
    "Change": "_history",
    "Client": "_client",
    "DeadlineExceededError": "_errors",
    "Feedback": "_model",
    "FeedbackQuery": "_query",
    "Feedbacks": "_feedbacks",
    "Ingested": "_ingest",
    "InternalError": "_errors",
    "InvalidArgumentError": "_errors",
    "InvalidRefError": "_contract.refs",
    "NotFoundError": "_errors",
    "NotStoredError": "_errors",
    "PermissionDeniedError": "_errors",
    "PlauditError": "_errors",
    "Query": "_expr",
    "Ref": "_contract.refs",
    "RefFeedbackQuery": "_query",
    "Refs": "_feedbacks",
    "ResourceExhaustedError": "_errors",
    "Tombstone": "_history",
    "UnauthenticatedError": "_errors",
    "UnavailableError": "_errors",
    "field": "_expr",
    "init": "_config",
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
