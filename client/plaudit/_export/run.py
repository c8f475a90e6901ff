"""An export from its first record to its manifest: read, settle, write; stopped at any point, it can be resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import IO, Any

from plaudit._core.changes import Tombstone
from plaudit._core.expr import Query
from plaudit._core.lines import change_line, line_of, lines_of, members_of, tombstone_line
from plaudit._core.model import Feedback
from plaudit._export.finish import Left
from plaudit._export.forms import Form
from plaudit._export.place import FORMS, Place
from plaudit._export.snapshot import Reader, Redo, redo, scan
from plaudit._export.spool import Spool
from plaudit._export.tables import Parquet
from plaudit._export.texts import Csv, Lines
from plaudit._export.written import Exported
from plaudit.importers.manifest import FORMAT_VERSION

Advance = Callable[[int], None]
"""Called with the number of records read so far."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be exported."""

    project: str
    query: Query | None
    store_id: str

    def state(self, revision: int, **more: Any) -> str:
        """What identifies an unfinished export, and where it began."""
        return json.dumps({"version": FORMAT_VERSION, **self.identity(), "revision": revision, **more})

    def began_at(self, path: Path, **more: Any) -> int | None:
        """The revision at which an unfinished export of the same began; None where there is none to go on with."""
        try:
            found = json.loads(path.read_text("utf-8"))
            same = all(found[name] == value for name, value in (self.identity() | more).items())
            return int(found["revision"]) if same and found["version"] == FORMAT_VERSION else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def identity(self) -> dict[str, Any]:
        """What the part of an export belongs to, and its manifest names."""
        query = None if self.query is None else str(self.query)
        return {"project": self.project, "query": query, "store_id": self.store_id}


def export(
    reader: Reader,
    asked: Asked,
    place: Place,
    *,
    resume: bool = False,
    excel: bool = False,
    extract: Sequence[str] = (),
    advance: Advance = lambda rows: None,
    manifest: bool = True,
) -> tuple[Exported, bool]:
    """Write a state of the project to a file; also whether an unfinished export was resumed.

    Raises PlauditError, OSError, ValueError for options that the form does not have, ImportError for what is missing.
    """
    form = _form_of(place.form, excel=excel, extract=extract)
    options = {"form": place.form, "excel": excel, "extract": list(extract)}
    with _read(reader, asked, place, form, options, resume=resume, advance=advance) as read:
        if read.spool.is_file(read.changed) and not place.compression:
            read.spool.flush()
            rows = read.spool.rows
            place.take(read.spool.path)
        else:
            with place.writing() as out:
                rows = read.spool.write(read.changed, out)
    done = Exported.of_file(place, read.revision, rows, **asked.identity())
    place.deliver(done.manifest() if manifest else None)
    place.clear()
    return done, read.resumed


def read_apart(
    reader: Reader,
    asked: Asked,
    place: Place,
    *,
    resume: bool = False,
    extract: Sequence[str] = (),
    advance: Advance = lambda rows: None,
) -> bool:
    """Read what a file of Parquet is to hold, and leave it to `finish`; whether an unfinished export was resumed.

    Nothing of the library that writes the file is imported here. Raises as `export`.
    """
    form = Parquet(extract)
    options = {"form": place.form, "excel": False, "extract": list(extract)}
    with _read(reader, asked, place, form, options, resume=resume, advance=advance) as read:
        read.spool.flush()
        form.keep(read.changed, place.changed)
    left = Left(read.revision, [astuple(column) for column in form.columns], asked.identity())
    place.state.write_text(asked.state(read.since, **options, left=asdict(left)), "utf-8")
    return read.resumed


@dataclass(frozen=True, slots=True)
class _Read:
    """The records of one state: in the spool as they were read, and what became of some of them meanwhile."""

    spool: Spool
    since: int
    """The revision at which the reading began."""
    revision: int
    changed: Redo
    resumed: bool


