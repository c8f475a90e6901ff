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
from plaudit._core.lines import change_line, line_of, members_of, tombstone_line
from plaudit._core.model import Feedback
from plaudit._export.forms import form_of
from plaudit._export.place import Place, digest
from plaudit._export.snapshot import Reader, Redo, redo, scan
from plaudit._export.spool import LineSpool, MessageSpool, Spool
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
    place.make_parent()
    since = asked.began_at(place.state, form=place.form) if resume else None
    resumed = since is not None and place.part.exists()
    if since is None or not resumed:
        since = reader.revision()
        place.part.unlink(missing_ok=True)
        place.state.write_text(asked.state(since, form=place.form), "utf-8")
    kind = LineSpool if place.form == "jsonl" else MessageSpool
    with kind(place.part, resume=resumed) as spool:
        for record in scan(reader, asked.query, spool.last):
            spool.add(record._message)
            if not spool.rows % 1000:
                advance(spool.rows)
        advance(spool.rows)
        revision, changed = redo(reader, asked.query, since)
        if isinstance(spool, LineSpool) and not changed and not place.compression and not excel and not extract:
            spool.flush()
            rows = spool.rows
            place.take(spool.path)
        else:
            with place.writing() as out:
                rows = _write(spool, changed, place.form, out, excel, extract)
    size, sha256 = digest(place.path)
    query = None if asked.query is None else str(asked.query)
    done = Exported(
        place.uri or str(place.path), place.form, asked.project, asked.store_id, query, revision, rows, size, sha256
    )
    place.deliver(done.manifest() if manifest else None)
    place.clear()
    return done, resumed


def _write(spool: Spool, changed: Redo, name: str, out: IO[bytes], excel: bool, extract: Sequence[str]) -> int:
    """Write the records as they are after what changed: each in its place, new ones at the end. Returns how many."""
    form = form_of(name, out, excel=excel, extract=extract)
    is_packed = isinstance(spool, LineSpool)
    left = dict(changed)
    rows = 0
    for packed in spool.read():
        message = None if is_packed else spool.unpacked(packed)
        id = spool.id_of(packed) if message is None else message.id
        if id in changed:
            now = left.pop(id, None)
            if not isinstance(now, Feedback):
                continue
            form.add(now._message)
        elif message is None:
            out.write(packed)
        else:
            form.add(message)
        rows += 1
    new = [record for record in left.values() if isinstance(record, Feedback)]
    new.sort(key=lambda record: (record.created_at, record.id))
    for record in new:
        form.add(record._message)
    form.close()
    return rows + len(new)


def stream_lines(reader: Reader, asked: Asked, out: IO[bytes], *, advance: Advance = lambda rows: None) -> Exported:
    """Write lines as they are read, then again those of what changed meanwhile: the last line of an id counts."""
    since = reader.revision()
    rows = 0
    for record in scan(reader, asked.query):
        out.write(line_of(record._message).encode() + b"\n")
        rows += 1
        if not rows % 1000:
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
