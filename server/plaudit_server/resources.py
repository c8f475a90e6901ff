"""The list of resources: what app serves, what migrations place, what copies take along; a new one is a line here."""

from __future__ import annotations

from typing import Final

from plaudit_server.auth.keystore import API_KEY
from plaudit_server.feedback import resource as feedback
from plaudit_server.rpc.declare import Registry
from plaudit_server.rpc.resource import Resource
from plaudit_server.store.base import Table
from plaudit_server.store.ledger import PROJECT
from plaudit_server.store.migrate import META, SCHEMA_MIGRATION

KEYS: Final = Resource(name="keys", tables=(API_KEY,))

RESOURCES: Final[tuple[Resource, ...]] = (KEYS, feedback.RESOURCE)


def registry(resources: tuple[Resource, ...] = RESOURCES) -> Registry:
    """The declarations of all RPCs. Raises Undeclared when one is missing."""
    return Registry(service for resource in resources for service in resource.services)


def tables(resources: tuple[Resource, ...] = RESOURCES) -> tuple[Table, ...]:
    """Every table of a store: those of the store itself, then each resource's."""
    return (META, SCHEMA_MIGRATION, PROJECT, *(table for resource in resources for table in resource.tables))
