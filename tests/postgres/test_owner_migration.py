"""The migration that gives records their owners, on PostgreSQL; what both engines share is in tests/store."""

from __future__ import annotations

from typing import Any

import psycopg

from plaudit_server.store.migrate import migrations
from tests.postgres.cluster import Database
from tests.store.test_owner_migration import check_migration


def test_a_store_of_before_gets_owners(database: Database) -> None:
    *before, owners = migrations("postgres")[:3]
    with psycopg.connect(database.url, autocommit=True) as connection:
        for migration in before:
            for statement in migration.statements():
                connection.execute(statement.encode())

        def execute(statement: str, values: Any) -> list[Any]:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

        check_migration(execute, owners.statements(), "%s")
