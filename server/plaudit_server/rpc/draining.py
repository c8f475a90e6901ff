"""The gate of a server that stops: calls that have not begun are refused, with a status after which clients try again.

grpc ends a call that it has received, and not handed over yet, with a bare CANCELLED when it stops; no client can know
that it may retry that. So calls are refused here first, until no more are on their way, and then grpc is stopped.
"""

from __future__ import annotations

import asyncio
from typing import Final

from plaudit_server.errors import Stopping
from plaudit_server.rpc.call import Call

RETRY_SECONDS: Final = 0.5
"""After this time a client should come back: by then its connection has ended, and it finds another server, or waits
for this one."""

_QUIET_SECONDS: Final = 0.05
_LONGEST_SECONDS: Final = 1.0


class Draining:
    """Lets every call in until `begin`; after that, none that has not begun."""

    def __init__(self) -> None:
        self.refused = 0
        """How many calls were refused."""
        self._is_on = False

    def check(self, call: Call) -> None:
        """The first gate. Raises Stopping for a call that comes too late; further messages of a stream pass."""
        if self._is_on and not call.admitted:
            self.refused += 1
            raise Stopping(RETRY_SECONDS)

    async def begin(self) -> None:
        """Refuse calls from now on; returns when none has come for a moment, or after a second."""
        self._is_on = True
        loop = asyncio.get_running_loop()
        end, seen = loop.time() + _LONGEST_SECONDS, -1
        while self.refused != seen and loop.time() < end:
            seen = self.refused
            await asyncio.sleep(_QUIET_SECONDS)
