"""The command `mcp`: the project's feedback as tools for an agent."""

from __future__ import annotations

import click

from plaudit._cli.options import flags


@click.command()
@click.option("--read-only", is_flag=True, help="Offer only tools that read.")
@click.option("--allow-purge", is_flag=True, help="Also offer to remove records for good.")
@flags
def mcp(read_only: bool, allow_purge: bool) -> None:
    """Serve the project's feedback to an agent, by the Model Context Protocol over standard input and output.

    Its answers have at most 20,000 characters. What people have written comes as data, and is marked as such.
    """
    from importlib.metadata import version

    from plaudit._async.client import AsyncClient
    from plaudit._cli.connection import settings

    try:
        from plaudit._mcp.server import made
    except ImportError as error:
        raise click.UsageError("the command mcp needs the SDK: pip install plaudit[mcp]") from error
    project, options = settings()
    try:
        client = AsyncClient(project, **options)
        client.project_for(None)
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
    made(client, version("plaudit"), read_only=read_only, allow_purge=allow_purge).run("stdio")
