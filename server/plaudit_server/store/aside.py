"""Commands of projects that cannot be written now: each project's in their order, until it is worth another try."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

# A project is mostly held by another server's transaction, for milliseconds; now and then by what will not end soon.
_FIRST_SECONDS: Final = 0.005
_LONGEST_SECONDS: Final = 0.25


class Waiting(Protocol):
    """A command in line."""

    @property
    def command(self) -> Any: ...  # noqa: D102


W = TypeVar("W", bound=Waiting)


@dataclass(slots=True)
class _Line(Generic[W]):
    """The commands of one project; `until` is when they are due, in seconds of the monotonic clock."""

    waiting: deque[W] = field(default_factory=deque)
    until: float = math.inf
    delay: float = 0.0


class Aside(Generic[W]):
    """Lines of the projects that another writer holds, or that are being written by themselves."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line[W]] = {}
        self.projects = self._lines.keys()
        """The projects that are here; empty most of the time, which is seen without a call for each command."""

    def commands_of(self, project: str) -> int:
        """How many commands of a project wait here."""
        line = self._lines.get(project)
        return len(line.waiting) if line is not None else 0

    def takes(self, waiting: W) -> bool:
        """Take a command if its project is here, so that it is not written before those that came earlier."""
        line = self._lines.get(waiting.command.project)
        if line is None:
            return False
        line.waiting.append(waiting)
        return True

    def hold(self, project: str) -> None:
        """Keep a project's commands here until it is put back or released: it is being written."""
        self._lines.setdefault(project, _Line()).until = math.inf

    def put_back(self, project: str, commands: Iterable[W], now: float) -> None:
        """Commands that could not be written come first again, a little later; later each time."""
        line = self._lines.setdefault(project, _Line())
        line.waiting.extendleft(reversed(list(commands)))
        line.delay = min(max(2 * line.delay, _FIRST_SECONDS), _LONGEST_SECONDS)
        line.until = now + line.delay * random.uniform(0.5, 1.0)

    def release(self, project: str) -> Iterable[W]:
        """The commands of a project that has been written, which waited behind those."""
        line = self._lines.pop(project, None)
        return line.waiting if line is not None else ()

    def due(self, now: float) -> Iterator[tuple[str, deque[W]]]:
        """The projects that are worth another try, and their lines, to take from."""
        for project, line in list(self._lines.items()):
            if line.until <= now:
                yield project, line.waiting

    def seconds(self, now: float) -> float | None:
        """How long it takes until one is due; None if none will be."""
        until = min((line.until for line in self._lines.values()), default=math.inf)
        return None if math.isinf(until) else max(until - now, 0.0)
