"""What every RPC declares about itself, once: permission, quotas, admission, audit, metrics and docs are made from it.

There are no defaults for what matters: a method of a registered service that is not declared keeps the server from
starting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from plaudit_server.auth.permission import WRITES, Right


class Kind(StrEnum):
    """How a method works, which decides where it is counted and how long it may take."""

    POINT = "point"
    """One answer, from a bounded number of rows found by their key."""
    SCAN = "scan"
    """One answer, from every row that a filter has to look at."""
    WRITE = "write"
    """One answer, after a commit."""
    STREAM_READ = "stream of answers"
    """Many answers, as fast as the client takes them."""
    STREAM_WRITE = "stream of requests"
    """Many requests, each of which is answered after its commit."""
    WATCH = "watch"
    """Answers for as long as the client stays."""

    @property
    def streams(self) -> bool:
        """Whether a call lasts for as long as its client wants, so that a long one says nothing about the server."""
        return self in _STREAMS


# To look a member of an Enum up in its class costs more than what is done with it, in Python 3.11.
_STREAMS: Final = frozenset((Kind.STREAM_READ, Kind.STREAM_WRITE, Kind.WATCH))


class ProjectIn(StrEnum):
    """Where an RPC finds the project that it is about."""

    FIELD = "field"
    """The request's field `project`; on a stream of requests each has its own."""
    FIRST_MESSAGE = "first message"
    """The field `project` of a stream's first request, which holds for all."""
    CREDENTIAL = "credential"
    """The credential of the call, which is for one project only."""
    NONE = "none"
    """None: the call needs a principal and no role."""


_IN_A_FIELD: Final = frozenset((ProjectIn.FIELD, ProjectIn.FIRST_MESSAGE))


RowsOf = Callable[[Any], int]
"""How many rows a request writes at most, as the request itself says."""


def no_rows(request: Message) -> int:
    """For RPCs that write nothing."""
    return 0


def one_row(request: Message) -> int:
    """For RPCs that write one row a request."""
    return 1


def rows_in(name: str) -> RowsOf:
    """For RPCs that write a row for each element of the request's repeated field `name`."""

    def rows(request: Message) -> int:
        return len(getattr(request, name))

    return rows


@dataclass(frozen=True, slots=True)
class Bounded:
    """A field of a request whose number of elements has a bound of its own.

    `most` is how many elements the field may have in addition to the bound of every message. None means that rules of
    their own bound its elements, as those of records do; the elements of the whole request are then not added up.
    """

    name: str
    most: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc:
    """The declaration of one method."""

    method: str
    """Its name in the proto: `CreateFeedback`."""
    right: Right
    """What a caller needs to be allowed."""
    project: ProjectIn
    rows: RowsOf
    kind: Kind
    bounded: Sequence[Bounded] = field(default=())

    @property
    def writes(self) -> bool:
        """Whether its calls are in the audit log even when they succeed."""
        return self.right in WRITES

    def project_of(self, request: Message) -> str:
        """The project that a request names in its field; empty when it has none. See also `Call.project_of`."""
        if self.project in _IN_A_FIELD:
            return str(request.project)  # type: ignore[attr-defined]
        return ""


class Undeclared(Exception):
    """Services and their declarations contradict each other: a defect of the server, found when it starts."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the proto, with a declaration for each of its methods. Raises Undeclared when one is missing."""

    descriptor: ServiceDescriptor
    rpcs: Sequence[Rpc]

    def __post_init__(self) -> None:
        declared = [rpc.method for rpc in self.rpcs]
        there = [method.name for method in self.descriptor.methods]
        if sorted(declared) != sorted(there):
            missing = sorted(set(there) - set(declared))
            unknown = sorted(set(declared) - set(there))
            raise Undeclared(
                f"{self.name}: methods without a declaration: {missing}; declarations of no method: {unknown}; "
                f"declared twice: {sorted({name for name in declared if declared.count(name) > 1})}"
            )
        for rpc in self.rpcs:
            self._check(rpc)

    @property
    def name(self) -> str:
        """The full name: `plaudit.v1.FeedbackService`."""
        return str(self.descriptor.full_name)

    def methods(self) -> Iterator[tuple[Rpc, MethodDescriptor]]:
        """Each declaration with the descriptor of its method."""
        for rpc in self.rpcs:
            yield rpc, self.descriptor.methods_by_name[rpc.method]

    def _check(self, rpc: Rpc) -> None:
        method = self.descriptor.methods_by_name[rpc.method]
        fields = method.input_type.fields_by_name
        for name in [bounded.name for bounded in rpc.bounded]:
            if name not in fields:
                raise Undeclared(f"{rpc.method}: {method.input_type.full_name} has no field {name} to bound")
        if rpc.project in (ProjectIn.FIELD, ProjectIn.FIRST_MESSAGE) and "project" not in fields:
            raise Undeclared(f"{rpc.method}: {method.input_type.full_name} has no field project")
        if method.client_streaming != (rpc.kind is Kind.STREAM_WRITE):
            raise Undeclared(f"{rpc.method}: only a method that takes a stream of requests is a {Kind.STREAM_WRITE}")
        if (method.server_streaming and not method.client_streaming) != (rpc.kind in (Kind.STREAM_READ, Kind.WATCH)):
            raise Undeclared(f"{rpc.method}: its kind is {rpc.kind}, which does not fit how its answers come")
        if rpc.kind in (Kind.WRITE, Kind.STREAM_WRITE) and not rpc.writes:
            raise Undeclared(f"{rpc.method}: it writes, and the right {rpc.right} would keep it out of the audit log")
        try:
            rpc.rows(GetMessageClass(method.input_type)())
        except AttributeError as error:
            raise Undeclared(f"{rpc.method}: its rows cannot be counted: {error}") from error


class Registry:
    """The declarations of all services of a server. Method names are unique across services."""

    def __init__(self, services: Iterable[Service]) -> None:
        """Raises Undeclared when two services have a method of the same name."""
        self.services = tuple(services)
        self.rpcs: dict[str, Rpc] = {}
        self.service_of: dict[str, str] = {}
        for service in self.services:
            for rpc in service.rpcs:
                if rpc.method in self.rpcs:
                    raise Undeclared(f"{rpc.method} is a method of two services")
                self.rpcs[rpc.method] = rpc
                self.service_of[rpc.method] = service.name

    @property
    def rights(self) -> dict[str, Right]:
        """Which right each method needs, by its name."""
        return {name: rpc.right for name, rpc in self.rpcs.items()}


OTHER: Final = "_OTHER"
"""The method of every call whose method the server does not have, as OpenTelemetry names it."""
