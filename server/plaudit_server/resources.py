"""The list of resources: what a server serves, `migrate --citus` places and `copy` copies; each is one line here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from plaudit_server.analytics import resource as analytics
from plaudit_server.auth.keystore import API_KEY
from plaudit_server.definitions import resource as definitions
from plaudit_server.feedback import resource as feedback
from plaudit_server.projects import resource as projects
from plaudit_server.retention import resource as retention
from plaudit_server.rpc.declare import Registry, Undeclared
from plaudit_server.rpc.resource import Resource
from plaudit_server.store.base import Command, Table
from plaudit_server.store.ledger import PROJECT
from plaudit_server.store.migrate import META, SCHEMA_MIGRATION
from plaudit_server.tokens import resource as tokens

KEYS: Final = Resource(name="keys", tables=(API_KEY,))

RESOURCES: Final[tuple[Resource, ...]] = (
    KEYS,
    feedback.RESOURCE,
    definitions.RESOURCE,
    analytics.RESOURCE,
    retention.RESOURCE,
    tokens.RESOURCE,
    projects.RESOURCE,
)


def registry(resources: Sequence[Resource] = RESOURCES) -> Registry:
    """The declarations of all RPCs. Raises Undeclared when two services have a method of the same name."""
    return Registry(service for resource in resources for service in resource.services)


def commands(resources: Sequence[Resource] = RESOURCES) -> tuple[type[Command[Any]], ...]:
    """Every command, whose kinds are labels of metrics. Raises Undeclared when two are of the same kind."""
    found = tuple(command for resource in resources for command in resource.commands)
    _check_unique("kind of command", [command.kind for command in found])
    return found


def tables(resources: Sequence[Resource] = RESOURCES) -> tuple[Table, ...]:
    """Every table of a store: those of the store itself, then each resource's. Raises Undeclared for one that is there
    twice.
    """
    found = (META, SCHEMA_MIGRATION, PROJECT, *(table for resource in resources for table in resource.tables))
    _check_unique("table", [table.name for table in found])
    return found


def _check_unique(what: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Undeclared(f"two resources have a {what} of the same name: {', '.join(twice)}")
