"""API keys in PostgreSQL, as in a SQLite file; what both engines share is tested in tests/unit/test_auth_keys.py."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from plaudit_server.auth.keys import new_key
from plaudit_server.config.grants import Role
from plaudit_server.errors import Unauthenticated
from plaudit_server.store.base import StoreError
from tests.keys import BlockingKeys, opened_keys
from tests.postgres.cluster import Database


@pytest.fixture
def keys(empty_database: Database) -> Iterator[BlockingKeys]:
    with opened_keys(empty_database.url) as keys:
        yield keys


def test_keys_are_added_read_and_revoked(keys: BlockingKeys) -> None:
    text, key = new_key("jüdge", Role.WRITER, ("acme/*", "b/c"), 7, expires_at=9_000_000)
    keys.add(key)
    assert keys.all() == [key]
    assert keys.read().verify(text, now=8.0).name == "jüdge"
    assert keys.stamp() == (1, 0)
    assert keys.revoke(key.id, 55)
    assert keys.revoke(key.id, 66)
    assert not keys.revoke("nobody", 66)
    assert keys.stamp() == (1, 1)
    assert keys.all()[0].revoked_at == 55
    with pytest.raises(Unauthenticated):
        keys.read().verify(text, now=8.0)


def test_broken_connections_are_made_anew(keys: BlockingKeys, empty_database: Database) -> None:
    assert keys.stamp() == (0, 0)
    with psycopg.connect(empty_database.url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert keys.stamp() == (0, 0)


def test_a_url_that_can_not_be_read_is_refused() -> None:
    with pytest.raises(StoreError), opened_keys("postgresql://h/db?no_such_option=1"):
        pass
