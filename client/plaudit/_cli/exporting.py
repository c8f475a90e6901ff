"""The command `export`: the records of a query, or what changed, as a file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from plaudit._cli import process
from plaudit._cli.options import Flags, filters, flags

if TYPE_CHECKING:
    from plaudit._export.place import Place


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
    from plaudit._cli import finishing
    from plaudit._cli.connection import connect
    from plaudit._cli.where import query_of
    from plaudit._sync.export import exported, exported_apart

    if after is not None and not changes:
        raise click.UsageError("--after is an option of --changes")
    if resume and to == "-":
        raise click.UsageError("--resume needs a file: give --to")
    process.spare_memory()
    asked = query_of(**given)
    shown = sys.stderr.isatty() and not no_progress
    left: Place | None = None
    with connect() as client:
        project = client.project_for(None)
        if not (changes or excel) and _is_left(to, project, form):
            left, resumed = exported_apart(
                client, project, asked, to, form=form, resume=resume, extract=extract, progress=shown
            )
        else:
            done, resumed = exported(
                client,
                project,
                asked,
                to,
                form=form,
                changes_after=(after or 0) if changes else None,
                resume=resume,
                settle=settle,
                excel=excel,
                extract=extract,
                manifest=manifest is None,
                progress=shown,
            )
    if resume and not resumed:
        print("nothing to resume: started over", file=sys.stderr)
    if left is not None:
        finishing.become(left, manifest, to_output=to == "-", json_errors=Flags.given().json_errors)
    finishing.report_done(done, manifest)


def _is_left(to: str, project: str, form: str | None) -> bool:
    """Whether another process writes the file: a Parquet file, and nobody else uses this process."""
    from plaudit._export.place import Place

    if not process.is_own():
        return False
    if to == "-":
        return form == "parquet" and not sys.stdout.isatty()
    return Place.of(to, project, form).form == "parquet"
