"""The command `watch`: changes of a project, as they happen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from plaudit._cli.options import filters, flags

if TYPE_CHECKING:
    from plaudit._core.changes import Change


@click.command()
@filters
@click.option(
    "--after",
    type=click.IntRange(min=0),
    metavar="REVISION",
    help="From after this revision; 0: from the start.  [now]",
)
@click.option("-n", "--limit", type=click.IntRange(min=1), help="End after this many changes.  [never]")
@click.option("-o", "--output", "form", type=click.Choice(["table", "jsonl", "id"]), help="The form of the output.")
@click.option("--exec", "command", metavar="COMMAND", help="Run this for each change, a line on its standard input.")
@click.option("--webhook", metavar="URL", help="Send each change there; `plaudit relay` has all options for it.")
@flags
def watch(
    after: int | None, limit: int | None, form: str | None, command: str | None, webhook: str | None, **given: Any
) -> int:
    """Show changes as they happen: records that match WHERE, and every removal.

    A line of JSON is a record after `change` and `revision`, a `tombstone`, or what was `retained`: how many records
    retention removed; importing such lines repeats them, except the last kind. With
    --exec or --webhook changes are delivered as by `plaudit relay`, but nothing is kept: what was missed is missed.
    """
    from plaudit._cli.connection import connect
    from plaudit._cli.output import form_of, is_terminal, print_line
    from plaudit._cli.where import query_of
    from plaudit._core.lines import change_line, harmless

    asked = query_of(**given)
    if command is not None or webhook is not None:
        from plaudit._cli.relaying import Forgetting, run, sink_of

        sink = sink_of(webhook, command, {})
        with connect() as client:
            return run(client, sink, Forgetting(), asked, (after, ""), 1, {})
    form = form_of(form)
    with connect() as client, client.watch(after=after, query=asked) as changes:
        for number, change in enumerate(changes, 1):
            match form:
                case "table":
                    print_line(_shown(change))
                case "id":
                    if change.id:
                        print_line(change.id)
                case _:
                    print(harmless(change_line(change)) if is_terminal() else change_line(change), flush=True)
            if number == limit:
                break
    return 0


def _shown(change: Change) -> str:
    """A change on one line."""
    if change.retained is not None:
        removed = change.retained
        return f"{change.revision:>8}  {change.kind:<8}  {removed.feedback_type}  {removed.count} records"
    what = change.feedback or change.tombstone
    assert what is not None
    content = change.feedback.payload_json if change.feedback is not None else ""
    return f"{change.revision:>8}  {change.kind:<8}  {what.feedback_type}  {what.ref}  {content}"[:2_000]
