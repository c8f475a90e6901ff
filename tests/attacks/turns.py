"""A process that acts in turns, so that what it does can be measured beside its absence; both ends of the protocol.

A line on its standard input begins a turn, the next one ends it; each is answered by a line of JSON. Closing standard
input ends the process.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Turns:
    """A process of `python -m MODULE ARGUMENTS...`, which acts within the block of `acting`."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._module = module
        command = [sys.executable, "-m", module, *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.said: Any = {}
        """The last answer."""

    @contextmanager
    def acting(self) -> Iterator[None]:
        """A turn. Raises RuntimeError when the process has ended."""
        self._next()
        yield
        self._next()

    def _next(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._module} has ended with {self._process.wait()}")
        self.said = json.loads(line)

    def __enter__(self) -> Turns:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)


async def take_turns(begin: Callable[[], Awaitable[Any]], end: Callable[[], Awaitable[Any]]) -> None:
    """Act as standard input says; what `begin` and `end` return is printed."""
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await begin()), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps(await end()), flush=True)
