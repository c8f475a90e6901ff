"""API keys: shown once, kept as hashes, checked in the same way whatever is wrong."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from plaudit_server.auth.keys import ApiKey, KeyReader, KeyRing, is_key, new_key
from plaudit_server.auth.keystore import SqliteKeyStore, open_keys
from plaudit_server.auth.refresh import Refreshed
from plaudit_server.config.grants import Grant, Role
from plaudit_server.errors import StartError, StoreUnavailable, Unauthenticated
from plaudit_server.store.migrate import migrations


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the schema of a store, and nothing in it."""
    path = tmp_path / "plaudit.db"
    connection = apsw.Connection(str(path))
    for migration in migrations("sqlite"):
        for statement in migration.statements():
            connection.execute(statement)
    connection.close()
    return path


@pytest.fixture
def store(path: Path) -> Iterator[SqliteKeyStore]:
    store = SqliteKeyStore(path)
    yield store
    store.close()


def a_key(principal: str = "judge", created_at: int = 1, expires_at: int | None = None) -> tuple[str, ApiKey]:
    return new_key(principal, Role.WRITER, ("acme/*",), created_at, expires_at)


def test_a_key_stands_for_its_principal_with_its_role() -> None:
    text, key = a_key()
    principal = KeyRing([key]).verify(text, now=2.0)
    assert (principal.name, principal.grants, principal.credential) == (
        "judge",
        (Grant(Role.WRITER, ("acme/*",)),),
        "api_key",
    )


def test_two_keys_never_share_id_or_secret_and_the_secret_is_256_bits() -> None:
    texts = {a_key()[0] for _ in range(100)}
    assert len(texts) == 100
    assert len({text.split("_")[1] for text in texts}) == 100
    assert all(is_key(text) and len(text.split("_", 2)[2]) == 43 for text in texts)


def test_nothing_of_the_secret_is_stored(path: Path, store: SqliteKeyStore) -> None:
    text, key = a_key()
    store.add(key)
    secret = text.split("_", 2)[2]
    assert secret not in repr(key)
    assert secret.encode() not in path.read_bytes()


def test_what_is_wrong_with_a_key_is_not_told() -> None:
    text, key = a_key()
    expired_text, expired = a_key(expires_at=5_000_000)
    revoked_text, revoked = a_key()
    ring = KeyRing([key, expired, replace(revoked, revoked_at=9)])
    wrong = [
        text[:-1] + ("A" if text[-1] != "A" else "B"),
        text.replace(key.id, "0" * 16),
        expired_text,
        revoked_text,
        "plk_",
        "plk_x",
        f"plk_{key.id}_",
        f"plk_{key.id}_\ud800",
    ]
    told = set()
    for attempt in wrong:
        with pytest.raises(Unauthenticated) as refused:
            ring.verify(attempt, now=5.0)
        told.add(refused.value.why)
    assert len(told) == 1
    assert ring.verify(text, now=5.0).name == "judge"
    assert ring.verify(expired_text, now=4.999).name == "judge"


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 257, "\ud800"])
def test_a_name_that_can_not_be_used_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="principal's name"):
        a_key(name)


@pytest.mark.parametrize("projects", [(), ("acme",), ("a/b/c",), ("",), ("a b/c",)])
def test_a_key_needs_project_patterns(projects: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="project"):
        new_key("judge", Role.READER, projects, 1)


def test_the_store_gives_back_what_was_added_oldest_first(store: SqliteKeyStore) -> None:
    keys = [a_key(f"k{n}", created_at=10 - n, expires_at=n or None)[1] for n in range(5)]
    for key in keys:
        store.add(key)
    assert store.all() == keys[::-1]


def test_revoking_is_remembered_and_keeps_its_first_time(store: SqliteKeyStore) -> None:
    _, key = a_key()
    store.add(key)
    assert store.revoke(key.id, 77)
    assert store.revoke(key.id, 99)
    assert [k.revoked_at for k in store.all()] == [77]
    assert not store.revoke("nobody", 5)


def test_a_reader_sees_what_another_connection_added_and_revoked(path: Path, store: SqliteKeyStore) -> None:
    reader = KeyReader(store)
    other = SqliteKeyStore(path)
    text, key = a_key()
    empty = reader.read()
    assert reader.read() is empty
    other.add(key)
    assert reader.read().verify(text, 1.0).name == "judge"
    assert reader.read() is reader.read()
    other.revoke(key.id, 5)
    other.close()
    with pytest.raises(Unauthenticated):
        reader.read().verify(text, 1.0)


@pytest.mark.parametrize("url", ["mysql://h/db", "sqlite:", "sqlite:/nowhere/x.db"])
def test_a_store_without_keys_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(StartError):
        open_keys(url)


def test_a_file_without_the_table_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StartError):
        SqliteKeyStore(tmp_path / "not.db")
    assert not (tmp_path / "not.db").exists()


def test_a_refreshed_value_follows_its_source_and_survives_a_failure() -> None:
    values: list[int | Exception] = [1, OSError("away"), 2]
    loading_again = threading.Event()

    def load() -> int:
        if not values:
            loading_again.set()  # so what was loaded before is in force
            return 2
        value = values.pop(0)
        if isinstance(value, Exception):
            raise value
        return value

    async def run() -> list[int]:
        refreshed = Refreshed("numbers", load, interval=0.01)
        await refreshed.start()
        seen = [refreshed.get()]
        await asyncio.to_thread(loading_again.wait, 10)
        seen.append(refreshed.get())
        await refreshed.close()
        await refreshed.close()
        return seen

    assert asyncio.run(run()) == [1, 2]


def test_a_first_load_that_fails_is_raised() -> None:
    def load() -> int:
        raise OSError("away")

    async def run() -> None:
        with pytest.raises(OSError, match="away"):
            await Refreshed("numbers", load, interval=1.0).start()

    asyncio.run(run())


def test_a_value_that_is_too_old_is_not_given() -> None:
    values = [1]

    async def run() -> None:
        refreshed = Refreshed("numbers", lambda: values[0], interval=0.01, stale_after=0.1)
        with pytest.raises(StoreUnavailable):
            refreshed.get()
        await refreshed.start()
        assert refreshed.get() == 1
        values.clear()
        await asyncio.sleep(0.2)
        with pytest.raises(StoreUnavailable):
            refreshed.get()
        await refreshed.close()

    asyncio.run(run())


def test_asking_sooner_loads_before_the_interval() -> None:
    loads: queue.SimpleQueue[int] = queue.SimpleQueue()

    async def run() -> None:
        refreshed = Refreshed("numbers", lambda: loads.put(1), interval=60.0, earliest=0.01)
        await refreshed.start()
        assert loads.get_nowait() == 1
        refreshed.soon()
        assert await asyncio.to_thread(loads.get, True, 10) == 1
        await refreshed.close()

    asyncio.run(run())
