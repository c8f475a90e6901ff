"""What an import finds here that its file does not have any more: listed, and purged when a person says so."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from plaudit._core.expr import Query
    from plaudit._sync.client import Client
    from plaudit.importers import Source

_PAGE: Final = 500
_SHOWN: Final = 20


class Mirror:
    """The ids that a file has, on disk, whatever their number; and those of a scope here that it does not have."""

    def __init__(self, source: Source, scope: str) -> None:
        """`scope` is a condition in the text form: the records here of which the file has all.

        Raises UsageError for a condition that cannot be read, and for a form that does not have all records.
        """
        from plaudit._core.expr import Query, all_of, field

        incomplete = getattr(source, "incomplete", "")
        if incomplete:
            raise click.UsageError(f"--mirror needs an export of everything: {incomplete}")
        expr = Query.from_text(scope).expr
        mark = getattr(source, "mark", "")
        if mark:  # what was written here, about the same refs, was never in the source
            expr = all_of([expr, field("payload.origin.system") == mark])
        self.query: Query = Query(expr)
        # Without a name it is a file that SQLite removes at the end.
        self._disk = sqlite3.connect("")
        self._disk.execute("create table seen (id text primary key) without rowid")
        self._disk.execute("create table missing (id text primary key, ref text) without rowid")
        self._waiting: list[tuple[str]] = []

    def note(self, id: str) -> None:
        """Take in an id of the file."""
        from plaudit._core.records import canonical_id

        self._waiting.append((canonical_id(id),))
        if len(self._waiting) >= _PAGE:
            self._flush()

    def find(self, client: Client, project: str) -> int:
        """Look for records here that the file does not have; returns how many there are."""
        self._flush()
        for page in _pages(client.stream(self.query, project=project)):
            marks = ",".join("?" * len(page))
            ids = [record.id for record in page]
            there = {id for (id,) in self._disk.execute(f"select id from seen where id in ({marks})", ids)}
            missing = [(record.id, record.ref) for record in page if record.id not in there]
            self._disk.executemany("insert or ignore into missing values (?, ?)", missing)
        [(count,)] = self._disk.execute("select count(*) from missing")
        return int(count)

    def missing(self, most: int) -> Iterator[tuple[str, str]]:
        """The ids and refs of the first ones that are missing in the file; of all, if `most` is -1."""
        yield from self._disk.execute("select id, ref from missing order by id limit ?", (most,))

    @property
    def has_seen(self) -> bool:
        """Whether the file has any record."""
        return bool(self._disk.execute("select 1 from seen limit 1").fetchone())

    def purge(self, client: Client, project: str) -> int:
        """Purge those that are missing in the file; returns how many were there."""
        purged = 0
        for page in _pages(id for id, _ in self.missing(-1)):
            purged += client.purge(page, project=project)
        return purged

    def _flush(self) -> None:
        self._disk.executemany("insert or ignore into seen values (?)", self._waiting)
        self._waiting = []


def settle(
    mirror: Mirror, client: Client, project: str, *, unread: int, purge: bool, yes: bool, dry_run: bool, is_input: bool
) -> tuple[int, int]:
    """Say what is missing in the file, and purge it if that is asked for, safe, and confirmed.

    `unread` is how many rows could not be read; `is_input` whether the file is the standard input, where nobody can
    answer. Returns how many are missing, and how many were purged. Raises UsageError.
    """
    from plaudit._show.grid import visible

    found = mirror.find(client, project)
    for id, ref in mirror.missing(_SHOWN):
        print(f"missing: {id} on {visible(ref)}", file=sys.stderr)
    if found > _SHOWN:
        print(f"… and {found - _SHOWN} more; --report FILE lists them", file=sys.stderr)
    if not (found and purge):
        return found, 0
    if unread or not mirror.has_seen:
        reason = f"{unread} rows could not be read" if unread else "the file has no record"
        raise click.UsageError(f"nothing was purged: {reason}, so what is missing may be in the source")
    if dry_run:
        print(f"{found} records would be purged", file=sys.stderr)
        return found, 0
    if not yes:
        if is_input or not sys.stdin.isatty():
            raise click.UsageError(f"{found} records would be purged: give --yes where nobody can be asked")
        if not click.confirm(f"Purge {found} records for good, which the file does not have?", err=True):
            print("nothing was purged", file=sys.stderr)
            return found, 0
    return found, mirror.purge(client, project)


def _pages(items: Iterable[Any]) -> Iterator[Sequence[Any]]:
    page = []
    for item in items:
        page.append(item)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page
