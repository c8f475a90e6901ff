"""Exports that block: what they ask a client for."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit import v1
from plaudit._core.changes import Change
from plaudit._core.expr import Query
from plaudit._core.lines import harmless
from plaudit._export.place import Place
from plaudit._export.run import Advance, Asked, Exported, export, export_changes, stream_lines
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
        if name == "-":
            if form not in (None, "jsonl"):
                raise ValueError(f"only lines of JSON go to the standard output; give a file for {form}")
            if settle:
                raise ValueError("lines on the standard output are not settled; give a file")
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


class _Terminal:
    """The standard output where a person reads it, whom what users wrote must not reach as it is."""

    def write(self, lines: bytes) -> None:
        """Write lines of JSON."""
        for line in lines.decode().removesuffix("\n").split("\n"):
            sys.stdout.write(harmless(line) + "\n")

    def flush(self) -> None:
        """Write what is kept."""
        sys.stdout.flush()
