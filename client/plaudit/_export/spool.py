"""Records on their way to a file, kept so that an export can be stopped and resumed: as lines, or as messages."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from plaudit import v1
from plaudit._core.lines import line_of, record_of

_LENGTH_BYTES: Final = 4
_BUFFER: Final = 1024 * 1024
# A line begins with {"id":" and the 36 characters of the id.
_ID: Final = slice(7, 43)


class Spool(ABC):
    """A file of records; a torn last one is dropped when it is opened again."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        """Open or make the file; `rows` and `last` are what it has already. Raises OSError."""
        self.path = path
        self.rows = 0
        self.last: v1.Feedback | None = None
        """The last record, after which to go on."""
        end, last = 0, b""
        if resume and path.exists():
            for packed in self._whole():
                self.rows += 1
                end, last = end + len(packed), packed
            if self.rows:
                self.last = self.unpacked(last)
        self._file: IO[bytes] = path.open("r+b" if end else "wb", buffering=_BUFFER)
        self._file.truncate(end)
        self._file.seek(end)

    def add(self, message: v1.Feedback) -> None:
        """Keep a record."""
        self._file.write(self.packed(message))
        self.rows += 1

    def read(self) -> Iterator[bytes]:
        """All records, packed, in their order."""
        self._file.flush()
        yield from self._whole()

    def flush(self) -> None:
        """Write what is kept in memory, to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    @abstractmethod
    def packed(self, message: v1.Feedback) -> bytes:
        """A record as it stands in the file."""

    @abstractmethod
    def unpacked(self, packed: bytes) -> v1.Feedback:
        """A record out of the file."""

    @abstractmethod
    def id_of(self, packed: bytes) -> str:
        """The id of a record in the file."""

    @abstractmethod
    def _whole(self) -> Iterator[bytes]:
        """The records that are whole."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class LineSpool(Spool):
    """Lines of JSON, which are the file itself when nothing has changed meanwhile."""

    def packed(self, message: v1.Feedback) -> bytes:
        """A line."""
        return line_of(message).encode() + b"\n"

    def unpacked(self, packed: bytes) -> v1.Feedback:
        """The record of a line."""
        return record_of(packed.decode())._message

    def id_of(self, packed: bytes) -> str:
        """The id at the beginning of a line."""
        return packed[_ID].decode()

    def _whole(self) -> Iterator[bytes]:
        with self.path.open("rb", buffering=_BUFFER) as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                yield line


class MessageSpool(Spool):
    """Messages, each after its length: for forms that need the values of a record."""

    def packed(self, message: v1.Feedback) -> bytes:
        """A message after its length."""
        body = message.SerializeToString()
        return len(body).to_bytes(_LENGTH_BYTES, "little") + body

    def unpacked(self, packed: bytes) -> v1.Feedback:
        """The message."""
        return v1.Feedback.FromString(packed[_LENGTH_BYTES:])

    def id_of(self, packed: bytes) -> str:
        """The id of a message."""
        return self.unpacked(packed).id

    def _whole(self) -> Iterator[bytes]:
        size, end = os.path.getsize(self.path), 0
        with self.path.open("rb", buffering=_BUFFER) as file:
            while len(head := file.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
                length = int.from_bytes(head, "little")
                end += _LENGTH_BYTES + length
                if end > size:
                    return
                yield head + file.read(length)
