"""The command `hold`: legal holds are put and lifted here alone, by who may run commands on the server's machine."""

from __future__ import annotations

import getpass
import time
from typing import TYPE_CHECKING, Final

import click

from plaudit_server.cli.failures import failures
from plaudit_server.cli.options import load, on_store, options_of
from plaudit_server.cli.times import shown_time
from plaudit_server.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from plaudit_server.config import Config
    from plaudit_server.retention.holds import Hold
    from plaudit_server.store.base import Steps
    from plaudit_server.store.prepared import Prepared

_REASON_BYTES: Final = 1_000


@click.group()
def hold() -> None:
    """Put projects under a legal hold, and lift it.

    While a project is under a hold nothing that is stored in it is removed or replaced: retention, purges, replaces and
    `project delete` are refused. New records are stored as ever.
    """


_of_store: Final = options_of("store", "audit_log")
"""Gives a command the options that find the store and the audit log."""


@hold.command("put")
@click.argument("project")
@click.option("--reason", required=True, help="Why, such as the number of a case; kept with the hold.")
@_of_store
def put_hold(project: str, reason: str, toml_path: str | None, store: str | None, audit_log: str | None) -> None:
    """Put PROJECT under a legal hold, at once, also while servers run."""
    with failures():
        if not reason.strip() or len(reason.encode()) > _REASON_BYTES or "\0" in reason:
            raise ConfigError(f"--reason must be a text of 1 to {_REASON_BYTES} bytes")
        from plaudit_server.retention import holds

        made = holds.Hold(project, time.time_ns() // 1000, getpass.getuser(), reason)
        config = load(toml_path, {"store": store, "audit_log": audit_log})
        _write(config, lambda sql: holds.put(sql, made), "hold put", project, by=made.put_by, reason=reason)
    click.echo(f"{project} is under a legal hold")


@hold.command("lift")
@click.argument("project")
@_of_store
def lift_hold(project: str, toml_path: str | None, store: str | None, audit_log: str | None) -> None:
    """Lift the legal hold of PROJECT, at once; what its rules of retention make due is then removed."""
    with failures():
        from plaudit_server.retention import holds

        by, at = getpass.getuser(), time.time_ns() // 1000
        config = load(toml_path, {"store": store, "audit_log": audit_log})
        _write(config, lambda sql: holds.lift(sql, project, at, by), "hold lifted", project, by=by)
    click.echo(f"the legal hold of {project} is lifted")


@hold.command("list")
@click.option("--all", "with_lifted", is_flag=True, help="Also those that were lifted.")
@options_of("store")
def list_holds(with_lifted: bool, toml_path: str | None, store: str | None) -> None:
    """List the legal holds: project, since when, by whom, why, and when and by whom each was lifted."""
    with failures():
        from plaudit_server.retention import holds
        from plaudit_server.store.base import Reading

        config = load(toml_path, {"store": store})
        found = on_store(config.store, lambda engine: engine.read(Reading(holds.every)))
    for each in found:
        if each.lifted_at is None or with_lifted:
            click.echo("\t".join(_shown(each)))


def _write(config: Config, steps: Callable[[Prepared], Steps[None]], act: str, project: str, **facts: str) -> None:
    """Write to the store, and to the audit log."""
    from plaudit_server.rpc.audit import note_own, noting

    with noting(config):
        on_store(config.store, lambda engine: engine.transact(steps))
        note_own(act, project, 0, **facts)


def _shown(hold: Hold) -> list[str]:
    cells = [hold.project, shown_time(hold.put_at), hold.put_by, hold.reason]
    if hold.lifted_at is not None:
        cells += [shown_time(hold.lifted_at), hold.lifted_by or ""]
    return [cell if cell.isprintable() else repr(cell) for cell in cells]
