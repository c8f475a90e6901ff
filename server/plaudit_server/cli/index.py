"""The commands about declared indexes: `index create`, `index list` and `index drop`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import click

from plaudit_server.cli.failures import failures
from plaudit_server.cli.options import config_option, load, store_option
from plaudit_server.config import ConfigError

if TYPE_CHECKING:
    from plaudit_server.query.indexes.declared import DeclaredIndex
    from plaudit_server.store.declared import State

F = TypeVar("F", bound=Callable[..., Any])

_KINDS: Final = ("number", "text", "bool")
_AGGREGATES: Final = "aggregates"
_MANY_ROWS: Final = 100_000


class _Place(Protocol):
    """Where the indexes are: a store of either engine, with methods that block."""

    def create(self, index: DeclaredIndex) -> bool: ...
    def drop(self, index: DeclaredIndex) -> bool: ...
    def listing(self) -> list[tuple[DeclaredIndex, State]]: ...
    def rows(self) -> int: ...


class _SqlitePlace:
    def __init__(self, path: str) -> None:
        from plaudit_server.store.engines.sqlite import indexes as sqlite_indexes

        self._indexes = sqlite_indexes
        self._path = path

    def create(self, index: DeclaredIndex) -> bool:
        return self._indexes.create(self._path, index)

    def drop(self, index: DeclaredIndex) -> bool:
        return self._indexes.drop(self._path, index)

    def listing(self) -> list[tuple[DeclaredIndex, State]]:
        return self._indexes.listing(self._path)

    def rows(self) -> int:
        return self._indexes.rows(self._path)


class _PostgresPlace:
    def __init__(self, url: str) -> None:
        from plaudit_server.store.engines.postgres import indexes as postgres_indexes

        self._indexes = postgres_indexes
        self._url = url

    def create(self, index: DeclaredIndex) -> bool:
        return asyncio.run(self._indexes.create(self._url, index))

    def drop(self, index: DeclaredIndex) -> bool:
        return asyncio.run(self._indexes.drop(self._url, index))

    def listing(self) -> list[tuple[DeclaredIndex, State]]:
        return asyncio.run(self._indexes.listing(self._url))

    def rows(self) -> int:
        return asyncio.run(self._indexes.rows(self._url))


def _place(store: str | None, toml_path: str | None) -> _Place:
    from plaudit_server.store.url import open_store, parse_url

    url = parse_url(load(toml_path, {"store": store}).store)
    open_store(url.text)  # refuses a store whose driver is missing
    return _SqlitePlace(str(url.path)) if url.is_embedded else _PostgresPlace(url.text)


def _declared(path: str, kind: str | None, purpose: str) -> DeclaredIndex:
    from plaudit_server.query.indexes.declared import NotIndexable, declare

    if purpose == _AGGREGATES:
        if kind not in (None, "number"):
            raise ConfigError("an index for aggregates holds numbers; leave out --as")
        kind = purpose
    try:
        return declare(path, kind)
    except NotIndexable as error:
        raise ConfigError(str(error)) from error


def _of_store(command: F) -> F:
    """Give a command the options that find its store."""
    return store_option(config_option(command))


def _of_path(command: F) -> F:
    """Give a command the options that name an index."""
    path = click.option(
        "--path", required=True, metavar="PATH", help="As in a query: payload.score, scorer_ratings.q, span_trace_id."
    )
    kind = click.option(
        "--as",
        "kind",
        type=click.Choice(_KINDS),
        help="How its values are read; not needed for a key of a map, or a column.",
    )
    purpose = click.option(
        "--for",
        "purpose",
        type=click.Choice(("filters", _AGGREGATES)),
        default="filters",
        show_default=True,
        help="What it serves: filters, or sums, means and the like of its numbers (on SQLite).",
    )
    return path(kind(purpose(command)))


@click.group()
def index() -> None:
    """Declare indexes for paths in the payload, keys of the scorer_* maps, and columns, that queries often filter by.

    A filter that compares such a path with numbers, texts or bools then finds its records in the index instead of
    reading them all. Each index costs something on every write.
    """


@index.command("create")
@_of_path
@_of_store
def create_index(path: str, kind: str | None, purpose: str, store: str | None, toml_path: str | None) -> None:
    """Make an index for a path, and declare it; running servers use it within seconds.

    On PostgreSQL reads and writes continue meanwhile. On SQLite reads continue, and writes wait: a server refuses a
    write that has waited for five seconds, so choose a quiet time for a large store. The command can be repeated: it
    makes what is missing, and updates the planner's statistics.
    """
    with failures():
        wanted = _declared(path, kind, purpose)
        place = _place(store, toml_path)
        if (rows := place.rows()) >= _MANY_ROWS:
            print(f"Making an index over about {rows:,} records; this may take a while.", file=sys.stderr)
        started = time.monotonic()
        made = place.create(wanted)
    if made:
        took = time.monotonic() - started
        click.echo(f"The index for {_described(wanted)} is made and declared ({took:.1f} s).")
    else:
        click.echo(f"The index for {_described(wanted)} is there already.")


@index.command("list")
@_of_store
def list_indexes(store: str | None, toml_path: str | None) -> None:
    """List the declared indexes: path, kind, state.

    In a state other than `ready` queries are slower, never wrong: run `index create` for that path again.
    """
    with failures():
        for found, state in _place(store, toml_path).listing():
            click.echo(f"{_shown(found.path)}\t{found.kind}\t{state.value}")


@index.command("drop")
@_of_path
@_of_store
def drop_index(path: str, kind: str | None, purpose: str, store: str | None, toml_path: str | None) -> None:
    """Drop the index of a path; filters by it read every record again.

    A running server that has not noticed yet is slower for some seconds, never wrong.
    """
    with failures():
        place = _place(store, toml_path)
        if purpose == _AGGREGATES:
            kind = purpose
        declared = [found for found, _ in place.listing() if found.path == path and kind in (None, found.kind)]
        if not declared:
            raise ConfigError(f"no such index is declared for {_shown(path)}; `plaudit-server index list` shows all")
        if len(declared) > 1:
            kinds = " and ".join(found.kind for found in declared)
            raise ConfigError(f"{_shown(path)} is indexed as {kinds}; say which with --as or --for")
        place.drop(declared[0])
    click.echo(f"The index for {_described(declared[0])} is dropped.")


def _described(index: DeclaredIndex) -> str:
    """An index on one line."""
    how = {"aggregates": " for aggregates", "column": ""}.get(index.kind, f" as {index.kind}")
    return f"{_shown(index.path)}{how}"


def _shown(path: str) -> str:
    """A path on one line, whatever characters its keys have."""
    return path if path.isprintable() else ascii(path)[1:-1]
