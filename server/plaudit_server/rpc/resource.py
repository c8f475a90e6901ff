"""What a resource declares to the server: its services with their RPCs, commands and tables, and how it starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from plaudit_server.config import Config
from plaudit_server.rpc.access import VerifyToken
from plaudit_server.rpc.checks import Checks
from plaudit_server.rpc.deadlines import Deadlines
from plaudit_server.rpc.declare import Service
from plaudit_server.store.base import Command, Engine, Table
from plaudit_server.store.writer import Acknowledged, Writer


class Parts(NamedTuple):
    """What a server gives to each resource that it starts."""

    store: Engine
    writer: Writer
    version: str
    acknowledged: Acknowledged
    deadlines: Deadlines
    config: Config
    checks: Checks
    hooks: Mapping[type[Any], Any] = MappingProxyType({})
    """What resources provide for those below them, by the protocol that these declare."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number that a resource keeps, as a metric: `read` is called at each scrape, on any thread.

    With a `label` (its name and its value) it is one of a family, which may be that of other resources, too.
    """

    name: str
    help: str
    read: Callable[[], float]
    kind: Literal["gauge", "counter"] = "gauge"
    label: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A resource that was started. `servicers` are by the full name of their service."""

    servicers: Mapping[str, Any]
    committed: Callable[[Mapping[str, int]], None] | None = None
    """Called after each commit with the new revisions of projects, before those who wait for it are answered."""
    drain: Callable[[], None] | None = None
    """Called when the server drains: ends the streams that would last for as long as their clients want."""
    verify_token: VerifyToken | None = None
    """Checks feedback tokens, if this is the resource that knows them."""
    pages: Sequence[Any] = ()
    """Its pages on the HTTP port."""
    opened: Callable[[], Awaitable[None]] | None = None
    """Called when the store is open, before any call."""
    closed: Callable[[], Awaitable[None]] | None = None
    """Called before the store closes, after the last call."""
    numbers: Sequence[Number] = ()
    """What the resource shows of itself among the metrics."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource; the list of them is in `plaudit_server.resources`."""

    name: str
    tables: Sequence[Table]
    services: Sequence[Service] = ()
    commands: Sequence[type[Command[Any]]] = ()
    refusals: Sequence[str] = ()
    """What its errors are counted as: see `DomainError.counted_as`."""
    provides: Callable[[Engine], Mapping[type[Any], Any]] = field(default=lambda store: {})
    """What it answers for resources below it, which cannot import it: by the protocol that they declare."""
    start: Callable[[Parts], Running] = field(default=lambda parts: Running({}))
    """Called once for a server, on its event loop or before it runs."""
