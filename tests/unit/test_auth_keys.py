"""API keys: shown once, kept as hashes, checked in the same way whatever is wrong."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from plaudit_server.auth.keys import ApiKey, KeyRing, is_key, new_key
from plaudit_server.auth.refresh import Refreshed
from plaudit_server.config.grants import Grant, Role
from plaudit_server.errors import StartError, StoreUnavailable, Unauthenticated
from plaudit_server.store.base import Statement, Steps
from plaudit_server.store.prepared import Prepared
from tests.keys import BlockingKeys, opened_keys


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store's file is made."""
    return tmp_path / "plaudit.db"


@pytest.fixture
def store(path: Path) -> Iterator[BlockingKeys]:
    with opened_keys(f"sqlite:{path}") as keys:
        yield keys


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


def test_nothing_of_the_secret_is_stored(path: Path, store: BlockingKeys) -> None:
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


def test_the_store_gives_back_what_was_added_oldest_first(store: BlockingKeys) -> None:
    keys = [a_key(f"k{n}", created_at=10 - n, expires_at=n or None)[1] for n in range(5)]
    for key in keys:
        store.add(key)
    assert store.all() == keys[::-1]


def test_revoking_is_remembered_and_keeps_its_first_time(store: BlockingKeys) -> None:
    _, key = a_key()
    store.add(key)
    assert store.revoke(key.id, 77)
    assert store.revoke(key.id, 99)
    assert [k.revoked_at for k in store.all()] == [77]
    assert not store.revoke("nobody", 5)


def test_a_reader_sees_what_another_connection_added_and_revoked(path: Path, store: BlockingKeys) -> None:
    text, key = a_key()
    empty = store.read()
    assert store.read() is empty
    with opened_keys(f"sqlite:{path}") as other:
        other.add(key)
        assert store.read().verify(text, 1.0).name == "judge"
        assert store.read() is store.read()
        other.revoke(key.id, 5)
    with pytest.raises(Unauthenticated):
        store.read().verify(text, 1.0)


def test_a_key_with_a_role_of_a_later_version_is_ignored_with_one_warning(
    store: BlockingKeys, caplog: pytest.LogCaptureFixture
) -> None:
    (text, key), (later_text, later) = a_key(), a_key()
    for each in (key, later):
        store.add(each)
    store.run(store.engine.transact(steps(f"UPDATE api_key SET role = 'annotator' WHERE id = '{later.id}'")))
    assert [store.read().verify(text, 1.0).name for _ in range(2)] == ["judge"] * 2
    with pytest.raises(Unauthenticated):
        store.read().verify(later_text, 1.0)
    assert store.all() == store.all() == [key]
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == [
        f"the API key {later.id} has the role 'annotator', which this version does not know: it is ignored"
    ]


def steps(statement: str) -> Callable[[Prepared], Steps[None]]:
    def run(sql: Prepared) -> Steps[None]:
        yield Statement(statement)

    return run


@pytest.mark.parametrize("url", ["mysql://h/db", "sqlite:"])
def test_a_url_of_no_store_is_refused(url: str) -> None:
    with pytest.raises(StartError), opened_keys(url):
        pass


def test_a_refreshed_value_follows_its_source_and_survives_a_failure() -> None:
    values: list[int | Exception] = [1, OSError("away"), 2]
    loading_again = threading.Event()

    async def load() -> int:
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
    async def load() -> int:
        raise OSError("away")

    async def run() -> None:
        with pytest.raises(OSError, match="away"):
            await Refreshed("numbers", load, interval=1.0).start()

    asyncio.run(run())


def test_a_value_that_is_too_old_is_not_given() -> None:
    values = [1]

    async def load() -> int:
        return values[0]

    async def run() -> None:
        refreshed = Refreshed("numbers", load, interval=0.01, stale_after=0.1)
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

    async def load() -> None:
        loads.put(1)

    async def run() -> None:
        refreshed = Refreshed("numbers", load, interval=60.0, earliest=0.01)
        await refreshed.start()
        assert loads.get_nowait() == 1
        refreshed.soon()
        assert await asyncio.to_thread(loads.get, True, 10) == 1
        await refreshed.close()

    asyncio.run(run())