@contextmanager
def _read(
    reader: Reader,
    asked: Asked,
    place: Place,
    form: Form,
    options: Mapping[str, Any],
    *,
    resume: bool,
    advance: Advance,
) -> Iterator[_Read]:
    """Read one state of the project into the part of a place, which is open until the block ends."""
    place.make_parent()
    since = asked.began_at(place.state, **options) if resume else None
    resumed = since is not None and place.part.exists()
    if since is None or not resumed:
        since = reader.revision()
        place.part.unlink(missing_ok=True)
        place.state.write_text(asked.state(since, **options), "utf-8")
    with Spool(place.part, form, resume=resumed) as spool:
        for page in scan(reader, asked.query, spool.last):
            spool.add(page)
            advance(spool.rows)
        revision, changed = redo(reader, asked.query, since)
        yield _Read(spool, since, revision, changed, resumed)


def _form_of(name: str, *, excel: bool = False, extract: Sequence[str] = ()) -> Form:
    """A form by its name.

    Raises ValueError for an unknown form and for options that it does not have, ImportError for what it needs.
    """
    if excel and name != "csv":
        raise ValueError("excel is an option of csv")
    if extract and name != "parquet":
        raise ValueError("extract is an option of parquet")
    match name:
        case "jsonl":
            return Lines()
        case "csv":
            return Csv(excel=excel)
        case "parquet":
            return Parquet(extract)
        case _:
            raise ValueError(f"there is no form {name!r}: {', '.join(FORMS)}")


def stream_lines(reader: Reader, asked: Asked, out: IO[bytes], *, advance: Advance = lambda rows: None) -> Exported:
    """Write lines as they are read, then again those of what changed meanwhile: the last line of an id counts."""
    since = reader.revision()
    rows = 0
    for page in scan(reader, asked.query):
        out.write(lines_of(page).encode())
        rows += len(page)
        advance(rows)
    revision, changed = redo(reader, asked.query, since)
    for id, now in changed.items():
        if isinstance(now, Feedback):
            line = line_of(now._message)
        elif isinstance(now, Tombstone):
            line = tombstone_line(now)
        else:
            line = f'{{"tombstone":{{"id":"{id}"}}}}'
        out.write(line.encode() + b"\n")
        rows += 1
    out.flush()
    advance(rows)
    return Exported("-", "jsonl", revision=revision, rows=rows, bytes=0, sha256="", **asked.identity())


def export_changes(
    reader: Reader,
    asked: Asked,
    place: Place | None,
    after: int,
    *,
    out: IO[bytes] | None = None,
    resume: bool = False,
    advance: Advance = lambda rows: None,
    manifest: bool = True,
) -> tuple[Exported, bool]:
    """Write what changed after a revision, a line a change, up to now; to a place, or to an open file."""
    until = reader.revision()
    rows = 0
    if place is None:
        assert out is not None
        for change in reader.changes(after, until, asked.query):
            out.write(change_line(change).encode() + b"\n")
            rows += 1
        out.flush()
        identity = asked.identity()
        return Exported("-", "changes", revision=until, rows=rows, bytes=0, sha256="", after=after, **identity), False
    if place.form != "jsonl":
        raise ValueError("changes are lines of JSON: there is no other form of them")
    place.make_parent()
    resumed = resume and asked.began_at(place.state, after=after) is not None and place.part.exists()
    if not resumed:
        place.part.unlink(missing_ok=True)
        place.state.write_text(asked.state(after, after=after), "utf-8")
    last = after
    with place.part.open("a+b") as part:
        end = 0
        part.seek(0)
        for line in part:
            if not line.endswith(b"\n"):
                break
            end += len(line)
            rows += 1
            last = int(members_of(line.decode())[0]["revision"])
        part.truncate(end)
        part.seek(end)
        for change in reader.changes(last, until, asked.query):
            part.write(change_line(change).encode() + b"\n")
            rows += 1
            if not rows % 1000:
                advance(rows)
    advance(rows)
    with place.writing() as whole, place.part.open("rb") as part:
        while piece := part.read(1024 * 1024):
            whole.write(piece)
    done = Exported.of_file(place, until, rows, form="changes", after=after, **asked.identity())
    place.deliver(done.manifest() if manifest else None)
    place.clear()
    return done, resumed
