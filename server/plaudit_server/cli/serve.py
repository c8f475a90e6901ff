"""The commands that read every setting: `serve` runs the server, `config` prints what is in force."""

from __future__ import annotations

import os
import sys

import click

from plaudit_server import config as configuration
from plaudit_server.cli.failures import failures
from plaudit_server.cli.options import SettingsCommand, all_settings, load


@click.command(cls=SettingsCommand)
@all_settings
def serve(toml_path: str | None, **flags: object) -> None:
    """Serve feedback until SIGINT or SIGTERM."""
    with failures():
        config = load(toml_path, flags)
        for line in config.warnings():
            print(f"plaudit-server: warning: {line}", file=sys.stderr)
        from plaudit_server import app
        from plaudit_server.ops import logs

        with logs.writing(config):
            code = app.run(config)
    sys.exit(code)


@click.command("config", cls=SettingsCommand)
@all_settings
def show_config(toml_path: str | None, **flags: object) -> None:
    """Print the settings in force as TOML, each with its origin, secrets hidden."""
    with failures():
        config = load(toml_path, flags)
        given = configuration.gather(flags, os.environ, toml_path)
    click.echo(configuration.render(config, given), nl=False)
