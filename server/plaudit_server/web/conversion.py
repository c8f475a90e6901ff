"""Threads for what would hold the event loop too long: large JSON one after the other, everything else side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, TypeVarTuple

from plaudit_server.web.exchange import Exchange

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# One thread: several would share the interpreter, and take half as long again for that.
_json: Final = ThreadPoolExecutor(1, "plaudit-json")


async def aside(exchange: Exchange, function: Callable[[*Ts], T], *args: *Ts) -> T:
    """What the function returns, which converts messages of an exchange; called in a thread."""
    # Compressing protobuf needs no interpreter.
    threads = _json if exchange.codec.name == "json" else None
    return await asyncio.get_running_loop().run_in_executor(threads, function, *args)
