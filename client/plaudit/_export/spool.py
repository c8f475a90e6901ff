"""Records on their way to a file, as messages one after the other, so that an export can be stopped and resumed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from plaudit import v1

_LENGTH_BYTES: Final = 4
_BUFFER: Final = 1024 * 1024


class Spool:
    """A file of messages, each after its length; a torn last one is dropped when it is opened again."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        """Open or make the file; `rows` and `last` are what it has already. Raises OSError."""
        self.path = path
        self.rows = 0
        self.last: v1.Feedback | None = None
        """The last record, after which to go on."""
        end, last = 0, b""
        if resume and path.exists():
            for message, whole in _messages(path):
                self.rows += 1
                end, last = whole, message
            if self.rows:
                self.last = v1.Feedback.FromString(last)
        self._file: IO[bytes] = path.open("r+b" if end else "wb", buffering=_BUFFER)
        self._file.truncate(end)
        self._file.seek(end)

    def add(self, message: v1.Feedback) -> None:
        """Keep a record."""
        body = message.SerializeToString()
        self._file.write(len(body).to_bytes(_LENGTH_BYTES, "little"))
        self._file.write(body)
        self.rows += 1

    def read(self) -> Iterator[v1.Feedback]:
        """All records, in their order."""
        self._file.flush()
        for body, _ in _messages(self.path):
            yield v1.Feedback.FromString(body)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _messages(path: Path) -> Iterator[tuple[bytes, int]]:
    """The whole messages of a file, and where each ends."""
    size = os.path.getsize(path)
    with path.open("rb", buffering=_BUFFER) as file:
        end = 0
        while len(head := file.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
            length = int.from_bytes(head, "little")
            if end + _LENGTH_BYTES + length > size:
                return
            end += _LENGTH_BYTES + length
            yield file.read(length), end
