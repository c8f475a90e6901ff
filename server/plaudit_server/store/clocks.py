"""Notices that a project's clock is ahead of this server's: its own stepped back, or another server's is wrong."""

from __future__ import annotations

import logging
import time
from typing import Final

logger = logging.getLogger("plaudit_server")

# A busy project's clock runs ahead of the time by a microsecond a row, and two servers' by what they differ.
_NOTICED_SECONDS: Final = 1.0
_REMEMBERED_SECONDS: Final = 60.0


class ClockAhead:
    """By how much projects' clocks were ahead, at most, within about the last minute; logs it once a minute.

    Records still get times that grow strictly: until the server's clock has caught up, each is a microsecond later than
    the one before.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._noted = -_REMEMBERED_SECONDS
        self._logged = -_REMEMBERED_SECONDS

    @property
    def seconds(self) -> float:
        """For metrics; 0 when no clock was ahead."""
        return self._seconds if time.monotonic() - self._noted < _REMEMBERED_SECONDS else 0.0

    def note(self, microseconds: int) -> None:
        """A group was written to projects the clocks of which were ahead by this much, at most."""
        seconds = microseconds / 1e6
        if seconds < _NOTICED_SECONDS:
            return
        now = time.monotonic()
        if seconds >= self.seconds:
            self._seconds, self._noted = seconds, now
        if now - self._logged >= _REMEMBERED_SECONDS:
            self._logged = now
            logger.warning(
                "the clock of a project is %.1f s ahead of this server's, which stepped back, or another server's is"
                " wrong: until it has caught up, records get times that are later than they were stored",
                seconds,
            )
