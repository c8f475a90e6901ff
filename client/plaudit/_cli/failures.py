"""What an error of a command becomes: one line on the standard error, and the exit code that says what to do."""

from __future__ import annotations

import json
import sys
from typing import Final

from plaudit._core.errors import (
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    PlauditError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
)
from plaudit._show.grid import visible

REFUSED: Final = 1
"""Done in part, or refused by the server."""
USAGE: Final = 2
"""The command line, a setting or a filter is wrong."""
_NOT_FOUND: Final = 3
_NOT_PERMITTED: Final = 4
_TRY_AGAIN: Final = 5

# Paths of requests that come from options and arguments, not from content.
_ASKED: Final = ("query", "order_by", "limit", "offset", "project", "after_revision", "group_by", "measures", "having")


def report(error: Exception, *, json_errors: bool = False) -> int:
    """Write an error to the standard error; returns the exit code. Raises what is no error of a caller's."""
    if isinstance(error, PlauditError):
        code, text = _code_of(error), _described(error)
    elif isinstance(error, ValueError | TypeError | OSError | ImportError):
        code, text = USAGE, str(error) or type(error).__name__
    else:
        raise error
    if json_errors:
        print(json.dumps({"error": _as_json(error, text)}), file=sys.stderr)
    else:
        print(f"plaudit: {visible(text)}", file=sys.stderr)
    return code


def usage_as_json(message: str) -> str:
    """The error of a wrong command line as JSON."""
    return json.dumps({"error": {"code": "INVALID_ARGUMENT", "reason": "", "message": message}})


def _code_of(error: PlauditError) -> int:
    match error:
        case NotFoundError():
            return _NOT_FOUND
        case UnauthenticatedError() | PermissionDeniedError():
            return _NOT_PERMITTED
        case UnavailableError() | DeadlineExceededError():
            return _TRY_AGAIN
        case ResourceExhaustedError() if error.retry_after is not None:
            return _TRY_AGAIN
        case InvalidArgumentError() if error.violations and error.violations[0].field.startswith(_ASKED):
            return USAGE
        case _:
            return REFUSED


def _described(error: PlauditError) -> str:
    text = error.message.removeprefix("not sent: ")
    reason = f" ({error.reason})" if error.reason else ""
    request = f" [request {error.request_id}]" if error.request_id else ""
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    return f"{text}{reason}{request}{notes}"


def _as_json(error: Exception, text: str) -> dict[str, object]:
    if not isinstance(error, PlauditError):
        return {"code": "INVALID_ARGUMENT", "reason": "", "message": text}
    return {
        "code": error.code.name,
        "reason": error.reason,
        "domain": "plaudit.dev",
        "message": error.message,
        "metadata": dict(error.metadata),
        "violations": [violation._asdict() for violation in error.violations],
        "request_id": error.request_id,
    }
