"""Watching a project: what both clients share of a watch, which reads the next answer over any number of streams."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Final

from plaudit import v1
from plaudit._core.errors import PlauditError
from plaudit._core.position import Position
from plaudit._steps.step import Act, Steps
from plaudit._steps.stream import Line, ended

FOREVER: Final = math.inf


class Watched(ABC):
    """What both clients share of a watch: its position, and how it comes back."""

    _position: Position
    _line: Line[v1.WatchFeedbackRequest, v1.WatchFeedbackResponse]

    @property
    def revision(self) -> int:
        """All changes up to this one were given out. Keep it with what you did, to give it as `after` later."""
        return self._position.revision or 0

    @property
    def store_id(self) -> str:
        """The id of the store that `revision` is of: keep both, and give them as `after` and `store_id` later.

        Empty when the server is older than that.
        """
        return self._position.store_id

    @property
    @abstractmethod
    def _is_closed(self) -> bool:
        """Whether the watch was closed."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(revision={self.revision}{', closed' if self._is_closed else ''})"

    def _receive(self) -> Steps[None]:
        """Read the next answer, over as many streams as it takes; nothing more once the watch is closed."""
        line = self._line
        while not self._is_closed:
            try:
                if not line.is_open:
                    yield from Act[None](line.open, [self._position.request()])
                answer = yield from Act[v1.WatchFeedbackResponse | None](line.answer)
                if answer is None:
                    raise ended("watch")
                self._position.received(answer)
            except PlauditError as error:
                line.cancel()
                if self._is_closed:
                    return
                if not (yield from Act[bool](line.wait, error)):
                    raise
            else:
                line.succeeded()
                return


def no_answer(seconds: float) -> str:
    """The message of the error when a new watch is not answered at all."""
    return f"no answer to the watch within {seconds:.3g} s"
