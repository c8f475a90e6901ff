"""Copies of a SQLite store while a server serves it: of one moment, in steps, checked before they count."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw

from plaudit_server.store.base import StoreError
from plaudit_server.store.engines.sqlite.connection import check_file

_STEP_PAGES: Final = 1_000
_PAUSE_SECONDS: Final = 0.005

Progress = Callable[[int, int], None]
"""Called with the number of pages that were copied, and that of all."""


def copy_file(source: Path, target: Path, progress: Progress = lambda *_: None) -> dict[str, int]:
    """Copy the store as it is now into a new file, and return where each project stands in it.

    A server may write meanwhile: what it writes is not in the copy. Until the copy is done, what was purged stays in
    the store's log. Raises StoreError, and leaves no file then.
    """
    check_file(source)
    if not source.exists():
        raise StoreError(f"there is no store {source}")
    if target.exists():
        raise StoreError(f"{target} is there already; give a file that is not")
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        revisions = _copied(source, part, progress)
        check_integrity(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.chmod(part, 0o600)
        os.replace(part, target)
        _sync_folder(target.absolute().parent)
    except (apsw.Error, OSError) as error:
        raise StoreError(f"{target} could not be written: {error}") from error
    finally:
        for leftover in (part, Path(f"{part}-wal"), Path(f"{part}-shm"), Path(f"{part}-journal")):
            leftover.unlink(missing_ok=True)
    return revisions


def _copied(source: Path, part: Path, progress: Progress) -> dict[str, int]:
    # The log must be made if there is none, so it cannot be opened only for reading.
    reading = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READWRITE)
    writing = apsw.Connection(str(part))
    try:
        reading.set_busy_timeout(5_000)
        # All steps are of one moment, and none begins anew when something is written meanwhile.
        reading.execute("BEGIN")
        found = reading.execute("SELECT project, revision FROM project").fetchall()
        revisions = {str(project): int(str(revision)) for project, revision in found}
        with writing.backup("main", reading, "main") as copying:
            while not copying.done:
                copying.step(_STEP_PAGES)
                progress(copying.page_count - copying.remaining, copying.page_count)
                time.sleep(_PAUSE_SECONDS)
        reading.execute("ROLLBACK")
        writing.pragma("journal_mode", "delete")  # one file, that can be moved
    finally:
        writing.close()
        reading.close()
    return revisions


def check_integrity(path: Path) -> None:
    """Raises StoreError for a file whose structure is damaged."""
    try:
        with apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
        connection.close()
    except apsw.Error as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    if found != ["ok"]:
        raise StoreError(f"{path} is damaged: {'; '.join(map(str, found))}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
