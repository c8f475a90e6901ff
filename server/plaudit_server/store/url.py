"""Store URLs: the one place that reads them, and opens the engine that they name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from plaudit_server.config import without_password
from plaudit_server.errors import StartError, StoreUnavailable
from plaudit_server.store.base import SqlEngine, StoreError

EngineName = Literal["sqlite", "postgresql"]


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A store URL that names an engine: `sqlite:PATH` or `postgresql://HOST/DATABASE`."""

    engine: EngineName
    text: str

    @property
    def path(self) -> Path:
        """The file of a SQLite store."""
        return Path(self.text.partition(":")[2])

    @property
    def shown(self) -> str:
        """The URL without its password, fit for logs."""
        return without_password(self.text)

    @property
    def is_embedded(self) -> bool:
        """Whether one process alone serves the store."""
        return self.engine == "sqlite"


def parse_url(text: str) -> StoreUrl:
    """The parts of a store URL. Raises StartError for a URL of no store."""
    scheme, _, rest = text.partition(":")
    if scheme == "sqlite" and rest:
        return StoreUrl("sqlite", text)
    if scheme in ("postgresql", "postgres") and rest.startswith("//"):
        return StoreUrl("postgresql", text)
    raise StartError(f"unknown store {without_password(text)!r}; use sqlite:PATH or postgresql://HOST/DATABASE")


def open_store(text: str) -> SqlEngine:
    """The engine that a store URL names, not yet opened. Raises StartError for a URL of no store, or without driver."""
    url = parse_url(text)
    if url.is_embedded:
        from plaudit_server.store.engines.sqlite.engine import SqliteEngine

        return SqliteEngine(url.path)
    return _postgres()(text)


def _postgres() -> Callable[[str], SqlEngine]:
    try:
        from plaudit_server.store.engines.postgres.engine import PostgresEngine
    except ImportError as error:
        raise StartError(
            "a PostgreSQL store needs its driver, psycopg, which pip install 'plaudit[server,postgres]' brings"
            f" ({error})"
        ) from error
    return PostgresEngine


@asynccontextmanager
async def opened(text: str) -> AsyncIterator[SqlEngine]:
    """The engine that a store URL names, opened until the block ends; the store is made or migrated as by a server.

    Raises StoreError and StartError; what fails while it is used is a StoreError too.
    """
    engine = open_store(text)
    await engine.open()
    try:
        yield engine
    except StoreUnavailable as error:
        raise StoreError(f"the store {without_password(text)} cannot be used: see the line above") from error
    finally:
        await engine.close()
