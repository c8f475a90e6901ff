"""Records on their way to a file, kept beside it so that an export can be stopped and resumed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from plaudit import v1
from plaudit._export.forms import Form
from plaudit._export.snapshot import Redo

_BUFFER: Final = 1024 * 1024


class Spool:
    """The part of a file: records in its form; a torn one at the end is dropped when the part is opened again."""

    def __init__(self, path: Path, form: Form, *, resume: bool) -> None:
        """Open or make the part; `rows` and `last` are what it has already. Raises OSError."""
        self.path = path
        self.rows = 0
        self.last: v1.Feedback | None = None
        """The last record, after which to go on."""
        self._form = form
        end = self._read() if resume and path.exists() else 0
        self._file: IO[bytes] = path.open("r+b" if end else "wb", buffering=_BUFFER)
        self._file.truncate(end)
        self._file.seek(end)
        if not end:
            self._file.write(form.head)

    def _read(self) -> int:
        """Take in what is there; returns where it ends."""
        with self.path.open("rb", buffering=_BUFFER) as part:
            if part.read(len(self._form.head)) != self._form.head:
                return 0
            end, piece = len(self._form.head), b""
            for piece in self._form.pieces(part):
                self.rows += self._form.count(piece)
                end += len(piece)
        if self.rows:
            self.last = self._form.last(piece)
        return end

    def add(self, page: Sequence[v1.Feedback]) -> None:
        """Keep records."""
        self._file.write(self._form.packed(page))
        self.rows += len(page)

    def is_file(self, changed: Redo) -> bool:
        """Whether the part is the file to be written."""
        return self._form.is_file and not changed

    def flush(self) -> None:
        """Write what is kept in memory, to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def write(self, changed: Redo, out: IO[bytes]) -> int:
        """Write the file: the records as they are after what changed. Returns how many."""
        self._file.flush()
        with self.path.open("rb", buffering=_BUFFER) as part:
            if self.is_file(changed):
                shutil.copyfileobj(part, out, _BUFFER)
                return self.rows
            part.seek(len(self._form.head))
            return self._form.write(part, changed, out)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
