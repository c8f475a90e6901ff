"""The command `health`: asks a running server, as an orchestrator's probe does."""

from __future__ import annotations

import sys

import click

from plaudit_server.cli.failures import failures
from plaudit_server.cli.options import config_option, load


@click.command()
@click.option("--target", metavar="HOST:PORT", help="Where the server listens; where `serve` would, if not given.")
@click.option("--service", default="", help="The service to ask for; the server as a whole, if not given.")
@click.option("--timeout", default=3.0, show_default=True, type=click.FloatRange(0.1, 600), help="Seconds to wait.")
@click.option("--tls-ca", "ca", metavar="PATH", help="Ask over TLS, trusting the certificates of this file.")
@config_option
def health(target: str | None, service: str, timeout: float, ca: str | None, toml_path: str | None) -> None:
    """Ask a running server whether it can do its work; exit with 0 when it says SERVING, else with 1."""
    with failures():
        from plaudit_server.ops.health import ask

        listen = target or load(toml_path, {}).listen
        status = ask(listen, service, timeout, ca)
    click.echo(f"{listen}: {status}")
    sys.exit(0 if status == "SERVING" else 1)
