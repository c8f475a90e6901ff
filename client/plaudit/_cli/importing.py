"""The command `import`: rows of a source into a project, and a report of what became of each."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Final

import click

from plaudit._cli import process
from plaudit._cli.entries import Entries
from plaudit._cli.options import flags

if TYPE_CHECKING:
    from plaudit._cli.mirroring import Mirror
    from plaudit._core.writing import Existing, Ingested, Refused
    from plaudit._sync.client import Client
    from plaudit.importers import Record, Source

# More rows than are on their way at any time, so that the place of a refused one is still known.
_PLACES: Final = 20_000
_SHOWN: Final = 20
_IDS: Final = 500


@click.command("import")
@click.argument("path", metavar="FILE")
@click.option("--from", "system", metavar="SYSTEM", default="auto", help="What has exported it; see below.  [auto]")
@click.option(
    "--existing",
    type=click.Choice(["update", "keep", "refuse"]),
    default="update",
    help="What becomes of a record that is stored with other content.  [update, where the row is newer]",
)
@click.option("--skip-definitions", is_flag=True, help="Also store what breaks the definitions in force.")
@click.option("--apply-purges", is_flag=True, help="Purge here, too, what the rows say was purged there.")
@click.option("--mirror", metavar="WHERE", help="List what matches here, and is not in the file; for full exports.")
@click.option("--purge-missing", is_flag=True, help="Of --mirror: purge that here, after a question.")
@click.option("-y", "--yes", is_flag=True, help="Of --purge-missing: do not ask; needed where nobody can answer.")
@click.option("--dry-run", is_flag=True, help="Read and check all rows, and store nothing.")
@click.option("--instance", metavar="NAME", help="Which installation of the system it was: a part of refs and ids.")
@click.option("--source-project", metavar="NAME", help="The project there, where the export does not name it.")
@click.option("--rename", metavar="FROM=TO", help="Weave: refs into the project FROM are refs into TO here.")
@click.option("--bad-refs", type=click.Choice(["urn"]), help="Weave: what is no ref becomes urn:weave-ref:…  [refused]")
@click.option("--ref-template", metavar="URI", help="Your own URI of what was judged: https://app.example/{trace}")
@click.option("--ref-field", metavar="FIELD", help="Label Studio: the field of a task with its URI, as data.ref.")
@click.option("--spans", type=click.Path(), metavar="FILE", help="Phoenix: its spans, which name the trace of each.")
@click.option("--type-prefix", metavar="TEXT", help="What the names of types begin with here.")
@click.option("--created-at", metavar="TIME", help="When rows were made, in exports without times.")
@click.option("--only", metavar="STATUS", help="Argilla: only responses of this status, as submitted.")
@click.option("--aggregates", is_flag=True, help="LangSmith: of runs, the statistics of their feedback, as KEY.stats.")
@click.option("--map", "map", type=click.Path(), metavar="FILE", help="Generic: a TOML file, what columns are.")
@click.option("--derived-ids", is_flag=True, help="Generic, Weave's calls: make ids of whole rows, which have none.")
@click.option("--report", "report_file", type=click.Path(), help="Write the report to this file, as JSON.")
@click.option("--no-progress", is_flag=True, help="No bar on a terminal.")
@flags
def import_(
    path: str,
    system: str,
    existing: Existing,
    skip_definitions: bool,
    apply_purges: bool,
    mirror: str | None,
    purge_missing: bool,
    yes: bool,
    dry_run: bool,
    report_file: str | None,
    no_progress: bool,
    **options: Any,
) -> int:
    """Import FILE, a folder of files, or `-`, into the project; for administrators of the project.

    Records keep their ids, times, authors and versions. Importing a file twice changes nothing; importing a newer one
    makes a new version of what has changed. The exit code is 1 when a row was refused.

    SYSTEM is plaudit, weave, langfuse, langsmith, phoenix, mlflow, opik, argilla, label-studio, braintrust, or generic
    for a table of your own, which needs --map; auto finds out by the first row.
    """
    from plaudit._cli.connection import connect
    from plaudit._cli.mirroring import Mirror, settle
    from plaudit._cli.unpacking import unpacked
    from plaudit.importers import Given, UnusableError, open_source
    from plaudit.importers.recognise import recognised

    if purge_missing and mirror is None:
        raise click.UsageError("--purge-missing is an option of --mirror, which says of what the file has all")
    if mirror is not None and options.get("only"):
        raise click.UsageError("--mirror and --only contradict each other: what is left out would be missing")
    process.spare_memory()
    with unpacked(path), connect() as client:
        project = client.project_for(None)
        try:
            given = Given(path, project, {name: value for name, value in options.items() if value})
            if system == "auto":
                system = recognised(path)
                print(f"plaudit: {path} is taken for an export of {system}", file=sys.stderr)
            source = open_source(system, given)
            for line in source.lossy:
                print(f"plaudit: {line}", file=sys.stderr)
            mirrored = None if mirror is None else Mirror(source, mirror)
            importing = Importing(source, project, mirrored)
            try:
                if dry_run:
                    for _ in importing.records():
                        importing.created += 1
                else:
                    is_shown = sys.stderr.isatty() and not no_progress
                    importing.run(client, existing, skip_definitions, is_shown)
                    if apply_purges:
                        importing.purge(client)
                if mirrored is not None:
                    importing.missing, purged = settle(
                        mirrored,
                        client,
                        project,
                        unread=importing.unread,
                        purge=purge_missing,
                        yes=yes,
                        dry_run=dry_run,
                        is_input=path == "-",
                    )
                    importing.purged += purged
            finally:
                if importing.rows or sys.exception() is None:
                    importing.report(dry_run, report_file)
                    for note in getattr(source, "notes", ()):
                        print(f"plaudit: {note}", file=sys.stderr)
        except UnusableError as error:
            raise click.UsageError(str(error)) from error
    is_declined = purge_missing and not dry_run and importing.missing > importing.purged
    return 1 if importing.refused or is_declined else 0


class Importing:
    """One import: what it has read so far, and what became of it."""

    def __init__(self, source: Source, project: str, mirror: Mirror | None = None) -> None:
        self._source = source
        self._mirror = mirror
        self._project = project
        self._places: deque[tuple[int, str]] = deque(maxlen=_PLACES)
        self._read = 0
        self._result_seen = 0
        self._entries = Entries()
        self.rows = self.created = self.updated = self.kept = self.there = self.purged = 0
        self.purged_here = 0
        self.unread = 0
        """How many rows could not be read: what they are about is not known."""
        self.missing = 0

    @property
    def refused(self) -> int:
        """How many rows were refused, here or by the server."""
        return self._entries.counts["refused"]

    def records(self) -> Iterator[Any]:
        """The records to send, in the order of the rows; what cannot be sent is noted."""
        from plaudit.importers import Gone, Refusal

        for row in self._source.read():
            self.rows += 1
            match row:
                case Refusal():
                    self.unread += 1
                    self._entries.add("refused", row.place, row.reason)
                case Gone():
                    self._entries.add("gone", row.id)
                case _:
                    self._note(row)
                    yield row.fields

    def _note(self, row: Record) -> None:
        from plaudit._core.model import Feedback
        from plaudit._core.records import id_of

        self._places.append((self._read, row.place))
        self._read += 1
        if self._mirror is not None:
            self._mirror.note(row.fields.id if isinstance(row.fields, Feedback) else id_of(row.fields))
        for each in row.changed:
            self._entries.add("changed", row.place, each)

    def run(self, client: Client, existing: Existing, skip_definitions: bool, is_shown: bool) -> None:
        """Store the records."""
        from plaudit._show.progress import shown

        with shown(is_shown, self) as draw:

            def progress(result: Ingested) -> None:
                self._take(result)
                if draw is not None:
                    draw(result)

            result = client.import_records(
                self.records(),
                existing=getattr(self._source, "existing", None) or existing,
                skip_definitions=skip_definitions,
                partial=True,
                project=self._project,
                progress=progress,
            )
        self._take(result)

    def _take(self, result: Ingested) -> None:
        self.created, self.updated, self.kept = result.created, result.updated, result.kept
        self.there = result.stored - result.created - result.updated - result.kept
        for number in range(self._result_seen, len(result.refused)):
            # An error is large: that there was one is enough for the bar.
            each, result.refused[number] = result.refused[number], _noted()
            first = self._places[0][0] if self._places else 0
            place = self._places[each.position - first][1] if each.position >= first else f"record {each.position}"
            self.purged_here += each.error.reason == "FEEDBACK_PURGED"
            wrong = "; ".join(f"{v.field.partition('].')[2]} {v.description}" for v in each.error.violations[:3])
            self._entries.add("refused", place, wrong or each.error.message)
        self._result_seen = len(result.refused)

    def purge(self, client: Client) -> None:
        """Purge here what the rows say was purged there."""
        ids = (id for id, _ in self._entries.read("gone"))
        while some := list(islice(ids, _IDS)):
            self.purged += client.purge(some, project=self._project)

    def report(self, dry_run: bool, file: str | None) -> None:
        """Say what became of the rows, on the standard error and in a file."""
        from plaudit._show.grid import visible

        counts = {
            "rows": self.rows,
            "readable" if dry_run else "new": self.created,
            "there": self.there,
            "updated": self.updated,
            "kept": self.kept,
            "refused": self.refused,
            "purged_there": self._entries.counts["gone"],
            "missing": self.missing,
            "purged": self.purged,
            "changed_on_the_way": self._entries.counts["changed"],
        }
        shown = {name: count for name, count in counts.items() if count or name in ("rows", "new", "refused")}
        print(", ".join(f"{name.replace('_', ' ')} {count}" for name, count in shown.items()), file=sys.stderr)
        for title in ("refused", "changed"):
            for place, reason in self._entries.read(title, _SHOWN):
                print(f"{title}: {visible(place)}: {visible(reason)}", file=sys.stderr)
            if self._entries.counts[title] > _SHOWN:
                print(f"… and {self._entries.counts[title] - _SHOWN} more; --report FILE lists them", file=sys.stderr)
        if self.purged_here:
            print(f"{self.purged_here} of these were purged here, and their ids are not used again", file=sys.stderr)
        if file is not None:
            missing = self._mirror.missing(-1) if self._mirror else ()
            lists: dict[str, Iterable[dict[str, str]]] = {
                "refused_rows": ({"place": place, "reason": text} for place, text in self._entries.read("refused")),
                "changes": ({"place": place, "change": text} for place, text in self._entries.read("changed")),
                "missing_records": ({"id": id, "ref": ref} for id, ref in missing),
            }
            with open(file, "w", encoding="utf-8") as out:
                _write(out, counts | {"dry_run": dry_run, "project": self._project}, lists)


def _write(out: IO[str], members: Mapping[str, Any], lists: Mapping[str, Iterable[Any]]) -> None:
    """Write an object of JSON, whose lists may be longer than the memory."""
    out.write(json.dumps(members, ensure_ascii=False).removesuffix("}"))
    for name, entries in lists.items():
        out.write(f', "{name}": [')
        for number, entry in enumerate(entries):
            out.write(f"{', ' if number else ''}{json.dumps(entry, ensure_ascii=False)}")
        out.write("]")
    out.write("}\n")


@cache
def _noted() -> Refused:
    """In the place of what was refused and is in the report."""
    from plaudit._core.errors import PlauditError
    from plaudit._core.writing import Refused

    return Refused(-1, "", PlauditError("noted"))
