"""What commands share: an option for each setting, the settings' file, and the store that they work on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from plaudit_server import config as configuration
from plaudit_server.config import SETTINGS, Config, Setting

if TYPE_CHECKING:
    from plaudit_server.store.base import SqlEngine

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_SECTIONS: Final = {
    "tls": "TLS",
    "auth": "Authentication",
    "jwt": "Tokens (JWT)",
    "limits": "Limits",
    "connections": "Connections",
    "admin": "Ports for operators",
    "tracing": "Tracing",
    "tokens": "Feedback tokens",
    "http": "HTTP port",
}


class SettingsCommand(click.Command):
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


def all_settings(command: F) -> F:
    """Give a command an option for every setting, and --config."""
    for setting in reversed(SETTINGS):
        command = setting_option(setting)(command)
    return config_option(command)


def config_option(command: F) -> F:
    """Give a command the option that names the file of settings."""
    help = "TOML file of settings. [PLAUDIT_CONFIG]"
    return click.option("--config", "toml_path", metavar="PATH", help=help)(command)


def store_option(command: F) -> F:
    """Give a command the option that names its store."""
    help = "The store: sqlite:PATH or postgresql://… [PLAUDIT_STORE]"
    return click.option("--store", metavar="TEXT", help=help)(command)


def projects_option(command: F) -> F:
    """Give a command the option that names the projects of a key, as `projects`."""
    help = "Where: entity/project, entity/* or *; may be repeated."
    return click.option("--project", "projects", required=True, multiple=True, metavar="PATTERN", help=help)(command)


def options_of(*keys: str) -> Callable[[F], F]:
    """The decorator that gives a command the options for some settings, and --config."""

    def give(command: F) -> F:
        command = config_option(command)
        for setting in reversed(SETTINGS):
            if setting.key in keys:
                command = setting_option(setting)(command)
        return command

    return give


def setting_option(setting: Setting) -> Callable[[F], F]:
    """The decorator that gives a command the option for a setting."""
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


def on_store(url: str, work: Callable[[SqlEngine], Awaitable[T]]) -> T:
    """Do something with the store that a URL names, which is made or migrated first, as by `serve`.

    Raises StoreError and StartError.
    """
    from plaudit_server.store.url import opened

    async def run() -> T:
        async with opened(url) as engine:
            return await work(engine)

    return asyncio.run(run())


def load(toml_path: str | None, flags: Mapping[str, object]) -> Config:
    """The settings in force for a command. Raises ConfigError."""
    return configuration.load(flags, os.environ, toml_path)
