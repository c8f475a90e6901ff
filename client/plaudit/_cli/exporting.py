"""The command `export`: the records of a query, or what changed, as a file."""

from __future__ import annotations

import sys
from typing import Any

import click

from plaudit._cli.options import filters, flags


@click.command()
@filters
@click.option(
    "--to", metavar="FILE|DIR/|URI", default="-", help="Where to: a file, a directory, s3://…  [standard output]"
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv", "parquet"]),
    help="The form.  [as the file's name ends, else jsonl]",
)
@click.option("--changes", is_flag=True, help="What changed, a line a change, instead of the records as they are.")
@click.option("--after", type=click.IntRange(min=0), metavar="REVISION", help="Of --changes: those after this.  [0]")
@click.option("--resume", is_flag=True, help="Go on with an export that was interrupted.")
@click.option("--settle/--no-settle", default=None, help="Each record once, as it is at one revision.  [but JSON to -]")
@click.option("--excel", is_flag=True, help="Of CSV: keep a spreadsheet from taking texts for formulas.")
@click.option(
    "--extract", metavar="PATH:TYPE", multiple=True, help="Of Parquet: a column more, as payload.score:double."
)
@click.option(
    "--manifest", metavar="FILE|-|none", help="Where the manifest goes; - is the standard error.  [FILE.manifest.json]"
)
@click.option("--no-progress", is_flag=True, help="No bar on a terminal.")
@flags
def export(
    to: str,
    form: Any,
    changes: bool,
    after: int | None,
    resume: bool,
    settle: bool | None,
    excel: bool,
    extract: tuple[str, ...],
    manifest: str | None,
    no_progress: bool,
    **given: Any,
) -> None:
    """Write the records that match WHERE, as they are at one revision of the project.

    JSON lines lose nothing: plaudit import reads them. FILE.gz and FILE.zst are compressed.
    """
    from plaudit._cli.connection import connect
    from plaudit._cli.where import query_of
    from plaudit._sync.export import exported

    if after is not None and not changes:
        raise click.UsageError("--after is an option of --changes")
    if resume and to == "-":
        raise click.UsageError("--resume needs a file: give --to")
    asked = query_of(**given)
    with connect() as client:
        done, resumed = exported(
            client,
            client.project_for(None),
            asked,
            to,
            form=form,
            changes_after=(after or 0) if changes else None,
            resume=resume,
            settle=settle,
            excel=excel,
            extract=extract,
            manifest=manifest is None,
            progress=sys.stderr.isatty() and not no_progress,
        )
    if resume and not resumed:
        print("nothing to resume: started over", file=sys.stderr)
    if manifest == "-":
        print(done.manifest(), end="", file=sys.stderr)
    elif manifest is not None and manifest != "none":
        with open(manifest, "w", encoding="utf-8") as out:
            out.write(done.manifest())
    if to != "-":
        print(f"{done.rows} {'changes' if changes else 'records'} at revision {done.revision}", file=sys.stderr)
