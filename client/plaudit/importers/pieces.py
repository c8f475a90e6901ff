"""Inputs read in pieces: lines of a file, of the standard input, or of the files of a folder, within bounds."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from plaudit.importers import UnusableError

LINE_BYTES: Final = 16 * 1024 * 1024
"""The longest line."""
MOST_TIMES: Final = 100
"""How many times its compressed size an input may have."""

_PIECE: Final = 1024 * 1024
_FREE: Final = 64 * 1024 * 1024  # a small file may be compressed better than that
_BOM: Final = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line with its place; `text` is None where it cannot be read, and `wrong` says why."""

    place: str
    text: str | None
    wrong: str = ""


def lines(path: str) -> Iterator[Line]:
    """The lines of a file, a folder or `-`, without their ends; blank ones are left out.

    Files that end in `.gz` or `.zst` are decompressed (the latter needs pyarrow), links in folders are not followed.
    Raises OSError for what cannot be opened, UnusableError for what is compressed beyond measure.
    """
    for prefix, pieces in inputs(path):
        yield from _lines(pieces, prefix)


def inputs(path: str) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The inputs that a path stands for, each read in pieces, with how the places in it begin; see `lines`."""
    if path == "-":
        yield "", _pieces(sys.stdin.buffer)
        return
    is_folder = os.path.isdir(path)
    for file in files(Path(path)) if is_folder else [Path(path)]:
        yield f"{file.name}: " if is_folder else "", _file(file)


def files(folder: Path) -> list[Path]:
    """The files of a folder by name, those below it too; no links, no hidden ones, no manifests."""
    found = []
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for name in sorted(names):
            file = Path(parent, name)
            if not (file.is_symlink() or name.startswith((".", "_")) or name.endswith((".manifest.json", ".state"))):
                found.append(file)
    return found


def _file(path: Path) -> Iterator[bytes]:
    with path.open("rb") as raw:
        if path.suffix == ".gz":
            import gzip

            with gzip.GzipFile(fileobj=raw) as unzipped:
                yield from _pieces(unzipped, raw)
        elif path.suffix == ".zst":
            with _zstd(raw) as unzipped:
                yield from _pieces(unzipped, raw)
        else:
            yield from _pieces(raw)


def _zstd(raw: IO[bytes]) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise UnusableError("a .zst file needs pyarrow: pip install plaudit[arrow]") from error
    return pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd")


def bound_of(compressed: int) -> int:
    """The most bytes that may come out of a number of compressed ones."""
    return max(_FREE, MOST_TIMES * compressed)


def _pieces(source: Any, raw: IO[bytes] | None = None) -> Iterator[bytes]:
    """What a stream holds, without a mark of its encoding at the start; `raw` is what it is decompressed from."""
    read = 0
    while piece := source.read(_PIECE):
        if not read:
            piece = piece.removeprefix(_BOM)
        read += len(piece)
        if raw is not None and read > bound_of(raw.tell()):
            raise UnusableError(f"the input is more than {MOST_TIMES} times its compressed size")
        yield piece


def _lines(pieces: Iterator[bytes], prefix: str) -> Iterator[Line]:
    number = 0
    rest = b""
    is_long = False
    while True:
        try:
            piece = next(pieces, b"")
        except (EOFError, OSError) as error:
            yield Line(f"{prefix}line {number + 1}", None, f"cannot be read: {error}")
            return
        if not piece:
            break
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            number += 1
            if is_long:
                is_long = False
                yield Line(f"{prefix}line {number}", None, f"has more than {LINE_BYTES} bytes")
            else:
                yield from _line(line, number, prefix)
        if len(rest) > LINE_BYTES:
            rest, is_long = b"", True
    if is_long:
        yield Line(f"{prefix}line {number + 1}", None, f"has more than {LINE_BYTES} bytes")
    else:
        yield from _line(rest, number + 1, prefix)


def _line(line: bytes, number: int, prefix: str) -> Iterator[Line]:
    if not line.strip():
        return
    place = f"{prefix}line {number}"
    if len(line) > LINE_BYTES:
        yield Line(place, None, f"has more than {LINE_BYTES} bytes")
        return
    try:
        yield Line(place, line.decode())
    except UnicodeDecodeError as error:
        yield Line(place, None, f"is not UTF-8 at byte {error.start + 1}")
