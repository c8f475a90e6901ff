"""The commands about whole stores: `migrate` brings one up to date, `copy` copies it, `store renew` renews its id."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

import click

from plaudit_server.cli.failures import failures
from plaudit_server.cli.options import config_option, load, store_option
from plaudit_server.cli.progress import bars
from plaudit_server.config import ConfigError

if TYPE_CHECKING:
    from plaudit_server.store.url import StoreUrl

# The exit code of `migrate --check` when migrations wait.
_WAITING: Final = 3


@click.command()
@store_option
@config_option
@click.option("--check", is_flag=True, help="Change nothing; exit code 0 when the schema is current, 3 when not.")
@click.option("--citus", is_flag=True, help="Also distribute the tables over a Citus cluster, by project.")
def migrate(store: str | None, toml_path: str | None, check: bool, citus: bool) -> None:
    """Migrate the schema of a store to this version, or make it.

    Several may run at once: one migrates, the others wait for it. Servers of the previous version keep running; they
    cannot be started again on the new schema.
    """
    with failures():
        from plaudit_server.store.url import parse_url

        url = parse_url(load(toml_path, {"store": store}).store)
        if url.is_embedded and citus:
            raise ConfigError("--citus is for a PostgreSQL store")
        migrating = _migrate_sqlite(url, check) if url.is_embedded else _migrate_postgres(url, check, citus)
        sys.exit(asyncio.run(migrating))


async def _migrate_sqlite(url: StoreUrl, check: bool) -> int:
    from plaudit_server.store.engines.sqlite.connection import applied
    from plaudit_server.store.migrate import migrations, pending
    from plaudit_server.store.url import opened

    waiting = pending(migrations("sqlite"), applied(url.path))
    if not check:
        async with opened(url.text):
            pass
    return _report(url.shown, [migration.name for migration in waiting], check)


async def _migrate_postgres(url: StoreUrl, check: bool, citus: bool) -> int:
    from plaudit_server.resources import tables
    from plaudit_server.store.migrate import migrations, pending
    from plaudit_server.store.url import open_store

    open_store(url.text)  # refuses a store whose driver is missing
    from plaudit_server.store.engines.postgres import schema

    async with schema.connected(url.text) as connection:
        if check:
            await schema.folding(connection)
            waiting = pending(migrations("postgres"), await schema.applied(connection))
        else:
            waiting = await schema.migrate(connection)
        code = _report(url.shown, [migration.name for migration in waiting], check)
        if citus and not check:
            placed = await schema.distribute(connection, tables())
            click.echo(f"{url.shown}: {'placed ' + ', '.join(placed) if placed else 'every table is placed'}")
    if not check and (recounted := await _recount(url)):
        click.echo(f"{url.shown}: the records of {recounted} projects are counted anew")
    return code


async def _recount(url: StoreUrl) -> int:
    """Make the counters anew of projects to which a server without counters wrote; returns how many these were."""
    from plaudit_server.store.base import Reading
    from plaudit_server.store.counters import out_of_use
    from plaudit_server.store.ledger import recounting
    from plaudit_server.store.url import opened

    async with opened(url.text) as engine:
        projects = await engine.read(Reading(out_of_use))
        for project in projects:
            await engine.transact(recounting(project))
    return len(projects)


def _report(shown: str, names: list[str], check: bool) -> int:
    if not names:
        click.echo(f"{shown}: the schema is current")
        return 0
    click.echo(f"{shown}: {'waiting' if check else 'applied'}: {', '.join(names)}")
    return _WAITING if check else 0


@click.command()
@click.option("--from", "source", required=True, metavar="URL", help="The store to copy: sqlite:PATH or postgresql://…")
@click.option(
    "--to", "target", required=True, metavar="URL", help="The store to make: empty, or that of an interrupted copy."
)
def copy(source: str, target: str) -> None:
    """Copy everything of a store into an empty one: records, history, tombstones, revisions and API keys.

    Stop the servers of the source first. A copy that was interrupted continues where it was when the same command is
    run again. At the end both stores are read and compared. Declared indexes are not copied: see `index create`.
    """
    with failures():
        if source == target:
            raise ConfigError("--from and --to name the same store")
        asyncio.run(_copy(source, target))


async def _copy(source_url: str, target_url: str) -> None:
    from plaudit_server.auth.keystore import API_KEY
    from plaudit_server.ops.copying import Copy
    from plaudit_server.resources import tables
    from plaudit_server.store.base import StoreError
    from plaudit_server.store.engines.sqlite.connection import applied
    from plaudit_server.store.url import open_store, parse_url

    url = parse_url(source_url)
    if url.is_embedded and not applied(url.path):
        raise StoreError(f"there is no store {source_url} to copy")
    source = open_store(source_url)
    target = open_store(target_url)
    try:
        await source.open()
        await target.open()
        with bars() as progress:
            copied = await Copy(source, target, tables(), progress).run()
    finally:
        await target.close()
        await source.close()
    others = ", ".join(f"{count} {title}" for title, count in copied.others.items() if count or title == API_KEY.title)
    click.echo(
        f"copied and verified: {copied.rows} rows and {others} of {copied.projects} projects, "
        f"checksum {copied.checksum[:16]}"
    )


@click.group()
def store() -> None:
    """The identity of a store."""


@store.command()
@store_option
@config_option
def renew(store: str | None, toml_path: str | None) -> None:
    """Give a store a new id, after it was restored from a backup, and before a server serves it again.

    Revisions are given out again after a restore, for other changes. With a new id, watches and page tokens from before
    end with STORE_CHANGED, and do not miss changes without an error. Stop the servers of the store first.
    """
    with failures():
        from plaudit_server.store.url import parse_url

        url = parse_url(load(toml_path, {"store": store}).store)
        click.echo(f"{url.shown}: the store's id is now {asyncio.run(renewed(url))}")


async def renewed(url: StoreUrl) -> str:
    """Give a store a new id, and return it as clients see it. Raises StoreError."""
    from plaudit_server.store import identity
    from plaudit_server.store.base import StoreError
    from plaudit_server.store.engines.sqlite.connection import applied
    from plaudit_server.store.url import opened

    if url.is_embedded and not applied(url.path):
        raise StoreError(f"there is no store {url.shown}")
    async with opened(url.text) as engine:
        engine.claim()
        return (await engine.transact(identity.renew)).public
