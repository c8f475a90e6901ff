"""The commands about feedback tokens: a master secret, and the signing keys that are made from it."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from plaudit_server.cli.failures import failures
from plaudit_server.cli.options import config_option, load, setting_option
from plaudit_server.config import SETTINGS, ConfigError

if TYPE_CHECKING:
    from plaudit_server.tokens.stored import StoredTokens

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


@click.group()
def tokens() -> None:
    """Make, list and revoke the signing keys of feedback tokens."""


def _of_store(command: F) -> F:
    """Give a command the options that find the store and the master secret."""
    wanted = [setting for setting in SETTINGS if setting.key in ("store", "tokens.master_file")]
    for setting in wanted:
        command = setting_option(setting)(command)
    return config_option(command)


def _with_tokens(options: dict[str, Any], work: Callable[[StoredTokens, bytes], Awaitable[T]]) -> T:
    """Do something with the signing keys of the store in force, which is made or migrated first, as by `serve`."""
    with failures():
        config = load(options.pop("toml_path"), options)
        from plaudit_server.store.url import opened
        from plaudit_server.tokens.keyring import read_master
        from plaudit_server.tokens.stored import StoredTokens

        path = config.tokens.master_file
        if not path:
            raise ConfigError("tokens.master_file is not set; `plaudit-server tokens create-master FILE` makes one")
        try:
            master = read_master(path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"tokens.master_file: {path} cannot be used: {error}") from error

        async def run() -> T:
            async with opened(config.store) as engine:
                return await work(StoredTokens(engine), master)

        return asyncio.run(run())


@tokens.command("create-master")
@click.argument("file", type=click.Path(dir_okay=False))
def create_master(file: str) -> None:
    """Write a new master secret to FILE, which must not be there yet; every server of a store needs the same."""
    with failures():
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise ConfigError(f"{file} cannot be made: {error.strerror}") from error
        with os.fdopen(descriptor, "w") as opened:
            opened.write(secrets.token_hex(32) + "\n")
    print(f"The master secret is in {file}; set tokens.master_file to it.", file=sys.stderr)


@tokens.command("create-key")
@click.argument("id")
@click.option(
    "--project",
    "projects",
    required=True,
    multiple=True,
    metavar="PATTERN",
    help="Where: entity/project, entity/* or *; may be repeated.",
)
@click.option("--type", "types", required=True, multiple=True, metavar="TYPE", help="A feedback type; may be repeated.")
@click.option("--max-days", default=30, show_default=True, help="For how long a token may be valid, at most 90 days.")
@click.option("--per-minute", default=0, show_default=True, help="Calls a minute with all its tokens; 0: any number.")
@_of_store
def create_key(
    id: str, projects: tuple[str, ...], types: tuple[str, ...], max_days: int, per_minute: int, **options: Any
) -> None:
    """Make the signing key ID, and print it: your backend signs tokens with it, within what is said here.

    The key is made from the master secret, so that the store's database alone can sign nothing.
    """
    from plaudit_server.tokens.keyring import KeyScope, signing_key

    with failures():
        try:
            scope = KeyScope(id, projects, types, max_days, per_minute, time.time_ns() // 1000)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    async def add(stored: StoredTokens, master: bytes) -> str | None:
        return signing_key(master, id).text if await stored.add(scope) else None

    text = _with_tokens(options, add)
    with failures():
        if text is None:
            raise ConfigError(f"there is a signing key {id} already, maybe a revoked one; choose another id")
    print(f"The signing key {id}; whoever has it can sign tokens:", file=sys.stderr)
    click.echo(text)


@tokens.command("list-keys")
@_of_store
def list_keys(**options: Any) -> None:
    """List the signing keys, without their secrets: id, projects, types, days, calls a minute, state."""

    async def all_of(stored: StoredTokens, master: bytes) -> list[Any]:
        return await stored.scopes()

    for scope in _with_tokens(options, all_of):
        state = "valid" if scope.revoked_at is None else "revoked"
        parts = (scope.id, ",".join(scope.projects), ",".join(scope.types), scope.max_days, scope.per_minute, state)
        click.echo("\t".join(map(str, parts)))


@tokens.command("revoke-key")
@click.argument("id")
@_of_store
def revoke_key(id: str, **options: Any) -> None:
    """Revoke the signing key ID; running servers refuse all its tokens within auth.key_refresh_seconds."""

    async def revoke(stored: StoredTokens, master: bytes) -> bool:
        return await stored.revoke_key(id, time.time_ns() // 1000)

    revoked = _with_tokens(options, revoke)
    with failures():
        if not revoked:
            raise ConfigError(f"there is no signing key {id}; `plaudit-server tokens list-keys` shows those there are")
    print(f"The signing key {id} is revoked.", file=sys.stderr)
