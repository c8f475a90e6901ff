"""What a resource tells the server about itself: services with declarations, commands, tables, and how it starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from plaudit_server.config import Config
from plaudit_server.rpc.deadlines import Deadlines
from plaudit_server.rpc.declare import Service
from plaudit_server.store.base import Command, Engine, Table
from plaudit_server.store.writer import Acknowledged, Writer


class Parts(NamedTuple):
    """What a server has for its resources."""

    store: Engine
    writer: Writer
    version: str
    acknowledged: Acknowledged
    deadlines: Deadlines
    config: Config


@dataclass(frozen=True, slots=True)
class Running:
    """A resource of a server that runs. `servicers` are by the full name of their service."""

    servicers: Mapping[str, Any]
    committed: Callable[[Mapping[str, int]], None] | None = None
    """Gets the new revisions of projects after each commit, before those who wait for it are answered."""
    drain: Callable[[], None] | None = None
    """Ends what would last for as long as its clients want."""
    numbers: Callable[[], Mapping[str, int]] = dict
    """What it counts itself, by the name of the metric."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource; the list of them is in `plaudit_server.resources`."""

    name: str
    tables: Sequence[Table]
    services: Sequence[Service] = ()
    commands: Sequence[type[Command[Any]]] = ()
    start: Callable[[Parts], Running] = field(default=lambda parts: Running({}))
    """Called once for a server, on its event loop or before it runs."""
