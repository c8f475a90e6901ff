"""Commands about the command line itself: context, login, info, completion."""

from __future__ import annotations

import getpass
import sys
from typing import Any, Final

import click

from plaudit._cli import contexts
from plaudit._cli.options import Flags, flags, output

_SHELLS: Final = ("bash", "zsh", "fish")


@click.group()
def context() -> None:
    """Keep servers, projects and keys under names, in a file that only you can read."""


@context.command("add")
@click.argument("name")
@click.option("--target", metavar="HOST:PORT", help="The server; https://HOST:PORT for TLS.")
@click.option("--project", metavar="ENTITY/PROJECT")
@click.option("--tls", is_flag=True, help="The server speaks TLS.")
@click.option("--api-key-file", type=click.Path(), help="A file with the key.")
@click.option("--api-key-command", metavar="COMMAND", help="What prints the key, as of a vault; run without a shell.")
@click.option("--ca-file", type=click.Path(), help="Root certificates to trust (PEM).")
@click.option("--certificate-file", type=click.Path(), help="The client's certificate chain (PEM).")
@click.option("--key-file", type=click.Path(), help="The certificate's private key (PEM).")
def context_add(name: str, tls: bool, **given: str | None) -> None:
    """Add the context NAME, or replace it; the first one becomes the current one."""
    from plaudit._settings import check_project

    contexts.check_name(name)
    if given["api_key_file"] and given["api_key_command"]:
        raise click.UsageError("give --api-key-file or --api-key-command, not both")
    if bool(given["certificate_file"]) != bool(given["key_file"]):
        raise click.UsageError("--certificate-file and --key-file go together")
    if given["project"]:
        try:
            check_project(given["project"])
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    target = given["target"]
    if tls and target is None:
        raise click.UsageError("--tls needs a --target")
    if tls and target is not None and "://" not in target:
        given["target"] = f"https://{target}"
    known = contexts.read()
    known.by_name[name] = contexts.Context(**given)
    known.current = known.current or name
    contexts.write(known)


@context.command("use")
@click.argument("name")
def context_use(name: str) -> None:
    """Make NAME the current context."""
    known = contexts.read()
    known.named(name)
    known.current = name
    contexts.write(known)


@context.command("list")
@output()
def context_list(form: str | None) -> None:
    """List the contexts; * is the current one."""
    from plaudit._cli.output import form_of, print_values

    known = contexts.read()
    is_table = form_of(form) == "table"
    rows = [
        {"current": ("*" if is_table else True) if name == known.current else ("" if is_table else False), "name": name}
        | {key: value or "" for key, value in (("target", each.target), ("project", each.project))}
        for name, each in sorted(known.by_name.items())
    ]
    print_values(rows, form)


@context.command("show")
@click.argument("name", required=False)
@output()
def context_show(name: str | None, form: str | None) -> None:
    """Show the context NAME, or the one in use; never a key, only where it is."""
    from plaudit._cli.connection import in_use
    from plaudit._cli.output import form_of, print_grid, print_values
    from plaudit._show.grid import FIELD_COLUMNS, Grid, field_row

    found = contexts.read().named(name) if name is not None else in_use()
    if form_of(form) == "table":
        print_grid(Grid(FIELD_COLUMNS, [field_row(key, value) for key, value in found.given().items()]))
    else:
        print_values([found.given()], form)


@context.command("remove")
@click.argument("name")
def context_remove(name: str) -> None:
    """Remove the context NAME; a file with a key stays where it is."""
    known = contexts.read()
    known.named(name)
    del known.by_name[name]
    if known.current == name:
        known.current = None
    contexts.write(known)


@click.command()
@click.option("--no-check", is_flag=True, help="Do not ask the server whether it knows the key.")
@flags
def login(no_check: bool) -> None:
    """Read an API key from the standard input, and keep it for the context in use, in a file that only you can read."""
    from dataclasses import replace

    from plaudit._settings import check_key

    given = Flags.given()
    known = contexts.read()
    name = contexts.check_name(given.context or known.current or "default")
    key = (getpass.getpass("API key: ") if sys.stdin.isatty() else sys.stdin.readline()).strip()
    try:
        check_key(key)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    file = contexts.path().parent / "keys" / name
    before = known.by_name.get(name, contexts.Context())
    made = replace(
        before,
        target=given.target or before.target,
        project=given.project or before.project,
        api_key_file=str(file),
        api_key_command=None,
    )
    if not no_check:
        from plaudit._sync.client import Client

        settings: dict[str, Any] = {"target": made.target, "api_key": key, "ca_file": made.ca_file}
        if given.timeout is not None:
            settings["timeout"] = given.timeout
        with Client(made.project, **settings) as client:
            print(f"{client.caller().name} at {made.target or 'localhost:50051'}", file=sys.stderr)
    contexts.write_private(file, f"{key}\n")
    known.by_name[name] = made
    known.current = known.current or name
    contexts.write(known)


@click.command()
@output()
@flags
def info(form: str | None) -> None:
    """Show the server's version, store and limits, and who you are to it."""
    from plaudit._cli.connection import connect
    from plaudit._cli.output import form_of, print_grid, print_values
    from plaudit._show.grid import FIELD_COLUMNS, Column, Grid, field_row

    with connect(needs_project=False) as client:
        server = client.server_info()
        caller = client.caller()
    values: dict[str, Any] = {
        "version": server.version,
        "store": server.store,
        "store_id": server.store_id,
        "erasure_pending": server.erasure_pending,
        "caller": caller.name,
        "credential": caller.credential,
        "grants": [{"role": grant.role, "projects": list(grant.projects)} for grant in caller.grants],
        "expires_at": caller.expires_at,
        "limits": dict(sorted(server.limits.items())),
    }
    if form_of(form) == "table":
        limits = values.pop("limits")
        shown = [field_row(name, value) for name, value in values.items() if value not in (None, [])]
        columns = (Column("Field", 48, 16), FIELD_COLUMNS[1])
        print_grid(Grid(columns, [*shown, *(field_row(f"limits.{name}", value) for name, value in limits.items())]))
    else:
        print_values([values], form)


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash: plaudit completion bash > ~/.local/share/bash-completion/completions/plaudit
    zsh:  plaudit completion zsh > ~/.zfunc/_plaudit   (with ~/.zfunc in fpath)
    fish: plaudit completion fish > ~/.config/fish/completions/plaudit.fish
    """
    from click.shell_completion import get_completion_class

    from plaudit._cli.main import cli

    found = get_completion_class(shell)
    assert found is not None
    print(found(cli, {}, "plaudit", "_PLAUDIT_COMPLETE").source())
