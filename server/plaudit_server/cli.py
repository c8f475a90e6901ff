"""The command line; heavy modules are imported inside the commands, so that --help is fast."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from plaudit_server import commands_index, commands_store
from plaudit_server import config as configuration
from plaudit_server.commands_store import failures
from plaudit_server.config import SETTINGS, Config, ConfigError, Setting
from plaudit_server.principals import Role

if TYPE_CHECKING:
    from plaudit_server.auth.keys import ApiKey
    from plaudit_server.auth.keystore import StoredKeys

F = TypeVar("F", bound=Callable[..., Any])

_SECTIONS: Final = {
    "tls": "TLS",
    "auth": "Authentication",
    "jwt": "Tokens (JWT)",
    "limits": "Limits",
    "connections": "Connections",
    "admin": "Ports for operators",
    "tracing": "Tracing",
}


class _SettingsCommand(click.Command):
    """A command whose help shows the options by section."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those of each section under its title."""
        sections = {setting.parameter: setting.section for setting in SETTINGS}
        titled: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                section = sections.get(parameter.name or "", "")
                titled.setdefault(_SECTIONS.get(section, "Options"), []).append(record)
        for title, records in titled.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _option(setting: Setting) -> Callable[[F], F]:
    help = f"{setting.help} [{setting.variable}{_default_note(setting)}]"
    if setting.type is bool:
        return click.option(f"{setting.flag}/--no-{setting.flag[2:]}", setting.parameter, default=None, help=help)
    multiple = not isinstance(setting.default, str | int | float)
    return click.option(
        setting.flag,
        setting.parameter,
        default=None,
        multiple=multiple,
        metavar="|".join(setting.choices) if setting.choices and not multiple else "TEXT",
        help=help,
    )


def _default_note(setting: Setting) -> str:
    default = setting.default
    if default in ("", (), False):
        return ""
    return f"; default: {', '.join(default) if isinstance(default, tuple) else default}"


def _settings(command: F) -> F:
    """Give a command an option for every setting, and --config."""
    for setting in reversed(SETTINGS):
        command = _option(setting)(command)
    config = click.option("--config", "toml_path", metavar="PATH", help="TOML file of settings. [PLAUDIT_CONFIG]")
    return config(command)


def _load(toml_path: str | None, flags: Mapping[str, object]) -> Config:
    return configuration.load(flags, os.environ, toml_path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("plaudit"), prog_name="plaudit-server")
def cli() -> None:
    """The plaudit server: feedback stored once, on disk, readable now.

    Each setting may come from a flag, from the environment, or from a TOML file, in this order.
    """
    # grpc's core, when it is imported, decides whether to write to standard error beside our own lines.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


@cli.command(cls=_SettingsCommand)
@_settings
def serve(toml_path: str | None, **flags: object) -> None:
    """Serve feedback until SIGINT or SIGTERM."""
    with failures():
        config = _load(toml_path, flags)
        for line in config.warnings():
            print(f"plaudit-server: warning: {line}", file=sys.stderr)
        from plaudit_server import app
        from plaudit_server.ops import logs

        with logs.writing(config):
            code = app.run(config)
    sys.exit(code)


@cli.command("config", cls=_SettingsCommand)
@_settings
def show_config(toml_path: str | None, **flags: object) -> None:
    """Print the settings in force as TOML, each with its origin, secrets hidden."""
    with failures():
        config = _load(toml_path, flags)
        given = configuration.gather(flags, os.environ, toml_path)
    click.echo(configuration.render(config, given), nl=False)


