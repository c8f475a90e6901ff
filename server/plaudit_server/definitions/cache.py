"""The definitions of the projects that a server writes to, in memory; each commit finds out when they are old."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from plaudit import v1 as wire
from plaudit_server.definitions import rules
from plaudit_server.definitions.glance import beforehand
from plaudit_server.definitions.reads import SelectInForce
from plaudit_server.definitions.records import (
    NOTHING_DEFINED,
    Defined,
    ProjectDefinitions,
    StoredDefinition,
    Version,
)
from plaudit_server.errors import Violation
from plaudit_server.feedback.judging import NOTHING_KNOWN, Known
from plaudit_server.store.base import Engine

_PROJECTS: Final = 1_000
_BYTES: Final = 64 * 1024 * 1024
# A definition ready for use takes more memory than its bytes: it has a validator, and its texts as objects.
_BYTES_EACH: Final = 2_000
_BYTES_FACTOR: Final = 20


class Unreadable(Exception):
    """A stored definition breaks the rules of this version: it was stored by a newer one."""


class _Entry(NamedTuple):
    """What is kept of a project; `size` is about how many bytes it takes."""

    definitions: ProjectDefinitions
    beforehand: Known
    size: int


class Cache:
    """The definitions of the projects that were written to last.

    A project that is not in it is taken for one without definitions, so that such a project costs nothing; if that is
    wrong, the guard of the commit reports it.
    """

    def __init__(self, store: Engine) -> None:
        self._store = store
        self._projects: OrderedDict[str, _Entry] = OrderedDict()
        self._size = 0
        self._fills = False
        """Whether one may have to go soon; until then nobody asks which was used last."""

    def known(self, project: str) -> ProjectDefinitions:
        """The definitions of a project, as far as they are known."""
        found = self._found(project)
        return NOTHING_DEFINED if found is None else found.definitions

    def beforehand(self, project: str) -> Known:
        """What is known of the records of a project before they are read."""
        found = self._found(project)
        return NOTHING_KNOWN if found is None else found.beforehand

    def _found(self, project: str) -> _Entry | None:
        found = self._projects.get(project)
        if found is not None and self._fills:
            self._projects.move_to_end(project)
        return found

    async def load(self, project: str) -> ProjectDefinitions:
        """Read the definitions as they are now. Raises Unreadable, SchemaSupportMissing and StoreUnavailable."""
        before = self._projects.get(project)
        found = await self._store.read(SelectInForce(project))
        if before is not None and before.definitions.number >= found.number:
            return before.definitions
        kept = _by_key(before.definitions) if before is not None else {}
        by_type: dict[str, list[Version]] = {}
        size = 0
        for stored in found.definitions:
            version = kept.get((stored.feedback_type, stored.version)) or usable(project, stored)
            by_type.setdefault(stored.feedback_type, []).append(version)
            size += _BYTES_EACH + _BYTES_FACTOR * len(stored.content)
        loaded = ProjectDefinitions(found.number, {type: Defined.of(versions) for type, versions in by_type.items()})
        self._keep(project, loaded, size)
        return loaded

    def _keep(self, project: str, definitions: ProjectDefinitions, size: int) -> None:
        before = self._projects.pop(project, None)
        self._projects[project] = _Entry(definitions, beforehand(definitions), size)
        self._size += size - (0 if before is None else before.size)
        self._fills = 2 * len(self._projects) > _PROJECTS or 2 * self._size > _BYTES
        while len(self._projects) > _PROJECTS or (self._size > _BYTES and len(self._projects) > 1):
            _, oldest = self._projects.popitem(last=False)
            self._size -= oldest.size


def _by_key(definitions: ProjectDefinitions) -> dict[tuple[str, int], Version]:
    """Versions that need not be read again: a version never changes."""
    return {
        (type, version.version): version
        for type, defined in definitions.by_type.items()
        for version in defined.versions
    }


def usable(project: str, stored: StoredDefinition) -> Version:
    """A stored definition, ready to be used. Raises Unreadable and SchemaSupportMissing."""
    out: list[Violation] = []
    definition = rules.read(wire.Definition.FromString(stored.content), project, out)
    if definition is None:
        raise Unreadable(f"version {stored.version} of {stored.feedback_type}: {out[0].field} {out[0].description}")
    return Version(definition, stored.version, stored.since_revision, stored.user_id, stored.created_at)
