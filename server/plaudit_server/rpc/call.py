"""One call on its way through the server: who calls, what it is about, and what the parts around it note of it."""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from plaudit_server.auth.principals import ANONYMOUS, Principal
from plaudit_server.rpc.declare import Rpc

REQUEST_ID_METADATA: Final = "x-request-id"
TRACE_PARENT_METADATA: Final = "traceparent"

_REQUEST_ID_CHARACTERS: Final = 64
# Version ff is forbidden, and a later one than 00 may say more after what we read.
_TRACE_PARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")

Context = grpc.aio.ServicerContext[bytes, bytes]


@dataclass(slots=True)
class Call:
    """One call on its way through the server; `started` is in seconds of a monotonic clock."""

    method: str
    context: Context
    rpc: Rpc | None = None
    """What the method declares about itself; None for a call of no method."""
    user_id: str = "anonymous"
    started: float = field(default_factory=time.monotonic)
    principal: Principal = ANONYMOUS
    own_only: bool = False
    admitted: bool = False
    """Whether the call counts as in flight."""
    owner_name: str | None = None
    """Whose place the call holds: the principal's name, or the peer's address; None while it holds none."""
    size: int = 0
    """The bytes of the request, or of a stream's newest."""
    rows: dict[str, int] = field(default_factory=dict)
    """How many rows the requests so far were to write, by project; and those that calls found out by themselves."""
    debts: dict[str, int] = field(default_factory=dict)
    """Of them, those that no quota was charged with beforehand."""
    error: Exception | None = None
    """What ended the call, while observers are told of it."""
    reason: str = ""
    """The name of its ErrorReason."""
    original: str = ""
    """The path that a call of no method asked for: text of the caller."""
    span: Any = None
    """The call's span, while calls are traced."""
    _request_id: str = ""

    @property
    def owner(self) -> str | None:
        """Whose records alone the caller may change; None for anyone's."""
        return self.user_id if self.own_only else None

    def wrote(self, project: str, rows: int) -> None:
        """Count rows that the request did not say it would write, such as those that a purge by query removed."""
        self.rows[project] = self.rows.get(project, 0) + rows
        self.debts[project] = self.debts.get(project, 0) + rows

    @property
    def protocol(self) -> str:
        """The protocol that the call came in, as OpenTelemetry names it in `rpc.system.name`."""
        return getattr(self.context, "protocol", "grpc")

    @property
    def request_id(self) -> str:
        """The caller's `x-request-id`, or one of our own."""
        if not self._request_id:
            given = self.metadata(REQUEST_ID_METADATA)
            usable = (
                isinstance(given, str)
                and 0 < len(given) <= _REQUEST_ID_CHARACTERS
                and given.isascii()  # it goes back in a header
                and given.isprintable()
            )
            # It need not be hard to guess, and every call has one.
            self._request_id = str(given) if usable else f"{random.getrandbits(128):032x}"
        return self._request_id

    @property
    def trace_id(self) -> str:
        """The id, in 32 hex digits, of the call's trace: while calls are traced, or its caller named one (W3C
        traceparent); else empty.
        """
        if self.span is not None:
            return f"{self.span.get_span_context().trace_id:032x}"
        found = _TRACE_PARENT.fullmatch(str(self.metadata(TRACE_PARENT_METADATA)))
        return found[1] if found is not None and found[1].strip("0") else ""

    def metadata(self, key: str) -> str | bytes:
        """The first value that came with the call under this key; empty when none did."""
        return next((value for name, value in self.context.invocation_metadata() or () if name == key), "")
