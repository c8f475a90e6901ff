"""What is logged while a server is away: one warning, then silence for a while."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import grpc

from plaudit._core.errors import PlauditError, UnavailableError

logger = logging.getLogger("plaudit")

_SILENT_SECONDS: Final = 30.0


class Outage:
    """Warns when a call is tried again because the server is away, at most twice a minute."""

    __slots__ = ("_clock", "_silent_until")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._silent_until: float | None = None

    def retried(self, error: PlauditError, delay: float) -> None:
        """A call or stream has failed, and is tried again after `delay` seconds."""
        if not (isinstance(error, UnavailableError) and isinstance(error.__cause__, grpc.RpcError)):
            return  # an overloaded server is there, and what was ended on purpose is no outage
        now = self._clock()
        if self._silent_until is None or now >= self._silent_until:
            self._silent_until = now + _SILENT_SECONDS
            logger.warning("%s; trying again", error.message)
