"""The commands `backup`, `restore` and `verify`: a copy of a SQLite store, the way back, whether a store is whole."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from plaudit_server.cli.failures import failures
from plaudit_server.cli.options import config_option, load, store_option
from plaudit_server.cli.progress import bars
from plaudit_server.config import ConfigError

if TYPE_CHECKING:
    from plaudit_server.ops.verifying import Verified
    from plaudit_server.store.url import StoreUrl

_POSTGRES = (
    "a PostgreSQL store is backed up by PostgreSQL's own tools, as docs/databases.md describes; after a restore run "
    "plaudit-server store renew"
)
_WRONG = 1


@click.command()
@click.argument("target", metavar="TO", type=click.Path(path_type=Path))
@store_option
@config_option
def backup(target: Path, store: str | None, toml_path: str | None) -> None:
    """Copy a SQLite store to the new file TO, while a server serves it or not.

    The copy is of one moment, is checked for damage, and is one file that can be moved. API keys are in it, as hashes.
    """
    with failures():
        from plaudit_server.store.engines.sqlite.backup import copy_file

        url = _embedded(store, toml_path)
        with bars(is_shown=sys.stderr.isatty()) as progress:
            revisions = copy_file(url.path, target, partial(progress, "backing up"))
        changes = sum(revisions.values())
        click.echo(f"{url.shown}: backed up to {target}, with {len(revisions)} projects and {changes} changes")


@click.command()
@click.argument("source", metavar="FROM", type=click.Path(path_type=Path))
@store_option
@config_option
def restore(source: Path, store: str | None, toml_path: str | None) -> None:
    """Make a SQLite store of the backup FROM, with a new id, and verify it; the store must not be there yet.

    With another id than before, watches and page tokens of before the restore end with STORE_CHANGED.
    """
    with failures():
        from plaudit_server.store.engines.sqlite.backup import copy_file

        url = _embedded(store, toml_path)
        with bars(is_shown=sys.stderr.isatty()) as progress:
            copy_file(source, url.path, partial(progress, "restoring"))
        from plaudit_server.cli.store import renewed

        id = asyncio.run(renewed(url))
        found = _verified(url)
        _report(url, found)
        click.echo(f"{url.shown}: restored from {source}, the store's id is now {id}")
        sys.exit(_WRONG if found.wrong else 0)


@click.command()
@store_option
@config_option
def verify(store: str | None, toml_path: str | None) -> None:
    """Read a whole store, and check its rows against each other; it changes nothing.

    The exit code is 1 when something is wrong. A server may serve the store meanwhile.
    """
    with failures():
        from plaudit_server.store.engines.sqlite.backup import check_integrity
        from plaudit_server.store.url import parse_url

        url = parse_url(load(toml_path, {"store": store}).store)
        if url.is_embedded:
            check_integrity(url.path)
        found = _verified(url)
        _report(url, found)
        sys.exit(_WRONG if found.wrong else 0)


def _embedded(store: str | None, toml_path: str | None) -> StoreUrl:
    from plaudit_server.store.url import parse_url

    url = parse_url(load(toml_path, {"store": store}).store)
    if not url.is_embedded:
        raise ConfigError(_POSTGRES)
    return url


def _verified(url: StoreUrl) -> Verified:
    from plaudit_server.ops.verifying import verified
    from plaudit_server.store.base import StoreError
    from plaudit_server.store.engines.sqlite.connection import applied
    from plaudit_server.store.migrate import migrations, pending
    from plaudit_server.store.url import opened

    if url.is_embedded:
        if not (done := applied(url.path)):
            raise StoreError(f"there is no store {url.shown}")
        if pending(migrations("sqlite"), done):
            raise StoreError(f"{url.shown} is of an older version: run plaudit-server migrate first")

    async def run() -> Verified:
        with bars(is_shown=sys.stderr.isatty()) as progress:
            async with opened(url.text) as engine:
                return await verified(engine, partial(progress, "verifying"))

    return asyncio.run(run())


def _report(url: StoreUrl, found: Verified) -> None:
    for problem in found.problems:
        click.echo(f"{url.shown}: {problem}", err=True)
    if found.wrong > len(found.problems):
        click.echo(f"{url.shown}: and {found.wrong - len(found.problems)} more", err=True)
    state = f"{found.wrong} wrong" if found.wrong else "all is well"
    click.echo(f"{url.shown}: {found.rows} rows of {found.projects} projects: {state}")
