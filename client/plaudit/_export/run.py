"""An export from its first record to its manifest: read, settle, write; stopped at any point, it can be resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from plaudit._core.changes import Tombstone
from plaudit._core.expr import Query
from plaudit._core.lines import change_line, line_of, lines_of, members_of, tombstone_line
from plaudit._core.model import Feedback
from plaudit._export.forms import FORMS, Form
from plaudit._export.place import Place, digest
from plaudit._export.snapshot import Reader, redo, scan
from plaudit._export.spool import Spool
from plaudit._export.texts import Csv, Lines
from plaudit.importers.exported import FORMAT_VERSION

FORMAT: Final = "plaudit-export"

Advance = Callable[[int], None]
"""Called with the number of records read so far."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote."""

    path: str
    """The file or the address; `-` for the standard output."""
    form: str
    """`jsonl`, `csv` or `parquet`; `changes` for lines of changes."""
    project: str
    """`entity/project`."""
    store_id: str
    """The store that it was read from; empty where the server gives none."""
    query: str | None
    """The query as text; None for every record."""
    revision: int
    """The revision of the project whose state, or up to which the changes, the file holds."""
    rows: int
    """How many records or changes are in it."""
    bytes: int
    """The size of the file; 0 for the standard output."""
    sha256: str
    """The SHA-256 of the file in hex; empty for the standard output."""
    after: int | None = None
    """Of changes, the revision after which they begin."""

    def manifest(self) -> str:
        """The text of the manifest."""
        made = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        described = asdict(self)
        described["file"] = described.pop("path").rpartition("/")[2]
        return json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, "made_at": made} | described) + "\n"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be exported."""

    project: str
    query: Query | None
    store_id: str

    def state(self, revision: int, **more: Any) -> str:
        """What identifies an unfinished export, and where it began."""
        return json.dumps({"version": FORMAT_VERSION, **self._identity(), "revision": revision, **more})

    def began_at(self, path: Path, **more: Any) -> int | None:
        """The revision at which an unfinished export of the same began; None where there is none to go on with."""
        try:
            found = json.loads(path.read_text("utf-8"))
            same = all(found[name] == value for name, value in (self._identity() | more).items())
            return int(found["revision"]) if same and found["version"] == FORMAT_VERSION else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _identity(self) -> dict[str, Any]:
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
        if spool.is_file(changed) and not place.compression:
            spool.flush()
            rows = spool.rows
            place.take(spool.path)
        else:
            with place.writing() as out:
                rows = spool.write(changed, out)
    size, sha256 = digest(place.path)
    query = None if asked.query is None else str(asked.query)
    done = Exported(
        place.uri or str(place.path), place.form, asked.project, asked.store_id, query, revision, rows, size, sha256
    )
    place.deliver(done.manifest() if manifest else None)
    place.clear()
    return done, resumed


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
            from plaudit._export.tables import Parquet

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
    query = None if asked.query is None else str(asked.query)
    return Exported("-", "jsonl", asked.project, asked.store_id, query, revision, rows, 0, "")


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
    query = None if asked.query is None else str(asked.query)
    if place is None:
        assert out is not None
        for change in reader.changes(after, until, asked.query):
            out.write(change_line(change).encode() + b"\n")
            rows += 1
        out.flush()
        return Exported("-", "changes", asked.project, asked.store_id, query, until, rows, 0, "", after), False
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
    size, sha256 = digest(place.path)
    done = Exported(
        place.uri or str(place.path), "changes", asked.project, asked.store_id, query, until, rows, size, sha256, after
    )
    place.deliver(done.manifest() if manifest else None)
    place.clear()
    return done, resumed
