"""The command `project`: what is done to a whole project, by who may run commands on the server's machine."""

from __future__ import annotations

import asyncio
import getpass
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from plaudit_server.cli.failures import failures
from plaudit_server.cli.options import load, options_of
from plaudit_server.cli.progress import bars
from plaudit_server.config import ConfigError
from plaudit_server.errors import DomainError

if TYPE_CHECKING:
    from plaudit_server.config import Config

# How often, and how long apart, to look whether the bytes are gone from the log, too.
_ERASURE_SECONDS: Final = 10.0


@click.group()
def project() -> None:
    """What is done to a whole project."""


@project.command("delete")
@click.argument("name", metavar="NAME")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options_of("store", "audit_log")
def delete(name: str, yes: bool, toml_path: str | None, store: str | None, audit_log: str | None) -> None:
    """Delete everything of the project NAME for good: records, versions, tombstones, definitions, rules of retention.

    Servers may run meanwhile; what is stored in the project after the command has begun stays. Ids stay taken, and the
    revision goes on: whoever writes to the project afterwards does not begin at 1. A deletion that was interrupted is
    completed when the same command is run again. It is refused while the project is under a legal hold.
    """
    with failures():
        config = load(toml_path, {"store": store, "audit_log": audit_log})
        sys.exit(asyncio.run(_delete(config, name, yes)))


async def _delete(config: Config, name: str, yes: bool) -> int:
    from plaudit_server.retention.deleting import Deletion, size_of
    from plaudit_server.rpc.audit import note_own, noting
    from plaudit_server.rpc.errors import describe
    from plaudit_server.store.base import StoreError
    from plaudit_server.store.url import opened

    with noting(config):
        async with opened(config.store) as engine:
            size = await size_of(engine, name)
            if not yes:
                _confirm(name, size.records)
            by = getpass.getuser()
            note_own("project delete begun", name, size.records, by=by)
            with bars(is_shown=sys.stderr.isatty()) as progress:
                try:
                    removed = await Deletion(engine, name, size, partial(progress, "deleting")).run()
                except DomainError as error:
                    raise StoreError(describe(error).message) from error
            note_own("project deleted", name, removed, by=by)
            click.echo(f"{name}: {removed} records deleted")
            await engine.erased(_ERASURE_SECONDS)
            if engine.erasure_pending:
                click.echo("some bytes stay in the store's log until a reader or a backup has ended", err=True)
    return 0


def _confirm(name: str, records: int) -> None:
    """Ask for the project's name. Raises ConfigError when there is nobody to ask, or the answer is another one."""
    if not is_asked():
        raise ConfigError("give --yes where nobody can be asked")
    answer = click.prompt(f"{records} records of {name} will be gone for good; write its name to go on", err=True)
    if answer.strip() != name:
        raise ConfigError("that is not the project's name; nothing was deleted")


def is_asked() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()
