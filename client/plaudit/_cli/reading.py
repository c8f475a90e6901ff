"""Commands that read: query, get, history, count, refs, on."""

from __future__ import annotations

import sys
from typing import Any

import click

from plaudit._cli.options import Flags, filters, flags, output

_LIMIT = 20


def _order(text: str | None) -> tuple[str, ...] | None:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else None


_order_option = click.option(
    "--order", metavar="FIELDS", help="Fields to sort by, as -created_at,id; a - for descending.  [created_at,id]"
)
_fields_option = click.option("--fields", metavar="FIELDS", help="Fields to show, as id,type,payload.score.")
_limit_option = click.option(
    "-n", "--limit", type=click.IntRange(min=0), default=_LIMIT, help="At most this many records.  [20]"
)


@click.command()
@filters
@_order_option
@_limit_option
@click.option("--all", "every", is_flag=True, help="Every record, whatever the limit.")
@_fields_option
@click.option("--excel", is_flag=True, help="Of CSV: keep a spreadsheet from taking texts for formulas.")
@click.option("--explain", is_flag=True, help="Print the query as a tree, and ask nothing.")
@output("id", "payload")
@flags
def query(
    order: str | None,
    limit: int,
    every: bool,
    fields: str | None,
    excel: bool,
    explain: bool,
    form: str | None,
    **given: Any,
) -> None:
    """Show the records that match WHERE, the oldest first.

    WHERE is a query as text: payload.score > 0.5 and feedback_type = "judge"
    """
    from plaudit._cli.connection import connect
    from plaudit._cli.output import check_fields, is_terminal, json_text, print_line, show
    from plaudit._cli.where import query_of

    if excel and form != "csv":
        raise click.UsageError("--excel is an option of -o csv")
    asked = query_of(**given)
    if explain:
        print_line(json_text(asked.to_dict() if asked is not None else None))
        return
    names = check_fields(fields)
    with connect() as client:
        found = client.get_feedback(asked, limit=None if every else limit, order_by=_order(order))
        count = show(found.stream() if every else found, form, names, excel=excel)
        if not every and count == limit and is_terminal() and limit:
            total = client.count(asked)
            if total > count:
                print(f"{count} of {total}; more with --limit or --all", file=sys.stderr)


@click.command()
@click.argument("id")
@click.option("--version", type=click.IntRange(min=0), default=0, help="This version of it.  [the newest]")
@_fields_option
@output("id", "payload")
@flags
def get(id: str, version: int, fields: str | None, form: str | None) -> None:
    """Show the record ID."""
    from plaudit._cli.connection import connect
    from plaudit._cli.output import check_fields, show

    names = check_fields(fields)
    with connect() as client:
        show([client.get(id, version)], form, names, single=True)


@click.command()
@click.argument("id")
@output("payload")
@flags
def history(id: str, form: str | None) -> None:
    """Show the versions of the record ID, oldest first; after a purge what is left of it."""
    from dataclasses import asdict

    from plaudit._cli.connection import connect
    from plaudit._cli.output import form_of, print_grid, print_values, show

    with connect() as client:
        found = client.history(id)
    if form_of(form) == "table":
        print_grid(found._grid())
    elif found.tombstone is not None:
        print_values([{"tombstone": asdict(found.tombstone)}], form)
    else:
        show(found, form)


@click.command()
@filters
@output()
@flags
def count(form: str | None, **given: Any) -> None:
    """Print how many records match WHERE."""
    from plaudit._cli.connection import connect
    from plaudit._cli.output import print_values
    from plaudit._cli.where import query_of

    asked = query_of(**given)
    with connect() as client:
        found = client.count(asked)
    if form in (None, "table"):
        print(found)
    else:
        print_values([{"count": found}], form)


@click.command()
@filters
@output("id")
@flags
def refs(form: str | None, **given: Any) -> None:
    """List the refs of the records that match WHERE, by URI, with the number of records of each."""
    from plaudit._cli.connection import connect
    from plaudit._cli.output import form_of, print_grid, print_line, print_values
    from plaudit._cli.where import query_of

    asked = query_of(**given)
    with connect() as client:
        found = client.refs(asked)
    match form_of(form):
        case "table":
            print_grid(found._grid())
        case "id":
            for uri in found:
                print_line(uri)
        case _:
            counts = found.counts
            print_values(({"ref": uri, "feedback_count": counts.get(uri, 0)} for uri in found), form)


@click.command()
@click.argument("ref", metavar="REF")
@_order_option
@_limit_option
@_fields_option
@output("id", "payload")
@flags
def on(ref: str, order: str | None, limit: int, fields: str | None, form: str | None) -> None:
    """Show the feedback on exactly the ref REF."""
    from plaudit._cli.connection import connect
    from plaudit._cli.output import check_fields, show
    from plaudit._contract.refs import parse_ref
    from plaudit._core.expr import field

    names = check_fields(fields)
    own = Flags.given().project or parse_ref(ref).project_id
    with connect(needs_project=own is None) as client:
        found = client.get_feedback(field("ref") == ref, limit=limit, order_by=_order(order), project=own)
        show(found, form, names, refs=False)
