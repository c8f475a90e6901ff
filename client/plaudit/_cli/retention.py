"""The command `retention`: for how long records of a project are kept."""

from __future__ import annotations

import click

from plaudit._cli.options import flags, output

_ALL_OTHERS = "TYPE may be '*': every type that has no rule of its own."


@click.group()
def retention() -> None:
    """Set for how long records are kept; for administrators.

    The server removes older records for good, from 24 hours after a rule was set. `plaudit retention check` shows what
    would be removed.
    """


@retention.command("list")
@output()
@flags
def list_rules(form: str | None) -> None:
    """List the rules of the project."""
    from dataclasses import asdict

    from plaudit._cli.connection import connect
    from plaudit._cli.output import form_of, print_grid, print_values

    with connect() as client:
        rules = client.retention_rules()
    if form_of(form) == "table":
        print_grid(rules._grid())
    else:
        print_values([asdict(rule) for rule in rules], form)


@retention.command("set", epilog=_ALL_OTHERS)
@click.argument("feedback_type", metavar="TYPE")
@click.argument("days", metavar="DAYS", type=click.IntRange(1, 36_500))
@flags
def set_rule(feedback_type: str, days: int) -> None:
    """Keep records of TYPE for DAYS days after they were created; older ones are removed for good."""
    import sys

    from plaudit._cli.connection import connect
    from plaudit._show.grid import shown_time, visible

    with connect() as client:
        rule = client.put_retention_rule(feedback_type, days)
    print(
        f"{visible(rule.feedback_type)} is kept for {rule.days} days; older records are removed from "
        f"{shown_time(rule.acts_at)} on",
        file=sys.stderr,
    )


@retention.command("remove", epilog=_ALL_OTHERS)
@click.argument("feedback_type", metavar="TYPE")
@flags
def remove_rule(feedback_type: str) -> None:
    """Remove the rule for TYPE: its records are kept, or are removed by the rule for '*', 24 hours later."""
    import sys

    from plaudit._cli.connection import connect
    from plaudit._show.grid import visible

    with connect() as client:
        client.put_retention_rule(feedback_type, 0)
    print(f"{visible(feedback_type)} has no rule of its own", file=sys.stderr)


@retention.command("check", epilog=_ALL_OTHERS)
@click.argument("feedback_type", metavar="TYPE", required=False)
@click.argument("days", metavar="DAYS", type=click.IntRange(1, 36_500), required=False)
@output()
@flags
def check_rules(feedback_type: str | None, days: int | None, form: str | None) -> None:
    """Show how many records each rule would remove now, or a rule for TYPE that is not set."""
    from dataclasses import asdict

    from plaudit._cli.connection import connect
    from plaudit._cli.output import form_of, print_grid, print_values

    if (feedback_type is None) != (days is None):
        raise click.UsageError("give TYPE and DAYS, or neither")
    with connect() as client:
        check = client.check_retention(feedback_type, days)
    if form_of(form) == "table":
        print_grid(check._grid())
    else:
        values = [asdict(due) for due in check]
        print_values([value | value.pop("rule") for value in values], form)
