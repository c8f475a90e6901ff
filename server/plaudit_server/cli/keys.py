"""The commands about API keys: `keys create`, `keys list` and `keys revoke`."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

import click

from plaudit_server.cli.failures import failures
from plaudit_server.cli.options import load, on_store, options_of, projects_option
from plaudit_server.cli.times import shown_time
from plaudit_server.config import ConfigError
from plaudit_server.config.grants import Role

if TYPE_CHECKING:
    from plaudit_server.auth.keys import ApiKey
    from plaudit_server.auth.keystore import StoredKeys

T = TypeVar("T")


@click.group()
def keys() -> None:
    """Make, list and revoke the API keys of a store."""


_of_store: Final = options_of("store")
"""Gives a command about keys the options that find its store."""


def _with_keys(toml_path: str | None, store: str | None, work: Callable[[StoredKeys], Awaitable[T]]) -> T:
    """Do something with the keys of the store in force, which is made or migrated first, as by `serve`."""
    with failures():
        config = load(toml_path, {"store": store})
        from plaudit_server.auth.keystore import StoredKeys

        return on_store(config.store, lambda engine: work(StoredKeys(engine)))


@keys.command("create")
@click.argument("principal")
@click.option("--role", required=True, type=click.Choice([role.label for role in Role]), help="What the key may do.")
@projects_option
@click.option(
    "--days", type=click.FloatRange(0.001, 36_500), help="How long the key is valid; without an end if not given."
)
@_of_store
def create_key(
    principal: str,
    role: str,
    projects: tuple[str, ...],
    days: float | None,
    toml_path: str | None,
    store: str | None,
) -> None:
    """Make a key for PRINCIPAL, which becomes the user_id of what is written with it.

    The key is printed once; only its hash is stored.
    """
    from plaudit_server.auth.keys import new_key

    now = _microseconds()
    expires_at = None if days is None else now + round(days * 86_400 * 1_000_000)
    with failures():
        try:
            text, key = new_key(principal, Role.parse(role), projects, now, expires_at)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    _with_keys(toml_path, store, lambda stored: stored.add(key))
    print(f"The key {key.id} of {principal}; it is shown this once:", file=sys.stderr)
    click.echo(text)


@keys.command("list")
@_of_store
def list_keys(toml_path: str | None, store: str | None) -> None:
    """List the keys, without their secrets: id, principal, role, projects, state."""
    for key in _with_keys(toml_path, store, lambda stored: stored.all()):
        click.echo("\t".join((key.id, key.principal, key.role.label, ",".join(key.projects), _state(key))))


@keys.command("revoke")
@click.argument("id")
@_of_store
def revoke_key(id: str, toml_path: str | None, store: str | None) -> None:
    """Revoke the key ID; running servers refuse it within auth.key_refresh_seconds."""
    revoked = _with_keys(toml_path, store, lambda stored: stored.revoke(id, _microseconds()))
    with failures():
        if not revoked:
            raise ConfigError(f"there is no key {id}; `plaudit-server keys list` shows those there are")
    print(f"The key {id} is revoked.", file=sys.stderr)


def _microseconds() -> int:
    return time.time_ns() // 1000


def _state(key: ApiKey) -> str:
    """The state of a key, and since or until when, in UTC."""
    if key.revoked_at is not None:
        return f"revoked {shown_time(key.revoked_at)}"
    if key.expires_at is None:
        return f"valid since {shown_time(key.created_at)}"
    word = "expires" if key.expires_at > _microseconds() else "expired"
    return f"{word} {shown_time(key.expires_at)}"
