"""The API keys of a store, for tests that do not run on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from plaudit_server.auth.keys import ApiKey, KeyReader, KeyRing
from plaudit_server.auth.keystore import StoredKeys
from plaudit_server.store.base import SqlEngine
from plaudit_server.store.url import open_store


class BlockingKeys:
    """StoredKeys whose methods block."""

    def __init__(self, engine: SqlEngine, runner: asyncio.Runner) -> None:
        self.engine = engine
        self._runner = runner
        self._keys = StoredKeys(engine)
        self._reader = KeyReader(self._keys)

    def run(self, coroutine: Any) -> Any:
        return self._runner.run(coroutine)

    def add(self, key: ApiKey) -> None:
        self.run(self._keys.add(key))

    def revoke(self, id: str, now: int) -> bool:
        return bool(self.run(self._keys.revoke(id, now)))

    def all(self) -> list[ApiKey]:
        keys: list[ApiKey] = self.run(self._keys.all())
        return keys

    def stamp(self) -> tuple[int, int]:
        keys, revoked = self.run(self._keys.stamp())
        return keys, revoked

    def read(self) -> KeyRing:
        """What a KeyReader of its own reads, which remembers the last stamp."""
        ring: KeyRing = self.run(self._reader.read())
        return ring


@contextmanager
def opened_keys(url: str) -> Iterator[BlockingKeys]:
    """The keys of the store that a URL names, opened until the block ends."""
    with asyncio.Runner() as runner:
        engine = open_store(url)
        runner.run(engine.open())
        try:
            yield BlockingKeys(engine, runner)
        finally:
            runner.run(engine.close())
