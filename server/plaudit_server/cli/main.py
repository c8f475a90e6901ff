"""The group of all commands; each command is in another module."""

from __future__ import annotations

import os
from importlib.metadata import version

import click

from plaudit_server.cli.backup import backup, restore, verify
from plaudit_server.cli.health import health
from plaudit_server.cli.hold import hold
from plaudit_server.cli.index import index
from plaudit_server.cli.keys import keys
from plaudit_server.cli.project import project
from plaudit_server.cli.serve import serve, show_config
from plaudit_server.cli.store import copy, migrate, store
from plaudit_server.cli.tokens import tokens


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("plaudit"), prog_name="plaudit-server")
def cli() -> None:
    """The plaudit server: feedback stored once, on disk, readable now.

    Each setting may come from a flag, from the environment, or from a TOML file, in this order.
    """
    # When grpc's core is imported, it decides whether to write its own lines to standard error.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


for command in (
    serve,
    show_config,
    health,
    keys,
    tokens,
    migrate,
    copy,
    backup,
    restore,
    verify,
    store,
    index,
    hold,
    project,
):
    cli.add_command(command)
