"""One call on its way through the server: who calls, what its method declares, and what each step records about it."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message import Message

from plaudit_server.auth.principals import ANONYMOUS, Principal
from plaudit_server.errors import InvalidFields, PermissionDenied, Violation
from plaudit_server.rpc.declare import ProjectIn, Rpc

if TYPE_CHECKING:
    from plaudit_server.rpc.admission import Places

REQUEST_ID_METADATA: Final = "x-request-id"
TRACE_PARENT_METADATA: Final = "traceparent"

_REQUEST_ID_CHARACTERS: Final = 64
# Version ff is forbidden; a version after 00 may have more fields after those that are read here.
_TRACE_PARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")

_FIELD: Final = ProjectIn.FIELD  # nearly always

Context = grpc.aio.ServicerContext[bytes, bytes]


@dataclass(slots=True)
class Call:
    """One call on its way through the server; `started` is in seconds of a monotonic clock."""

    method: str
    context: Context
    rpc: Rpc | None = None
    """The declaration of the method; None when the server has no such method."""
    user_id: str = "anonymous"
    started: float = field(default_factory=time.monotonic)
    principal: Principal = ANONYMOUS
    own_only: bool = False
    token: Any = None
    """What a feedback token allows, on a call that such a token makes."""
    place: Places | None = None
    """Where the call counts as in flight, if it does."""
    owner_name: str | None = None
    """Whose place the call holds: the principal's name, or the peer's address; None while it holds none."""
    has_room: Callable[[], None] | None = None
    """Raises QuotaExceeded while there is no room for the answer of a read; None where answers are not bounded so."""
    size: int = 0
    """The bytes of the request, or of a stream's newest."""
    asked: float = 0.0
    """When that was there, in seconds of the monotonic clock."""
    rows: dict[str, int] = field(default_factory=dict)
    """How many rows the requests received so far would write, by project, and what `wrote` has added."""
    debts: dict[str, int] = field(default_factory=dict)
    """Those of them that were not charged to a quota before they were written."""
    error: Exception | None = None
    """The error that ended the call, while observers run."""
    reason: str = ""
    """The name of its ErrorReason."""
    original: str = ""
    """The path that was asked for when the server has no such method: a text of the caller."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What else the audit log should say of the call."""
    span: Any = None
    """The call's span, while calls are traced."""
    _request_id: str = ""
    _metadata: Sequence[tuple[str, str | bytes]] | None = None
    _project: str | None = None
    """The project of a stream's first request, where that holds for all."""

    def project_of(self, request: Message) -> str:
        """The project that a request of this call is about; empty when it is about none, or names none.

        Raises InvalidFields for a later request of a stream that names another project than the first, and
        PermissionDenied when the credential should be for one project and is not.
        """
        rpc = self.rpc
        assert rpc is not None
        if rpc.project is _FIELD:
            return rpc.project_of(request)
        if rpc.project is ProjectIn.CREDENTIAL:
            if not self.principal.project:
                raise PermissionDenied("", rpc.right)
            return self.principal.project
        named = rpc.project_of(request)
        if rpc.project is not ProjectIn.FIRST_MESSAGE:
            return named
        if self._project is None:
            self._project = named
        elif named not in ("", self._project):
            raise InvalidFields([Violation("project", "must be empty or the project of the stream's first request")])
        return self._project

    @property
    def owner(self) -> str | None:
        """The user_id whose records alone the caller may change; None when it may change anyone's."""
        return self.user_id if self.own_only else None

    def wrote(self, project: str, rows: int) -> None:
        """Count rows that the declaration could not foresee, such as those that a purge by query removed."""
        self.rows[project] = self.rows.get(project, 0) + rows
        self.debts[project] = self.debts.get(project, 0) + rows

    @property
    def protocol(self) -> str:
        """The protocol of the call, as OpenTelemetry names it in `rpc.system.name`."""
        return getattr(self.context, "protocol", "grpc")

    @property
    def request_id(self) -> str:
        """The caller's `x-request-id` if it is usable, else one that the server makes."""
        if not self._request_id:
            given = self.metadatum(REQUEST_ID_METADATA)
            usable = (
                isinstance(given, str)
                and 0 < len(given) <= _REQUEST_ID_CHARACTERS
                and given.isascii()  # it goes back in a header
                and given.isprintable()
            )
            # Every call has one, and nothing depends on its being hard to guess.
            self._request_id = str(given) if usable else f"{random.getrandbits(128):032x}"
        return self._request_id

    @property
    def trace_id(self) -> str:
        """The id of the call's trace in 32 hex digits, if calls are traced or the caller sent a W3C traceparent; else
        empty.
        """
        if self.span is not None:
            return f"{self.span.get_span_context().trace_id:032x}"
        found = _TRACE_PARENT.fullmatch(str(self.metadatum(TRACE_PARENT_METADATA)))
        return found[1] if found is not None and found[1].strip("0") else ""

    @property
    def metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """What came with the call, in order. It is asked for once: grpc makes the texts anew each time."""
        metadata = self._metadata
        if metadata is None:
            given: Any = self.context.invocation_metadata()
            self._metadata = metadata = given or ()
        return metadata

    def metadatum(self, key: str) -> str | bytes:
        """The first value that came with the call under this key; empty when none did."""
        for name, value in self.metadata:
            if name == key:
                return value
        return ""
