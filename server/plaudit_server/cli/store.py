"""The commands about whole stores: `migrate` brings a schema up to date, `copy` copies a store to another place."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

import click

from plaudit_server.cli.failures import failures
from plaudit_server.cli.options import config_option, load, store_option
from plaudit_server.config import ConfigError, without_password

# The exit code of `migrate --check` when migrations are to be applied.
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
        url = load(toml_path, {"store": store}).store
        shown = without_password(url)
        if url.startswith("sqlite:"):
            if citus:
                raise ConfigError("--citus is for a PostgreSQL store")
            sys.exit(_migrate_sqlite(url, shown, check))
        sys.exit(asyncio.run(_migrate_postgres(url, shown, check, citus)))


def _migrate_sqlite(url: str, shown: str, check: bool) -> int:
    from plaudit_server.app import prepare_store
    from plaudit_server.store.engines.sqlite.store import applied
    from plaudit_server.store.migrate import migrations, pending

    path = url.partition(":")[2]
    waiting = pending(migrations("sqlite"), applied(path))
    if not check:
        asyncio.run(prepare_store(url))
    return _report(shown, [migration.name for migration in waiting], check)


async def _migrate_postgres(url: str, shown: str, check: bool, citus: bool) -> int:
    from plaudit_server.app import open_store
    from plaudit_server.store.migrate import migrations, pending

    open_store(url)  # refuses a URL of no store, and a store whose driver is missing
    from plaudit_server.store.engines.postgres import schema

    async with schema.connected(url) as connection:
        if check:
            await schema.folding(connection)
            waiting = pending(migrations("postgres"), await schema.applied(connection))
        else:
            waiting = await schema.migrate(connection)
        code = _report(shown, [migration.name for migration in waiting], check)
        if citus and not check:
            placed = await schema.distribute(connection)
            click.echo(f"{shown}: {'placed ' + ', '.join(placed) if placed else 'every table is placed'}")
    return code


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
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from plaudit_server.app import open_store
    from plaudit_server.ops.copying import copy as copy_all
    from plaudit_server.store.base import StoreError
    from plaudit_server.store.engines.sqlite.store import applied

    if source_url.startswith("sqlite:") and not applied(source_url.partition(":")[2]):
        raise StoreError(f"there is no store {source_url} to copy")
    source: Any = open_store(source_url)
    target: Any = open_store(target_url)
    columns = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        await source.open()
        await target.open()
        with Progress(*columns, console=Console(stderr=True)) as bar:
            tasks: dict[str, Any] = {}

            def progress(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bar.add_task(what, total=total)
                bar.update(tasks[what], completed=done)

            copied = await copy_all(source, target, progress)
    finally:
        await target.close()
        await source.close()
    click.echo(
        f"copied and verified: {copied.rows} rows and {copied.keys} API keys of {copied.projects} projects, "
        f"checksum {copied.checksum[:16]}"
    )
