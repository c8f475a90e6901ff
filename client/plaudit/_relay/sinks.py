"""Where changes are delivered: a command's standard input, or the standard output. Webhooks are in `webhook`."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import Protocol

from plaudit._relay.event import Event


class NotDelivered(Exception):
    """A delivery failed; it may be tried again, after `retry_after` seconds where the receiver asked for that."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Stopped(Exception):
    """The receiver wants nothing any more."""


class Sink(Protocol):
    """Takes one change at a time, from any thread."""

    def deliver(self, event: Event) -> None:
        """Returns when the change has arrived. Raises NotDelivered, and Stopped."""


class Command:
    """A command that is run for each change, with the change as one line of JSON on its standard input."""

    def __init__(self, command: str, timeout: float) -> None:
        """`command` is split as a shell would split it, and run without one. Raises ValueError for an empty one."""
        self._command = shlex.split(command)
        self._timeout = timeout
        if not self._command:
            raise ValueError("the command to run is empty")

    def deliver(self, event: Event) -> None:
        """Run the command; 0 means that the change has arrived. What it prints goes where the relay's output goes."""
        try:
            done = subprocess.run(self._command, input=f"{event.line}\n".encode(), timeout=self._timeout, check=False)
        except subprocess.TimeoutExpired:
            raise NotDelivered(f"{self._command[0]} took longer than {self._timeout:g} seconds") from None
        except OSError as error:
            raise NotDelivered(f"{self._command[0]} cannot be run: {error.strerror}") from error
        if done.returncode:
            raise NotDelivered(f"{self._command[0]} ended with {done.returncode}")


class Printed:
    """The standard output: a line for each change."""

    def deliver(self, event: Event) -> None:
        """Print it."""
        print(event.line, flush=True, file=sys.stdout)
