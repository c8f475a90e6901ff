"""Records on disk while the server is away: a queue in one SQLite file, for one process at a time."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from google.protobuf.json_format import MessageToJson

from plaudit import v1
from plaudit._core.batching import FRAME_BYTES
from plaudit._core.buffer import Item

# "plau": marks our files among those of other programs.
_APPLICATION_ID: Final = 0x706C6175
_LAYOUT: Final = 1
_TABLES: Final = """
create table queue (number integer primary key, project text not null, feedback blob not null);
create table refused (
    project text not null, id text not null, feedback text not null, error text not null, refused_at text not null
);
"""


# Held during each operation on any spool, and during a fork: otherwise a child would roll back, in its parent's file, a
# transaction that the fork found unfinished.
_disk: Final = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_disk.acquire, after_in_parent=_disk.release, after_in_child=_disk.release)


class Spool:
    """A queue of items in a file, in the order of their numbers; what is appended is on disk when the call returns.

    Raises ValueError for a file of another program or another version of plaudit, RuntimeError for one that is in use,
    OSError for one that cannot be read or made; later, sqlite3.Error for a disk that fails. Safe between threads.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._closed = False
        # It will hold what users wrote: only its owner may read it. A file that exists is opened by nothing but SQLite:
        # closing it would release the lock that another buffer of this process has on it.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL, 0o600))
        try:
            self._connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise _opening_error(self.path, error) from error
        self._count = 0
        self.last_number = 0
        """The number of the last item that an earlier process left; 0 if it left none."""
        try:
            with _disk:
                self._prepare()
        except sqlite3.Error as error:
            self.close()
            raise _opening_error(self.path, error) from error
        except ValueError:
            self.close()
            raise

    def __len__(self) -> int:
        return self._count

    def append(self, items: Iterable[Item]) -> None:
        """Put items at the end; one whose number is there already stays as it is."""
        rows = [(item.number, item.project, item.message.SerializeToString()) for item in items]
        with _disk:
            with self._connection:
                self._connection.execute("begin immediate")
                added = self._connection.executemany("insert or ignore into queue values (?, ?, ?)", rows).rowcount
            self._count += max(0, added)

    def head(self, most: int, size: int) -> list[Item]:
        """The first items: at most `most` of them, and `size` bytes in all, unless the first alone has more."""
        items: list[Item] = []
        question = "select number, project, feedback from queue order by number limit ?"
        with _disk, closing(self._connection.execute(question, (most,))) as rows:
            for number, project, feedback in rows:
                size -= len(feedback) + FRAME_BYTES
                if size < 0 and items:
                    break
                items.append(Item(number, project, v1.Feedback.FromString(feedback), len(feedback) + FRAME_BYTES))
        return items

    def remove(self, items: Sequence[Item], refused: Iterable[tuple[Item, str]] = ()) -> None:
        """Take items out; those that were refused are kept in the table `refused`, with the text of the error."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        kept = [
            (item.project, item.message.id, MessageToJson(item.message, preserving_proto_field_name=True), error, at)
            for item, error in refused
        ]
        with _disk:
            if self._closed:
                return  # whoever opens the file next sends them again, and the server finds that it has them
            with self._connection:
                self._connection.execute("begin immediate")
                numbers = [(item.number,) for item in items]
                gone = self._connection.executemany("delete from queue where number = ?", numbers).rowcount
                self._connection.executemany("insert into refused values (?, ?, ?, ?, ?)", kept)
            self._count -= max(0, gone)

    def close(self) -> None:
        """Close the file."""
        with _disk:
            self._closed = True
            self._connection.close()

    def _prepare(self) -> None:
        run = self._connection.execute
        self._is_ours()  # raises before anything is changed
        run("pragma auto_vacuum = full")
        run("pragma synchronous = full")
        run("pragma secure_delete = on")
        # The lock is held until the file is closed, or the process has ended in any way. The journal stays the rollback
        # journal: a forked child can then close its copy without harm.
        run("pragma locking_mode = exclusive")
        run("begin exclusive")
        run("commit")
        if not self._is_ours():
            self._connection.executescript(
                f"begin; {_TABLES} pragma application_id = {_APPLICATION_ID}; pragma user_version = {_LAYOUT}; commit;"
            )
        [(self._count, self.last_number)] = run("select count(*), coalesce(max(number), 0) from queue")

    def _is_ours(self) -> bool:
        """Whether the file is a spool; False for an empty one. Raises ValueError for any other."""
        [(application,)] = self._connection.execute("pragma application_id")
        [(layout,)] = self._connection.execute("pragma user_version")
        [(tables,)] = self._connection.execute("select count(*) from sqlite_master")
        if application == _APPLICATION_ID:
            if layout != _LAYOUT:
                raise ValueError(f"{self.path} is a spool of another version of plaudit (layout {layout})")
            return True
        if application or layout or tables:
            raise ValueError(f"{self.path} is a database of another program, not a spool; choose another path")
        return False


def _opening_error(path: Path, error: sqlite3.Error) -> Exception:
    """The error of SQLite at the opening as one that says what to do about it."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return RuntimeError(f"the spool {path} is in use by another buffer; give each a file of its own")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return ValueError(f"{path} is no spool: {error}; choose another path")
    return OSError(f"cannot use the spool {path}: {error}")
