"""The exceptions of the client; what makes one of a gRPC error is in `statuses` and in `_wire.failures`.

Each means something to do:

PlauditError
├── InvalidArgumentError (also ValueError)   change the request: `violations` name the fields
│   └── StoreChangedError                    the store was restored or copied: read again from the beginning
├── NotFoundError (also LookupError)         there is no such record
├── AlreadyExistsError                       the id is taken, or was purged
├── AbortedError                             read again and try again
├── PermissionDeniedError                    ask for the right
├── UnauthenticatedError                     send a valid API key
├── ResourceExhaustedError                   call again after `retry_after` seconds
├── UnavailableError (also ConnectionError)  the server cannot be reached, or is stopping
├── DeadlineExceededError (also TimeoutError) no answer in time: whether a write was stored is not known
├── ClientClosedError (also RuntimeError)    the client was closed, before the call or during it
├── InternalError                            a defect of the server: report the `request_id`
└── NotStoredError                           records of a buffer were not stored: `report` lists them

What has no class of its own (a method that an older server lacks) is a plain PlauditError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Self

import grpc

if TYPE_CHECKING:
    from plaudit._core.writing import Report

_ITEM: Final = re.compile(r"\bfeedback\[(\d+)\]")


class Violation(NamedTuple):
    """One field of a request that breaks a rule: its path (`feedback[3].payload.note`), and what is wrong with it."""

    field: str
    description: str


class PlauditError(Exception):
    """Anything that goes wrong between this client and its server; the root of the tree.

    `code` is the gRPC status; `reason` a name of `plaudit.v1.ErrorReason`, empty when the server gave none;
    `metadata` the variable parts of the message; `request_id` finds the call in the server's log; `violations`
    name the bad fields; `retry_after` is the number of seconds after which the server asks to be called again,
    None when it does not ask.
    """

    default_code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        request_id: str = "",
        violations: Iterable[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code
        self.reason = reason
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.request_id = request_id
        self.violations = tuple(violations)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # A StatusCode is pickled by its name. Notes and the report of a NotStoredError are in __dict__.
        state = {name: value for name, value in self.__dict__.items() if name != "code"}
        return _rebuild, (type(self), self.message, self.code.name, state)

    def moved(self, positions: Sequence[int]) -> Self:
        """A copy of the error in which each `feedback[i]`, in text and paths, reads `feedback[positions[i]]`."""

        def position(match: re.Match[str]) -> str:
            i = int(match[1])
            return f"feedback[{positions[i]}]" if i < len(positions) else match[0]

        def move(text: str) -> str:
            return _ITEM.sub(position, text)

        error = type(self)(
            move(self.message),
            code=self.code,
            reason=self.reason,
            metadata=self.metadata,
            request_id=self.request_id,
            violations=[Violation(move(v.field), v.description) for v in self.violations],
            retry_after=self.retry_after,
        )
        error.__cause__ = self.__cause__
        return error


class InvalidArgumentError(PlauditError, ValueError):
    """The request breaks a rule; `violations` name the fields. Sending it again does not help."""

    default_code = grpc.StatusCode.INVALID_ARGUMENT

    @classmethod
    def of(cls, violations: Iterable[Violation]) -> Self:
        """The error of what the client itself finds, before it sends anything."""
        found = tuple(violations)
        shown = "; ".join(f"{v.field}: {v.description}" for v in found[:2])
        more = f" (and {len(found) - 2} more)" if len(found) > 2 else ""
        return cls(f"not sent: {shown}{more}", violations=found, metadata={"violation_count": str(len(found))})


class StoreChangedError(InvalidArgumentError):
    """The store was restored from a backup, or copied, since the position of this watch, or this page token, was given.

    What came after that position may have been lost, and its revisions may be those of other changes now: read again
    from the beginning. `metadata["store_id"]` is the store's id now.
    """

    default_code = grpc.StatusCode.OUT_OF_RANGE


class NotFoundError(PlauditError, LookupError):
    """The project has no such record, or the record no such version."""

    default_code = grpc.StatusCode.NOT_FOUND


class AlreadyExistsError(PlauditError):
    """The id is taken by a record with other content, or was purged."""

    default_code = grpc.StatusCode.ALREADY_EXISTS


class AbortedError(PlauditError):
    """The record has changed since it was read: read it again, and try again."""

    default_code = grpc.StatusCode.ABORTED


class PermissionDeniedError(PlauditError):
    """The caller is known, but has no right to do this."""

    default_code = grpc.StatusCode.PERMISSION_DENIED


class UnauthenticatedError(PlauditError):
    """The caller is not known: the API key is missing, wrong or revoked."""

    default_code = grpc.StatusCode.UNAUTHENTICATED


class ResourceExhaustedError(PlauditError):
    """A limit of the server is reached; with `retry_after` there is room again after that time."""

    default_code = grpc.StatusCode.RESOURCE_EXHAUSTED


class UnavailableError(PlauditError, ConnectionError):
    """The server cannot be reached, or cannot serve now; all attempts until the deadline have failed."""

    default_code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceededError(PlauditError, TimeoutError):
    """There was no answer in time. A write may be stored: sending it again with the same id is safe."""

    default_code = grpc.StatusCode.DEADLINE_EXCEEDED


class ClientClosedError(PlauditError, RuntimeError):
    """The client was closed. A write that was in progress may be stored: its id says so, with another client."""

    default_code = grpc.StatusCode.CANCELLED


class InternalError(PlauditError):
    """A defect of the server; its log has more under the `request_id`."""

    default_code = grpc.StatusCode.INTERNAL


class NotStoredError(PlauditError):
    """A buffer was closed, and not all that was added to it is stored: `report` says what became of it."""

    report: Report

    @classmethod
    def of(cls, report: Report) -> Self:
        """The error of a report in which records are refused or pending."""
        parts = [f"{report.pending} could not be sent"] if report.pending else []
        if report.refused:
            first = report.refused[0]
            parts.append(f"{report.refused_count} were refused (first {first.id}: {first.error})")
        error = cls(f"records are not stored: {' and '.join(parts)}")
        error.report = report
        return error


def _rebuild(kind: type[PlauditError], message: str, code: str, state: Mapping[str, Any]) -> PlauditError:
    error = kind(message, code=grpc.StatusCode[code])
    error.__dict__.update(state)
    return error


def breaks_stored(project: str, feedback_type: str, count: int, examples: Sequence[str]) -> PlauditError:
    """The error of a definition that stored records break, as a server gives it that finds them."""
    id = examples[0] if examples else ""
    return PlauditError(
        f"{count} stored records break the definition, such as {id}; define it without `checked` to keep them as they"
        " are",
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason="DEFINITION_BREAKS_STORED",
        metadata={"project": project, "feedback_type": feedback_type, "count": str(count), "id": id},
    )
