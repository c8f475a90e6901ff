"""How long a call's work may take, and who owns it: what is left of the call's time, within the server's limits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from plaudit_server.auth.principals import ANONYMOUS
from plaudit_server.rpc.declare import Kind
from plaudit_server.store.work import Owner, Work

if TYPE_CHECKING:
    from plaudit_server.config import Limits
    from plaudit_server.rpc.call import Call

_PAGES: Final = frozenset((Kind.STREAM_READ, Kind.WATCH))


class Deadlines:
    """Gives each read and each command of a call its Work."""

    def __init__(self, limits: Limits) -> None:
        self._read_seconds = limits.read_seconds
        self._write_seconds = limits.write_seconds

    def read(self, call: Call, project: str) -> Work:
        """The Work of a read that begins now: at most `limits.read_seconds`, for each page of a stream too."""
        return _work(call, project, self._read_seconds)

    def write(self, call: Call, project: str) -> Work:
        """The Work of a command that begins now: at most `limits.write_seconds`."""
        return _work(call, project, self._write_seconds)


def principal_of(call: Call) -> str:
    """Who owns a call's work: the authenticated principal's name, else the address of the peer, without its port."""
    if call.principal is not ANONYMOUS:
        return call.principal.name
    return address_of(call.context.peer())


def address_of(peer: str) -> str:
    """The address in grpc's text for a peer, as in `ipv4:192.0.2.1:4711`; of a Unix socket, its path."""
    family, _, address = peer.partition(":")
    return address.rpartition(":")[0] if family in ("ipv4", "ipv6") else address


def _work(call: Call, project: str, seconds: float) -> Work:
    now = time.monotonic()
    # What waited for its turn has used some of it; a stream of answers has it for each page.
    began = call.asked if call.asked and call.rpc is not None and call.rpc.kind not in _PAGES else now
    deadline = began + seconds
    remaining = call.context.time_remaining()
    if remaining is not None:
        deadline = min(deadline, now + remaining)
    # Admission has noted the owner already; to ask for the peer again costs a call for each read.
    return Work(Owner(call.owner_name or principal_of(call), project), deadline, call.has_room)
