"""The clients of asyncio that are used where none is given: one for each event loop, with the settings in force."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from plaudit import _settings

if TYPE_CHECKING:
    from plaudit._async.client import AsyncClient

_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncClient] = WeakKeyDictionary()
_makers: list[Callable[[_settings.Settings], AsyncClient]] = []


def make_by(maker: Callable[[_settings.Settings], AsyncClient]) -> None:
    """Make clients with this function; called by the module of `AsyncClient`, which queries cannot import."""
    _makers[:] = [maker]


def unbound() -> AsyncClient:
    """A client with the settings in force that belongs to no loop yet."""
    [maker] = _makers
    return maker(_settings.in_force())


def client() -> AsyncClient:
    """The running loop's client. Raises RuntimeError without a running loop."""
    loop = asyncio.get_running_loop()
    settings = _settings.in_force()
    found = _clients.get(loop)
    if found is None or found._settings != settings:
        [maker] = _makers
        found = _clients[loop] = maker(settings)
    return found
