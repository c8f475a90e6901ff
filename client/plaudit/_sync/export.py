"""Exports that block: what they ask a client for."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING, Any

from plaudit import v1
from plaudit._core.changes import Change
from plaudit._core.expr import Query
from plaudit._core.lines import harmless
from plaudit._export.place import Place
from plaudit._export.run import Advance, Asked, export, export_changes, read_apart, stream_lines
from plaudit._export.written import Exported
from plaudit._show.progress import counted
from plaudit._steps.step import Call, Steps
from plaudit._sync.run import finish
from plaudit._wire.methods import QUERY

if TYPE_CHECKING:
    from plaudit._sync.client import Client


class ProjectReader:
    """Reads one project by a client."""

    def __init__(self, client: Client, project: str) -> None:
        self._client = client
        self._project = project

    def revision(self) -> int:
        """The project's revision."""
        return finish(self._revision(), self._client.transport)

    def _revision(self) -> Steps[int]:
        response = yield from Call(QUERY, v1.QueryFeedbackRequest(project=self._project, limit=0))
        return response.revision

    def pages(self, query: Query | None) -> Iterator[Sequence[v1.Feedback]]:
        """The records that match, by created_at and id; as many at once as one message of the server has."""
        with self._client.stream(query, project=self._project) as found:
            yield from found._pages()

    def changes(self, after: int, until: int, query: Query | None) -> Iterator[Change]:
        """The changes above one revision, up to another."""
        if after >= until:
            return
        with self._client.watch(self._project, after=after, query=query) as watch:
            yield from watch._until(until)


def exported(
    client: Client,
    project: str,
    query: Query | None,
    to: str | Path,
    *,
    form: str | None = None,
    changes_after: int | None = None,
    resume: bool = False,
    settle: bool | None = None,
    excel: bool = False,
    extract: Sequence[str] = (),
    manifest: bool = True,
    progress: bool | Advance = False,
) -> tuple[Exported, bool]:
    """Export to a path, an address or `-`; what was written, and whether an unfinished export was resumed.

    `settle` is whether records that change meanwhile are written once, as they then are: always, but to `-`.
    """
    reader = ProjectReader(client, project)
    asked = Asked(project, query, client.server_info().store_id)
    name = str(to)
    with counted(progress, lambda: client.count(query, project=project)) as advance:
        if name == "-" and changes_after is None and (form not in (None, "jsonl") or settle):
            return _settled(reader, asked, form or "jsonl", excel, extract, advance), False
        if name == "-":
            if form not in (None, "jsonl"):
                raise ValueError("changes are lines of JSON: there is no other form of them")
            out: Any = _Terminal() if sys.stdout.isatty() else sys.stdout.buffer
            if changes_after is not None:
                return export_changes(reader, asked, None, changes_after, out=out, advance=advance)
            return stream_lines(reader, asked, out, advance=advance), False
        place = Place.of(name, project, form)
        if changes_after is not None:
            return export_changes(
                reader, asked, place, changes_after, resume=resume, advance=advance, manifest=manifest
            )
        return export(
            reader, asked, place, resume=resume, excel=excel, extract=extract, advance=advance, manifest=manifest
        )


def exported_apart(
    client: Client,
    project: str,
    query: Query | None,
    to: str,
    *,
    form: str | None = None,
    resume: bool = False,
    extract: Sequence[str] = (),
    progress: bool | Advance = False,
) -> tuple[Place, bool]:
    """Read what a Parquet file is to hold, for `finish` in a process without gRPC; the file, and whether resumed.

    To `-` it is a file in a folder of its own, which the caller removes.
    """
    reader = ProjectReader(client, project)
    asked = Asked(project, query, client.server_info().store_id)
    folder = mkdtemp() if to == "-" else None
    try:
        place = Place.of(to if folder is None else f"{folder}/records.parquet", project, form)
        with counted(progress, lambda: client.count(query, project=project)) as advance:
            resumed = read_apart(reader, asked, place, resume=resume, extract=extract, advance=advance)
    except BaseException:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return place, resumed


def _settled(
    reader: ProjectReader, asked: Asked, form: str, excel: bool, extract: Sequence[str], advance: Advance
) -> Exported:
    """Write a file to the standard output, by way of the disk: what was written before cannot be written again."""
    out: Any = sys.stdout.buffer
    if sys.stdout.isatty():
        if form == "parquet":
            raise ValueError("a Parquet file is nothing for a terminal: give a file")
        out = _Terminal()
    with TemporaryDirectory() as folder:
        path = Path(folder, f"records.{form}")
        place = Place.of(str(path), asked.project, form)
        done, _ = export(reader, asked, place, excel=excel, extract=extract, advance=advance, manifest=False)
        with path.open("rb") as file:
            if isinstance(out, _Terminal):
                out.writelines(file)
            else:
                shutil.copyfileobj(file, out, 1024 * 1024)
    out.flush()
    return replace(done, path="-")


class _Terminal:
    """The standard output where a person reads it, whom what users wrote must not reach as it is."""

    def write(self, lines: bytes) -> None:
        """Write lines."""
        for line in lines.decode().removesuffix("\n").split("\n"):
            sys.stdout.write(harmless(line.removesuffix("\r")) + "\n")

    def writelines(self, lines: Iterable[bytes]) -> None:
        """Write lines one after the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what is kept."""
        sys.stdout.flush()