@cli.command()
@click.option("--target", metavar="HOST:PORT", help="Where the server listens; where `serve` would, if not given.")
@click.option("--service", default="", help="The service to ask for; the server as a whole, if not given.")
@click.option("--timeout", default=3.0, show_default=True, type=click.FloatRange(0.1, 600), help="Seconds to wait.")
@click.option("--tls-ca", "ca", metavar="PATH", help="Ask over TLS, trusting the certificates of this file.")
@click.option("--config", "toml_path", metavar="PATH", help="TOML file of settings. [PLAUDIT_CONFIG]")
def health(target: str | None, service: str, timeout: float, ca: str | None, toml_path: str | None) -> None:
    """Ask a running server whether it can do its work; exit with 0 when it says SERVING, else with 1."""
    with failures():
        from plaudit_server.ops import health as state

        listen = target or _load(toml_path, {}).listen
        said = state.ask(listen, service, timeout, ca)
    click.echo(f"{listen}: {said}")
    sys.exit(0 if said == "SERVING" else 1)


@cli.group()
def keys() -> None:
    """Make, list and revoke the API keys that a store knows."""


def _of_store(command: F) -> F:
    """Give a command about keys the options that find its store."""
    store = next(setting for setting in SETTINGS if setting.key == "store")
    config = click.option("--config", "toml_path", metavar="PATH", help="TOML file of settings. [PLAUDIT_CONFIG]")
    return _option(store)(config(command))


@contextmanager
def _keys(toml_path: str | None, store: str | None) -> Iterator[StoredKeys]:
    """The keys of the store in force, which is made or migrated as `serve` would."""
    with failures():
        config = _load(toml_path, {"store": store})
        from plaudit_server import app
        from plaudit_server.auth.keystore import open_keys

        asyncio.run(app.prepare_store(config.store))
        opened = open_keys(config.store)
        try:
            yield opened
        finally:
            opened.close()


@keys.command("create")
@click.argument("principal")
@click.option("--role", required=True, type=click.Choice([role.label for role in Role]), help="What the key may do.")
@click.option(
    "--project",
    "projects",
    required=True,
    multiple=True,
    metavar="PATTERN",
    help="Where: entity/project, entity/* or *; as often as wanted.",
)
@click.option("--days", type=click.FloatRange(0.001, 36_500), help="How long the key holds; for ever if not given.")
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

    The key is printed once, and stored nowhere but as a hash.
    """
    from plaudit_server.auth.keys import new_key

    now = _microseconds()
    expires_at = None if days is None else now + round(days * 86_400 * 1_000_000)
    with failures():
        try:
            text, key = new_key(principal, Role.parse(role), projects, now, expires_at)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    with _keys(toml_path, store) as opened:
        opened.add(key)
    print(f"The key {key.id} of {principal}; it is shown this once:", file=sys.stderr)
    click.echo(text)


@keys.command("list")
@_of_store
def list_keys(toml_path: str | None, store: str | None) -> None:
    """List the keys, without their secrets: id, principal, role, projects, state."""
    with _keys(toml_path, store) as opened:
        for key in opened.all():
            click.echo("\t".join((key.id, key.principal, key.role.label, ",".join(key.projects), _state(key))))


@keys.command("revoke")
@click.argument("id")
@_of_store
def revoke_key(id: str, toml_path: str | None, store: str | None) -> None:
    """End the key ID; running servers refuse it within auth.key_refresh_seconds."""
    with _keys(toml_path, store) as opened:
        if not opened.revoke(id, _microseconds()):
            raise ConfigError(f"there is no key {id}; `plaudit-server keys list` shows those there are")
    print(f"The key {id} is revoked.", file=sys.stderr)


def _microseconds() -> int:
    return time.time_ns() // 1000


def _state(key: ApiKey) -> str:
    """How a key stands, and since or until when, in UTC."""
    if key.revoked_at is not None:
        return f"revoked {_shown_time(key.revoked_at)}"
    if key.expires_at is None:
        return f"valid since {_shown_time(key.created_at)}"
    word = "expires" if key.expires_at > _microseconds() else "expired"
    return f"{word} {_shown_time(key.expires_at)}"


def _shown_time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


cli.add_command(commands_store.migrate)
cli.add_command(commands_store.copy)
cli.add_command(commands_index.index)
