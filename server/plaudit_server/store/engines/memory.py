"""An engine that forgets everything when the process ends: each resource brings a model in plain Python, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from plaudit_server.store.base import Command, Engine, Outcome, Read, WriteFailed, Written
from plaudit_server.store.identity import StoreId
from plaudit_server.store.work import SERVER, Work

T = TypeVar("T")


class Model(Protocol):
    """A resource in plain Python: what answers each of its reads, and what applies each of its commands."""

    reads: dict[type[Any], Callable[[Any], Any]]
    commands: dict[type[Any], Callable[[Any], Any]]

    def revision(self, project: str) -> int:
        """The project's revision, as far as this resource has moved it."""


class MemoryEngine(Engine):
    """Reads and commands are answered by the model that knows them."""

    name = "memory"

    def __init__(self, *models: Model) -> None:
        self.store_id = StoreId.new()
        self._models = models

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def check(self) -> None:
        """Memory can always be written to."""

    async def read(self, read: Read[T], work: Work = SERVER) -> T:
        """Ask the model that knows the read, which takes no time worth a limit."""
        for model in self._models:
            if (answer := model.reads.get(type(read))) is not None:
                result: T = answer(read)
                return result
        raise LookupError(f"no model answers {type(read).__name__}")

    async def write(self, group: Sequence[Command[Any]]) -> Written:
        """Apply the commands one after the other."""
        outcomes: list[Outcome | WriteFailed] = []
        revisions = {}
        repeated = 0
        for command in group:
            model = next(model for model in self._models if type(command) in model.commands)
            before = model.revision(command.project)
            outcome = model.commands[type(command)](command)
            outcomes.append(outcome)
            after = model.revision(command.project)
            revisions[command.project] = after
            if command.adds:
                # What was written has a revision of its own.
                repeated += command.stored(outcome) - (after - before)
        return Written(outcomes, revisions, repeated)
