"""The commands about feedback tokens: a master secret, and the signing keys that are made from it."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from plaudit_server.cli.failures import failures
from plaudit_server.cli.options import load, on_store, options_of, projects_option
from plaudit_server.config import ConfigError

if TYPE_CHECKING:
    from plaudit_server.tokens.stored import StoredTokens

T = TypeVar("T")


@click.group()
def tokens() -> None:
    """Make, list and revoke the signing keys of feedback tokens."""


_of_store: Final = options_of("store", "tokens.master_file")
"""Gives a command the options that find the store and the master secret."""


def _with_tokens(options: dict[str, Any], work: Callable[[StoredTokens, bytes], Awaitable[T]]) -> T:
    """Do something with the signing keys of the store in force, which is made or migrated first, as by `serve`."""
    with failures():
        config = load(options.pop("toml_path"), options)
        from plaudit_server.tokens.keyring import read_master
        from plaudit_server.tokens.stored import StoredTokens

        path = config.tokens.master_file
        if not path:
            raise ConfigError("tokens.master_file is not set; `plaudit-server tokens create-master FILE` makes one")
        try:
            master = read_master(path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"tokens.master_file: {path} cannot be used: {error}") from error

        return on_store(config.store, lambda engine: work(StoredTokens(engine), master))


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
@projects_option
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
