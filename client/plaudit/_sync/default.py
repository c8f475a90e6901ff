"""The blocking client that is used where none is given: the one of `init`, else one made at its first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from plaudit import _settings

if TYPE_CHECKING:
    from plaudit._sync.client import Client

_clients: list[Client] = []
_makers: list[Callable[[_settings.Settings], Client]] = []


def make_by(maker: Callable[[_settings.Settings], Client]) -> None:
    """Make the client with this function; called by the module of `Client`, which queries cannot import."""
    _makers[:] = [maker]


def use(client: Client | None) -> None:
    """Use this client from now on; with None, make another one at the next use."""
    _clients[:] = [] if client is None else [client]


def client() -> Client:
    """The client in use. Of two threads that make one at the same time, both get the first."""
    if not _clients:
        [maker] = _makers
        _clients.append(maker(_settings.in_force()))
    return _clients[0]
